//! What requests answer, as the store's errors.

use std::error::Error as StdError;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::http::Answer;
use crate::availability;
use crate::content::Error;

/// Codes of S3 and its relatives that say "full".
const FULL: &[&str] = &[
    "QuotaExceeded",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "InsufficientCapacity",
    "StorageFull",
];
/// Codes that come with a status that means something else, and that time cures.
const PASSING: &[&str] = &[
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "OperationAborted",
    "ConditionalRequestConflict",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "TooManyRequests",
];

/// Codes that come with 404 and say that there is no bucket.
const NO_BUCKET: &[&str] = &["NoSuchBucket", "ContainerNotFound"];

/// Why a request did not succeed.
#[derive(Debug)]
pub(super) enum RequestError {
    /// There is no such object.
    Absent,
    /// The object is not, or no longer, what the request says it must be.
    Changed,
    /// The object is still what the request says that it has.
    Unchanged,
    /// The object ends before the range that was asked for.
    BeyondEnd,
    /// It may succeed when it is sent again. It may have been done all the same.
    Passing(io::Error),
    /// It fails again.
    Lasting(Error),
}

/// What a failed request on `what` means.
pub(super) fn failure(what: &str, error: object_store::Error) -> RequestError {
    match &error {
        object_store::Error::NotFound { .. } => return RequestError::Absent,
        object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. } => {
            return RequestError::Changed;
        }
        object_store::Error::NotModified { .. } => return RequestError::Unchanged,
        _ => {}
    }
    let answer = find::<Answer>(&error).cloned();
    let Some(Answer { status, code, .. }) = answer else {
        return without_answer(what, error);
    };
    let named = |codes: &[&str]| codes.contains(&code.as_str());
    if status == 416 {
        RequestError::BeyondEnd
    } else if named(FULL) || status == 507 {
        let full = wrap(io::ErrorKind::StorageFull, what, error);
        RequestError::Lasting(Error::NoSpace(full))
    } else if named(PASSING)
        || status >= 500 && status != 501
        || matches!(status, 408 | 409 | 429)
        // Of something between here and the service, which does not know the way.
        || status == 404 && !named(NO_BUCKET)
    {
        RequestError::Passing(wrap(io::ErrorKind::Other, what, error))
    } else {
        let kind = match status {
            401 | 403 => io::ErrorKind::PermissionDenied,
            404 => io::ErrorKind::NotFound,
            _ => io::ErrorKind::Other,
        };
        RequestError::Lasting(Error::Io(wrap(kind, what, error)))
    }
}

/// No answer: the connection failed, or the client did not like what it got.
fn without_answer(what: &str, error: object_store::Error) -> RequestError {
    let passing = find::<HttpError>(&error).is_some_and(|error| match error.kind() {
        HttpErrorKind::Connect
        | HttpErrorKind::Request
        | HttpErrorKind::Timeout
        | HttpErrorKind::Interrupted
        | HttpErrorKind::Decode => true,
        _ => !is_certificate(error),
    });
    let error = wrap(io::ErrorKind::Other, what, error);
    if passing { RequestError::Passing(error) } else { RequestError::Lasting(Error::Io(error)) }
}

/// Whether the server's certificate is not believed, which no repetition cures.
pub(super) fn is_certificate(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|error| {
        let text = error.to_string();
        text.contains("certificate") || text.contains("CertificateError")
    })
}

/// The first error of a type among an error and its sources.
pub(super) fn find<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// A request that failed. Its text says all that is known, since the client's own errors repeat themselves.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {said}")]
struct Failed {
    what: String,
    said: String,
    /// As it came; not a `source`, whose text would be printed once more.
    error: object_store::Error,
}

fn wrap(kind: io::ErrorKind, what: &str, error: object_store::Error) -> io::Error {
    let said = match find::<Answer>(&error) {
        Some(answer) => answer.to_string(),
        None => innermost(&error),
    };
    io::Error::new(kind, Failed { what: what.to_owned(), said, error })
}

/// Whether a request was refused for a reason that concerns every other: 401, 403, or a bucket that is not
/// there.
pub(super) fn is_of_bucket(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound)
}

/// The client's error in one of ours.
pub(super) fn request_of(error: &io::Error) -> Option<&(dyn StdError + 'static)> {
    let failed = error.get_ref()?.downcast_ref::<Failed>()?;
    Some(&failed.error)
}

/// The texts of an error and its sources without those that a later one repeats.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let texts: Vec<String> = chain(error).map(ToString::to_string).collect();
    let parts = texts.iter().enumerate().filter(|(at, text)| {
        !texts[at + 1..].iter().any(|later| !later.is_empty() && text.contains(later.as_str()))
    });
    let parts: Vec<&str> = parts.map(|(_, text)| text.as_str()).collect();
    if parts.is_empty() { error.to_string() } else { parts.join(": ") }
}

/// What was asked took too long.
pub(super) fn timed_out(what: &str) -> RequestError {
    RequestError::Passing(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{what}: no answer in time"),
    ))
}

/// The object is not one that this store writes.
pub(super) fn foreign(what: &str, said: &str) -> Error {
    Error::Io(io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {said}")))
}

/// A copy of an error, for another caller.
pub(super) fn again(error: &Error) -> Error {
    let copy = |error: &io::Error| {
        let copied = io::Error::new(error.kind(), error.to_string());
        if availability::is_told(error) { availability::marked(copied) } else { copied }
    };
    match error {
        Error::Missing(id) => Error::Missing(*id),
        Error::NoSpace(error) => Error::NoSpace(copy(error)),
        Error::ReadOnly(error) => Error::ReadOnly(copy(error)),
        Error::TooLarge => Error::TooLarge,
        Error::Cancelled => Error::Cancelled,
        Error::Unavailable(error) => Error::Unavailable(copy(error)),
        Error::Io(error) => Error::Io(copy(error)),
    }
}

//! Opening a bucket: it is there, the credentials may do what is needed, and conditional writes are honoured.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use object_store::UpdateVersion;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::bucket::{Bucket, Client, Ended, Expected, Limits, PROBE};
use super::budget::Budget;
use super::cache::Cache;
use super::disk_cache::DiskCache;
use super::error::{RequestError, find, foreign, innermost, is_certificate};
use super::http::Answer;
use super::settings::ObjectSettings;
use super::state::Files;
use super::{ObjectContent, Shared};
use crate::content::{CreateMode, Error};
use crate::types::{Bounds, Chain, ContentIdentity, FairPermits};

/// Uploads that may wait: as many as there are chunks in memory, which `write_buffer` bounds.
const EVERY_CHUNK: Bounds = Bounds { total: usize::MAX, per_client: usize::MAX };

/// The object whose text is the content's identity.
const IDENTITY: &str = "identity";

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {said}{}{remedy}", if remedy.is_empty() { "" } else { "; " })]
pub struct ObjectOpenError {
    place: String,
    said: String,
    remedy: &'static str,
    kind: OpenFailure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenFailure {
    Away,
    Absent,
    Other,
}

impl ObjectOpenError {
    /// Whether the server may come by itself.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.kind == OpenFailure::Away
    }

    /// Whether all is well but that there is no content, and none may be made.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.kind == OpenFailure::Absent
    }
}

impl ObjectContent {
    /// Opens a bucket. Makes, reads and removes one object in it.
    ///
    /// # Errors
    /// Says which is wrong: the endpoint, the bucket, the credentials or their rights, or the server, where
    /// it does not honour conditional writes and others may write too.
    pub async fn open(settings: ObjectSettings) -> Result<Self, ObjectOpenError> {
        Self::open_or_make(settings, CreateMode::Allowed).await
    }

    /// The same, and says what becomes of a bucket that has no content under the prefix yet.
    ///
    /// # Errors
    /// As [`ObjectContent::open`], and where there is no content and none may be made.
    pub async fn open_or_make(
        settings: ObjectSettings,
        mode: CreateMode,
    ) -> Result<Self, ObjectOpenError> {
        let place = settings.service.place();
        let wrong = |said: String, remedy| {
            let place = place.clone();
            ObjectOpenError { place, said, remedy, kind: OpenFailure::Other }
        };
        if let Some(endpoint) = settings.service.forbidden_http() {
            let said = format!("the endpoint {endpoint} is unencrypted");
            return Err(wrong(
                said,
                "write an https URL, or allow_http: true for a trusted network",
            ));
        }
        install_crypto();
        let variable = |name: &str| std::env::var(name).ok();
        let client = settings.service.client(settings.connect_timeout, &variable);
        let client = client.map_err(|error| wrong(innermost(&error), ""))?;
        let class = settings.service.storage_class();
        let disk = match &settings.disk_cache() {
            None => None,
            Some(cache) => Some(Arc::new(DiskCache::open(cache).map_err(|error| {
                let said =
                    format!("the folder {} for cached chunks: {error}", cache.folder.display());
                wrong(
                    said,
                    "set cache_folder to a folder that this user can write to and no other process \
                             uses",
                )
            })?)),
        };
        let mut bucket = Bucket::new(client, &place, &settings.prefix, settings.limits(), class);
        match bucket.probe().await {
            Ok(honoured) => bucket.conditional = honoured,
            Err(error) => {
                let (said, remedy) = explain(&error);
                return Err(ObjectOpenError { kind: kind(&error), ..wrong(said, remedy) });
            }
        }
        if !bucket.conditional {
            if !settings.exclusive {
                let said = "the object store does not support conditional writes (If-Match, If-None-Match), \
                            which several TrunkFS servers need to share a bucket";
                let remedy = "use another object store, or write single_server: true if no other TrunkFS \
                              uses the bucket";
                return Err(wrong(said.to_owned(), remedy));
            }
            tracing::warn!(
                bucket = place,
                "the object store does not support conditional writes: no other TrunkFS may use \
                the bucket, and a delayed request may overwrite a later one"
            );
        }
        let identity = match bucket.identity(mode).await {
            Ok(Some(identity)) => identity,
            Ok(None) => {
                let said = format!("no TrunkFS content under the prefix {:?}", settings.prefix);
                return Err(ObjectOpenError { kind: OpenFailure::Absent, ..wrong(said, "") });
            }
            Err(error) => {
                let (said, remedy) = explain(&error);
                return Err(ObjectOpenError { kind: kind(&error), ..wrong(said, remedy) });
            }
        };
        let chunk_size = settings.chunk_size.max(ObjectSettings::MIN_CHUNK);
        let shared = Shared::new(bucket, disk, &settings, chunk_size);
        Ok(Self { shared: Arc::new(shared), chunk_size, identity })
    }
}

impl ObjectContent {
    /// Makes a client with the keys of these settings, and looks whether the bucket takes them: it lists and
    /// reads a little, and writes nothing.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub async fn try_keys(&self, settings: &ObjectSettings) -> Result<Keys, ObjectOpenError> {
        let place = settings.service.place();
        let wrong = |said: String, remedy, kind| ObjectOpenError {
            place: place.clone(),
            said,
            remedy,
            kind,
        };
        let variable = |name: &str| std::env::var(name).ok();
        let client = settings.service.client(settings.connect_timeout, &variable);
        let client = client.map_err(|error| wrong(innermost(&error), "", OpenFailure::Other))?;
        let limits = Limits { retries: 0, ..settings.limits() };
        let bucket = Bucket::new(client.clone(), &place, &settings.prefix, limits, None);
        let mut backoff = bucket.backoff(None);
        let listed = backoff.run(|| bucket.contents(None, 1, None)).await;
        let found = match listed {
            Ok(_) => bucket.identity(CreateMode::Never).await,
            Err(ended) => Err(ended.into_error()),
        };
        match found {
            Ok(Some(identity)) if identity == self.identity => Ok(Keys(client)),
            Ok(_) => {
                Err(wrong("these keys lead to other content".to_owned(), "", OpenFailure::Other))
            }
            Err(error) if kind(&error) == OpenFailure::Away => {
                tracing::warn!(bucket = place, error = %Chain(&error),
                    "the new keys cannot be tried, since the bucket does not answer; they are used all the same");
                Ok(Keys(client))
            }
            Err(error) => {
                let (said, remedy) = explain(&error);
                Err(wrong(said, remedy, OpenFailure::Other))
            }
        }
    }

    /// Has requests that begin from now on go with these keys; those under way end with theirs.
    pub fn take_keys(&self, keys: Keys) {
        self.shared.bucket.set_client(keys.0);
    }
}

/// Keys that a bucket has taken.
#[derive(Debug)]
pub struct Keys(Arc<dyn Client>);

impl Shared {
    pub(super) fn new(
        bucket: Bucket,
        disk: Option<Arc<DiskCache>>,
        settings: &ObjectSettings,
        chunk_size: u32,
    ) -> Self {
        let concurrency = bucket.concurrency();
        // What is read ahead must not push out what was read ahead before it.
        let room = settings.cache as u64 / u64::from(chunk_size) / 4;
        Self {
            bucket,
            files: Files::default(),
            budget: Budget::new(settings.write_buffer.max(2 * chunk_size as usize)),
            cache: Cache::new(settings.cache),
            disk,
            exclusive: settings.exclusive,
            read_ahead: settings.read_ahead.min(room),
            prefetches: Arc::new(Semaphore::new(concurrency.div_ceil(2))),
            uploads: FairPermits::new(concurrency, EVERY_CHUNK),
            under_way: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            trouble: parking_lot::Mutex::default(),
            moving: parking_lot::Mutex::default(),
        }
    }
}

fn kind(error: &Error) -> OpenFailure {
    if matches!(error, Error::Unavailable(_)) { OpenFailure::Away } else { OpenFailure::Other }
}

/// TLS is ring's wherever the process has not chosen. Clients are not made without a choice.
fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread's choice is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Whether an object of that name was made to try the bucket.
pub(super) fn is_probe(name: &str) -> bool {
    name.strip_prefix(PROBE).is_some_and(|id| Uuid::try_parse(id).is_ok())
}

impl Bucket {
    /// Does everything once that is done later. Whether the server honours conditional writes.
    async fn probe(&self) -> Result<bool, Error> {
        let mut backoff = self.backoff(None);
        let page = backoff.run(|| self.contents(None, 1, None)).await;
        page.map_err(Ended::into_error)?;
        let key = self.layout.beside(&format!("{PROBE}{}", Uuid::new_v4()));
        let honoured = self.probe_conditions(&key).await;
        let deleted = backoff.run(|| self.delete(vec![key.clone()])).await;
        let honoured = honoured?;
        deleted.map_err(Ended::into_error)?;
        Ok(honoured)
    }

    /// The identity of what is under the prefix, an object that is written once. Several processes may ask at
    /// once: one makes it. `None` where there is none and none may be made.
    async fn identity(&self, mode: CreateMode) -> Result<Option<ContentIdentity>, Error> {
        let key = self.layout.beside(IDENTITY);
        let mut backoff = self.backoff(None);
        let fresh = match mode {
            CreateMode::Allowed => Some(ContentIdentity::generate()),
            CreateMode::As(identity) => Some(identity),
            CreateMode::Never | CreateMode::ReadOnly => None,
        };
        for write in [true, false] {
            match backoff.run(|| self.get(&key, None, None)).await {
                Ok(got) => {
                    let text = std::str::from_utf8(&got.bytes).ok();
                    let identity = text.and_then(|text| Uuid::try_parse(text.trim_end()).ok());
                    let damaged = || foreign(key.as_ref(), "not a content identity of TrunkFS");
                    return Ok(Some(ContentIdentity(identity.ok_or_else(damaged)?)));
                }
                Err(Ended::Absent) => {}
                Err(ended) => return Err(ended.into_error()),
            }
            let (Some(fresh), true) = (fresh, write) else { break };
            let text = bytes::Bytes::from(format!("{fresh}\n"));
            let put = || self.put(&key, text.clone().into(), &Expected::Nothing);
            match backoff.run(put).await {
                // Another was first, or an attempt of ours whose answer was lost.
                Ok(_) | Err(Ended::Changed) => {}
                Err(ended) => return Err(ended.into_error()),
            }
        }
        Ok(None)
    }

    async fn probe_conditions(&self, key: &object_store::path::Path) -> Result<bool, Error> {
        let first = self.probe_put(key, b"first", &Expected::Nothing).await?;
        let Some(first) = first else { return Ok(false) };
        let again = self.probe_put(key, b"again", &Expected::Nothing).await?;
        let second = self.probe_put(key, b"second", &Expected::Version(first.clone())).await?;
        let late = self.probe_put(key, b"late", &Expected::Version(first)).await?;
        let mut backoff = self.backoff(None);
        let got = backoff.run(|| self.get(key, None, None)).await.map_err(Ended::into_error)?;
        Ok(again.is_none() && second.is_some() && late.is_none() && got.bytes == b"second"[..])
    }

    /// A write; `None` where it was refused because of its condition, or because the server knows no
    /// conditions.
    async fn probe_put(
        &self,
        key: &object_store::path::Path,
        bytes: &'static [u8],
        expected: &Expected,
    ) -> Result<Option<UpdateVersion>, Error> {
        let mut backoff = self.backoff(None);
        let mut lost = false;
        loop {
            match self.put(key, bytes::Bytes::from_static(bytes).into(), expected).await {
                Ok(version) => return Ok(Some(version)),
                // Perhaps it was an earlier attempt, whose answer was lost.
                Err(RequestError::Changed) if lost => {
                    let got = backoff.run(|| self.get(key, None, None)).await;
                    let got = got.map_err(Ended::into_error)?;
                    return Ok((got.bytes == *bytes).then_some(got.version));
                }
                Err(RequestError::Changed | RequestError::Unchanged) => return Ok(None),
                Err(RequestError::Passing(error)) => {
                    lost = true;
                    backoff.pause(error).await?;
                }
                Err(RequestError::Lasting(error)) if says_unknown(&error) => return Ok(None),
                Err(RequestError::Lasting(error)) => return Err(error),
                Err(RequestError::Absent | RequestError::BeyondEnd) => {
                    return Err(Error::Io(std::io::ErrorKind::NotFound.into()));
                }
            }
        }
    }
}

/// Whether the server says that it does not know conditions.
fn says_unknown(error: &Error) -> bool {
    let answer = of_request(error).and_then(find::<Answer>);
    answer.is_some_and(|answer| answer.status == 501 || answer.code == "NotImplemented")
}

/// The client's error in the store's.
fn of_request(error: &Error) -> Option<&(dyn StdError + 'static)> {
    match error {
        Error::NoSpace(error)
        | Error::ReadOnly(error)
        | Error::Unavailable(error)
        | Error::Io(error) => super::error::request_of(error),
        Error::Missing(_) | Error::TooLarge | Error::Cancelled => None,
    }
}

/// What is wrong, and what to do.
fn explain(error: &Error) -> (String, &'static str) {
    let said = match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    let request = of_request(error);
    let answer = request.and_then(find::<Answer>);
    let code = answer.map_or("", |answer| answer.code.as_str());
    let status = answer.map_or(0, |answer| answer.status);
    let remedy = match (code, status) {
        ("SignatureDoesNotMatch" | "AuthenticationFailed", _) => {
            "the secret key does not match the access key: check both"
        }
        ("InvalidAccessKeyId" | "NotSignedUp" | "InvalidToken" | "ExpiredToken", _) => {
            "unknown access key, or expired credentials: check access_key"
        }
        ("RequestTimeTooSkewed", _) => "set this machine's clock",
        (
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        )
        | (_, 301 | 307) => {
            "the bucket is in another region, or at another endpoint: check region and endpoint"
        }
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", _) | (_, 401 | 403) => {
            "grant these credentials permission to list the bucket and to get, put and delete its objects"
        }
        ("InvalidStorageClass", _) => "check storage_class",
        _ if status == 404
            || said.contains("NoSuchBucket")
            || said.contains("ContainerNotFound") =>
        {
            "create the bucket, or check its name, the endpoint and path_style"
        }
        ("InvalidBucketName", _) => "check the bucket's name",
        _ if said.contains("InvalidContentType") => {
            "the server does not use TLS: check the port of the endpoint, or write an http URL and \
             allow_http: true"
        }
        _ if request.is_some_and(is_certificate) => {
            "the server's certificate is not trusted: add its CA to the CA certificates of this machine, or \
             check endpoint"
        }
        _ if answer.is_none() && said.contains("instance") || said.contains("169.254") => {
            "no credentials found: set access_key and secret_key, or the variables AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY"
        }
        _ if matches!(error, Error::Unavailable(_)) && answer.is_none() => {
            "the server cannot be reached: check endpoint, and that the server runs"
        }
        _ => "",
    };
    (said, remedy)
}

//! Requests to a bucket: bounded in number and time, repeated with backoff. Clients take turns.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectMeta, ObjectStore, PutMode, PutOptions,
    PutPayload, UpdateVersion,
};
use parking_lot::RwLock;
use rand::Rng as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::{RequestError, failure, foreign, is_of_bucket, timed_out};
use super::figures::{Figures, Operation};
use super::layout::{Layout, TRAILER, Trailer};
use crate::availability::{Availability, Outage};
use crate::content::Error;
use crate::types::{Bounds, Call, Claimant, ContentId, FairPermits};

/// The first pause before a request is repeated, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(4));

/// A request that its call gave up after this time counts as one that failed.
const UNANSWERED: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// See [`on_behalf_of`].
    static CLAIMANT: Claimant;
}

/// Whose turn a request takes now.
pub(super) fn claimant() -> Claimant {
    CLAIMANT.try_with(|claimant| *claimant).unwrap_or_default()
}

/// Has the requests of `work` take the turns of a client. A request is many calls below the call that wants
/// it.
pub(super) fn on_behalf_of<F: Future>(
    claimant: Claimant,
    work: F,
) -> impl Future<Output = F::Output> {
    CLAIMANT.scope(claimant, work)
}

/// What the names of objects begin with that are made to try the bucket.
pub(super) const PROBE: &str = "check-";

/// A client of one of the services.
pub(super) trait Client: ObjectStore + PaginatedListStore {}
impl<T: ObjectStore + PaginatedListStore> Client for T {}

/// What bounds requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// How long one attempt may take, the object's transfer included.
    pub request_timeout: Duration,
    /// How often a request that may succeed later is repeated.
    pub retries: u32,
    /// How many requests may be under way at once; at least 1.
    pub max_concurrency: usize,
}

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) layout: Layout,
    /// Replaced as a whole, and held only to be cloned.
    client: RwLock<Arc<dyn Client>>,
    limits: Limits,
    slots: FairPermits,
    /// Whether the server honours conditional writes.
    pub(super) conditional: bool,
    attributes: Attributes,
    answers: Availability,
    room: Availability,
    pub(super) figures: Figures,
}

/// A chunk as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Its bytes, where they were asked for; what they lack up to `length` is zeros.
    pub(super) data: Bytes,
    /// How many bytes of the chunk belong to the content.
    pub(super) length: u32,
    pub(super) nonce: Uuid,
    pub(super) version: UpdateVersion,
}

/// A part of an object.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) bytes: Bytes,
    /// Of the whole object.
    pub(super) size: u64,
    pub(super) version: UpdateVersion,
}

/// A request without an answer yet. Its call may be over before one comes, which says something of the bucket
/// where that takes long.
struct Unanswered<'a> {
    answers: Option<&'a Availability>,
    began: Instant,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(answers) = self.answers.filter(|_| self.began.elapsed() >= UNANSWERED) {
            answers.failed(self.began, &io::Error::from(io::ErrorKind::TimedOut));
        }
    }
}

/// What an object must be for a write to replace it.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    Nothing,
    Version(UpdateVersion),
}

/// Some of the objects whose keys begin alike.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) objects: Vec<ObjectMeta>,
    pub(super) folders: Vec<Path>,
    /// What the next page is asked for with; `None` after the last.
    pub(super) next: Option<String>,
}

impl Bucket {
    /// The bucket at `place`, as the log names it.
    pub(super) fn new(
        client: Arc<dyn Client>,
        place: &str,
        prefix: &str,
        limits: Limits,
        storage_class: Option<&str>,
    ) -> Self {
        let mut attributes = Attributes::new();
        if let Some(class) = storage_class {
            attributes.insert(Attribute::StorageClass, class.to_owned().into());
        }
        Self {
            layout: Layout::new(prefix),
            client: RwLock::new(client),
            limits,
            slots: FairPermits::new(limits.max_concurrency.max(1), Bounds::CALLS),
            conditional: true,
            attributes,
            answers: Availability::new(Outage::Bucket, place),
            room: Availability::new(Outage::Room, place),
            figures: Figures::default(),
        }
    }

    /// Has requests that begin from now on go by another client; those under way end with theirs.
    pub(super) fn set_client(&self, client: Arc<dyn Client>) {
        *self.client.write() = client;
    }

    fn client(&self) -> Arc<dyn Client> {
        self.client.read().clone()
    }

    /// How many requests may be under way at once.
    pub(super) fn concurrency(&self) -> usize {
        self.limits.max_concurrency.max(1)
    }

    /// How many requests may be under way, how many more may begin, and how many wait.
    pub(super) fn places(&self) -> (usize, usize, usize) {
        (self.concurrency(), self.slots.free(), self.slots.waiting())
    }

    /// One attempt: waits for its turn, and then for an answer.
    async fn attempt<T>(
        &self,
        operation: Operation,
        what: &str,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, RequestError> {
        let slot = self.slots.acquire(claimant(), 1).await;
        let _slot = slot.map_err(|reason| RequestError::Passing(io::Error::other(reason)))?;
        let mut unanswered = Unanswered { answers: Some(&self.answers), began: Instant::now() };
        let answer = match tokio::time::timeout(self.limits.request_timeout, request).await {
            Ok(answer) => answer.map_err(|error| failure(what, error)),
            Err(_) => Err(timed_out(what)),
        };
        unanswered.answers = None;
        let began = unanswered.began;
        self.figures.count(operation, began.elapsed(), &answer);
        match &answer {
            Err(RequestError::Passing(error)) => self.answers.failed(began, error),
            // The credentials are not taken any more, or the bucket is gone.
            Err(RequestError::Lasting(Error::Io(error))) if is_of_bucket(error) => {
                self.answers.failed(began, error);
            }
            Ok(_)
            | Err(
                RequestError::Absent
                | RequestError::Changed
                | RequestError::Unchanged
                | RequestError::BeyondEnd
                | RequestError::Lasting(_),
            ) => self.answers.succeeded(began),
        }
        answer
    }

    /// An object, or `range` of it as far as it goes; [`RequestError::Unchanged`] where its tag is still
    /// `unless`.
    pub(super) async fn get(
        &self,
        key: &Path,
        range: Option<Range<u64>>,
        unless: Option<&str>,
    ) -> Result<Got, RequestError> {
        let what = format!("get {key}");
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            if_none_match: unless.map(str::to_owned),
            ..GetOptions::default()
        };
        let client = self.client();
        let request = async {
            let answer = client.get_opts(key, options).await?;
            let (meta, range) = (answer.meta.clone(), answer.range.clone());
            Ok((answer.bytes().await?, meta, range))
        };
        let (bytes, meta, range) = self.attempt(Operation::Get, &what, request).await?;
        self.figures.read.add(bytes.len() as u64);
        if bytes.len() as u64 != range.end - range.start {
            return Err(RequestError::Passing(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{what}: {} bytes instead of {range:?}", bytes.len()),
            )));
        }
        let version = UpdateVersion { e_tag: meta.e_tag, version: meta.version };
        Ok(Got { bytes, size: meta.size, version })
    }

    /// A chunk, whole; [`RequestError::Unchanged`] where its tag is still `unless`.
    pub(super) async fn chunk(
        &self,
        key: &Path,
        chunk_size: u32,
        unless: Option<&str>,
    ) -> Result<Stored, RequestError> {
        stored(key, chunk_size, self.get(key, None, unless).await?)
    }

    /// A chunk without its bytes; `size` is its object's where that is known.
    pub(super) async fn trailer(
        &self,
        key: &Path,
        chunk_size: u32,
        size: Option<u64>,
    ) -> Result<Stored, RequestError> {
        // What is refused to a HEAD has no body that would say whose refusal it is.
        let mut size = size.unwrap_or(TRAILER as u64);
        // The object may be changed meanwhile.
        for _ in 0..4 {
            let range = size.saturating_sub(TRAILER as u64)..size;
            let got = match self.get(key, Some(range), None).await {
                Ok(got) => got,
                Err(RequestError::BeyondEnd) => break,
                Err(failure) => return Err(failure),
            };
            if got.size == size {
                let stored = stored(key, chunk_size, got)?;
                return Ok(Stored { data: Bytes::new(), ..stored });
            }
            size = got.size;
        }
        self.chunk(key, chunk_size, None).await
    }

    /// Writes a chunk where the object is what is expected, else [`RequestError::Changed`].
    pub(super) async fn put(
        &self,
        key: &Path,
        payload: PutPayload,
        expected: &Expected,
    ) -> Result<UpdateVersion, RequestError> {
        let mode = match expected {
            _ if !self.conditional => PutMode::Overwrite,
            Expected::Nothing => PutMode::Create,
            Expected::Version(version) => PutMode::Update(version.clone()),
        };
        let options =
            PutOptions { mode, attributes: self.attributes.clone(), ..PutOptions::default() };
        let client = self.client();
        let length = payload.content_length() as u64;
        let request = client.put_opts(key, payload, options);
        let began = Instant::now();
        match self.attempt(Operation::Put, &format!("put {key}"), request).await {
            Ok(put) => {
                self.figures.written.add(length);
                self.room.succeeded(began);
                Ok(UpdateVersion { e_tag: put.e_tag, version: put.version })
            }
            Err(RequestError::Lasting(Error::NoSpace(error))) => {
                self.room.failed(began, &error);
                Err(RequestError::Lasting(Error::NoSpace(self.room.give_up(error))))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Deletes objects; one that is not there is no error.
    pub(super) async fn delete(&self, keys: Vec<Path>) -> Result<(), RequestError> {
        let what = match keys.first() {
            Some(key) => format!("delete {key} and what belongs to it"),
            None => return Ok(()),
        };
        let keys = futures_util::stream::iter(keys.into_iter().map(Ok)).boxed();
        let client = self.client();
        let mut answers = client.delete_stream(keys);
        let request = async {
            loop {
                match answers.try_next().await {
                    Ok(Some(_)) | Err(object_store::Error::NotFound { .. }) => {}
                    Ok(None) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        };
        self.attempt(Operation::Delete, &what, request).await
    }

    /// A page of a content's objects, the last chunk first.
    pub(super) async fn objects(
        &self,
        id: ContentId,
        token: Option<String>,
    ) -> Result<Page, RequestError> {
        let options = PaginatedListOptions { page_token: token, ..PaginatedListOptions::default() };
        self.page(&self.layout.folder(id), options).await
    }

    /// A page of contents after `after`, in order.
    pub(super) async fn contents(
        &self,
        after: Option<ContentId>,
        most: usize,
        token: Option<String>,
    ) -> Result<Page, RequestError> {
        let options = PaginatedListOptions {
            offset: after.map(|id| self.layout.after(id)),
            delimiter: Some("/".into()),
            max_keys: Some(most.clamp(1, 1_000)),
            page_token: token,
            ..PaginatedListOptions::default()
        };
        self.page(&self.layout.root(), options).await
    }

    /// A page of the objects that were made to try the bucket.
    pub(super) async fn probes(&self, token: Option<String>) -> Result<Page, RequestError> {
        let options = PaginatedListOptions {
            delimiter: Some("/".into()),
            page_token: token,
            ..PaginatedListOptions::default()
        };
        self.page(self.layout.beside(PROBE).as_ref(), options).await
    }

    async fn page(
        &self,
        prefix: &str,
        options: PaginatedListOptions,
    ) -> Result<Page, RequestError> {
        let prefix = (!prefix.is_empty()).then_some(prefix);
        let client = self.client();
        let request = client.list_paginated(prefix, options);
        let what = format!("list {}", prefix.unwrap_or_default());
        let page = self.attempt(Operation::List, &what, request).await?;
        let (objects, folders) = (page.result.objects, page.result.common_prefixes);
        Ok(Page { objects, folders, next: page.page_token })
    }

    /// Backoff with what fails in passing, for a call or for the store itself.
    pub(super) fn backoff<'a>(&'a self, caller: Option<&'a Call>) -> Backoff<'a> {
        Backoff { bucket: self, caller, left: self.limits.retries, pause: PAUSES.0 }
    }
}

fn stored(key: &Path, chunk_size: u32, got: Got) -> Result<Stored, RequestError> {
    let lasting = |said: &str| RequestError::Lasting(foreign(key.as_ref(), said));
    let Some(trailer) = Trailer::decode(&got.bytes) else {
        return Err(lasting("the object was not written by TrunkFS, or by a newer version of it"));
    };
    if trailer.chunk_size != chunk_size {
        return Err(lasting(&format!(
            "its content is in chunks of {} bytes, and the share's are of {chunk_size}",
            trailer.chunk_size
        )));
    }
    let data = got.bytes.slice(..got.bytes.len() - TRAILER);
    if data.len() > chunk_size as usize || trailer.length > chunk_size {
        return Err(lasting("the object is longer than a chunk"));
    }
    let data = data.slice(..data.len().min(trailer.length as usize));
    Ok(Stored { data, length: trailer.length, nonce: trailer.nonce, version: got.version })
}

/// How often and how long something is tried again.
#[derive(Debug)]
pub(super) struct Backoff<'a> {
    bucket: &'a Bucket,
    caller: Option<&'a Call>,
    left: u32,
    pause: Duration,
}

impl Backoff<'_> {
    /// Waits before another attempt after one that failed with `error`; gives it back as what the caller is
    /// told where there is none.
    pub(super) async fn pause(&mut self, error: io::Error) -> Result<(), Error> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(Error::Unavailable(self.bucket.answers.give_up(error)));
        };
        self.left = left;
        self.bucket.figures.retries.increment();
        tracing::debug!(error = &error as &dyn std::error::Error, left, "a request is repeated");
        let wait = self.pause.mul_f64(rand::rng().random_range(0.5..1.0));
        self.pause = (self.pause * 2).min(PAUSES.1);
        let Some(call) = self.caller else {
            tokio::time::sleep(wait).await;
            return Ok(());
        };
        if Instant::now() + wait >= call.deadline {
            return Err(Error::Unavailable(self.bucket.answers.give_up(error)));
        }
        match call.within(tokio::time::sleep(wait)).await {
            Some(()) => Ok(()),
            None => Err(Error::Cancelled),
        }
    }

    /// Runs `request` until it succeeds, fails for good, or backoff is over.
    pub(super) async fn run<T, F>(&mut self, request: impl Fn() -> F) -> Result<T, Ended>
    where
        F: Future<Output = Result<T, RequestError>>,
    {
        loop {
            let failure = match self.once(request()).await? {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match failure {
                RequestError::Absent => return Err(Ended::Absent),
                RequestError::Changed => return Err(Ended::Changed),
                RequestError::Unchanged => return Err(Ended::Unchanged),
                RequestError::BeyondEnd => return Err(Ended::BeyondEnd),
                RequestError::Lasting(error) => return Err(Ended::Failed(error)),
                RequestError::Passing(error) => self.pause(error).await?,
            }
        }
    }

    async fn once<T>(&self, request: impl Future<Output = T>) -> Result<T, Error> {
        match self.caller {
            None => Ok(request.await),
            Some(call) => {
                let request = on_behalf_of(call.claimant, request);
                call.within(request).await.ok_or(Error::Cancelled)
            }
        }
    }
}

/// What a request came to that did not succeed.
#[derive(Debug)]
pub(super) enum Ended {
    Absent,
    Changed,
    Unchanged,
    BeyondEnd,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Ended {
    /// The error of a request that no other end is expected of.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Failed(error) => error,
            other => Error::Io(io::Error::other(format!("an answer out of place: {other:?}"))),
        }
    }
}

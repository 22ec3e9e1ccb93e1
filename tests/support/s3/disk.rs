//! The crate s3s-fs with what tests of races and long runs need: its check of a condition and the write that
//! follows are one step, a conditional GET is honoured, and a listing looks only where the prefix leads.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use s3s::dto::{
    CommonPrefix, CreateBucketInput, CreateBucketOutput, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, GetObjectInput, GetObjectOutput, HeadBucketInput,
    HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object, PutObjectInput, PutObjectOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use tokio::sync::RwLock;

/// Buckets in a folder.
pub(crate) struct Disk {
    inner: s3s_fs::FileSystem,
    root: PathBuf,
    /// Of keys, by their hash.
    locks: Vec<RwLock<()>>,
    /// Whether conditions of writes count.
    conditions: Arc<AtomicBool>,
}

impl Disk {
    pub(crate) fn new(root: &Path, conditions: Arc<AtomicBool>) -> Self {
        Self {
            inner: s3s_fs::FileSystem::new(root).unwrap(),
            root: root.to_owned(),
            locks: (0..64).map(|_| RwLock::default()).collect(),
            conditions,
        }
    }

    fn lock(&self, key: &str) -> &RwLock<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        &self.locks[(hash % self.locks.len() as u64) as usize]
    }

    async fn delete(&self, bucket: &str, key: &str) -> S3Result<()> {
        let _alone = self.lock(key).write().await;
        let path = self.root.join(bucket).join(key);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(s3_error!(error, InternalError))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl S3 for Disk {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.inner.create_bucket(request).await
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.inner.head_bucket(request).await
    }

    async fn get_object(
        &self,
        mut request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        if !self.root.join(&request.input.bucket).exists() {
            return Err(s3_error!(NoSuchBucket));
        }
        let _shared = self.lock(&request.input.key).read().await;
        let unless = request.input.if_none_match.take();
        let answer = self.inner.get_object(request).await?;
        if let Some(unless) = unless.as_ref().and_then(|condition| condition.as_etag())
            && answer.output.e_tag.as_ref().is_some_and(|tag| tag.weak_cmp(unless))
        {
            return Err(s3_error!(NotModified));
        }
        Ok(answer)
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let _shared = self.lock(&request.input.key).read().await;
        self.inner.head_object(request).await
    }

    async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        if !self.root.join(&request.input.bucket).exists() {
            return Err(s3_error!(NoSuchBucket));
        }
        if !self.conditions.load(Ordering::Relaxed) {
            request.input.if_match = None;
            request.input.if_none_match = None;
        }
        let _alone = self.lock(&request.input.key).write().await;
        self.inner.put_object(request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.delete(&request.input.bucket, &request.input.key).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut deleted = Vec::new();
        for object in request.input.delete.objects {
            self.delete(&request.input.bucket, &object.key).await?;
            deleted.push(s3s::dto::DeletedObject { key: Some(object.key), ..Default::default() });
        }
        let output = DeleteObjectsOutput { deleted: Some(deleted), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let bucket = self.root.join(&input.bucket);
        if !bucket.exists() {
            return Err(s3_error!(NoSuchBucket));
        }
        let prefix = input.prefix.clone().unwrap_or_default();
        let delimited = input.delimiter.is_some();
        let mut keys = keys_below(&bucket, &prefix, delimited);
        let after = input.continuation_token.as_ref().max(input.start_after.as_ref());
        keys.retain(|(key, _)| after.is_none_or(|after| key > after));
        keys.sort();
        let most = input.max_keys.map_or(1_000, |most| most.clamp(0, 1_000) as usize);
        let truncated = keys.len() > most;
        keys.truncate(most);
        let next = keys.last().filter(|_| truncated).map(|(key, _)| key.clone());
        let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
        for (key, object) in keys {
            match object {
                Some((size, modified)) => contents.push(Object {
                    key: Some(key),
                    size: Some(size),
                    last_modified: Some(modified.into()),
                    ..Object::default()
                }),
                None => prefixes.push(CommonPrefix { prefix: Some(key) }),
            }
        }
        let output = ListObjectsV2Output {
            key_count: Some((contents.len() + prefixes.len()) as i32),
            max_keys: Some(most as i32),
            is_truncated: Some(truncated),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            next_continuation_token: next,
            continuation_token: input.continuation_token,
            delimiter: input.delimiter,
            name: Some(input.bucket),
            prefix: input.prefix,
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }
}

type Listed = (String, Option<(i64, std::time::SystemTime)>);

/// The keys that begin with `prefix`; with `delimited`, folders in place of what is in them.
fn keys_below(bucket: &Path, prefix: &str, delimited: bool) -> Vec<Listed> {
    let folder = prefix.rfind('/').map_or("", |at| &prefix[..=at]);
    let mut keys = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(bucket.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().into_string().unwrap();
            let key = format!("{folder}{name}");
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                if key.starts_with(prefix) {
                    let modified = metadata.modified().unwrap();
                    keys.push((key, Some((metadata.len() as i64, modified))));
                }
                continue;
            }
            let key = format!("{key}/");
            if !key.starts_with(prefix) && !prefix.starts_with(&key) {
                continue;
            }
            if !delimited || key.len() <= prefix.len() {
                folders.push(key);
            } else if holds_a_file(&bucket.join(&key)) {
                keys.push((key, None));
            }
        }
    }
    keys
}

/// A folder without files is nothing to S3.
fn holds_a_file(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_file() || holds_a_file(&entry.path()))
    })
}

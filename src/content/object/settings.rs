//! Which bucket, who asks for it, and what a store in it may use: the keys of the configuration, with their
//! defaults.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::bucket::Limits;
use super::disk_cache::DiskCacheSettings;
use crate::types::settings::{Number, Secret, Size, Time, WrongSetting, text};

/// A bucket, and what a [`ObjectContent`](super::ObjectContent) may use.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct ObjectSettings {
    /// The bucket.
    #[serde(skip)]
    pub service: Service,
    /// What all keys begin with, and a slash; may be empty. No two stores have the same in one bucket.
    #[serde(deserialize_with = "prefix")]
    pub prefix: String,
    /// The size of chunks in bytes where
    /// [`ContentStore::with_chunk_size`](super::ContentStore::with_chunk_size) does not say another; at least
    /// [`ObjectSettings::MIN_CHUNK`].
    #[serde(with = "Size::<{ 64 << 10 }, { 64 << 20 }>")]
    pub chunk_size: u32,
    /// How long a server that is away at the start is waited for; zero: not at all.
    #[serde(with = "Time::<0>")]
    pub connect_retry: Duration,
    /// How long making a connection may take.
    #[serde(with = "Time::<1>")]
    pub connect_timeout: Duration,
    /// How long one attempt of a request may take, the object's transfer included.
    #[serde(with = "Time::<1>")]
    pub request_timeout: Duration,
    /// How often a request that may succeed later is repeated.
    #[serde(with = "Number::<0, 100>")]
    pub retries: u32,
    /// How many requests may be under way at once; at least 1.
    #[serde(with = "Number::<1, 1024>")]
    pub max_concurrency: usize,
    /// Memory for what is written and not stored, in bytes; at least two chunks.
    #[serde(with = "Size::<{ 16 << 20 }, { 1 << 40 }>")]
    pub write_buffer: usize,
    /// Memory for chunks that were read, in bytes; 0 for none.
    #[serde(with = "Size::<0, { 1 << 40 }>")]
    pub cache: usize,
    /// A folder for chunks that memory has no room for, made where it is missing; of this process alone.
    pub cache_folder: Option<PathBuf>,
    /// Its size, in bytes.
    #[serde(with = "Size::<0, { 1 << 50 }>")]
    pub cache_folder_size: u64,
    /// How many chunks are read ahead of a reader that goes on from chunk to chunk.
    #[serde(with = "Number::<0, 64>")]
    pub read_ahead: u64,
    /// Whether this process alone writes to the bucket under the prefix.
    #[serde(rename = "single_server")]
    pub exclusive: bool,
}

impl ObjectSettings {
    /// The smallest size of chunks, in bytes.
    pub const MIN_CHUNK: u32 = 4096;

    /// These settings of an open store with what it takes over from others: the keys for the same bucket.
    #[must_use]
    pub fn taking(&self, new: &Self) -> Self {
        let mut taken = self.clone();
        if self.service.identity() == new.service.identity() {
            match (&mut taken.service, &new.service) {
                (Service::S3(now), Service::S3(new)) => {
                    now.access_key.clone_from(&new.access_key);
                    now.secret_key.clone_from(&new.secret_key);
                }
                (Service::Gcs(now), Service::Gcs(new)) => {
                    now.service_account_file.clone_from(&new.service_account_file);
                }
                (Service::Azure(now), Service::Azure(new)) => {
                    now.access_key.clone_from(&new.access_key);
                }
                (Service::S3(_) | Service::Gcs(_) | Service::Azure(_), _) => {}
            }
        }
        taken
    }

    /// Bounds of requests.
    pub(super) fn limits(&self) -> Limits {
        let &Self { request_timeout, retries, max_concurrency, .. } = self;
        Limits { request_timeout, retries, max_concurrency }
    }

    /// The folder for chunks, and its size.
    pub(super) fn disk_cache(&self) -> Option<DiskCacheSettings> {
        let folder = self.cache_folder.clone()?;
        Some(DiskCacheSettings { folder, size: self.cache_folder_size })
    }
}

impl Default for ObjectSettings {
    fn default() -> Self {
        Self {
            service: Service::S3(S3::default()),
            prefix: "trunkfs".to_owned(),
            chunk_size: 4 << 20,
            connect_retry: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(15),
            retries: 8,
            max_concurrency: 32,
            write_buffer: 256 << 20,
            cache: 256 << 20,
            cache_folder: None,
            cache_folder_size: 10 << 30,
            read_ahead: 4,
            exclusive: false,
        }
    }
}

/// What keys begin with: parts of a path, none of them a dot or two.
fn prefix<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = text(from)?;
    let text = text.trim_matches('/');
    let fits = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.chars().all(|each| each.is_ascii_alphanumeric() || "-_.".contains(each))
    };
    if !text.is_empty() && !text.split('/').all(fits) {
        return Err(D::Error::custom(format!(
            "{text:?} is not a valid prefix; use letters, digits, '-', '_' and '.' with single '/' between \
             them"
        )));
    }
    Ok(text.to_owned())
}

/// A service and a bucket of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Service {
    /// Amazon S3, and what speaks its protocol.
    S3(S3),
    /// Google Cloud Storage.
    Gcs(Gcs),
    /// Azure Blob Storage.
    Azure(Azure),
}

/// A bucket of Amazon S3, or of a server that speaks its protocol.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct S3 {
    pub bucket: String,
    /// The server's URL; `None` for Amazon's of the region.
    pub endpoint: Option<String>,
    /// The region; `None` for that of the environment, else `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket stands in the URL's path, not in its host name. Left out: where there is an
    /// endpoint.
    pub path_style: bool,
    /// The id of the key. `None` for the environment's credentials (variables, container, web identity), else
    /// the machine's (instance metadata).
    pub access_key: Option<String>,
    /// The key; with its id, or not at all.
    #[serde(alias = "secret_key_file", alias = "secret_key_credential")]
    pub secret_key: Option<Secret>,
    /// The storage class of objects; `None` for the bucket's.
    pub storage_class: Option<String>,
    /// How the server encrypts objects; `None` for how the bucket says.
    pub sse: Option<Encryption>,
    /// The key of KMS for [`Encryption::Kms`].
    pub sse_kms_key: Option<String>,
    /// The key for [`Encryption::Customer`]: 256 bits in base64.
    #[serde(alias = "sse_customer_key_file", alias = "sse_customer_key_credential")]
    pub sse_customer_key: Option<Secret>,
    /// Whether the endpoint may be an http URL.
    pub allow_http: bool,
}

/// How a server encrypts objects (Amazon S3 User Guide, "Protecting data with server-side encryption").
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// With keys of S3 (SSE-S3).
    S3,
    /// With a key of KMS (SSE-KMS).
    Kms,
    /// With a key that goes along with every request (SSE-C).
    Customer,
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Gcs {
    pub bucket: String,
    /// The file of a service account's key; `None` for application default credentials, else the machine's.
    pub service_account_file: Option<String>,
    /// The storage class of objects; `None` for the bucket's.
    pub storage_class: Option<String>,
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Azure {
    /// The storage account.
    pub account: String,
    pub container: String,
    /// The account's key; `None` for what the environment says (client secret, workload identity), else the
    /// machine's managed identity.
    #[serde(alias = "access_key_file", alias = "access_key_credential")]
    pub access_key: Option<Secret>,
    /// The server's URL; `None` for Azure's of the account.
    pub endpoint: Option<String>,
    /// Whether the endpoint may be an http URL.
    pub allow_http: bool,
}

impl Service {
    /// Checks the keys against each other, and sets the defaults that depend on others; `given` says which
    /// are written.
    pub fn check(&mut self, given: &dyn Fn(&str) -> bool) -> Result<(), WrongSetting> {
        match self {
            Self::S3(s3) => s3.check(given),
            Self::Gcs(gcs) => required("bucket", &gcs.bucket, "bucket"),
            Self::Azure(azure) => {
                required("account", &azure.account, "storage account")?;
                required("container", &azure.container, "container")?;
                endpoint(&mut azure.endpoint, azure.allow_http)
            }
        }
    }

    /// Whether the keys may be others than those of `before`: one may be in a file that is read when a
    /// client is made.
    #[must_use]
    pub fn has_other_keys(&self, before: &Self) -> bool {
        let revealed = |secret: &Option<Secret>| secret.as_ref().map(|it| it.reveal().to_owned());
        match (self, before) {
            (Self::S3(now), Self::S3(before)) => {
                now.access_key != before.access_key
                    || revealed(&now.secret_key) != revealed(&before.secret_key)
            }
            (Self::Gcs(now), Self::Gcs(before)) => {
                now.service_account_file.is_some() || before.service_account_file.is_some()
            }
            (Self::Azure(now), Self::Azure(before)) => {
                revealed(&now.access_key) != revealed(&before.access_key)
            }
            (Self::S3(_) | Self::Gcs(_) | Self::Azure(_), _) => false,
        }
    }

    /// What names the bucket among all there are.
    #[must_use]
    pub fn identity(&self) -> String {
        match self {
            Self::S3(it) => format!("s3 {} {}", it.endpoint.as_deref().unwrap_or(""), it.bucket),
            Self::Gcs(it) => format!("gcs {}", it.bucket),
            Self::Azure(it) => format!("azure {} {}", it.account, it.container),
        }
    }

    /// The type of a store of the service, as the configuration names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gcs",
            Self::Azure(_) => "azure",
        }
    }
}

fn required(key: &'static str, value: &str, noun: &str) -> Result<(), WrongSetting> {
    let missing = || WrongSetting::missing(key, &format!("write the name of the {noun}"));
    if value.is_empty() { Err(missing()) } else { Ok(()) }
}

/// A URL of a server: https, or http where that is allowed.
fn endpoint(url: &mut Option<String>, allow_http: bool) -> Result<(), WrongSetting> {
    let Some(text) = url else { return Ok(()) };
    let wrong = |message: &str| WrongSetting::new("endpoint", message);
    let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
    if !matches!(scheme, "http" | "https") || rest.is_empty() {
        return Err(wrong(&format!(
            "{text:?} is not the URL of a server; write a URL such as https://s3.example.org"
        )));
    }
    if rest.contains('@') || rest.contains('?') {
        return Err(wrong(
            "the URL must contain only the server; set the access key by access_key and secret_key",
        ));
    }
    if scheme == "http" && !allow_http {
        return Err(wrong(
            "an http URL sends file content unencrypted; write an https URL, or allow_http: true for a \
             trusted network",
        ));
    }
    text.truncate(text.trim_end_matches('/').len());
    Ok(())
}

/// Whether a URL's host is an IP address.
fn is_address(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok()
}

impl S3 {
    fn check(&mut self, given: &dyn Fn(&str) -> bool) -> Result<(), WrongSetting> {
        let wrong = |key, message: &str| Err(WrongSetting::new(key, message));
        endpoint(&mut self.endpoint, self.allow_http)?;
        if !given("path_style") {
            self.path_style = self.endpoint.is_some();
        }
        required("bucket", &self.bucket, "bucket")?;
        if let Some(url) = &self.endpoint {
            if !self.path_style && is_address(url) {
                let remedy = "write path_style: true, or use a host name";
                return wrong(
                    "endpoint",
                    &format!("an IP address cannot be prefixed with a bucket name; {remedy}"),
                );
            }
            if url.ends_with(&format!("/{}", self.bucket)) {
                return wrong(
                    "endpoint",
                    "the URL ends with the bucket; remove the bucket from it",
                );
            }
        }
        let remedy = "or remove both to use the credentials of the environment";
        match (&self.access_key, &self.secret_key) {
            (Some(_), None) => {
                let message = format!("access_key without secret_key; add secret_key, {remedy}");
                return wrong("access_key", &message);
            }
            (None, Some(_)) => {
                let message = format!("secret_key without access_key; add access_key, {remedy}");
                return wrong("secret_key", &message);
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.check_encryption()
    }

    fn check_encryption(&self) -> Result<(), WrongSetting> {
        let key = "write a key of 32 bytes in base64; generate one with: openssl rand -base64 32";
        let unused = |key, word| {
            let message = format!("this key is unused; write sse: {word}, or remove it");
            Err(WrongSetting::new(key, message))
        };
        match (self.sse, &self.sse_kms_key, &self.sse_customer_key) {
            (None | Some(Encryption::S3 | Encryption::Customer), Some(_), _) => {
                unused("sse_kms_key", "kms")
            }
            (None | Some(Encryption::S3 | Encryption::Kms), _, Some(_)) => {
                unused("sse_customer_key", "customer")
            }
            (Some(Encryption::Kms), None, _) => {
                Err(WrongSetting::missing("sse_kms_key", "write the KMS key"))
            }
            (Some(Encryption::Customer), _, None) => {
                Err(WrongSetting::missing("sse_customer_key", key))
            }
            (Some(Encryption::Customer), None, Some(secret))
                if BASE64_STANDARD.decode(secret.reveal()).is_ok_and(|key| key.len() == 32) =>
            {
                Ok(())
            }
            (Some(Encryption::Customer), None, Some(_)) => Err(WrongSetting::new(
                "sse_customer_key",
                "not a key of 32 bytes in base64; generate one with: openssl rand -base64 32",
            )),
            (None | Some(Encryption::S3), None, None) | (Some(Encryption::Kms), Some(_), None) => {
                Ok(())
            }
        }
    }
}

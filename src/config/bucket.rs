//! `content.stores.*.s3`, `.gcs` and `.azure`: buckets, who asks for them, and what they may take.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Content;
use super::error::Error;
use super::secrets::{Hidden, Secret};
use super::section::{Field, Section};
use super::stores::Stores;
use super::values::{count, duration, duration_or_none, flag, nonempty, number, size, word};

const MIB: u64 = 1 << 20;
/// The largest sizes of memory and of the disk that a configuration may ask for.
const MOST_MEMORY: u64 = 1 << 40;
const MOST_DISK: u64 = 1 << 50;

/// What all buckets have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// What the keys of all objects begin with.
    pub prefix: String,
    /// The size of the chunks of new shares, in bytes.
    pub chunk_size: u32,
    /// How long a server that is not there at the start is waited for.
    pub connect_retry: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long one attempt of a request may take.
    pub request_timeout: Duration,
    /// How often a request is repeated that may succeed later.
    pub retries: u32,
    /// How many requests may be under way at once.
    pub max_concurrency: usize,
    /// Memory for what is written and not stored, in bytes.
    pub write_buffer: u64,
    /// Memory for chunks that were read, in bytes.
    pub cache: u64,
    /// A folder for chunks that memory has no room for, and its size in bytes.
    pub cache_folder: Option<(PathBuf, u64)>,
    /// How many chunks are read ahead.
    pub read_ahead: u32,
    /// Whether no other server uses the bucket under the prefix.
    pub single_server: bool,
}

/// The keys of [`Bucket`].
const BUCKET_KEYS: [&str; 13] = [
    "prefix",
    "chunk_size",
    "connect_retry",
    "connect_timeout",
    "request_timeout",
    "retries",
    "max_concurrency",
    "write_buffer",
    "cache",
    "cache_folder",
    "cache_folder_size",
    "read_ahead",
    "single_server",
];

/// A bucket of S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// The server's URL; `None` for Amazon's.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether the bucket stands in the URL's path.
    pub path_style: bool,
    /// Key id and secret key; `None` for the environment's or the machine's.
    pub keys: Option<(String, Secret)>,
    /// The storage class of objects.
    pub storage_class: Option<String>,
    /// How the server encrypts objects.
    pub sse: Option<Sse>,
    /// Whether the endpoint may be an http URL.
    pub allow_http: bool,
    /// What all buckets have.
    pub common: Bucket,
}

/// How a server of S3 encrypts objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sse {
    /// With keys of S3.
    S3,
    /// With this key of KMS.
    Kms(String),
    /// With this key, which goes along with every request: 32 bytes in base64.
    Customer(Secret),
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gcs {
    /// The bucket.
    pub bucket: String,
    /// The file of a service account's key.
    pub service_account_file: Option<String>,
    /// The storage class of objects.
    pub storage_class: Option<String>,
    /// What all buckets have.
    pub common: Bucket,
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Azure {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The account's key; `None` for the environment's credentials or the machine's identity.
    pub access_key: Option<Secret>,
    /// The server's URL; `None` for Azure's.
    pub endpoint: Option<String>,
    /// Whether the endpoint may be an http URL.
    pub allow_http: bool,
    /// What all buckets have.
    pub common: Bucket,
}

pub(super) fn s3(field: &Field<'_>) -> Result<S3, Error> {
    let keys = [
        "bucket",
        "endpoint",
        "region",
        "path_style",
        "access_key",
        "storage_class",
        "sse",
        "sse_kms_key",
        "allow_http",
    ];
    let secrets = [("secret_key", Hidden::Whole), ("sse_customer_key", Hidden::Whole)];
    let section = field.section_with(&with_common(&keys), &secrets)?;
    let allow_http = section.or("allow_http", false, flag)?;
    let endpoint = section.maybe("endpoint", |field| endpoint(field, allow_http))?;
    let path_style = section.maybe("path_style", flag)?.unwrap_or(endpoint.is_some());
    section.counts("path_style", path_style);
    if let (false, Some(url), Some(field)) = (path_style, &endpoint, section.optional("endpoint"))
        && is_address(url)
    {
        return Err(field.error(
            "an IP address cannot be prefixed with a bucket name; write path_style: true, or use a host name",
        ));
    }
    let bucket = nonempty(&section.required("bucket", "write the name of the bucket")?)?;
    if let (Some(url), Some(field)) = (&endpoint, section.optional("endpoint"))
        && url.ends_with(&format!("/{bucket}"))
    {
        return Err(field.error("the URL ends with the bucket; remove the bucket from it"));
    }
    Ok(S3 {
        bucket,
        region: section.maybe("region", nonempty)?,
        path_style,
        keys: s3_keys(&section)?,
        storage_class: section.maybe("storage_class", nonempty)?,
        sse: sse(&section)?,
        allow_http,
        endpoint,
        common: common(&section)?,
    })
}

/// Whether a URL's host is an IP address.
fn is_address(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Both keys, or neither.
fn s3_keys(section: &Section<'_>) -> Result<Option<(String, Secret)>, Error> {
    let id = section.optional("access_key");
    match (id, section.secret_at("secret_key")?) {
        (None, None) => {
            section.absent("access_key");
            Ok(None)
        }
        (Some(id), Some((_, secret))) => Ok(Some((nonempty(&id)?, secret))),
        (Some(id), None) => Err(id.error(
            "access_key without secret_key; add secret_key, or remove both to use the credentials of the \
             environment",
        )),
        (None, Some((secret, _))) => Err(secret.error(
            "secret_key without access_key; add access_key, or remove both to use the credentials of the \
             environment",
        )),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SseWord {
    S3,
    Kms,
    Customer,
}

fn sse(section: &Section<'_>) -> Result<Option<Sse>, Error> {
    let words = [("s3", SseWord::S3), ("kms", SseWord::Kms), ("customer", SseWord::Customer)];
    let wanted = section.maybe("sse", |field| word(field, &words))?;
    let kms = section.maybe("sse_kms_key", nonempty)?;
    let customer = section.secret_at("sse_customer_key")?;
    let unused = |field: Option<Field<'_>>, word: &str| match field {
        Some(field) => {
            Err(field.error(format!("this key is unused; write sse: {word}, or remove it")))
        }
        None => Ok(()),
    };
    if wanted != Some(SseWord::Kms) {
        unused(section.optional("sse_kms_key"), "kms")?;
    }
    match (wanted, kms, customer) {
        (None | Some(SseWord::S3 | SseWord::Kms), _, Some((field, _))) => {
            unused(Some(field), "customer")?;
            Ok(None)
        }
        (None, ..) => Ok(None),
        (Some(SseWord::S3), ..) => Ok(Some(Sse::S3)),
        (Some(SseWord::Kms), key, _) => {
            let key = key.map_or_else(
                || section.required("sse_kms_key", "write the KMS key").and_then(|f| nonempty(&f)),
                Ok,
            )?;
            Ok(Some(Sse::Kms(key)))
        }
        (Some(SseWord::Customer), _, Some((field, key))) => {
            let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, key.reveal());
            if bytes.is_ok_and(|bytes| bytes.len() == 32) {
                return Ok(Some(Sse::Customer(key)));
            }
            Err(field.error(
                "not a key of 32 bytes in base64; generate one with: openssl rand -base64 32",
            ))
        }
        (Some(SseWord::Customer), _, None) => {
            let remedy =
                "write a key of 32 bytes in base64; generate one with: openssl rand -base64 32";
            section.required("sse_customer_key", remedy).map(|_| None)
        }
    }
}

pub(super) fn gcs(field: &Field<'_>) -> Result<Gcs, Error> {
    let keys = with_common(&["bucket", "service_account_file", "storage_class"]);
    let section = field.section(&keys)?;
    Ok(Gcs {
        bucket: nonempty(&section.required("bucket", "write the name of the bucket")?)?,
        service_account_file: section.maybe("service_account_file", nonempty)?,
        storage_class: section.maybe("storage_class", nonempty)?,
        common: common(&section)?,
    })
}

pub(super) fn azure(field: &Field<'_>) -> Result<Azure, Error> {
    let keys = with_common(&["account", "container", "endpoint", "allow_http"]);
    let section = field.section_with(&keys, &[("access_key", Hidden::Whole)])?;
    let allow_http = section.or("allow_http", false, flag)?;
    let access_key = section.secret("access_key")?;
    Ok(Azure {
        account: nonempty(&section.required("account", "write the name of the storage account")?)?,
        container: nonempty(&section.required("container", "write the name of the container")?)?,
        access_key,
        endpoint: section.maybe("endpoint", |field| endpoint(field, allow_http))?,
        allow_http,
        common: common(&section)?,
    })
}

fn with_common(keys: &[&'static str]) -> Vec<&'static str> {
    keys.iter().chain(&BUCKET_KEYS).copied().collect()
}

/// A URL of a server: https, or http where that is allowed.
fn endpoint(field: &Field<'_>, allow_http: bool) -> Result<String, Error> {
    let text = nonempty(field)?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
    if !matches!(scheme, "http" | "https") || rest.is_empty() {
        return Err(field.error(format!(
            "{text:?} is not the URL of a server; write a URL such as https://s3.example.org"
        )));
    }
    if rest.contains('@') || rest.contains('?') {
        return Err(field.error(
            "the URL must contain only the server; set the access key by access_key and secret_key",
        ));
    }
    if scheme == "http" && !allow_http {
        return Err(field.error(
            "an http URL sends file content unencrypted; write an https URL, or allow_http: true for a trusted \
             network",
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn common(section: &Section<'_>) -> Result<Bucket, Error> {
    let memory = |least: u64| move |field: &Field<'_>| size(field, least, MOST_MEMORY);
    let chunk_size = section.or("chunk_size", "4MiB", |field| {
        let bytes = size(field, 64 << 10, 64 * MIB)?;
        u32::try_from(bytes).map_err(|error| field.error(error.to_string()))
    })?;
    let folder = section.maybe("cache_folder", nonempty)?;
    let folder_size =
        section.or("cache_folder_size", "10GiB", |field| size(field, 0, MOST_DISK))?;
    Ok(Bucket {
        prefix: section.or("prefix", "trunkfs", prefix)?,
        chunk_size,
        connect_retry: section.or("connect_retry", "60s", duration_or_none)?,
        connect_timeout: section.or("connect_timeout", Duration::from_secs(5), duration)?,
        request_timeout: section.or("request_timeout", Duration::from_secs(15), duration)?,
        retries: section.or("retries", 8, |field| number(field, 0, 100_u32))?,
        max_concurrency: section.or("max_concurrency", 32, |field| count(field, 1_024))?,
        write_buffer: section.or("write_buffer", "256MiB", memory(16 * MIB))?,
        cache: section.or("cache", "256MiB", memory(0))?,
        cache_folder: folder.map(|folder| (PathBuf::from(folder), folder_size)),
        read_ahead: section.or("read_ahead", 4, |field| number(field, 0, 64_u32))?,
        single_server: section.or("single_server", false, flag)?,
    })
}

/// What keys begin with: parts of a path, none of them a dot or two.
fn prefix(field: &Field<'_>) -> Result<String, Error> {
    let text = field.text()?;
    let text = text.trim_matches('/');
    let fits = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.chars().all(|each| each.is_ascii_alphanumeric() || "-_.".contains(each))
    };
    if !text.is_empty() && !text.split('/').all(fits) {
        return Err(field.error(format!(
            "{text:?} is not a valid prefix; use letters, digits, '-', '_' and '.' with single '/' between them"
        )));
    }
    Ok(text.to_owned())
}

/// What names a store's place among all there are; `None` for those of other kinds.
fn place(content: &Content) -> Option<(String, &Bucket)> {
    match content {
        Content::Memory { .. } | Content::Filesystem(_) => None,
        Content::S3(it) => {
            let endpoint = it.endpoint.as_deref().unwrap_or("");
            Some((format!("s3 {endpoint} {}", it.bucket), &it.common))
        }
        Content::Gcs(it) => Some((format!("gcs {}", it.bucket), &it.common)),
        Content::Azure(it) => Some((format!("azure {} {}", it.account, it.container), &it.common)),
    }
}

/// Two stores under one prefix would remove each other's content, and two caches in one folder each other's files.
pub(super) fn distinct_buckets(stores: &Stores<'_, Content>) -> Result<(), Error> {
    let mut places: BTreeMap<String, &str> = BTreeMap::new();
    let mut folders: BTreeMap<&PathBuf, &str> = BTreeMap::new();
    for (name, (field, content)) in stores {
        let Some((place, common)) = place(content) else { continue };
        if let Some(other) = places.insert(format!("{place} {}", common.prefix), name) {
            return Err(field.error(format!(
                "the bucket and prefix are also those of the store {other}; give each store its own prefix"
            )));
        }
        let Some((folder, _)) = &common.cache_folder else { continue };
        if let Some(other) = folders.insert(folder, name) {
            return Err(field.error(format!(
                "the cache_folder {} is also that of the store {other}; give each store its own folder",
                folder.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(content: &str) -> Result<Content, String> {
        let text = format!(
            "metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ c: {content} }} }}
shares: [ {{ name: /e, metadata_store: m, content_store: c, clients: [ {{ network: 10.0.0.0/8 }} ] }} ]"
        );
        let parsed = Config::parse("t.yaml", &text, &|_| None);
        parsed.map(|mut config| config.content.remove("c").unwrap()).map_err(|e| e.to_string())
    }

    fn s3(keys: &str) -> Result<S3, String> {
        match parse(&format!("{{ type: s3, s3: {{ {keys} }} }}"))? {
            Content::S3(s3) => Ok(*s3),
            other => panic!("{other:?}"),
        }
    }

    fn refused(keys: &str, words: &[&str]) {
        let error = s3(keys).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{keys}: {word:?} is not in {error}");
        }
    }

    #[test]
    fn a_bucket_is_enough() {
        let found = s3("bucket: b").unwrap();
        assert_eq!((found.bucket.as_str(), found.endpoint, found.path_style), ("b", None, false));
        assert_eq!((found.keys, found.sse, found.region), (None, None, None));
        assert_eq!((found.common.prefix.as_str(), found.common.chunk_size), ("trunkfs", 4 << 20));
        let other = s3("bucket: b, endpoint: 'https://s3.example.org/', prefix: '/a/b/'").unwrap();
        assert_eq!(other.endpoint.as_deref(), Some("https://s3.example.org"));
        assert_eq!((other.path_style, other.common.prefix.as_str()), (true, "a/b"));
    }

    #[test]
    fn an_endpoint_is_a_server_that_a_bucket_can_be_on() {
        for url in ["http://127.0.0.1:9000", "http://[::1]:9000", "http://10.0.0.1/"] {
            let keys = format!("bucket: b, endpoint: '{url}', allow_http: true");
            assert!(s3(&keys).unwrap().path_style, "{url}");
            refused(&format!("{keys}, path_style: false"), &["s3.endpoint", "path_style: true"]);
        }
        s3("bucket: b, endpoint: 'https://10.example.org:9000', path_style: false").unwrap();
        refused(
            "bucket: b, endpoint: 'https://s3.example.org/b'",
            &["s3.endpoint", "remove the bucket"],
        );
        s3("bucket: b, endpoint: 'https://s3.example.org/objects'").unwrap();
    }

    #[test]
    fn what_is_wrong_names_the_remedy() {
        refused("region: x", &["s3.bucket", "missing"]);
        refused("bucket: b, endpoint: 'http://h:9000'", &["endpoint", "allow_http: true"]);
        refused("bucket: b, endpoint: h:9000", &["not the URL of a server"]);
        refused("bucket: b, endpoint: 'https://k:s@h'", &["only the server"]);
        refused("bucket: b, access_key: k", &["access_key", "without secret_key"]);
        refused("bucket: b, secret_key: s", &["secret_key", "without access_key"]);
        refused("bucket: b, chunk_size: 1KiB", &["chunk_size", "64KiB to 64MiB"]);
        refused("bucket: b, prefix: a//b", &["not a valid prefix"]);
        refused("bucket: b, prefix: a/../b", &["not a valid prefix"]);
        refused("bucket: b, sse: aws", &["sse", "not one of s3, kms, customer"]);
        refused("bucket: b, sse: kms", &["sse_kms_key", "write the KMS key"]);
        refused("bucket: b, sse_kms_key: k", &["sse: kms"]);
        refused("bucket: b, sse: customer, sse_customer_key: abc", &["32 bytes in base64"]);
        refused("bucket: b, sse: s3, sse_customer_key: abc", &["sse: customer"]);
        refused("bucket: b, write_buffer: 1MiB", &["write_buffer", "16MiB"]);
    }

    #[test]
    fn the_others_have_their_own_keys() {
        let gcs =
            parse("{ type: gcs, gcs: { bucket: b, service_account_file: /k.json } }").unwrap();
        let Content::Gcs(gcs) = gcs else { panic!("a store of Google's") };
        assert_eq!(gcs.service_account_file.as_deref(), Some("/k.json"));
        let azure = "{ type: azure, azure: { account: a, container: c, access_key: azkey } }";
        let Ok(Content::Azure(azure)) = parse(azure) else { panic!("a store of Azure's") };
        assert_eq!(azure.access_key.as_ref().map(Secret::reveal), Some("azkey"));
        assert!(!format!("{azure:?}").contains("azkey"));
        let missing = parse("{ type: azure, azure: { account: a } }").unwrap_err();
        assert!(missing.contains("azure.container") && missing.contains("missing"), "{missing}");
    }

    #[test]
    fn two_stores_in_one_place_are_refused() {
        let two = |second: &str| {
            parse(&format!(
                "{{ type: s3, s3: {{ bucket: b, cache_folder: /x }} }}, d: {{ type: s3, s3: {{ bucket: b, {second} }} }}"
            ))
        };
        assert!(two("cache: 0").unwrap_err().contains("its own prefix"));
        assert!(two("prefix: other, cache_folder: /x").unwrap_err().contains("its own folder"));
        two("prefix: other").unwrap();
    }
}

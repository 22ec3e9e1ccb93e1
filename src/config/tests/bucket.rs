//! Buckets, right and wrong.

use super::super::{Config, Content};
use crate::content::{ObjectSettings, S3, Service};
use crate::types::settings::Secret;

fn parse(content: &str) -> Result<Content, String> {
    let text = format!(
        "metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ c: {content} }} }}
shares: [ {{ name: /e, metadata_store: m, content_store: c, clients: [ {{ network: 10.0.0.0/8 }} ] }} ]"
    );
    let parsed = Config::parse("t.yaml", &text, &|_| None);
    parsed.map(|mut config| config.content.remove("c").unwrap()).map_err(|e| e.to_string())
}

fn object(content: &str) -> Result<ObjectSettings, String> {
    match parse(content)? {
        Content::Object(settings) => Ok(*settings),
        other => panic!("{other:?}"),
    }
}

fn s3(keys: &str) -> Result<S3, String> {
    match object(&format!("{{ type: s3, s3: {{ {keys} }} }}"))?.service {
        Service::S3(s3) => Ok(s3),
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
    assert_eq!((found.access_key, found.sse, found.region), (None, None, None));
    let found = object("{ type: s3, s3: { bucket: b } }").unwrap();
    assert_eq!((found.prefix.as_str(), found.chunk_size), ("trunkfs", 4 << 20));
    let other = s3("bucket: b, endpoint: 'https://s3.example.org/'").unwrap();
    assert_eq!(other.endpoint.as_deref(), Some("https://s3.example.org"));
    assert!(other.path_style);
    let prefix = object("{ type: s3, s3: { bucket: b, prefix: '/a/b/' } }").unwrap().prefix;
    assert_eq!(prefix, "a/b");
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
    let gcs = object("{ type: gcs, gcs: { bucket: b, service_account_file: /k.json } }").unwrap();
    let Service::Gcs(gcs) = gcs.service else { panic!("a bucket of Google's") };
    assert_eq!(gcs.service_account_file.as_deref(), Some("/k.json"));
    let azure = "{ type: azure, azure: { account: a, container: c, access_key: azkey } }";
    let Service::Azure(azure) = object(azure).unwrap().service else { panic!("one of Azure's") };
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

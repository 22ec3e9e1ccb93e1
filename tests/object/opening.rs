//! Opening a bucket: what is wrong is told, and with what remedy.

use trunkfs::content::{ContentStore as _, CreateMode, ObjectContent, ObjectSettings, S3, Service};
use trunkfs::types::settings::Secret;
use trunkfs::types::{ContentId, ContentIdentity};

use crate::s3::{ACCESS_KEY, Fate, S3Server};
use crate::support::{commit, get, put, store_with};

/// What is said when a store is opened with changed settings.
async fn said(server: &S3Server, change: impl FnOnce(&mut S3, &mut ObjectSettings)) -> String {
    let mut settings = server.settings();
    settings.retries = 1;
    let Service::S3(mut s3) = settings.service.clone() else { panic!("an S3 server") };
    change(&mut s3, &mut settings);
    settings.service = Service::S3(s3);
    ObjectContent::open(settings).await.unwrap_err().to_string()
}

fn set_keys(s3: &mut S3, id: &str, key: &str) {
    s3.access_key = Some(id.to_owned());
    s3.secret_key = Some(Secret::new(key.to_owned()));
}

fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told() {
    let server = S3Server::start().await;
    let no_bucket = said(&server, |s3, _| s3.bucket = "another".to_owned()).await;
    assert_says(
        &no_bucket,
        &["the bucket another at http://127.0.0.1", "NoSuchBucket", "create the bucket"],
    );
    let unknown = said(&server, |s3, _| set_keys(s3, "nobody", "x")).await;
    assert_says(&unknown, &["unknown access key"]);
    let wrong = said(&server, |s3, _| set_keys(s3, ACCESS_KEY, "wrong")).await;
    assert_says(&wrong, &["SignatureDoesNotMatch", "the secret key does not match the access key"]);
    assert!(!wrong.contains("wrong\""), "{wrong}");
    let http = said(&server, |s3, _| s3.allow_http = false).await;
    assert_says(&http, &["allow_http: true"]);
    let away = said(&server, |s3, _| s3.endpoint = Some("http://127.0.0.1:1".to_owned())).await;
    assert_says(&away, &["127.0.0.1:1", "cannot be reached"]);
    let class = said(&server, |s3, _| s3.storage_class = Some("NONE".to_owned())).await;
    assert_says(&class, &["storage_class"]);
    server.plan(|method, _| if method == "PUT" { Fate::Refused(403) } else { Fate::Normal });
    assert_says(
        &said(&server, |_, _| {}).await,
        &["AccessDenied", "permission to list the bucket"],
    );
    server.plan(|_, _| Fate::Refused(503));
    assert_says(&said(&server, |_, _| {}).await, &["SlowDown"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_conditions_is_for_one_process_alone() {
    let server = S3Server::start().await;
    server.ignore_conditions();
    let refused = said(&server, |_, _| {}).await;
    assert_says(&refused, &["does not support conditional writes", "single_server: true"]);
    let store = store_with(&server, |settings| settings.exclusive = true).await;
    let id = ContentId::generate();
    put(&store, id, 0, b"first").await;
    commit(&store, id).await;
    put(&store, id, 5, b" and second").await;
    commit(&store, id).await;
    drop(store);
    let next = store_with(&server, |settings| settings.exclusive = true).await;
    put(&next, id, 0, b"FIRST").await;
    commit(&next, id).await;
    assert_eq!(get(&next, id, 0, 100).await, b"FIRST and second"[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_leaves_nothing_behind_and_bears_failures() {
    let server = S3Server::start().await;
    let mut number = 0;
    server.plan(move |_, _| {
        number += 1;
        match number % 3 {
            0 => Fate::DoneAndCut,
            1 => Fate::DoneAndRefused(500),
            _ => Fate::Normal,
        }
    });
    let store = ObjectContent::open(server.settings()).await.unwrap();
    server.heal();
    assert!(store.list(None, 10).await.unwrap().is_empty());
    let settings = ObjectSettings { prefix: String::new(), ..server.settings() };
    let whole = ObjectContent::open(settings).await.unwrap();
    assert!(whole.list(None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_has_one_identity() {
    let server = S3Server::start().await;
    let absent =
        ObjectContent::open_or_make(server.settings(), CreateMode::Never).await.unwrap_err();
    assert!(absent.is_absent() && !absent.is_away(), "{absent}");
    assert_says(&absent.to_string(), &["no TrunkFS content", "tests/share"]);
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..4 {
        opening.spawn(ObjectContent::open(server.settings()));
    }
    let all = opening.join_all().await.into_iter().map(|opened| opened.unwrap().identity());
    let all: Vec<_> = all.collect();
    assert!(all[0].is_some() && all.iter().all(|each| *each == all[0]), "{all:?}");
    let again = ObjectContent::open_or_make(server.settings(), CreateMode::Never).await.unwrap();
    assert_eq!(again.identity(), all[0]);
    let wanted = ContentIdentity::generate();
    let elsewhere = ObjectSettings { prefix: "other".to_owned(), ..server.settings() };
    let made = ObjectContent::open_or_make(elsewhere, CreateMode::As(wanted)).await.unwrap();
    assert_eq!(made.identity(), Some(wanted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_replaced_while_a_store_is_open() {
    let server = S3Server::start().await;
    let settings = ObjectSettings { cache: 0, ..server.settings() };
    let store = ObjectContent::open(settings.clone()).await.unwrap();
    let id = ContentId::generate();
    put(&store, id, 0, b"bytes").await;
    commit(&store, id).await;
    let with = |id: &str, key: &str| {
        let Service::S3(mut s3) = settings.service.clone() else { panic!("an S3 server") };
        set_keys(&mut s3, id, key);
        settings.taking(&ObjectSettings { service: Service::S3(s3), ..settings.clone() })
    };
    let (wrong, renewed) = (with(ACCESS_KEY, "wrong"), with("renewed", "another secret"));
    assert!(renewed.service.has_other_keys(&settings.service));
    let refused = store.try_keys(&wrong).await.unwrap_err().to_string();
    assert_says(&refused, &["the secret key does not match the access key"]);
    assert_says(&store.try_keys(&renewed).await.unwrap_err().to_string(), &["access key"]);
    assert_eq!(get(&store, id, 0, 5).await, b"bytes"[..], "the former keys stay");
    server.set_keys("renewed", "another secret");
    let keys = store.try_keys(&renewed).await.unwrap();
    store.take_keys(keys);
    assert_eq!(get(&store, id, 0, 5).await, b"bytes"[..]);
    put(&store, id, 5, b" more").await;
    commit(&store, id).await;
    // A bucket that is away refuses nothing: these are used once it answers.
    server.plan(|_, _| Fate::Refused(503));
    let untried = store.try_keys(&with("third", "a third secret")).await.unwrap();
    server.heal();
    server.set_keys("third", "a third secret");
    store.take_keys(untried);
    assert_eq!(get(&store, id, 0, 10).await, b"bytes more"[..]);
}

//! Several hosts: a real primary and a real standby, and the standby takes over.

use std::time::Duration;

use tokio::time::Instant;
use trunkfs::metadata::postgres::{PostgresStore, Settings};
use trunkfs::metadata::{CreateHow, Error, Invariants as _, MetadataStore as _, Namespace as _};
use trunkfs::types::{Context, Timestamp};

use crate::cluster::Cluster;
use crate::connecting::{has, refused};
use crate::support::{context, mode, name, share_spec};

/// How long a store may take to find another primary.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_passed_over_until_it_is_the_primary() {
    // What is acknowledged is on both.
    let mut primary = Cluster::start(&["synchronous_standby_names=*"]).await;
    let standby = Cluster::standby_of(&primary).await;
    let (port, other) = (primary.port, standby.port);

    let alone = refused(&format!("postgres://postgres@127.0.0.1:{other}/postgres")).await;
    has(&alone, &[&format!("127.0.0.1, port {other}: a standby"), "name the primary's host too"]);

    // The standby is named first, and a host that answers nobody before it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port();
    let url = format!(
        "postgres://postgres@127.0.0.1:{silent},127.0.0.1:{other},127.0.0.1:{port}/postgres?connect_timeout=5"
    );
    let store = PostgresStore::connect(Settings {
        auto_migrate: true,
        ..Settings::from_url(&url).unwrap()
    })
    .await
    .unwrap();
    let share = store.open_share(&share_spec()).await.unwrap();
    let how = CreateHow::Guarded(mode(0o644));
    for index in 0..20 {
        let name = name(&format!("before-{index}"));
        store.create(&context(share.id), share.root, &name, &how).await.unwrap();
    }

    primary.stop();
    standby.sql("SELECT pg_promote()").await;
    let until = Instant::now() + PATIENCE;
    loop {
        let cx = Context { now: Timestamp::now(), ..context(share.id) };
        match store.create(&cx, share.root, &name("after"), &how).await {
            Ok(created) => break assert!(created.made),
            Err(refusal) => {
                let retried = matches!(refusal.error, Error::Unavailable(_));
                assert!(retried && Instant::now() < until, "{:?}", refusal.error);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    for index in 0..20 {
        let name = name(&format!("before-{index}"));
        let found = store.lookup(&context(share.id), share.root, &name).await.unwrap();
        assert!(found.object.is_some(), "{index} was acknowledged");
    }
    assert_eq!(store.inconsistencies().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

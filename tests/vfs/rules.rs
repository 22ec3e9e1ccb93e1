//! Export rules on calls.

use std::time::Duration;

use tokio::time::Instant;
use trunkfs::metadata::rules::access;
use trunkfs::types::Component;
use trunkfs::vfs::{Access, ClientRule, Error, MountError, Squash, Stability, WriteBehind};

use crate::fixture::{Fixture, caller, read, rule, unstable, write};

#[tokio::test]
async fn a_read_only_export_refuses_changes_and_grants_none() {
    let fixture =
        Fixture::with(ClientRule { access: Access::ReadOnly, ..rule() }, WriteBehind::default())
            .await;
    let refused =
        write(&fixture.one, &fixture.root(), 0, b"x", trunkfs::vfs::Stability::FileSync).await;
    assert!(matches!(refused.unwrap_err().error, Error::ReadOnly));
    let granted = fixture.one.access(&caller(0), &fixture.root(), 0x3f).await.unwrap().granted;
    assert_eq!(granted, access::READ | access::LOOKUP);
}

#[tokio::test]
async fn callers_without_credentials_may_attach_and_no_more() {
    let fixture = Fixture::new().await;
    let mut nobody = caller(0);
    nobody.credentials = None;
    fixture.one.fsinfo(&nobody, &fixture.root()).await.unwrap();
    fixture.one.getattr(&nobody, &fixture.root()).await.unwrap();
    let refused =
        fixture.one.lookup(&nobody, &fixture.root(), &Component::Current).await.unwrap_err();
    assert!(matches!(refused.error, Error::TooWeak));
    let squashing =
        Fixture::with(ClientRule { squash: Squash::Root, ..rule() }, WriteBehind::default()).await;
    squashing.one.lookup(&nobody, &squashing.root(), &Component::Current).await.unwrap();
}

#[tokio::test]
async fn other_networks_and_ports_are_refused_on_every_call() {
    let fixture =
        Fixture::with(ClientRule { require_reserved_port: true, ..rule() }, WriteBehind::default())
            .await;
    let mut stranger = caller(0);
    stranger.address = "192.0.2.1:900".parse().unwrap();
    let refused = fixture.one.getattr(&stranger, &fixture.root()).await.unwrap_err();
    assert!(matches!(refused.error, Error::ClientRefused));
    assert!(matches!(fixture.one.mount(&stranger, b"/t").await, Err(MountError::AccessDenied)));
    stranger.address = "127.0.0.1:1024".parse().unwrap();
    let refused = fixture.one.getattr(&stranger, &fixture.root()).await.unwrap_err();
    assert!(matches!(refused.error, Error::PortRefused));
}

#[tokio::test]
async fn paths_are_mounted_by_the_longest_share_and_step_by_step() {
    let fixture = Fixture::new().await;
    fixture.file("f").await;
    let mount = |path: &'static [u8]| fixture.one.mount(&CALLER, path);
    static CALLER: std::sync::LazyLock<trunkfs::types::Caller> =
        std::sync::LazyLock::new(|| caller(0));
    assert_eq!(mount(b"/t").await.unwrap(), fixture.root());
    assert_eq!(mount(b"//t/./").await.unwrap(), fixture.root());
    assert!(matches!(mount(b"/t/f").await, Err(MountError::NotDirectory)));
    assert!(matches!(mount(b"/t/none").await, Err(MountError::NotFound)));
    assert!(matches!(mount(b"/tt").await, Err(MountError::NotFound)));
    assert!(matches!(mount(b"/").await, Err(MountError::NotFound)));
}

#[tokio::test]
async fn new_rules_count_from_the_next_call_on() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    unstable(&fixture.one, &file, 0, b"one").await;
    let set = |rules| fixture.one.set_rules(&fixture.share.name, rules);

    set(vec![ClientRule { access: Access::ReadOnly, ..rule() }]);
    let refused = write(&fixture.one, &file, 0, b"two", Stability::Unstable).await.unwrap_err();
    assert!(matches!(refused.error, Error::ReadOnly), "{refused:?}");
    assert_eq!(read(&fixture.one, &file).await, b"one");

    set(vec![ClientRule { network: "10.0.0.0/8".parse().unwrap(), ..rule() }]);
    let refused = fixture.one.read(&caller(0), &file, 0, 1).await.unwrap_err();
    assert!(matches!(refused.error, Error::ClientRefused), "{refused:?}");
    let refused = fixture.one.mount(&caller(0), b"/t").await.unwrap_err();
    assert!(matches!(refused, MountError::AccessDenied), "{refused:?}");
    assert_eq!(fixture.one.exports()[0].networks, ["10.0.0.0/8"]);

    // What was written while the client was admitted is kept.
    fixture.one.flush_all(Instant::now() + Duration::from_secs(60)).await;
    assert_eq!(fixture.committed(&file).await.size, 3);
    set(vec![rule()]);
    assert_eq!(read(&fixture.one, &file).await, b"one");
}

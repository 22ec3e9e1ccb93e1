//! MOUNT by procedure.

use trunkfs::metadata::MetadataStore;
use trunkfs::rpc::{Program as _, Reply};
use trunkfs::types::Caller;
use trunkfs::xdr::Decoder;

use super::fixture::{Args, Server, call, caller, created, of, success};

async fn status(server: &Server, path: &[u8]) -> u32 {
    server.mount_results(1, of(path)).await.u32().unwrap()
}

/// DUMP's pairs of host and path.
async fn dump(server: &Server) -> Vec<(String, String)> {
    let mut results = server.mount_results(2, Args::default()).await;
    let text =
        |results: &mut Decoder| String::from_utf8(results.opaque(1024).unwrap().to_vec()).unwrap();
    let mut mounts = Vec::new();
    while results.boolean().unwrap() {
        mounts.push((text(&mut results), text(&mut results)));
    }
    assert_eq!(results.remaining(), 0);
    mounts
}

#[tokio::test]
async fn the_program_has_six_procedures() {
    let mount = Server::new().await.mount;
    assert_eq!((mount.number(), mount.version()), (100_005, 3));
    let names = (0..7).map(|number| mount.procedure_name(number)).collect::<Vec<_>>();
    let expected = ["NULL", "MNT", "DUMP", "UMNT", "UMNTALL", "EXPORT"];
    assert_eq!(names[..6], expected.map(Some));
    assert_eq!(names[6], None);
    assert!((0..7).all(|number| !mount.is_replayed(number)));
    let null = call(&mount, 0, Args::default(), caller()).await;
    assert_eq!(success(null).remaining(), 0);
}

#[tokio::test]
async fn mnt_answers_with_handle_and_flavours() {
    let server = Server::new().await;
    for credentials in [caller().credentials, None] {
        let caller = Caller { credentials, ..caller() };
        let mut results = success(call(&server.mount, 1, of(b"/t"), caller).await);
        assert_eq!(results.u32().unwrap(), 0);
        assert_eq!(results.opaque(64).unwrap(), server.root);
        assert_eq!(results.u32_array(8).unwrap(), [1]);
        assert_eq!(results.remaining(), 0);
    }
}

#[tokio::test]
async fn mnt_refuses_by_reason() {
    let server = Server::new().await;
    let fifo = of(&server.root).opaque(b"fifo").words(&[7]).mode(0o600);
    created(server.results(11, fifo).await);
    assert_eq!(status(&server, b"/none").await, 2);
    assert_eq!(status(&server, b"").await, 2);
    assert_eq!(status(&server, b"/t/none").await, 2);
    assert_eq!(status(&server, b"/t/fifo").await, 20);
    assert_eq!(status(&server, &[b"/t/", [b'x'; 256].as_slice()].concat()).await, 63);
    let long = |length: usize| [b"/t".as_slice(), &vec![b'/'; length - 2]].concat();
    assert_eq!(status(&server, &long(1024)).await, 0);
    let reply = call(&server.mount, 1, of(&long(1025)), caller()).await;
    assert!(matches!(reply, Reply::GarbageArguments), "{reply:?}");
    let stranger = Caller { address: "10.0.0.1:9".parse().unwrap(), ..caller() };
    let mut refused = success(call(&server.mount, 1, of(b"/t"), stranger).await);
    assert_eq!((refused.u32().unwrap(), refused.remaining()), (13, 0));
}

#[tokio::test(start_paused = true)]
async fn mnt_has_no_reply_while_the_metadata_store_is_not_available() {
    let server = Server::new().await;
    server.store.close().await;
    let began = tokio::time::Instant::now();
    let reply = call(&server.mount, 1, of(b"/t"), caller()).await;
    assert!(matches!(reply, Reply::Dropped), "{reply:?}");
    assert_eq!(began.elapsed().as_secs(), 60, "the call's time");
    let stopped = caller();
    stopped.call.cancel.cancel();
    let reply = call(&server.mount, 1, of(b"/t"), stopped).await;
    assert!(matches!(reply, Reply::Dropped), "{reply:?}");
    // A path of no share needs no store.
    assert_eq!(status(&server, b"/none").await, 2);
}

#[tokio::test]
async fn dump_lists_what_is_mounted() {
    let server = Server::new().await;
    created(server.results(9, of(&server.root).opaque(b"d").mode(0o755)).await);
    for path in [b"/t".as_slice(), b"/t/d", b"/t/d", b"/none"] {
        server.mount_results(1, of(path)).await;
    }
    let here = |path: &str| ("127.0.0.1".to_owned(), path.to_owned());
    assert_eq!(dump(&server).await, [here("/t"), here("/t/d")]);
    assert_eq!(server.mount_results(3, of(b"/t")).await.remaining(), 0);
    assert_eq!(dump(&server).await, [here("/t/d")]);
    assert_eq!(server.mount_results(4, Args::default()).await.remaining(), 0);
    assert_eq!(dump(&server).await, []);
}

#[tokio::test]
async fn export_lists_shares_and_networks() {
    let server = Server::new().await;
    let mut results = server.mount_results(5, Args::default()).await;
    assert!(results.boolean().unwrap());
    assert_eq!(results.opaque(1024).unwrap(), "/t");
    assert!(results.boolean().unwrap());
    assert_eq!(results.opaque(255).unwrap(), "127.0.0.0/8");
    assert!(!results.boolean().unwrap() && !results.boolean().unwrap());
    assert_eq!(results.remaining(), 0);
}

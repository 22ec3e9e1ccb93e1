//! The form of what every procedure answers, and what is told to the RPC layer.

use trunkfs::metadata::MetadataStore;
use trunkfs::rpc::{AuthStatus, Program as _, Reply};
use trunkfs::types::{Caller, FileHandle, ShareName};
use trunkfs::vfs::{Access, ClientRule, Squash};
use trunkfs::xdr::Decoder;

use super::fixture::{Args, Server, call, caller, message, of};

const NAMES: [&str; 22] = [
    "NULL",
    "GETATTR",
    "SETATTR",
    "LOOKUP",
    "ACCESS",
    "READLINK",
    "READ",
    "WRITE",
    "CREATE",
    "MKDIR",
    "SYMLINK",
    "MKNOD",
    "REMOVE",
    "RMDIR",
    "RENAME",
    "LINK",
    "READDIR",
    "READDIRPLUS",
    "FSSTAT",
    "FSINFO",
    "PATHCONF",
    "COMMIT",
];

#[tokio::test]
async fn the_table_has_22_rows_and_replays_what_changes() {
    let nfs = Server::new().await.nfs;
    assert_eq!((nfs.number(), nfs.version()), (100_003, 3));
    for (number, name) in (0..).zip(NAMES) {
        assert_eq!(nfs.procedure_name(number), Some(name));
        let changes = (7..=15).contains(&number) || number == 2;
        assert_eq!(nfs.is_replayed(number), changes, "{name}");
    }
    assert_eq!(nfs.procedure_name(22), None);
    assert_eq!(nfs.procedure_name(u32::MAX), None);
}

#[tokio::test]
async fn null_has_no_results() {
    let server = Server::new().await;
    assert_eq!(server.results(0, Args::default()).await.remaining(), 0);
}

/// Well-formed arguments of every procedure but NULL, and how many words the results have behind the
/// status where nothing is known of the objects: one for post_op_attr, two for wcc_data.
fn every_procedure(handle: &[u8]) -> Vec<(u32, Args, usize)> {
    let (it, time) = (|| of(handle), [2, 1, 1]);
    let full = [[1, 0o644, 1, 1, 1, 1, 1, 0].as_slice(), &[1], &time, &time].concat();
    vec![
        (1, it(), 0),
        (2, it().words(&full).words(&[1, 5, 5]), 2),
        (3, it().opaque(b"n"), 1),
        (4, it().words(&[63]), 1),
        (5, it(), 1),
        (6, it().words(&[0, 0, 9]), 1),
        (7, it().words(&[0, 0, 4, 2]).opaque(b"data"), 2),
        (8, it().opaque(b"n").words(&[1]).words(&full), 2),
        (8, it().opaque(b"n").words(&[2, 3, 4]), 2),
        (9, it().opaque(b"n").words(&full), 2),
        (10, it().opaque(b"n").words(&full).opaque(b"target"), 2),
        (11, it().opaque(b"n").words(&[4]).words(&full).words(&[8, 1]), 2),
        (11, it().opaque(b"n").words(&[6]).words(&full), 2),
        (11, it().opaque(b"n").words(&[1]), 2),
        (12, it().opaque(b"n"), 2),
        (13, it().opaque(b"n"), 2),
        (14, it().opaque(b"n").opaque(handle).opaque(b"m"), 4),
        (15, it().opaque(handle).opaque(b"n"), 3),
        (16, it().words(&[0, 0, 0, 0, 4096]), 1),
        (17, it().words(&[0, 0, 0, 0, 4096, 4096]), 1),
        (18, it(), 1),
        (19, it(), 1),
        (20, it(), 1),
        (21, it().words(&[0, 0, 0]), 2),
    ]
}

#[tokio::test]
async fn other_bytes_than_a_handle_are_badhandle_everywhere() {
    let server = Server::new().await;
    for handle in [b"".as_slice(), b"x", &[0xff; 64], &server.root[1..]] {
        for (procedure, arguments, words) in every_procedure(handle) {
            let name = NAMES[procedure as usize];
            let mut results = server.results(procedure, arguments.words(&[1, 2, 3])).await;
            assert_eq!(results.u32().unwrap(), 10001, "{name}");
            assert_eq!(results.rest(), vec![0; words * 4], "{name}");
        }
    }
}

#[tokio::test]
async fn arguments_that_end_early_are_garbage_everywhere() {
    let server = Server::new().await;
    for handle in [b"no handle".as_slice(), &server.root] {
        for (procedure, arguments, _) in every_procedure(handle) {
            for end in 0..arguments.0.len() {
                let cut = Args(arguments.0[..end].to_vec());
                let reply = server.nfs(procedure, cut).await;
                let name = NAMES[procedure as usize];
                assert!(matches!(reply, Reply::GarbageArguments), "{name} {end}: {reply:?}");
            }
        }
    }
    for (procedure, arguments, _) in every_procedure(&[b'A'; 65]) {
        let reply = server.nfs(procedure, arguments).await;
        assert!(matches!(reply, Reply::GarbageArguments), "{procedure}: {reply:?}");
    }
}

#[tokio::test]
async fn what_a_retry_cures_is_jukebox_and_not_recorded() {
    let server = Server::new().await;
    let root = server.root.clone();
    let transient = |reply: Reply, what: &str| {
        let Reply::Transient(message) = reply else { panic!("{what}: {reply:?}") };
        assert_eq!(message.segments().concat()[..4], 10008_u32.to_be_bytes(), "{what}");
    };
    let stopped = caller();
    stopped.call.cancel.cancel();
    transient(call(&server.nfs, 1, of(&root), stopped).await, "cancelled");
    server.store.close().await;
    for (procedure, arguments, _) in every_procedure(&root) {
        transient(server.nfs(procedure, arguments).await, NAMES[procedure as usize]);
    }
}

#[tokio::test]
async fn callers_without_credentials_may_only_look_at_the_root() {
    let server = Server::new().await;
    let nobody = || Caller { credentials: None, ..caller() };
    for (procedure, arguments, _) in every_procedure(&server.root) {
        let reply = call(&server.nfs, procedure, arguments, nobody()).await;
        if [1, 18, 19, 20].contains(&procedure) {
            assert!(matches!(reply, Reply::Success(_)), "{procedure}: {reply:?}");
        } else {
            assert!(matches!(reply, Reply::Refused(AuthStatus::TooWeak)), "{procedure}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn fsinfo_and_pathconf_tell_the_shares_limits() {
    let server = Server::new().await;
    let numbers = |bytes: &[u8]| -> Vec<u32> {
        bytes.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect()
    };
    let info = numbers(&server.results(19, of(&server.root)).await.rest());
    let (mebi, high) = (1 << 20, 0x7fff_ffff);
    let sizes = [mebi, mebi, 4096, mebi, mebi, 4096, 65536, high, u32::MAX, 0, 1, 0x1b];
    assert_eq!(info[1 + 1 + 21..], sizes);
    let conf = numbers(&server.results(20, of(&server.root)).await.rest());
    assert_eq!(conf[1 + 1 + 21..], [65_000, 255, 1, 1, 0, 1]);
}

#[tokio::test]
async fn refused_clients_learn_nothing() {
    let server = Server::new().await;
    let stranger = || Caller { address: "10.0.0.1:9".parse().unwrap(), ..caller() };
    for (procedure, arguments, words) in every_procedure(&server.root) {
        let Reply::Success(message) = call(&server.nfs, procedure, arguments, stranger()).await
        else {
            panic!("{procedure}")
        };
        let bytes = message.segments().concat();
        assert_eq!(bytes[..4], 70_u32.to_be_bytes(), "{procedure}");
        assert_eq!(bytes[4..], vec![0; words * 4], "{procedure}");
    }
}

#[tokio::test]
async fn recorded_replies_are_for_admitted_clients() {
    let server = Server::new().await;
    let admitted = |address: &str, handle: &[u8]| {
        let caller = Caller { address: address.parse().unwrap(), ..caller() };
        let arguments = Decoder::new(of(handle).opaque(b"name").0.into());
        server.nfs.is_admitted(&message(caller, 9, arguments))
    };
    assert!(admitted("127.0.0.1:50000", &server.root));
    assert!(!admitted("10.0.0.1:50000", &server.root));
    let mut handle = FileHandle::parse(&server.root).unwrap();
    let share = std::mem::replace(&mut handle.share, ShareName::parse("/none").unwrap());
    assert!(!admitted("127.0.0.1:50000", handle.to_wire().as_bytes()));
    // Such a call is refused before any rule is asked.
    assert!(admitted("10.0.0.1:50000", b"no handle"));
    let rule = ClientRule {
        network: "127.0.0.0/8".parse().unwrap(),
        access: Access::ReadOnly,
        squash: Squash::All,
        anonuid: 65_534,
        anongid: 65_534,
        require_reserved_port: true,
    };
    server.vfs.set_rules(&share, vec![rule]);
    assert!(!admitted("127.0.0.1:50000", &server.root));
    assert!(admitted("127.0.0.1:1023", &server.root));
    server.vfs.set_rules(&share, Vec::new());
    assert!(!admitted("127.0.0.1:1023", &server.root));
}

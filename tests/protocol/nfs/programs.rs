//! Programs, versions, procedures and credentials as the whole server answers them (RFC 5531 section 9).

use super::args;
use super::fixture::{Fs, cases};
use super::rpc::{Auth, MOUNT, NFS, Reply, user, wait};
use super::types::*;

cases! {
    unknown_programs, other_versions_of_nfs, unknown_procedures_of_nfs, rpc_versions_but_2,
    unknown_flavours, credentials_that_cannot_be_read, sixteen_gids_and_one_more,
    long_machine_names, a_call_in_many_fragments, many_calls_before_the_first_reply,
    a_bad_call_among_good_ones, many_connections, null_of_every_program,
}

fn unknown_programs(t: &Fs) {
    for program in [0, 1, 100_000, 100_011, 100_227, u32::MAX] {
        assert_eq!(t.root.raw(program, 3, 0, b""), Reply::ProgramUnavailable, "{program}");
    }
}

fn other_versions_of_nfs(t: &Fs) {
    for version in [0, 1, 2, 4, u32::MAX] {
        let expected = Reply::ProgramMismatch { low: 3, high: 3 };
        assert_eq!(t.root.raw(NFS, version, 0, b""), expected);
        assert_eq!(t.root.raw(NFS, version, 1, &args::handle(&t.dir).bytes), expected);
    }
}

fn unknown_procedures_of_nfs(t: &Fs) {
    for procedure in [22, 23, 100, 1 << 31, u32::MAX] {
        let args = args::handle(&t.dir).bytes;
        assert_eq!(t.root.raw(NFS, 3, procedure, &args), Reply::ProcedureUnavailable);
        assert_eq!(t.root.raw(NFS, 3, procedure, b""), Reply::ProcedureUnavailable);
    }
}

fn rpc_versions_but_2(t: &Fs) {
    for rpc_version in [0, 1, 3, u32::MAX] {
        let mut call = t.root.prepare(NFS, 3, args::NULL, b"");
        call.rpc_version = rpc_version;
        assert_eq!(t.root.wire.call(call), Reply::RpcMismatch { low: 2, high: 2 });
    }
    assert_eq!(t.root.attr(&t.dir).kind, DIR);
}

fn unknown_flavours(t: &Fs) {
    for flavor in [2, 3, 6, 390_003, u32::MAX] {
        let stranger = t.root.with(Auth::new(flavor, b"body".to_vec()));
        let reply = stranger.raw(NFS, 3, args::GETATTR, &args::handle(&t.dir).bytes);
        assert_eq!(reply, Reply::AuthError(2), "AUTH_REJECTEDCRED for flavour {flavor}");
    }
}

fn credentials_that_cannot_be_read(t: &Fs) {
    let whole = user(1000, 1000, &[1, 2]).body;
    for length in (0..whole.len()).step_by(4) {
        let cut = t.root.with(Auth::new(1, whole[..length].to_vec()));
        let reply = cut.raw(NFS, 3, args::GETATTR, &args::handle(&t.dir).bytes);
        assert_eq!(reply, Reply::AuthError(1), "AUTH_BADCRED for {length} bytes");
    }
    assert_eq!(t.root.attr(&t.dir).kind, DIR);
}

fn sixteen_gids_and_one_more(t: &Fs) {
    let gids: Vec<u32> = (0..17).collect();
    assert_eq!(t.root.user(1000, 1000, &gids[..16]).attr(&t.dir).kind, DIR);
    let reply = t.root.user(1000, 1000, &gids).raw(NFS, 3, 1, &args::handle(&t.dir).bytes);
    assert_eq!(reply, Reply::AuthError(1));
}

fn long_machine_names(t: &Fs) {
    let named = |length: usize| t.root.with(Auth::sys_with(&vec![b'm'; length], 0, 0, &[]));
    assert_eq!(named(0).attr(&t.dir).kind, DIR);
    assert_eq!(named(255).attr(&t.dir).kind, DIR);
    let reply = named(256).raw(NFS, 3, 1, &args::handle(&t.dir).bytes);
    assert_eq!(reply, Reply::AuthError(1));
}

fn a_call_in_many_fragments(t: &Fs) {
    let call = t.root.prepare(NFS, 3, args::GETATTR, &args::handle(&t.dir).bytes);
    let record = call.encode(77);
    let fragments: Vec<&[u8]> = record.chunks(3).collect();
    let reply = wait(async {
        let mut connection = super::rpc::Connection::open(t.server.address).await;
        connection.send_fragments(&fragments).await;
        connection.reply().await
    });
    match reply.outcome {
        Reply::Success(body) => assert_eq!(super::results::getattr(&body).unwrap().kind, DIR),
        other => panic!("{other:?}"),
    }
}

fn many_calls_before_the_first_reply(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let outcomes = wait(async {
        let mut connection = super::rpc::Connection::open(t.server.address).await;
        let mut sent = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let call = t.alice.prepare(NFS, 3, args::GETATTR, &args::handle(&file).bytes);
            sent.insert(connection.send(&call).await);
        }
        for _ in 0..200 {
            let reply = connection.reply().await;
            assert!(sent.remove(&reply.xid), "a reply to no call, or a second one");
            assert!(matches!(reply.outcome, Reply::Success(_)), "{:?}", reply.outcome);
        }
        sent.len()
    });
    assert_eq!(outcomes, 0);
}

fn a_bad_call_among_good_ones(t: &Fs) {
    for bad in [&b""[..], b"\xff\xff\xff\xff", b"\0\0\0\x04abcd"] {
        assert_eq!(t.root.attr(&t.dir).kind, DIR);
        match t.root.raw(NFS, 3, args::LOOKUP, bad) {
            Reply::GarbageArguments => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(t.root.attr(&t.dir).kind, DIR);
    }
}

fn many_connections(t: &Fs) {
    let clients: Vec<_> = (0..60).map(|_| t.alice.reconnect()).collect();
    for (index, client) in clients.iter().enumerate() {
        client.file(&t.dir, format!("f{index}").as_bytes());
    }
    assert_eq!(t.alice.list(&t.dir).len(), 60);
}

fn null_of_every_program(t: &Fs) {
    for program in [NFS, MOUNT] {
        for auth in [Auth::none(), user(0, 0, &[]), user(7, 7, &[7; 16])] {
            let reply = t.root.with(auth).raw(program, 3, 0, b"");
            assert_eq!(reply, Reply::Success(Vec::new()));
        }
    }
}

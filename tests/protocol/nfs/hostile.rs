//! Arguments that no client would send: every length too large, every byte missing, every choice
//! unknown. The answer is never a success, and the connection lives on.

use super::args::{self, *};
use super::fixture::{Fs, cases};
use super::results::status_of;
use super::rpc::{MOUNT, NFS, Reply};
use super::types::*;
use super::xdr::Args;

cases! {
    every_length_of_4_gigabytes, every_length_a_little_too_large, every_length_of_2_gigabytes,
    arguments_cut_at_every_byte, no_arguments_at_all, every_choice_unknown,
    bytes_behind_the_arguments, random_arguments, arguments_of_one_procedure_for_another,
    padding_that_is_not_zero, mount_paths_of_4_gigabytes, lengths_across_the_whole_range,
}

/// Well-formed calls of every procedure with arguments, none of which would succeed twice by chance.
fn calls(t: &Fs) -> Vec<(u32, Args)> {
    let file = t.alice.file_with(&t.dir, Fs::fresh_name().as_bytes(), b"bytes");
    let (dir, name, f) = (&t.dir, Fs::fresh_name(), &file);
    let n = name.as_bytes();
    let client_times = Sattr {
        mode: Some(0o644),
        uid: Some(1000),
        gid: Some(1000),
        size: Some(3),
        atime: SetTime::Client(1, 2),
        mtime: SetTime::Client(3, 4),
    };
    vec![
        (GETATTR, args::handle(f)),
        (SETATTR, args::setattr(f, &client_times, Some((1, 1)))),
        (LOOKUP, args::entry(dir, n)),
        (ACCESS, args::access(f, A_ALL)),
        (READLINK, args::handle(f)),
        (READ, args::read(f, 0, 10)),
        (WRITE, args::write(f, 0, 5, UNSTABLE, b"hello")),
        (CREATE, args::create(dir, n, &How::Unchecked(client_times))),
        (CREATE, args::create(dir, n, &How::Guarded(client_times))),
        (CREATE, args::create(dir, n, &How::Exclusive([1; 8]))),
        (MKDIR, args::mkdir(dir, n, &client_times)),
        (SYMLINK, args::symlink(dir, n, b"target", &client_times)),
        (MKNOD, args::mknod(dir, n, CHR, &client_times, (1, 3))),
        (MKNOD, args::mknod(dir, n, FIFO, &client_times, (0, 0))),
        (REMOVE, args::entry(dir, n)),
        (RMDIR, args::entry(dir, n)),
        (RENAME, args::rename(dir, n, dir, b"renamed")),
        (LINK, args::link(f, dir, b"linked")),
        (READDIR, args::readdir(dir, 0, [0; 8], 4096)),
        (READDIRPLUS, args::readdirplus(dir, 0, [0; 8], 4096, 8192)),
        (FSSTAT, args::handle(f)),
        (FSINFO, args::handle(f)),
        (PATHCONF, args::handle(f)),
        (COMMIT, args::commit(f, 0, 0)),
    ]
}

/// A connection that still answers.
fn lives(t: &Fs) {
    assert_eq!(t.alice.raw(NFS, 3, NULL, b""), Reply::Success(Vec::new()));
}

fn with_lengths(t: &Fs, length: impl Fn(u32) -> u32) {
    let before = t.alice.attr(&t.dir);
    let calls = calls(t);
    let after_setup = t.alice.attr(&t.dir);
    assert!(after_setup.ctime > before.ctime);
    for (procedure, args) in calls {
        for &at in &args.lengths {
            let mut bytes = args.bytes.clone();
            let field: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
            let wrong = length(u32::from_be_bytes(field)).to_be_bytes();
            bytes[at..at + 4].copy_from_slice(&wrong);
            let reply = t.alice.raw(NFS, 3, procedure, &bytes);
            assert_eq!(reply, Reply::GarbageArguments, "procedure {procedure}, length at {at}");
            lives(t);
        }
    }
    assert_eq!(t.alice.attr(&t.dir), after_setup, "nothing was done");
}

fn every_length_of_4_gigabytes(t: &Fs) {
    for length in [u32::MAX, u32::MAX - 1, u32::MAX - 2, u32::MAX - 3, u32::MAX - 4] {
        with_lengths(t, |_| length);
    }
}

fn every_length_of_2_gigabytes(t: &Fs) {
    for length in [1 << 31, (1 << 31) - 1, (1 << 30) + 1] {
        with_lengths(t, |_| length);
    }
}

fn every_length_a_little_too_large(t: &Fs) {
    with_lengths(t, |length| length + 2000);
}

fn arguments_cut_at_every_byte(t: &Fs) {
    let calls = calls(t);
    let before = t.alice.attr(&t.dir);
    for (procedure, args) in calls {
        for length in 0..args.bytes.len() {
            let reply = t.alice.raw(NFS, 3, procedure, &args.bytes[..length]);
            assert_eq!(reply, Reply::GarbageArguments, "procedure {procedure}, {length} bytes");
        }
    }
    lives(t);
    assert_eq!(t.alice.attr(&t.dir), before, "nothing was done");
}

fn no_arguments_at_all(t: &Fs) {
    for procedure in 1..=21 {
        assert_eq!(t.root.raw(NFS, 3, procedure, b""), Reply::GarbageArguments);
    }
    lives(t);
}

fn every_choice_unknown(t: &Fs) {
    let calls = calls(t);
    let before = t.alice.attr(&t.dir);
    for (procedure, args) in calls {
        for &at in &args.choices {
            for choice in [8_u32, 255, 1 << 31, u32::MAX] {
                let mut bytes = args.bytes.clone();
                bytes[at..at + 4].copy_from_slice(&choice.to_be_bytes());
                match t.alice.raw(NFS, 3, procedure, &bytes) {
                    // MKNOD of an unknown kind may be read as a kind that cannot be made.
                    Reply::Success(body) => {
                        assert_eq!((procedure, status_of(&body)), (MKNOD, BADTYPE));
                    }
                    other => assert_eq!(other, Reply::GarbageArguments, "procedure {procedure}"),
                }
            }
        }
    }
    lives(t);
    assert_eq!(t.alice.attr(&t.dir), before, "nothing was done");
}

fn bytes_behind_the_arguments(t: &Fs) {
    for (procedure, args) in calls(t) {
        let bytes = [&args.bytes[..], &[0xff; 64]].concat();
        match t.alice.raw(NFS, 3, procedure, &bytes) {
            Reply::Success(body) => {
                status_of(&body);
            }
            other => assert_eq!(other, Reply::GarbageArguments),
        }
    }
    lives(t);
}

/// The next of a fixed sequence of numbers that look random (xorshift64).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn random_arguments(t: &Fs) {
    let mut state = 0x1234_5678_9abc_def1;
    for procedure in 1..=21 {
        for _ in 0..40 {
            let length = next(&mut state) as usize % 200;
            let bytes: Vec<u8> = (0..length).map(|_| next(&mut state) as u8).collect();
            let bytes = if next(&mut state).is_multiple_of(2) {
                [args::handle(&t.dir).bytes, bytes].concat()
            } else {
                bytes
            };
            if let Reply::Success(body) = t.bob.raw(NFS, 3, procedure, &bytes) {
                status_of(&body);
            }
        }
    }
    lives(t);
    assert_eq!(t.root.attr(&t.dir).kind, DIR);
}

fn arguments_of_one_procedure_for_another(t: &Fs) {
    for (_, args) in calls(t) {
        for procedure in 1..=21 {
            if let Reply::Success(body) = t.bob.raw(NFS, 3, procedure, &args.bytes) {
                status_of(&body);
            }
        }
    }
    lives(t);
}

fn padding_that_is_not_zero(t: &Fs) {
    let file = t.alice.file(&t.dir, b"name");
    let mut args = args::entry(&t.dir, b"name5").bytes;
    let end = args.len();
    args[end - 3..].fill(0xff);
    match t.alice.raw(NFS, 3, LOOKUP, &args) {
        Reply::Success(body) => assert_eq!(status_of(&body), NOENT),
        other => assert_eq!(other, Reply::GarbageArguments),
    }
    assert_eq!(t.alice.find(&t.dir, b"name"), file);
}

fn mount_paths_of_4_gigabytes(t: &Fs) {
    for procedure in [1, 3] {
        for length in [u32::MAX, 1 << 31, 1025] {
            let args = Args::new().u32(length).fixed(b"/t");
            let reply = t.root.raw(MOUNT, 3, procedure, &args.bytes);
            assert_eq!(reply, Reply::GarbageArguments);
        }
        assert_eq!(t.root.raw(MOUNT, 3, procedure, b""), Reply::GarbageArguments);
        assert_eq!(t.root.raw(MOUNT, 3, procedure, b"\0\0"), Reply::GarbageArguments);
    }
    lives(t);
}

fn lengths_across_the_whole_range(t: &Fs) {
    let handle = args::handle(&t.dir).bytes;
    for shift in 0..32 {
        let length = 1_u32 << shift;
        let bytes = [&length.to_be_bytes()[..], &handle[4..]].concat();
        match t.alice.raw(NFS, 3, GETATTR, &bytes) {
            Reply::Success(body) => assert_eq!(status_of(&body), BADHANDLE),
            other => assert_eq!(other, Reply::GarbageArguments),
        }
    }
    lives(t);
}

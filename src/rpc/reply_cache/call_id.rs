//! What makes two calls of one client the same.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::rpc::message::CallHeader;
use crate::types::Replay;

/// Arguments of up to this length are covered by the checksum as a whole: those of every call but WRITE, as
/// long as names and targets are not too long anyway.
const WHOLE_BYTES: usize = 8 << 10;
/// The first and last bytes of longer arguments that the checksum covers. Before WRITE's data are at most 88
/// bytes (RFC 1813 section 3.3.7), behind it at most 3, so that 256 bytes of data and more are among each.
const EDGE_BYTES: usize = 512;

/// A call's header and arguments. The stamp of AUTH_SYS is not in it: clients may change it with every copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::rpc) struct CallId {
    xid: u32,
    program: u32,
    version: u32,
    procedure: u32,
    /// uid and gid under AUTH_SYS.
    user: Option<(u32, u32)>,
    machine: u64,
    length: usize,
    checksum: u32,
}

impl CallId {
    /// `arguments` are all of them, undecoded.
    pub(super) fn new(machines: &RandomState, header: &CallHeader, arguments: &[u8]) -> Self {
        Self {
            xid: header.xid,
            program: header.program,
            version: header.version,
            procedure: header.procedure,
            user: header.identity.credentials.as_ref().map(|sent| (sent.uid, sent.gid)),
            machine: machines.hash_one(&header.identity.machine[..]),
            length: arguments.len(),
            checksum: checksum(arguments),
        }
    }
}

/// What the same call has in every process. Only the arguments of WRITE are longer than what is covered.
pub(super) fn replay(peer: SocketAddr, header: &CallHeader, arguments: &[u8]) -> Replay {
    let mut address = Sha256::new();
    match peer.ip() {
        IpAddr::V4(ip) => address.update(ip.to_ipv6_mapped().octets()),
        IpAddr::V6(ip) => address.update(ip.octets()),
    }
    address.update(peer.port().to_be_bytes());
    let mut call = address.clone();
    for number in [header.xid, header.program, header.version, header.procedure] {
        call.update(number.to_be_bytes());
    }
    match &header.identity.credentials {
        Some(sent) => {
            call.update([1]);
            call.update(sent.uid.to_be_bytes());
            call.update(sent.gid.to_be_bytes());
        }
        None => call.update([0]),
    }
    let machine = &header.identity.machine[..];
    call.update((machine.len() as u64).to_be_bytes());
    call.update(machine);
    call.update((arguments.len() as u64).to_be_bytes());
    call.update(arguments);
    let (peer, key) = (first_bytes(address), first_bytes(call));
    Replay {
        key: Uuid::from_bytes(key),
        peer: i64::from_be_bytes(first_half(peer)),
        may_be_repeat: false,
        looks_first: false,
    }
}

fn first_bytes(hash: Sha256) -> [u8; 16] {
    let digest = hash.finalize();
    std::array::from_fn(|at| digest[at])
}

fn first_half(bytes: [u8; 16]) -> [u8; 8] {
    std::array::from_fn(|at| bytes[at])
}

fn checksum(arguments: &[u8]) -> u32 {
    if arguments.len() <= WHOLE_BYTES {
        return crc32fast::hash(arguments);
    }
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&arguments[..EDGE_BYTES]);
    checksum.update(&arguments[arguments.len() - EDGE_BYTES..]);
    checksum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a change of one byte at `position` of `length` changes the checksum.
    fn covers(length: usize, position: usize) -> bool {
        let arguments = vec![0x5a; length];
        let mut other = arguments.clone();
        other[position] ^= 1;
        checksum(&arguments) != checksum(&other)
    }

    #[test]
    fn small_arguments_are_covered_whole() {
        // A symbolic link with a long name and a long target.
        let length = 68 + 260 + 60 + 4 + 4096;
        assert!((0..length).all(|position| covers(length, position)));
        assert!(covers(WHOLE_BYTES, WHOLE_BYTES / 2));
    }

    #[test]
    fn of_a_large_write_offset_length_and_both_ends_of_the_data_are_covered() {
        for padding in 0..4 {
            let (data, handle) = ((1 << 20) - padding, 4 + 64);
            let before = handle + 8 + 4 + 4 + 4;
            let length = before + data + padding;
            let covered = (0..before + 256).chain(before + data - 256..before + data);
            assert!(covered.step_by(7).all(|position| covers(length, position)));
            assert!(covers(length, before) && covers(length, before + 255));
            assert!(covers(length, before + data - 256) && covers(length, before + data - 1));
        }
    }
}

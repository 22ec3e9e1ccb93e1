//! Files of a share, as a client has them: made, written, read, cut and removed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::client::{Call, Connection, Reader, Writer};
use super::scene::{NFS, of, ok, root};

/// The most bytes of a call.
const PIECE: usize = 256 << 10;

/// A client of the share `/e`, and what its files must hold.
pub(crate) struct Files {
    connection: Connection,
    top: Vec<u8>,
    /// By name: the handle, and the bytes.
    pub(crate) kept: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
}

impl Files {
    pub(crate) async fn open(server: SocketAddr) -> Self {
        let mut connection = Connection::open(server).await;
        let top = root(&mut connection).await;
        Self { connection, top, kept: BTreeMap::new() }
    }

    /// The same files on another server: handles outlive it.
    pub(crate) async fn go_on(self, server: SocketAddr) -> Self {
        Self { connection: Connection::open(server).await, ..self }
    }

    /// CREATE, UNCHECKED, and a WRITE that is stable.
    pub(crate) async fn make(&mut self, name: &str, bytes: &[u8]) {
        let arguments = of(&self.top).opaque(name.as_bytes()).u32(0);
        let arguments = arguments.u32(1).u32(0o700).u32(0).u32(0).u32(0).u32(0).u32(0);
        let mut made = ok(&mut self.connection, 8, arguments).await;
        assert_eq!(made.u32(), 1, "a handle follows");
        let handle = made.opaque();
        self.kept.insert(name.to_owned(), (handle, Vec::new()));
        self.write(name, 0, bytes).await;
    }

    /// WRITE, FILE_SYNC.
    pub(crate) async fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) {
        let (handle, kept) = self.kept.get_mut(name).unwrap();
        for (number, piece) in bytes.chunks(PIECE).enumerate() {
            let at = (offset + number * PIECE) as u64;
            let arguments = of(handle).u64(at).u32(piece.len() as u32).u32(2).opaque(piece);
            ok(&mut self.connection, 7, arguments).await;
        }
        kept.resize(kept.len().max(offset + bytes.len()), 0);
        kept[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// SETATTR of the size.
    pub(crate) async fn resize(&mut self, name: &str, size: usize) {
        let (handle, kept) = self.kept.get_mut(name).unwrap();
        let arguments = of(handle).u32(0).u32(0).u32(0).u32(1).u64(size as u64);
        ok(&mut self.connection, 2, arguments.u32(0).u32(0).u32(0)).await;
        kept.resize(size, 0);
    }

    /// REMOVE.
    pub(crate) async fn remove(&mut self, name: &str) {
        ok(&mut self.connection, 12, of(&self.top).opaque(name.as_bytes())).await;
        self.kept.remove(name).unwrap();
    }

    /// READ: the status, and what follows it.
    pub(crate) async fn read(&mut self, name: &str, offset: usize) -> (u32, Reader) {
        let handle = &self.kept[name].0;
        let arguments: Writer = of(handle).u64(offset as u64).u32(PIECE as u32);
        let call = Call::new(NFS, 3, 6).arguments(arguments);
        let mut results = self.connection.call(call).await.results();
        (results.u32(), results)
    }

    /// Every file has every byte that it must have, and not one more.
    pub(crate) async fn all_there(&mut self) {
        let names: Vec<_> = self.kept.keys().cloned().collect();
        for name in names {
            let mut found = Vec::new();
            loop {
                let (status, mut read) = self.read(&name, found.len()).await;
                assert_eq!(status, 0, "nfsstat3 of reading {name}");
                assert_eq!(read.u32(), 1, "attributes follow");
                read.fixed(84);
                read.u32();
                let eof = read.u32() == 1;
                found.extend(read.opaque());
                if eof {
                    break;
                }
            }
            let expected = &self.kept[&name].1;
            assert_eq!(found.len(), expected.len(), "{name}");
            assert!(found == *expected, "{name} has other bytes");
        }
    }
}

/// `length` bytes, none of them zero, that differ between seeds.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9).wrapping_add(seed.wrapping_mul(77)) >> 7) as u8 | 1)
        .collect()
}

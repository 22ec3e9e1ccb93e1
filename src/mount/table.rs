//! Who mounted what, for DUMP. It is a hint and nothing rests on it: clients that go without UMNT stay in
//! it, and it does not outlive the process.

use std::collections::VecDeque;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::xdr::Encoder;

/// The most mounts that are remembered; the oldest goes first.
const MAX_MOUNTS: usize = 1024;

#[derive(Debug, PartialEq, Eq)]
struct MountEntry {
    client: IpAddr,
    path: Box<[u8]>,
}

/// The mounts, the oldest first.
#[derive(Debug, Default)]
pub(super) struct MountTable {
    mounts: Mutex<VecDeque<MountEntry>>,
}

impl MountTable {
    /// Notes a mount.
    pub(super) fn add(&self, client: IpAddr, path: &[u8]) {
        let entry = MountEntry { client: client.to_canonical(), path: path.into() };
        let mut mounts = self.mounts.lock();
        mounts.retain(|known| *known != entry);
        if mounts.len() >= MAX_MOUNTS {
            mounts.pop_front();
        }
        mounts.push_back(entry);
    }

    /// Forgets a mount.
    pub(super) fn remove(&self, client: IpAddr, path: &[u8]) {
        let client = client.to_canonical();
        self.mounts.lock().retain(|entry| entry.client != client || *entry.path != *path);
    }

    /// Forgets a client's mounts.
    pub(super) fn remove_all(&self, client: IpAddr) {
        let client = client.to_canonical();
        self.mounts.lock().retain(|entry| entry.client != client);
    }

    /// Writes DUMP's results (mountlist).
    pub(super) fn dump(&self, reply: &mut Encoder) {
        for entry in self.mounts.lock().iter() {
            reply.boolean(true);
            reply.opaque(entry.client.to_string().as_bytes());
            reply.opaque(&entry.path);
        }
        reply.boolean(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(table: &MountTable) -> Vec<(String, String)> {
        let mounts = table.mounts.lock();
        let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        mounts.iter().map(|entry| (entry.client.to_string(), text(&entry.path))).collect()
    }

    #[test]
    fn a_mount_is_listed_once_until_it_is_taken_back() {
        let table = MountTable::default();
        let (one, mapped, other) = ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2");
        let ip = |text: &str| text.parse().unwrap();
        table.add(ip(one), b"/a");
        table.add(ip(mapped), b"/a");
        table.add(ip(one), b"/b");
        table.add(ip(other), b"/a");
        assert_eq!(paths(&table).len(), 3);
        table.remove(ip(mapped), b"/a");
        assert_eq!(paths(&table), [(one.into(), "/b".into()), (other.into(), "/a".into())]);
        table.remove_all(ip(one));
        assert_eq!(paths(&table), [(other.into(), "/a".into())]);
    }

    #[test]
    fn the_list_is_bounded() {
        let table = MountTable::default();
        for number in 0..=MAX_MOUNTS {
            table.add("10.0.0.1".parse().unwrap(), format!("/{number}").as_bytes());
        }
        let paths = paths(&table);
        assert_eq!(paths.len(), MAX_MOUNTS);
        assert_eq!(paths[0].1, "/1");
    }
}

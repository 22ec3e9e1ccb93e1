//! Processor time of a server on the same machine, from proc(5).

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Clock ticks a second in proc(5): USER_HZ, which is 100 on every architecture that this runs on.
const TICKS: u64 = 100;

/// Processes whose time is counted, with their children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processes {
    roots: BTreeSet<u32>,
}

impl Processes {
    /// The processes of these ids.
    #[must_use]
    pub fn of(ids: &[u32]) -> Self {
        Self { roots: ids.iter().copied().collect() }
    }

    /// This process.
    #[must_use]
    pub fn own() -> Self {
        Self::of(&[std::process::id()])
    }

    /// Those that listen on an address of this machine; `None` where there are none, or they may not be seen.
    #[must_use]
    pub fn listening_on(address: SocketAddr) -> Option<Self> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let tables = tables.into_iter().flatten();
        let sockets: BTreeSet<_> = tables.flat_map(|table| listeners(&table, address)).collect();
        let roots: BTreeSet<_> = process_ids().filter(|id| has_one_of(*id, &sockets)).collect();
        (!roots.is_empty()).then_some(Self { roots })
    }

    /// The processor time that they, and their children, have used so far; `None` where one cannot be seen
    /// any more.
    #[must_use]
    pub fn used(&self) -> Option<Duration> {
        let all: HashMap<u32, Stat> =
            process_ids().filter_map(|id| Some((id, stat(id)?))).collect();
        if !self.roots.iter().all(|root| all.contains_key(root)) {
            return None;
        }
        let is_counted = |id: u32| {
            let mut id = id;
            // A chain of parents is short; the bound is for one that changes while it is read.
            for _ in 0..64 {
                if self.roots.contains(&id) {
                    return true;
                }
                let Some(stat) = all.get(&id) else { return false };
                id = stat.parent;
            }
            false
        };
        let ticks: u64 =
            all.iter().filter(|(id, _)| is_counted(**id)).map(|(_, stat)| stat.ticks).sum();
        Some(Duration::from_millis(ticks * 1000 / TICKS))
    }
}

fn process_ids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process in /proc/PID/stat.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time, and that of children that have ended.
    ticks: u64,
}

fn stat(id: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The command's name may have blanks and parentheses.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = (11..=14).map(number).sum::<Option<u64>>()?;
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, ticks })
}

/// The inodes of the sockets of a table that listen on the address.
fn listeners(table: &str, address: SocketAddr) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let rows = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let ip = parse_ip(ip)?;
        let is_meant = ip.is_unspecified() || ip == address.ip().to_canonical();
        let listens = *fields.get(3)? == LISTEN && port == address.port() && is_meant;
        if listens { fields.get(9)?.parse().ok() } else { None }
    });
    rows.collect()
}

/// An address as proc(5) has it: words of four bytes, each in the machine's order.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(sixteen)).to_canonical())
}

fn has_one_of(id: u32, sockets: &BTreeSet<u64>) -> bool {
    let open = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| {
        let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
        inode
            .and_then(|inode| inode.parse().ok())
            .is_some_and(|inode: u64| sockets.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_no_field() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 0 1 2 3 4 50 60 7 8 20 0 1 0 9\n";
        assert_eq!(parse_stat(text), Some(Stat { parent: 3, ticks: 50 + 60 + 7 + 8 }));
        assert_eq!(parse_stat("7 (a) S 3"), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_sockets_are_found_by_address_and_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2F11 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1
   1: 0100007F:2F11 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 12 1
   2: 00000000:2F11 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1
   3: 0200007F:2F11 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1";
        assert_eq!(listeners(table, "127.0.0.1:12049".parse().unwrap()), [11, 13]);
        assert!(listeners(table, "127.0.0.1:12048".parse().unwrap()).is_empty());
        let six = "head\n 0: 0000000000000000FFFF00000100007F:0001 0:0 0A 0:0 0:0 0 0 0 15 1";
        assert_eq!(listeners(six, "127.0.0.1:1".parse().unwrap()), [15]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_found_by_what_it_listens_on() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = Processes::listening_on(listener.local_addr().unwrap()).unwrap();
        assert_eq!(found, Processes::own());
        assert!(found.used().is_some());
        assert_eq!(Processes::of(&[u32::MAX]).used(), None);
    }
}

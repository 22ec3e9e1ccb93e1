//! What a full cache takes, as the allocator gives it.

use std::hash::RandomState;

use super::two_generations::TwoGenerationMap;
use super::*;
use crate::allocations::held;
use crate::metadata::{RootSpec, rules};
use crate::types::{Fileid, Fsid, MAX_NAME_BYTES, Timestamp};

const PAGE: usize = 1000;

/// A name of `length` bytes, which differs from that of every other number.
fn name(number: usize, length: usize) -> Name {
    let text = format!("{number:0>length$}");
    Name::parse(&text.as_bytes()[text.len() - length..]).unwrap()
}

fn object() -> Attributes {
    let spec = RootSpec { uid: 0, gid: 0, mode: 0o755 };
    rules::root(ObjectId::generate(), Fileid(1), Fsid(1), spec, Timestamp(1))
}

/// The most bytes that were held beyond those of before.
struct Most {
    before: usize,
    bytes: usize,
}

impl Most {
    fn look(&mut self) {
        self.bytes = self.bytes.max(held() - self.before);
    }
}

/// Lists a directory of `entries` objects, by pages.
fn list(cache: &Cache, entries: usize, length: usize, most: &mut Most) {
    let directory = object();
    for start in (0..entries).step_by(PAGE) {
        let entry = |number| {
            let object = object();
            DirectoryEntry {
                cookie: Cookie(number as u64 + 3),
                name: name(number, length),
                fileid: object.fileid,
                object: object.id,
                attributes: Some(object),
            }
        };
        let end = entries.min(start + PAGE);
        let page = Page {
            directory: directory.clone(),
            parent_fileid: Fileid(1),
            entries: (start..end).map(entry).collect(),
            eof: end == entries,
        };
        cache.keep_page(cache.since(), Cookie(start as u64 + 2), &page);
        drop(page);
        most.look();
    }
}

/// Objects, entries, links and listings, more of each than there is room for.
fn fill(cache: &Cache, length: usize, most: &mut Most) {
    let directory = object();
    for number in 0..KEPT + GENERATION {
        let child = object();
        let found = Lookup { directory: directory.clone(), object: Some(child.clone()) };
        cache.keep_lookup(cache.since(), &name(number, length), &found);
        let target = SymlinkTarget::parse(&vec![b't'; length]).unwrap();
        cache.keep_link(cache.since(), &Link { attributes: child, target });
        most.look();
    }
    // Long directories, then as many of middle length, then short ones.
    for (entries, all) in [(20_000, KEPT), (1000, KEPT + GENERATION), (1, GENERATION)] {
        for _ in 0..all / entries {
            list(cache, entries, length, most);
        }
    }
}

#[test]
fn a_full_cache_takes_no_more_than_is_said() {
    for length in [6, 90, MAX_NAME_BYTES] {
        let mut most = Most { before: held(), bytes: 0 };
        let cache = Cache::default();
        fill(&cache, length, &mut most);
        println!("names of {length} bytes: {} KiB", most.bytes >> 10);
        assert!(most.bytes <= MOST_BYTES, "{} bytes with names of {length}", most.bytes);
        let kept = &cache.state.read().asked;
        assert!(kept.objects.len() >= GENERATION, "there is room for as many as is said");
        assert!(length > 90 || kept.entries.len() >= GENERATION);
    }
}

#[test]
fn a_map_whose_keys_come_and_go_keeps_its_table() {
    let mut map = TwoGenerationMap::<usize, [u64; 16], RandomState>::new(KEPT);
    let before = held();
    let mut most = 0;
    for number in 0..6 * KEPT {
        map.put(number, [0; 16]);
        // Every other key goes while its generation is the newer one.
        if number % 2 == 1 {
            map.remove(&(number - 100.min(number)));
        }
        most = most.max(held() - before);
    }
    assert!(most < 3 * GENERATION * size_of::<[u64; 18]>(), "{most}");
}

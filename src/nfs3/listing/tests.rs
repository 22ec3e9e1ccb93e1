//! The cutting of pages, byte by byte.

use super::*;
use crate::nfs3::status::{Verdict, verdict};
use crate::types::{DeviceNumbers, FileType, Fsid, Name, ShareName, Timestamp};
use crate::xdr::Decoder;

fn attributes(fileid: u64, parent: Option<ObjectId>) -> Attributes {
    Attributes {
        id: ObjectId::generate(),
        fileid: Fileid(fileid),
        fsid: Fsid(1),
        file_type: if parent.is_some() { FileType::Directory } else { FileType::Fifo },
        mode: 0o755,
        nlink: 1,
        uid: 1,
        gid: 1,
        size: 0,
        used: 0,
        atime: Timestamp(0),
        mtime: Timestamp(0),
        ctime: Timestamp(0),
        rdev: DeviceNumbers::default(),
        content: None,
        mtime_version: 0,
        parent,
    }
}

/// A directory whose entries have names of these lengths.
struct Directory {
    handle: FileHandle,
    attributes: Attributes,
    entries: Vec<DirectoryEntry>,
}

impl Directory {
    fn new(name_lengths: impl IntoIterator<Item = usize>) -> Self {
        let attributes = attributes(100, Some(ObjectId::generate()));
        let share = ShareName::parse("/export").unwrap();
        Self {
            handle: FileHandle { share, object: attributes.id },
            entries: (3..).zip(name_lengths).map(|(at, length)| entry(at, length)).collect(),
            attributes,
        }
    }

    /// What a store answers.
    fn page(&self, after: Cookie, max_entries: usize, plus: bool) -> Page {
        let mut rest = self.entries.iter().filter(|entry| entry.cookie > after);
        let mut entries: Vec<_> = rest.by_ref().take(max_entries).cloned().collect();
        if !plus {
            entries.iter_mut().for_each(|entry| entry.attributes = None);
        }
        let eof = rest.next().is_none();
        Page { directory: self.attributes.clone(), parent_fileid: Fileid(99), entries, eof }
    }

    fn list(&self, after: u64, form: Form, limits: Limits) -> Result<Listing, Failure> {
        let most = limits.most_entries(form, self.handle.to_wire().len());
        let page = self.page(Cookie(after), most, form == Form::Plus);
        let done = ReadDirDone { page, searchable: true };
        Listing::cut(&self.handle, Cookie(after), done, form, limits)
    }
}

fn entry(cookie: u64, name_bytes: usize) -> DirectoryEntry {
    let attributes = attributes(cookie + 1000, None);
    DirectoryEntry {
        cookie: Cookie(cookie),
        name: Name::parse(&vec![b'n'; name_bytes]).unwrap(),
        fileid: attributes.fileid,
        object: attributes.id,
        attributes: Some(attributes),
    }
}

fn encoded(listing: Listing) -> bytes::Bytes {
    let mut reply = Encoder::new();
    listing.put(&mut reply);
    reply.finish().segments().concat().into()
}

/// What a client reads from a page.
#[derive(Debug, PartialEq)]
struct Read {
    cookies: Vec<u64>,
    eof: bool,
    /// Bytes of the page, and of its entries without handles and attributes.
    page_bytes: usize,
    names_bytes: usize,
}

fn read(page: bytes::Bytes, form: Form) -> Read {
    let mut read = Read { cookies: vec![], eof: false, page_bytes: page.len(), names_bytes: 0 };
    let mut decoder = Decoder::new(page);
    assert!(decoder.boolean().unwrap());
    decoder.fixed::<FATTR3_BYTES>().unwrap();
    assert_eq!(decoder.fixed::<8>().unwrap(), COOKIE_VERIFIER);
    while decoder.boolean().unwrap() {
        decoder.u64().unwrap();
        let name = decoder.opaque(255).unwrap();
        read.cookies.push(decoder.u64().unwrap());
        read.names_bytes += 4 + 8 + 4 + name.len().next_multiple_of(4) + 8;
        if form == Form::Plus {
            if decoder.boolean().unwrap() {
                decoder.fixed::<FATTR3_BYTES>().unwrap();
            }
            if decoder.boolean().unwrap() {
                FileHandle::parse(&decoder.opaque(64).unwrap()).unwrap();
            }
        }
    }
    read.eof = decoder.boolean().unwrap();
    assert_eq!(decoder.remaining(), 0);
    read
}

fn is_too_small(failure: &Failure) -> bool {
    let Verdict::Status(status) = verdict(failure.error()) else { return false };
    matches!(status, nfsserve::nfs::nfsstat3::NFS3ERR_TOOSMALL)
}

const NAME_LENGTHS: [usize; 7] = [1, 4, 5, 30, 255, 2, 17];

/// A page of every size is as long as it may be and no longer.
fn pages_of_every_size_are_full(form: Form) {
    let directory = Directory::new(NAME_LENGTHS);
    let all = usize::try_from(MAX_PAGE_BYTES).unwrap();
    let everything = directory.list(0, form, Limits { page: all, names: all }).unwrap();
    let whole = read(encoded(everything), form);
    assert_eq!(whole.cookies, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(whole.eof);
    let mut seen = 0;
    for limit in 0..=whole.page_bytes {
        match directory.list(0, form, Limits { page: limit, names: all }) {
            Err(failure) => {
                assert!(is_too_small(&failure) && seen == 0, "{limit}");
            }
            Ok(listing) => {
                let page = read(encoded(listing), form);
                assert!(page.page_bytes <= limit);
                let grown = page.cookies.len() - seen;
                // Where an entry more is there, it could not have been with a byte less.
                assert!(grown == 0 || page.page_bytes == limit, "{limit}: {page:?}");
                assert!(grown <= 1 && !page.cookies.is_empty());
                assert_eq!(page.eof, page == whole);
                seen = page.cookies.len();
            }
        }
    }
    assert_eq!(seen, whole.cookies.len());
}

#[test]
fn readdir_obeys_count_to_the_byte() {
    pages_of_every_size_are_full(Form::Names);
}

#[test]
fn readdirplus_obeys_maxcount_to_the_byte() {
    pages_of_every_size_are_full(Form::Plus);
}

#[test]
fn readdirplus_obeys_dircount_to_the_byte_behind_the_first_entry() {
    let directory = Directory::new(NAME_LENGTHS);
    let mut seen = 0;
    for limit in 0..600 {
        let listing = directory.list(0, Form::Plus, Limits { page: 1 << 16, names: limit });
        let page = read(encoded(listing.unwrap()), Form::Plus);
        let grown = page.cookies.len() - seen;
        if seen == 0 {
            assert_eq!((limit, page.cookies.len()), (0, 1));
        } else {
            assert!(page.names_bytes <= limit || page.cookies.len() == 1, "{limit}: {page:?}");
            assert!(grown == 0 || page.names_bytes == limit, "{limit}: {page:?}");
        }
        seen = page.cookies.len();
    }
    assert_eq!(seen, 9);
}

#[test]
fn every_entry_is_reached_with_a_dircount_for_none() {
    let directory = Directory::new(NAME_LENGTHS);
    for names in [0, 1, 27] {
        let limits = Limits { page: 1 << 12, names };
        for after in 0..9 {
            let page =
                read(encoded(directory.list(after, Form::Plus, limits).unwrap()), Form::Plus);
            assert_eq!((page.cookies, page.eof), (vec![after + 1], after == 8), "{names}");
        }
        let full = Limits { page: EMPTY_PAGE_BYTES + 27, names };
        assert!(is_too_small(&directory.list(3, Form::Plus, full).unwrap_err()));
    }
}

#[test]
fn scans_from_page_to_page_show_every_entry_once() {
    let directory = Directory::new((0..200).map(|number| number * 7 % 255 + 1));
    for form in [Form::Names, Form::Plus] {
        for limit in [600, 601, 1000, 4096, 8192] {
            let limits = Limits { page: limit, names: limit };
            let (mut after, mut cookies) = (0, Vec::new());
            loop {
                let page = read(encoded(directory.list(after, form, limits).unwrap()), form);
                cookies.extend(&page.cookies);
                if page.eof {
                    break;
                }
                after = *cookies.last().unwrap();
            }
            assert_eq!(cookies, (1..=202).collect::<Vec<u64>>(), "{form:?} {limit}");
        }
    }
}

#[test]
fn one_question_to_the_store_is_always_enough() {
    let directory = Directory::new((0..4000).map(|_| 1));
    for form in [Form::Names, Form::Plus] {
        let limits = Limits::of_readdirplus(1 << 16, 1 << 16);
        let most = limits.most_entries(form, directory.handle.to_wire().len());
        let shown = directory.list(2, form, limits).unwrap().count;
        assert_eq!(shown, most, "{form:?}");
        assert!(most < 2400);
    }
}

#[test]
fn the_end_needs_room_for_the_page_only() {
    let directory = Directory::new([]);
    let at = |page| directory.list(2, Form::Names, Limits { page, names: 0 });
    assert!(is_too_small(&at(EMPTY_PAGE_BYTES - 1).unwrap_err()));
    let page = read(encoded(at(EMPTY_PAGE_BYTES).unwrap()), Form::Names);
    assert_eq!((page.cookies.len(), page.eof, page.page_bytes), (0, true, EMPTY_PAGE_BYTES));
}

#[test]
fn what_is_too_large_is_clipped() {
    let limits = Limits::of_readdirplus(u32::MAX, u32::MAX);
    assert_eq!((limits.page, limits.names), (256 << 10, 256 << 10));
    assert!(limits.most_entries(Form::Names, 32) < 10_000);
    assert_eq!(Limits::of_readdir(0).most_entries(Form::Plus, 32), 1);
}

#[test]
fn dots_have_the_directorys_and_its_parents_number() {
    let mut directory = Directory::new([]);
    let limits = Limits::of_readdir(4096);
    let numbers = |listing: Listing| -> Vec<(u64, bool, bool)> {
        let known = |it: ListingEntry| (it.fileid.0, it.object.is_some(), it.attributes.is_some());
        listing.entries().take(listing.count).map(known).collect()
    };
    let names = directory.list(0, Form::Names, limits).unwrap();
    assert_eq!(numbers(names), [(100, false, false), (99, false, false)]);
    let plus = directory.list(0, Form::Plus, limits).unwrap();
    assert_eq!(numbers(plus), [(100, true, true), (99, true, false)]);
    directory.attributes.parent = Some(directory.attributes.id);
    let root = directory.list(1, Form::Plus, limits).unwrap();
    assert_eq!(numbers(root), [(99, true, true)]);
}

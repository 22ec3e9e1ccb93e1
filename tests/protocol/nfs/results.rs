//! The results of NFSv3's procedures (RFC 1813 section 3.3), read strictly: each reader takes a
//! whole body and leaves nothing.

use super::types::{Attr, Handle, OK, Status, Time, Wcc};
use super::xdr::Results;

/// Longest handle (NFS3_FHSIZE).
const HANDLE: usize = 64;

fn status(results: &mut Results) -> Status {
    let status = Status(results.u32());
    assert!(status.is_known(), "{status:?}");
    status
}

fn read_handle(results: &mut Results) -> Handle {
    let handle = results.opaque(HANDLE);
    assert!(!handle.is_empty(), "a handle has bytes");
    handle
}

/// Results whose only content is a status and wcc_data: SETATTR, REMOVE, RMDIR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) status: Status,
    pub(crate) wcc: Wcc,
}

pub(crate) fn changed(body: &[u8]) -> Changed {
    let mut results = Results::new(body);
    let changed = Changed { status: status(&mut results), wcc: Wcc::read(&mut results) };
    results.finish();
    changed
}

pub(crate) fn getattr(body: &[u8]) -> Result<Attr, Status> {
    let mut results = Results::new(body);
    let answer = match status(&mut results) {
        OK => Ok(Attr::read(&mut results)),
        refused => Err(refused),
    };
    results.finish();
    answer
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub(crate) status: Status,
    pub(crate) handle: Option<Handle>,
    pub(crate) object: Option<Attr>,
    pub(crate) directory: Option<Attr>,
}

pub(crate) fn lookup(body: &[u8]) -> Lookup {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let (handle, object) = match status {
        OK => (Some(read_handle(&mut results)), results.optional(Attr::read)),
        _ => (None, None),
    };
    let directory = results.optional(Attr::read);
    results.finish();
    Lookup { status, handle, object, directory }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) status: Status,
    pub(crate) object: Option<Attr>,
    pub(crate) granted: u32,
}

pub(crate) fn access(body: &[u8]) -> Access {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let object = results.optional(Attr::read);
    let granted = if status == OK { results.u32() } else { 0 };
    results.finish();
    Access { status, object, granted }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readlink {
    pub(crate) status: Status,
    pub(crate) link: Option<Attr>,
    pub(crate) target: Vec<u8>,
}

pub(crate) fn readlink(body: &[u8]) -> Readlink {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let link = results.optional(Attr::read);
    let target = if status == OK { results.opaque(4095) } else { Vec::new() };
    results.finish();
    Readlink { status, link, target }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) status: Status,
    pub(crate) file: Option<Attr>,
    pub(crate) eof: bool,
    pub(crate) data: Vec<u8>,
}

pub(crate) fn read(body: &[u8]) -> Read {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let file = results.optional(Attr::read);
    let (mut eof, mut data) = (false, Vec::new());
    if status == OK {
        let count = results.u32() as usize;
        eof = results.boolean();
        data = results.opaque(1 << 20);
        assert_eq!(count, data.len(), "count says how much data there is");
    }
    results.finish();
    Read { status, file, eof, data }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) status: Status,
    pub(crate) wcc: Wcc,
    pub(crate) count: u32,
    pub(crate) committed: u32,
    pub(crate) verifier: [u8; 8],
}

pub(crate) fn write(body: &[u8]) -> Written {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let wcc = Wcc::read(&mut results);
    let mut written = Written { status, wcc, count: 0, committed: 0, verifier: [0; 8] };
    if status == OK {
        written.count = results.u32();
        written.committed = results.u32();
        written.verifier = results.fixed8();
        assert!(written.committed <= 2, "{written:?}");
    }
    results.finish();
    written
}

/// CREATE, MKDIR, SYMLINK, MKNOD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Created {
    pub(crate) status: Status,
    pub(crate) handle: Option<Handle>,
    pub(crate) object: Option<Attr>,
    pub(crate) wcc: Wcc,
}

impl Created {
    pub(crate) fn handle(&self) -> Handle {
        assert_eq!(self.status, OK);
        self.handle.clone().expect("a handle of what was made")
    }

    pub(crate) fn object(&self) -> &Attr {
        assert_eq!(self.status, OK);
        self.object.as_ref().expect("attributes of what was made")
    }
}

pub(crate) fn created(body: &[u8]) -> Created {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let (mut handle, mut object) = (None, None);
    if status == OK {
        handle = results.optional(read_handle);
        object = results.optional(Attr::read);
    }
    let wcc = Wcc::read(&mut results);
    results.finish();
    Created { status, handle, object, wcc }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renamed {
    pub(crate) status: Status,
    pub(crate) from: Wcc,
    pub(crate) to: Wcc,
}

pub(crate) fn rename(body: &[u8]) -> Renamed {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let renamed = Renamed { status, from: Wcc::read(&mut results), to: Wcc::read(&mut results) };
    results.finish();
    renamed
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linked {
    pub(crate) status: Status,
    pub(crate) object: Option<Attr>,
    pub(crate) directory: Wcc,
}

pub(crate) fn link(body: &[u8]) -> Linked {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let object = results.optional(Attr::read);
    let linked = Linked { status, object, directory: Wcc::read(&mut results) };
    results.finish();
    linked
}

/// An entry of READDIR or READDIRPLUS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) fileid: u64,
    pub(crate) name: Vec<u8>,
    pub(crate) cookie: u64,
    pub(crate) attr: Option<Attr>,
    pub(crate) handle: Option<Handle>,
    /// Bytes of the entry in the reply, the word in front of it included.
    pub(crate) bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) status: Status,
    pub(crate) directory: Option<Attr>,
    pub(crate) verifier: [u8; 8],
    pub(crate) entries: Vec<Entry>,
    pub(crate) eof: bool,
    /// Bytes of READDIR3resok or READDIRPLUS3resok: what `count` and `maxcount` bound.
    pub(crate) bytes: usize,
}

impl Listing {
    pub(crate) fn names(&self) -> Vec<Vec<u8>> {
        self.entries.iter().map(|entry| entry.name.clone()).collect()
    }

    /// Bytes of directory information as RFC 1813 counts them for `dircount`, at the least:
    /// fileid, name and cookie of every entry.
    pub(crate) fn information(&self) -> usize {
        let bytes = |entry: &Entry| 20 + entry.name.len().next_multiple_of(4);
        self.entries.iter().map(bytes).sum()
    }
}

fn listing(body: &[u8], plus: bool) -> Listing {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let bytes = results.left();
    let directory = results.optional(Attr::read);
    let mut listing =
        Listing { status, directory, verifier: [0; 8], entries: Vec::new(), eof: false, bytes };
    if status == OK {
        listing.verifier = results.fixed8();
        loop {
            let start = results.left();
            if !results.boolean() {
                break;
            }
            let (fileid, name) = (results.u64(), results.opaque(255));
            let mut entry =
                Entry { fileid, name, cookie: results.u64(), attr: None, handle: None, bytes: 0 };
            if plus {
                entry.attr = results.optional(Attr::read);
                entry.handle = results.optional(read_handle);
            }
            entry.bytes = start - results.left();
            assert!(!entry.name.is_empty(), "an entry has a name");
            listing.entries.push(entry);
        }
        listing.eof = results.boolean();
    }
    results.finish();
    listing
}

pub(crate) fn readdir(body: &[u8]) -> Listing {
    listing(body, false)
}

pub(crate) fn readdirplus(body: &[u8]) -> Listing {
    listing(body, true)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fsstat {
    pub(crate) object: Option<Attr>,
    pub(crate) total_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) available_bytes: u64,
    pub(crate) total_files: u64,
    pub(crate) free_files: u64,
    pub(crate) available_files: u64,
    pub(crate) invariant_seconds: u32,
}

pub(crate) fn fsstat(body: &[u8]) -> Result<Fsstat, Status> {
    statistics(body, |object, results| Fsstat {
        object,
        total_bytes: results.u64(),
        free_bytes: results.u64(),
        available_bytes: results.u64(),
        total_files: results.u64(),
        free_files: results.u64(),
        available_files: results.u64(),
        invariant_seconds: results.u32(),
    })
}

fn statistics<T>(
    body: &[u8],
    read: impl FnOnce(Option<Attr>, &mut Results) -> T,
) -> Result<T, Status> {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let object = results.optional(Attr::read);
    let answer = if status == OK { Ok(read(object, &mut results)) } else { Err(status) };
    results.finish();
    answer
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fsinfo {
    pub(crate) object: Option<Attr>,
    /// rtmax, rtpref, rtmult.
    pub(crate) read: (u32, u32, u32),
    /// wtmax, wtpref, wtmult.
    pub(crate) write: (u32, u32, u32),
    pub(crate) dtpref: u32,
    pub(crate) max_file_size: u64,
    pub(crate) time_delta: Time,
    pub(crate) properties: u32,
}

pub(crate) fn fsinfo(body: &[u8]) -> Result<Fsinfo, Status> {
    statistics(body, |object, results| Fsinfo {
        object,
        read: (results.u32(), results.u32(), results.u32()),
        write: (results.u32(), results.u32(), results.u32()),
        dtpref: results.u32(),
        max_file_size: results.u64(),
        time_delta: (results.u32(), results.u32()),
        properties: results.u32(),
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pathconf {
    pub(crate) object: Option<Attr>,
    pub(crate) link_max: u32,
    pub(crate) name_max: u32,
    pub(crate) no_trunc: bool,
    pub(crate) chown_restricted: bool,
    pub(crate) case_insensitive: bool,
    pub(crate) case_preserving: bool,
}

pub(crate) fn pathconf(body: &[u8]) -> Result<Pathconf, Status> {
    statistics(body, |object, results| Pathconf {
        object,
        link_max: results.u32(),
        name_max: results.u32(),
        no_trunc: results.boolean(),
        chown_restricted: results.boolean(),
        case_insensitive: results.boolean(),
        case_preserving: results.boolean(),
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) status: Status,
    pub(crate) wcc: Wcc,
    pub(crate) verifier: [u8; 8],
}

pub(crate) fn commit(body: &[u8]) -> Committed {
    let mut results = Results::new(body);
    let status = status(&mut results);
    let wcc = Wcc::read(&mut results);
    let verifier = if status == OK { results.fixed8() } else { [0; 8] };
    results.finish();
    Committed { status, wcc, verifier }
}

/// The status that every procedure's results start with.
pub(crate) fn status_of(body: &[u8]) -> Status {
    assert!(body.len() >= 4, "results without a status");
    status(&mut Results::new(&body[..4]))
}

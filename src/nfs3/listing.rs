//! A page of a directory as READDIR and READDIRPLUS show it: `.` and `..` added, cut to the bytes that
//! the client allows.
//!
//! Choices: count and maxcount bound the whole of READDIR3resok and READDIRPLUS3resok, which is everything
//! behind the status. dircount bounds what READDIR would write for the entries: all of them but handles and
//! attributes. It is a hint: the first entry is there whatever dircount says, where maxcount has room for it.
//! A page that ends for want of room has eof unset.

use super::attributes::{self, FATTR3_BYTES};
use super::handle;
use super::request::{Failure, Request};
use super::status::Error;
use crate::metadata::{DirectoryEntry, Page};
use crate::types::{Attributes, Cookie, FileHandle, Fileid, ObjectId};
use crate::vfs::ReadDirDone;
use crate::xdr::Encoder;

/// The most bytes of a page, whatever the client allows: four times what FSINFO recommends.
const MAX_PAGE_BYTES: u32 = 256 << 10;

/// Cookies are durable: there is nothing to verify.
const COOKIE_VERIFIER: [u8; 8] = [0; 8];

/// The highest cookie that a store can give out: 63 bits.
const LAST_COOKIE: u64 = i64::MAX as u64;

const BOOLEAN_BYTES: usize = 4;
const LENGTH_BYTES: usize = 4;
/// post_op_attr that is there.
const ATTRIBUTES_BYTES: usize = BOOLEAN_BYTES + FATTR3_BYTES;
/// A page without entries: the directory's attributes, the verifier, the list's end, and eof.
const EMPTY_PAGE_BYTES: usize =
    ATTRIBUTES_BYTES + COOKIE_VERIFIER.len() + BOOLEAN_BYTES + BOOLEAN_BYTES;
/// An entry without its name's bytes: that it follows, fileid, name's length, cookie.
const NAMELESS_ENTRY_BYTES: usize = BOOLEAN_BYTES + 8 + LENGTH_BYTES + 8;
/// An entry with the shortest name.
const SHORTEST_ENTRY_BYTES: usize = NAMELESS_ENTRY_BYTES + 4;

/// Which of the two procedures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// READDIR: names only.
    Names,
    /// READDIRPLUS: with handles and attributes.
    Plus,
}

/// How many bytes the client allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For all behind the status.
    page: usize,
    /// For the entries without handles and attributes.
    names: usize,
}

impl Limits {
    /// READDIR's count.
    pub(super) fn of_readdir(count: u32) -> Self {
        Self { page: clipped(count), names: clipped(u32::MAX) }
    }

    /// READDIRPLUS's dircount and maxcount.
    pub(super) fn of_readdirplus(dircount: u32, maxcount: u32) -> Self {
        Self { page: clipped(maxcount), names: clipped(dircount) }
    }

    /// The most memory that a listing takes, in bytes: as a store gives it, as it is cut, and as it is
    /// written.
    pub(super) fn memory(self, form: Form) -> usize {
        let entry = size_of::<DirectoryEntry>() + SHORTEST_ENTRY_BYTES;
        2 * self.page + self.most_entries(form, 0) * entry
    }

    /// How many entries there can be room for, at least one: so many are asked for, and one question is
    /// always enough.
    fn most_entries(self, form: Form, handle_bytes: usize) -> usize {
        let shortest = SHORTEST_ENTRY_BYTES
            + match form {
                Form::Names => 0,
                Form::Plus => ATTRIBUTES_BYTES + BOOLEAN_BYTES + opaque_bytes(handle_bytes),
            };
        let by_page = self.page.saturating_sub(EMPTY_PAGE_BYTES) / shortest;
        by_page.min(self.names / SHORTEST_ENTRY_BYTES).max(1)
    }
}

fn clipped(count: u32) -> usize {
    usize::try_from(count.min(MAX_PAGE_BYTES)).unwrap_or(usize::MAX)
}

/// Variable-length opaque data of `length` bytes.
fn opaque_bytes(length: usize) -> usize {
    LENGTH_BYTES + length.next_multiple_of(4)
}

/// One entry of a page.
#[derive(Clone, Copy, Debug)]
struct ListingEntry<'a> {
    fileid: Fileid,
    name: &'a [u8],
    cookie: Cookie,
    /// The object, for READDIRPLUS by callers that may search the directory.
    object: Option<ObjectId>,
    /// Its attributes, for READDIRPLUS and where known.
    attributes: Option<&'a Attributes>,
}

impl ListingEntry<'_> {
    /// The bytes that READDIR writes for the entry.
    fn names_bytes(&self) -> usize {
        NAMELESS_ENTRY_BYTES + self.name.len().next_multiple_of(4)
    }

    /// The bytes that READDIRPLUS writes in addition.
    fn plus_bytes(&self, handle_bytes: usize) -> usize {
        let attributes = self.attributes.map_or(0, |_| FATTR3_BYTES);
        let handle = self.object.map_or(0, |_| opaque_bytes(handle_bytes));
        BOOLEAN_BYTES + attributes + BOOLEAN_BYTES + handle
    }
}

/// What fits of a directory.
#[derive(Debug)]
pub(super) struct Listing {
    handle: FileHandle,
    after: Cookie,
    page: Page,
    form: Form,
    /// Whether READDIRPLUS shows handles and attributes.
    shows_objects: bool,
    /// How many entries of the page fit, `.` and `..` included.
    count: usize,
    /// Bytes of the results.
    bytes: usize,
    eof: bool,
}

impl Listing {
    /// Reads what follows `cookie` and fits.
    pub(super) async fn read(
        request: &Request<'_>,
        directory: &FileHandle,
        cookie: u64,
        form: Form,
        limits: Limits,
    ) -> Result<Self, Failure> {
        // A cookie that no store can give out stands behind every entry.
        let after = Cookie(cookie.min(LAST_COOKIE));
        let most = limits.most_entries(form, directory.to_wire().len());
        let plus = form == Form::Plus;
        let done = request.vfs.readdir(&request.caller, directory, after, most, plus).await?;
        Self::cut(directory, after, done, form, limits)
    }

    /// Adds `.` and `..` to a page and cuts it to what fits.
    fn cut(
        handle: &FileHandle,
        after: Cookie,
        done: ReadDirDone,
        form: Form,
        limits: Limits,
    ) -> Result<Self, Failure> {
        let handle_bytes = handle.to_wire().len();
        let ReadDirDone { page, searchable } = done;
        let shows_objects = form == Form::Plus && searchable;
        let (count, bytes, eof) = (0, EMPTY_PAGE_BYTES, false);
        let mut listing =
            Self { handle: handle.clone(), after, page, form, shows_objects, count, bytes, eof };
        let (mut count, mut bytes, mut names_bytes) = (0, EMPTY_PAGE_BYTES, 0);
        let mut rest = listing.entries().peekable();
        while let Some(entry) = rest.peek() {
            let plus = match form {
                Form::Names => 0,
                Form::Plus => entry.plus_bytes(handle_bytes),
            };
            let entry_bytes = entry.names_bytes();
            if bytes + entry_bytes + plus > limits.page
                || (count > 0 && names_bytes + entry_bytes > limits.names)
            {
                break;
            }
            names_bytes += entry_bytes;
            bytes += entry_bytes + plus;
            count += 1;
            rest.next();
        }
        let complete = rest.peek().is_none();
        drop(rest);
        if limits.page < EMPTY_PAGE_BYTES || (count == 0 && !complete) {
            return Err(Failure::of(Error::TooSmall, &listing.page.directory));
        }
        (listing.count, listing.bytes) = (count, bytes);
        listing.eof = listing.page.eof && complete;
        Ok(listing)
    }

    /// Writes the results.
    pub(super) fn put(self, reply: &mut Encoder) {
        reply.reserve(self.bytes);
        attributes::post_op(reply, Some(&self.page.directory));
        reply.fixed(&COOKIE_VERIFIER);
        let mut handle = self.handle.clone();
        for entry in self.entries().take(self.count) {
            reply.boolean(true);
            reply.u64(entry.fileid.0);
            reply.opaque(entry.name);
            reply.u64(entry.cookie.0);
            if self.form == Form::Plus {
                attributes::post_op(reply, entry.attributes);
                let object = entry.object.map(|object| {
                    handle.object = object;
                    &handle
                });
                handle::post_op(reply, object);
            }
        }
        reply.boolean(false);
        reply.boolean(self.eof);
    }

    /// `.` and `..`, which no store keeps, and the stored entries.
    fn entries(&self) -> impl Iterator<Item = ListingEntry<'_>> {
        let stored = self.page.entries.iter().map(|entry| ListingEntry {
            fileid: entry.fileid,
            name: entry.name.as_bytes(),
            cookie: entry.cookie,
            object: self.shows_objects.then_some(entry.object),
            attributes: entry.attributes.as_ref(),
        });
        self.dots().into_iter().filter(|dot| dot.cookie > self.after).chain(stored)
    }

    fn dots(&self) -> [ListingEntry<'_>; 2] {
        let directory = &self.page.directory;
        let own = self.shows_objects.then_some(directory);
        let parent = directory.parent.filter(|_| self.shows_objects);
        let current = ListingEntry {
            fileid: directory.fileid,
            name: b".",
            cookie: Cookie::DOT,
            object: own.map(|own| own.id),
            attributes: own,
        };
        let parent = ListingEntry {
            fileid: self.page.parent_fileid,
            name: b"..",
            cookie: Cookie::DOT_DOT,
            object: parent,
            // A root is its own parent; another parent's attributes were not read.
            attributes: own.filter(|own| parent == Some(own.id)),
        };
        [current, parent]
    }
}

#[cfg(test)]
mod tests;

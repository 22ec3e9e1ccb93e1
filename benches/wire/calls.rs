//! The calls that are made, encoded (RFC 1813, RFC 5531), and as much of replies as is looked at.

use crate::Result;

pub(crate) const NFS: (u32, u32) = (100_003, 3);
pub(crate) const MOUNT: (u32, u32) = (100_005, 3);

/// A call without its transaction id: program, version, procedure and arguments.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    program: (u32, u32),
    procedure: u32,
    arguments: Vec<u8>,
}

impl Request {
    pub(crate) fn new(program: (u32, u32), procedure: u32) -> Self {
        Self { program, procedure, arguments: Vec::new() }
    }

    pub(crate) fn opaque(mut self, bytes: &[u8]) -> Self {
        self.arguments.extend(length(bytes).to_be_bytes());
        self.arguments.extend(bytes);
        self.arguments.resize(self.arguments.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn words(mut self, words: &[u32]) -> Self {
        words.iter().for_each(|word| self.arguments.extend(word.to_be_bytes()));
        self
    }

    /// Appends the call's record, mark included.
    pub(crate) fn append(&self, xid: u32, (uid, gid): (u32, u32), to: &mut Vec<u8>) {
        // AUTH_SYS: stamp, an empty machine name, uid, gid, no groups; then a verifier of AUTH_NONE.
        let header = [
            [xid, 0, 2, self.program.0, self.program.1, self.procedure],
            [1, 20, 0, 0, uid, gid],
            [0, 0, 0, 0, 0, 0],
        ];
        let header = &header.as_flattened()[..15];
        let bytes = 4 * header.len() + self.arguments.len();
        to.extend((0x8000_0000 | u32::try_from(bytes).unwrap_or(u32::MAX)).to_be_bytes());
        header.iter().for_each(|word| to.extend(word.to_be_bytes()));
        to.extend(&self.arguments);
    }
}

/// A hyper integer's upper and lower word.
fn halves(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// NFS's GETATTR.
pub(crate) fn getattr(handle: &[u8]) -> Request {
    Request::new(NFS, 1).opaque(handle)
}

/// NFS's LOOKUP.
pub(crate) fn lookup(directory: &[u8], name: &str) -> Request {
    Request::new(NFS, 3).opaque(directory).opaque(name.as_bytes())
}

/// NFS's SETATTR of size 0.
pub(crate) fn truncate(file: &[u8]) -> Request {
    Request::new(NFS, 2).opaque(file).words(&[0, 0, 0, 1, 0, 0, 0, 0, 0])
}

/// NFS's READ.
pub(crate) fn read(file: &[u8], offset: u64, bytes: u32) -> Request {
    let [high, low] = halves(offset);
    Request::new(NFS, 6).opaque(file).words(&[high, low, bytes])
}

/// NFS's WRITE, UNSTABLE.
pub(crate) fn write(file: &[u8], offset: u64, data: &[u8]) -> Request {
    let ([high, low], unstable) = (halves(offset), 0);
    Request::new(NFS, 7).opaque(file).words(&[high, low, length(data), unstable]).opaque(data)
}

/// NFS's COMMIT of all of a file.
pub(crate) fn commit(file: &[u8]) -> Request {
    Request::new(NFS, 21).opaque(file).words(&[0, 0, 0])
}

/// NFS's CREATE, UNCHECKED or GUARDED, with mode 0644.
pub(crate) fn create(directory: &[u8], name: &str) -> Request {
    let guarded = 1;
    Request::new(NFS, 8)
        .opaque(directory)
        .opaque(name.as_bytes())
        .words(&[guarded, 1, 0o644, 0, 0, 0, 0, 0])
}

/// NFS's MKDIR with mode 0755.
pub(crate) fn mkdir(directory: &[u8], name: &str) -> Request {
    Request::new(NFS, 9).opaque(directory).opaque(name.as_bytes()).words(&[1, 0o755, 0, 0, 0, 0, 0])
}

/// NFS's REMOVE.
pub(crate) fn remove(directory: &[u8], name: &str) -> Request {
    Request::new(NFS, 12).opaque(directory).opaque(name.as_bytes())
}

/// NFS's RMDIR.
pub(crate) fn rmdir(directory: &[u8], name: &str) -> Request {
    Request::new(NFS, 13).opaque(directory).opaque(name.as_bytes())
}

/// MOUNT's MNT.
pub(crate) fn mount(path: &str) -> Request {
    Request::new(MOUNT, 1).opaque(path.as_bytes())
}

/// Reads words and opaques from results.
#[derive(Debug)]
pub(crate) struct Results<'a>(&'a [u8]);

impl<'a> Results<'a> {
    /// A reply's results, behind its header; an error where the call was not accepted.
    pub(crate) fn of(reply: &'a [u8]) -> Result<Self> {
        let mut results = Self(reply);
        let header: Vec<_> = (0..6).map_while(|_| results.word().ok()).collect();
        match header[..] {
            [_, 1, 0, 0, 0, 0] => Ok(results),
            _ => Err(format!("the call is refused: {header:?}").into()),
        }
    }

    /// Checks the status that every procedure but NULL begins with.
    pub(crate) fn succeeded(mut self) -> Result<Self> {
        match self.word()? {
            0 => Ok(self),
            status => Err(format!("status {status}").into()),
        }
    }

    pub(crate) fn word(&mut self) -> Result<u32> {
        let (word, rest) = self.0.split_first_chunk().ok_or("a reply is too short")?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*word))
    }

    pub(crate) fn opaque(&mut self) -> Result<&'a [u8]> {
        let length = self.word()? as usize;
        let bytes = self.0.get(..length).ok_or("a reply is too short")?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Ok(bytes)
    }
}

//! Calls, encoded but for their xid and credentials (RFC 1813, RFC 5531).

use bytes::Bytes;

/// A procedure of NFSv3, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Procedure {
    /// Does nothing.
    Null = 0,
    /// Attributes.
    Getattr = 1,
    /// Changes attributes.
    Setattr = 2,
    /// A name's file.
    Lookup = 3,
    /// Rights.
    Access = 4,
    /// A symbolic link's target.
    Readlink = 5,
    /// Data of a file.
    Read = 6,
    /// Data to a file.
    Write = 7,
    /// Makes a file.
    Create = 8,
    /// Makes a directory.
    Mkdir = 9,
    /// Makes a symbolic link.
    Symlink = 10,
    /// Removes a name of what is no directory.
    Remove = 12,
    /// Removes a directory.
    Rmdir = 13,
    /// Gives another name.
    Rename = 14,
    /// Gives a further name.
    Link = 15,
    /// Names of a directory.
    Readdir = 16,
    /// Names of a directory with attributes and handles.
    Readdirplus = 17,
    /// Space.
    Fsstat = 18,
    /// Limits of the server.
    Fsinfo = 19,
    /// POSIX limits.
    Pathconf = 20,
    /// Makes written data durable.
    Commit = 21,
}

/// As many as the protocol has.
pub(super) const PROCEDURES: usize = 22;

/// The names by number.
pub(super) const NAMES: [&str; PROCEDURES] = [
    "NULL",
    "GETATTR",
    "SETATTR",
    "LOOKUP",
    "ACCESS",
    "READLINK",
    "READ",
    "WRITE",
    "CREATE",
    "MKDIR",
    "SYMLINK",
    "MKNOD",
    "REMOVE",
    "RMDIR",
    "RENAME",
    "LINK",
    "READDIR",
    "READDIRPLUS",
    "FSSTAT",
    "FSINFO",
    "PATHCONF",
    "COMMIT",
];

/// A program of RPC and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Portmapper,
    Nfs,
    Mount,
}

impl Program {
    /// Number and version.
    pub(super) fn number(self) -> (u32, u32) {
        match self {
            Self::Portmapper => (100_000, 2),
            Self::Nfs => (100_003, 3),
            Self::Mount => (100_005, 3),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Portmapper => "PORTMAP version 2",
            Self::Nfs => "NFS version 3",
            Self::Mount => "MOUNT version 3",
        }
    }
}

/// How a file is made (RFC 1813 section 3.3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CreateMode {
    Unchecked,
    Guarded,
    Exclusive,
}

/// Whether data is durable before WRITE's reply (section 3.3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// It need not be before COMMIT.
    Unstable = 0,
    /// It is, with all attributes.
    FileSync = 2,
}

/// A call: program, procedure and arguments.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) program: Program,
    pub(super) procedure: u32,
    pub(super) arguments: Vec<u8>,
    /// Opaque data behind the arguments, shared and not copied.
    pub(super) data: Option<Bytes>,
    /// Whether the results are void: the reply has no status.
    pub(super) is_void: bool,
}

/// What most arguments take: a handle, a name and attributes.
const USUAL_BYTES: usize = 160;

impl Call {
    pub(super) fn new(program: Program, procedure: u32) -> Self {
        let arguments = Vec::with_capacity(USUAL_BYTES);
        Self { program, procedure, arguments, data: None, is_void: false }
    }

    fn nfs(procedure: Procedure) -> Self {
        Self::new(Program::Nfs, procedure as u32)
    }

    pub(super) fn opaque(mut self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.arguments.extend(length.to_be_bytes());
        self.arguments.extend(bytes);
        self.arguments.resize(self.arguments.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn words(mut self, words: &[u32]) -> Self {
        words.iter().for_each(|word| self.arguments.extend(word.to_be_bytes()));
        self
    }

    fn hyper(mut self, value: u64) -> Self {
        self.arguments.extend(value.to_be_bytes());
        self
    }

    /// sattr3 (section 2.5.3) with a mode alone.
    fn mode(self, mode: u32) -> Self {
        self.words(&[1, mode, 0, 0, 0, 0, 0])
    }

    pub(super) fn null() -> Self {
        Self { is_void: true, ..Self::nfs(Procedure::Null) }
    }

    /// MOUNT's MNT.
    pub(super) fn mount(path: &str) -> Self {
        Self::new(Program::Mount, 1).opaque(path.as_bytes())
    }

    /// MOUNT's UMNT.
    pub(super) fn unmount(path: &str) -> Self {
        Self { is_void: true, ..Self::new(Program::Mount, 3).opaque(path.as_bytes()) }
    }

    /// GETPORT of the portmapper (RFC 1833 section 3), for TCP.
    pub(super) fn getport(program: Program) -> Self {
        const TCP: u32 = 6;
        let (number, version) = program.number();
        Self::new(Program::Portmapper, 3).words(&[number, version, TCP, 0])
    }

    pub(super) fn getattr(object: &[u8]) -> Self {
        Self::nfs(Procedure::Getattr).opaque(object)
    }

    /// SETATTR of the mode, without a guard.
    pub(super) fn chmod(object: &[u8], mode: u32) -> Self {
        Self::nfs(Procedure::Setattr).opaque(object).mode(mode).words(&[0])
    }

    pub(super) fn lookup(directory: &[u8], name: impl AsRef<[u8]>) -> Self {
        Self::nfs(Procedure::Lookup).opaque(directory).opaque(name.as_ref())
    }

    /// ACCESS for every right there is.
    pub(super) fn access(object: &[u8]) -> Self {
        Self::nfs(Procedure::Access).opaque(object).words(&[0x3f])
    }

    pub(super) fn readlink(link: &[u8]) -> Self {
        Self::nfs(Procedure::Readlink).opaque(link)
    }

    pub(super) fn read(file: &[u8], offset: u64, count: u32) -> Self {
        Self::nfs(Procedure::Read).opaque(file).hyper(offset).words(&[count])
    }

    pub(super) fn write(file: &[u8], offset: u64, stability: Stability, data: Bytes) -> Self {
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let call = Self::nfs(Procedure::Write).opaque(file).hyper(offset);
        Self { data: Some(data), ..call.words(&[count, stability as u32]) }
    }

    pub(super) fn create(directory: &[u8], name: impl AsRef<[u8]>, mode: CreateMode) -> Self {
        let call = Self::nfs(Procedure::Create).opaque(directory).opaque(name.as_ref());
        match mode {
            CreateMode::Unchecked => call.words(&[0]).mode(0o644),
            CreateMode::Guarded => call.words(&[1]).mode(0o644),
            CreateMode::Exclusive => {
                // Names that differ have verifiers that differ, as far as their last bytes do.
                let end = name.as_ref().rchunks(8).next().unwrap_or_default();
                let verifier = end.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                call.words(&[2]).hyper(verifier)
            }
        }
    }

    pub(super) fn mkdir(directory: &[u8], name: impl AsRef<[u8]>) -> Self {
        Self::nfs(Procedure::Mkdir).opaque(directory).opaque(name.as_ref()).mode(0o755)
    }

    pub(super) fn symlink(directory: &[u8], name: impl AsRef<[u8]>, target: &str) -> Self {
        let call = Self::nfs(Procedure::Symlink).opaque(directory).opaque(name.as_ref());
        call.mode(0o777).opaque(target.as_bytes())
    }

    pub(super) fn remove(directory: &[u8], name: impl AsRef<[u8]>) -> Self {
        Self::nfs(Procedure::Remove).opaque(directory).opaque(name.as_ref())
    }

    pub(super) fn rmdir(directory: &[u8], name: impl AsRef<[u8]>) -> Self {
        Self::nfs(Procedure::Rmdir).opaque(directory).opaque(name.as_ref())
    }

    /// Within one directory.
    pub(super) fn rename(directory: &[u8], from: &str, to: &str) -> Self {
        let call = Self::nfs(Procedure::Rename).opaque(directory).opaque(from.as_bytes());
        call.opaque(directory).opaque(to.as_bytes())
    }

    pub(super) fn link(file: &[u8], directory: &[u8], name: impl AsRef<[u8]>) -> Self {
        Self::nfs(Procedure::Link).opaque(file).opaque(directory).opaque(name.as_ref())
    }

    pub(super) fn readdir(directory: &[u8], cookie: u64, verifier: u64, count: u32) -> Self {
        let call = Self::nfs(Procedure::Readdir).opaque(directory);
        call.hyper(cookie).hyper(verifier).words(&[count])
    }

    pub(super) fn readdirplus(
        directory: &[u8],
        cookie: u64,
        verifier: u64,
        dircount: u32,
        maxcount: u32,
    ) -> Self {
        let call = Self::nfs(Procedure::Readdirplus).opaque(directory);
        call.hyper(cookie).hyper(verifier).words(&[dircount, maxcount])
    }

    pub(super) fn fsstat(object: &[u8]) -> Self {
        Self::nfs(Procedure::Fsstat).opaque(object)
    }

    pub(super) fn fsinfo(object: &[u8]) -> Self {
        Self::nfs(Procedure::Fsinfo).opaque(object)
    }

    pub(super) fn pathconf(object: &[u8]) -> Self {
        Self::nfs(Procedure::Pathconf).opaque(object)
    }

    /// COMMIT of the whole file.
    pub(super) fn commit(file: &[u8]) -> Self {
        Self::nfs(Procedure::Commit).opaque(file).words(&[0, 0, 0])
    }
}

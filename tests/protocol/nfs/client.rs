//! An NFSv3 client for tests: one method per procedure, on a connection that several users share.

use std::net::{IpAddr, SocketAddr};

use super::args;
use super::results::{self, *};
use super::rpc::{Auth, Call, MOUNT, NFS, Reply, Wire, user};
use super::types::{Attr, FILE_SYNC, Handle, How, OK, Sattr, Status, Time, mode};
use super::xdr::Args;

/// A user on a connection.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) auth: Auth,
    pub(crate) wire: Wire,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, auth: Auth) -> Self {
        Self { address, auth, wire: Wire::open(address) }
    }

    /// Connects from an address of one's own: another client to the server.
    pub(crate) fn connect_from(client: IpAddr, address: SocketAddr, auth: Auth) -> Self {
        Self { address, auth, wire: Wire::open_from(client, address) }
    }

    /// The same connection with other credentials.
    pub(crate) fn with(&self, auth: Auth) -> Self {
        Self { auth, ..self.clone() }
    }

    /// The same connection as another user.
    pub(crate) fn user(&self, uid: u32, gid: u32, gids: &[u32]) -> Self {
        self.with(user(uid, gid, gids))
    }

    /// The same user on a connection of its own.
    pub(crate) fn reconnect(&self) -> Self {
        Self::connect(self.address, self.auth.clone())
    }

    /// A call of any program with any bytes as its arguments.
    pub(crate) fn prepare(&self, program: u32, version: u32, procedure: u32, args: &[u8]) -> Call {
        let call = Call::new(program, version, procedure);
        call.credentials(self.auth.clone()).arguments(args)
    }

    pub(crate) fn raw(&self, program: u32, version: u32, procedure: u32, args: &[u8]) -> Reply {
        self.wire.call(self.prepare(program, version, procedure, args))
    }

    /// The results of an NFSv3 call that RPC lets through.
    pub(crate) fn nfs(&self, procedure: u32, args: &Args) -> Vec<u8> {
        match self.raw(NFS, 3, procedure, &args.bytes) {
            Reply::Success(body) => body,
            other => panic!("procedure {procedure}: {other:?}"),
        }
    }

    /// The results of a MOUNT call that RPC lets through.
    pub(crate) fn mount(&self, procedure: u32, args: &Args) -> Vec<u8> {
        match self.raw(MOUNT, 3, procedure, &args.bytes) {
            Reply::Success(body) => body,
            other => panic!("MOUNT procedure {procedure}: {other:?}"),
        }
    }

    pub(crate) fn getattr(&self, object: &[u8]) -> Result<Attr, Status> {
        results::getattr(&self.nfs(args::GETATTR, &args::handle(object)))
    }

    pub(crate) fn setattr(&self, object: &[u8], set: &Sattr) -> Changed {
        self.setattr_guarded(object, set, None)
    }

    pub(crate) fn setattr_guarded(
        &self,
        object: &[u8],
        set: &Sattr,
        guard: Option<Time>,
    ) -> Changed {
        changed(&self.nfs(args::SETATTR, &args::setattr(object, set, guard)))
    }

    pub(crate) fn lookup(&self, directory: &[u8], name: &[u8]) -> Lookup {
        results::lookup(&self.nfs(args::LOOKUP, &args::entry(directory, name)))
    }

    pub(crate) fn access(&self, object: &[u8], bits: u32) -> Access {
        results::access(&self.nfs(args::ACCESS, &args::access(object, bits)))
    }

    pub(crate) fn readlink(&self, link: &[u8]) -> Readlink {
        results::readlink(&self.nfs(args::READLINK, &args::handle(link)))
    }

    pub(crate) fn read(&self, file: &[u8], offset: u64, count: u32) -> Read {
        results::read(&self.nfs(args::READ, &args::read(file, offset, count)))
    }

    pub(crate) fn write(&self, file: &[u8], offset: u64, stable: u32, data: &[u8]) -> Written {
        let count = u32::try_from(data.len()).unwrap();
        results::write(&self.nfs(args::WRITE, &args::write(file, offset, count, stable, data)))
    }

    pub(crate) fn create(&self, directory: &[u8], name: &[u8], how: How) -> Created {
        created(&self.nfs(args::CREATE, &args::create(directory, name, &how)))
    }

    pub(crate) fn mkdir(&self, directory: &[u8], name: &[u8], set: &Sattr) -> Created {
        created(&self.nfs(args::MKDIR, &args::mkdir(directory, name, set)))
    }

    pub(crate) fn symlink(&self, directory: &[u8], name: &[u8], target: &[u8]) -> Created {
        let set = mode(0o777);
        created(&self.nfs(args::SYMLINK, &args::symlink(directory, name, target, &set)))
    }

    pub(crate) fn mknod(
        &self,
        directory: &[u8],
        name: &[u8],
        kind: u32,
        set: &Sattr,
        rdev: (u32, u32),
    ) -> Created {
        created(&self.nfs(args::MKNOD, &args::mknod(directory, name, kind, set, rdev)))
    }

    pub(crate) fn remove(&self, directory: &[u8], name: &[u8]) -> Changed {
        changed(&self.nfs(args::REMOVE, &args::entry(directory, name)))
    }

    pub(crate) fn rmdir(&self, directory: &[u8], name: &[u8]) -> Changed {
        changed(&self.nfs(args::RMDIR, &args::entry(directory, name)))
    }

    pub(crate) fn rename(
        &self,
        from: &[u8],
        from_name: &[u8],
        to: &[u8],
        to_name: &[u8],
    ) -> Renamed {
        results::rename(&self.nfs(args::RENAME, &args::rename(from, from_name, to, to_name)))
    }

    pub(crate) fn link(&self, object: &[u8], directory: &[u8], name: &[u8]) -> Linked {
        results::link(&self.nfs(args::LINK, &args::link(object, directory, name)))
    }

    pub(crate) fn readdir(
        &self,
        directory: &[u8],
        cookie: u64,
        verifier: [u8; 8],
        count: u32,
    ) -> Listing {
        let args = args::readdir(directory, cookie, verifier, count);
        results::readdir(&self.nfs(args::READDIR, &args))
    }

    pub(crate) fn readdirplus(
        &self,
        directory: &[u8],
        cookie: u64,
        verifier: [u8; 8],
        dircount: u32,
        maxcount: u32,
    ) -> Listing {
        let args = args::readdirplus(directory, cookie, verifier, dircount, maxcount);
        results::readdirplus(&self.nfs(args::READDIRPLUS, &args))
    }

    pub(crate) fn fsstat(&self, object: &[u8]) -> Result<Fsstat, Status> {
        results::fsstat(&self.nfs(args::FSSTAT, &args::handle(object)))
    }

    pub(crate) fn fsinfo(&self, object: &[u8]) -> Result<Fsinfo, Status> {
        results::fsinfo(&self.nfs(args::FSINFO, &args::handle(object)))
    }

    pub(crate) fn pathconf(&self, object: &[u8]) -> Result<Pathconf, Status> {
        results::pathconf(&self.nfs(args::PATHCONF, &args::handle(object)))
    }

    pub(crate) fn commit(&self, file: &[u8], offset: u64, count: u32) -> Committed {
        results::commit(&self.nfs(args::COMMIT, &args::commit(file, offset, count)))
    }
}

/// What tests need on their way to what they test; each of these has to succeed.
impl Client {
    pub(crate) fn attr(&self, object: &[u8]) -> Attr {
        self.getattr(object).expect("the object's attributes")
    }

    /// The handle under a name.
    pub(crate) fn find(&self, directory: &[u8], name: &[u8]) -> Handle {
        let found = self.lookup(directory, name);
        assert_eq!(found.status, OK, "{}", name.escape_ascii());
        found.handle.unwrap()
    }

    /// A new, empty file of mode 0644.
    pub(crate) fn file(&self, directory: &[u8], name: &[u8]) -> Handle {
        self.file_of(directory, name, 0o644)
    }

    pub(crate) fn file_of(&self, directory: &[u8], name: &[u8], bits: u32) -> Handle {
        let made = self.create(directory, name, How::Guarded(mode(bits)));
        assert_eq!(made.status, OK, "{}", name.escape_ascii());
        made.handle()
    }

    /// A new directory of mode 0755.
    pub(crate) fn dir(&self, directory: &[u8], name: &[u8]) -> Handle {
        self.dir_of(directory, name, 0o755)
    }

    pub(crate) fn dir_of(&self, directory: &[u8], name: &[u8], bits: u32) -> Handle {
        let made = self.mkdir(directory, name, &mode(bits));
        assert_eq!(made.status, OK, "{}", name.escape_ascii());
        made.handle()
    }

    /// A new file with bytes, durable.
    pub(crate) fn file_with(&self, directory: &[u8], name: &[u8], data: &[u8]) -> Handle {
        let file = self.file(directory, name);
        self.put(&file, 0, data);
        file
    }

    /// Writes all of `data`, durable.
    pub(crate) fn put(&self, file: &[u8], offset: u64, data: &[u8]) {
        let written = self.write(file, offset, FILE_SYNC, data);
        assert_eq!((written.status, written.count as usize), (OK, data.len()));
    }

    /// All bytes of a file.
    pub(crate) fn get(&self, file: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let part = self.read(file, bytes.len() as u64, 1 << 20);
            assert_eq!(part.status, OK);
            bytes.extend(&part.data);
            if part.eof {
                return bytes;
            }
            assert!(!part.data.is_empty(), "no bytes and no end");
        }
    }

    /// Sets attributes.
    pub(crate) fn set(&self, object: &[u8], set: &Sattr) {
        assert_eq!(self.setattr(object, set).status, OK);
    }

    /// All entries, `.` and `..` left out, in the order of the scan.
    pub(crate) fn list(&self, directory: &[u8]) -> Vec<Entry> {
        let (mut cookie, mut verifier, mut entries) = (0, [0; 8], Vec::new());
        loop {
            let page = self.readdir(directory, cookie, verifier, 65536);
            assert_eq!(page.status, OK);
            verifier = page.verifier;
            cookie = page.entries.last().map_or(cookie, |entry| entry.cookie);
            let dots = |entry: &Entry| entry.name == b"." || entry.name == b"..";
            assert!(page.eof || !page.entries.is_empty(), "a page without entries or end");
            entries.extend(page.entries.into_iter().filter(|entry| !dots(entry)));
            if page.eof {
                return entries;
            }
        }
    }

    /// The sorted names of a directory's entries.
    pub(crate) fn names(&self, directory: &[u8]) -> Vec<Vec<u8>> {
        let mut names: Vec<_> = self.list(directory).into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    }
}

//! Everything in a share as a client sees it, to be compared with what another server shows.

use std::collections::BTreeMap;

use super::client::{Connection, Reader, Writer};
use super::scene::{of, ok, root};

/// The most that one READ asks for.
const READ: u32 = 1 << 20;
/// Where atime is in fattr3 (RFC 1813 section 2.5): reads move it.
const ATIME: std::ops::Range<usize> = 60..68;

/// What a client sees of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) handle: Vec<u8>,
    /// All attributes but atime.
    pub(crate) attributes: Vec<u8>,
    /// A file's bytes, a symbolic link's target.
    pub(crate) data: Vec<u8>,
}

/// By path; the root's is empty.
pub(crate) type Tree = BTreeMap<String, Seen>;

/// sattr3 with a mode alone.
pub(crate) fn mode(arguments: Writer, mode: u32) -> Writer {
    arguments.u32(1).u32(mode).u32(0).u32(0).u32(0).u32(0).u32(0)
}

fn handle_of(made: &mut Reader) -> Vec<u8> {
    assert_eq!(made.u32(), 1, "a handle follows");
    made.opaque()
}

pub(crate) async fn create(connection: &mut Connection, dir: &[u8], name: &str) -> Vec<u8> {
    let arguments = mode(of(dir).opaque(name.as_bytes()).u32(0), 0o640);
    handle_of(&mut ok(connection, 8, arguments).await)
}

pub(crate) async fn mkdir(connection: &mut Connection, dir: &[u8], name: &str) -> Vec<u8> {
    handle_of(&mut ok(connection, 9, mode(of(dir).opaque(name.as_bytes()), 0o750)).await)
}

/// WRITE, FILE_SYNC.
pub(crate) async fn write(connection: &mut Connection, file: &[u8], offset: u64, data: &[u8]) {
    let arguments = of(file).u64(offset).u32(u32::try_from(data.len()).unwrap()).u32(2);
    ok(connection, 7, arguments.opaque(data)).await;
}

pub(crate) async fn remove(connection: &mut Connection, dir: &[u8], name: &str) {
    ok(connection, 12, of(dir).opaque(name.as_bytes())).await;
}

/// SETATTR of a size.
pub(crate) async fn resize(connection: &mut Connection, file: &[u8], size: u64) {
    let arguments = of(file).u32(0).u32(0).u32(0).u32(1).u64(size).u32(0).u32(0).u32(0);
    ok(connection, 2, arguments).await;
}

/// One of everything: files with bytes, holes and nothing, two names of one, a link, a device, directories.
pub(crate) async fn furnish(connection: &mut Connection) {
    let top = root(connection).await;
    let dir = mkdir(connection, &top, "directory").await;
    let deep = mkdir(connection, &dir, "deep").await;
    mkdir(connection, &dir, "empty").await;
    let file = create(connection, &top, "file").await;
    write(connection, &file, 0, b"hello").await;
    create(connection, &dir, "nothing").await;
    let holes = create(connection, &deep, "holes").await;
    write(connection, &holes, 0, &[7; 1000]).await;
    write(connection, &holes, 9 << 20, &[8; 200_000]).await;
    resize(connection, &holes, 16 << 20).await;
    let long = create(connection, &dir, "long").await;
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    for at in 0..6 {
        write(connection, &long, at * 1_000_000, &bytes).await;
    }
    resize(connection, &long, 5_500_000).await;
    // LINK, SYMLINK, MKNOD of a character device.
    ok(connection, 15, of(&file).opaque(&deep).opaque(b"second name")).await;
    let link = mode(of(&top).opaque(b"link"), 0o777).opaque(b"directory/../file");
    ok(connection, 10, link).await;
    let device = mode(of(&top).opaque(b"device").u32(4), 0o600).u32(7).u32(9);
    ok(connection, 11, device).await;
}

/// The whole share.
pub(crate) async fn tree(connection: &mut Connection) -> Tree {
    let top = root(connection).await;
    let mut tree = Tree::new();
    let mut pending = vec![(String::new(), top)];
    while let Some((path, handle)) = pending.pop() {
        let mut attributes = ok(connection, 1, of(&handle)).await.fixed(84);
        let mut data = Vec::new();
        match attributes[3] {
            1 => data = read(connection, &handle).await,
            2 => {
                for name in names(connection, &handle).await {
                    let found = ok(connection, 3, of(&handle).opaque(&name)).await.opaque();
                    pending.push((format!("{path}/{}", String::from_utf8_lossy(&name)), found));
                }
            }
            5 => {
                let mut link = ok(connection, 5, of(&handle)).await;
                assert_eq!(link.u32(), 1, "attributes follow");
                link.fixed(84);
                data = link.opaque();
            }
            _ => {}
        }
        attributes[ATIME].fill(0);
        tree.insert(path, Seen { handle, attributes, data });
    }
    tree
}

/// All of a file.
pub(crate) async fn read(connection: &mut Connection, file: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let mut read = ok(connection, 6, of(file).u64(data.len() as u64).u32(READ)).await;
        assert_eq!(read.u32(), 1, "attributes follow");
        read.fixed(84);
        read.u32();
        let eof = read.boolean();
        data.extend(read.opaque());
        if eof {
            return data;
        }
    }
}

/// READDIR to its end, without `.` and `..`.
async fn names(connection: &mut Connection, dir: &[u8]) -> Vec<Vec<u8>> {
    let (mut cookie, mut verifier, mut names) = (0, vec![0; 8], Vec::new());
    loop {
        let arguments = of(dir).u64(cookie).fixed(&verifier).u32(8192);
        let mut page = ok(connection, 16, arguments).await;
        assert_eq!(page.u32(), 1, "attributes follow");
        page.fixed(84);
        verifier = page.fixed(8);
        while page.boolean() {
            page.u64();
            let name = page.opaque();
            cookie = page.u64();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        if page.boolean() {
            return names;
        }
    }
}

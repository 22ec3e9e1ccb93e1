//! Shares go into a folder and come out of it elsewhere, and nothing of it is believed without proof.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::client::{Call, Connection, Writer};
use super::database::TestDatabase;
use super::process::{Finished, Running, run, trunkfs};
use super::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use super::scene::{of, ok, root};
use super::tree::{Tree, create, furnish, remove, resize, tree, write};

/// A machine: a folder with stores of its own, and a configuration that serves `/e` from some of them.
pub(crate) struct Machine {
    folder: TempDir,
}

pub(crate) const SQLITE: &str = "db: { type: sqlite, sqlite: { path: names.db } }";
const DISK: &str = "disk: { type: filesystem, filesystem: { base_path: content } }";

fn postgres(database: &TestDatabase) -> String {
    let server = std::env::var("TRUNKFS_TEST_DATABASE_URL").unwrap();
    let (before, _) = server.rsplit_once('/').unwrap();
    let name = database.settings().target.database;
    format!(
        "db: {{ type: postgres, postgres: {{ url: \"{before}/{name}\", auto_migrate: true }} }}"
    )
}

pub(crate) fn bucket(server: &S3Server) -> String {
    format!(
        "disk: {{ type: s3, s3: {{ bucket: {BUCKET}, endpoint: \"{}\", path_style: true, allow_http: true, \
         access_key: {ACCESS_KEY}, secret_key: {SECRET_KEY}, chunk_size: 64KiB }} }}",
        server.endpoint()
    )
}

impl Machine {
    pub(crate) fn new(metadata: &str, content: &str) -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        machine.configure("/e", metadata, content);
        machine
    }

    pub(crate) fn local() -> Self {
        Self::new(SQLITE, DISK)
    }

    /// Of its own are the names alone.
    pub(crate) fn on_a_bucket(server: &S3Server) -> Self {
        Self::new(SQLITE, &bucket(server))
    }

    fn configure(&self, share: &str, metadata: &str, content: &str) {
        let text = format!(
            "server: {{ listen: '127.0.0.1:0' }}\nmetadata: {{ stores: {{ {metadata} }} }}\n\
             content: {{ stores: {{ {content} }} }}\nshares:\n  - name: {share}\n    metadata_store: db\n    \
             content_store: disk\n    root: {{ mode: '1777' }}\n    \
             clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]\n"
        );
        fs::write(self.path().join("t.yaml"), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn serve(&self) -> (Running, Connection) {
        let server = Running::start(self.path(), &["--config", "t.yaml"], 1).await;
        let connection = Connection::open(server.address).await;
        (server, connection)
    }

    pub(crate) async fn command(&self, arguments: &[&str]) -> Finished {
        run(trunkfs(self.path(), &[arguments, &["--config", "t.yaml"]].concat())).await
    }

    pub(crate) async fn backup(&self, folder: &Path, more: &[&str]) -> Finished {
        self.command(&[&["backup", folder.to_str().unwrap()], more].concat()).await
    }

    pub(crate) async fn restore(&self, folder: &Path, more: &[&str]) -> Finished {
        self.command(&[&["restore", folder.to_str().unwrap()], more].concat()).await
    }

    /// What a server shows of it.
    pub(crate) async fn tree(&self) -> Tree {
        let (server, mut connection) = self.serve().await;
        let tree = tree(&mut connection).await;
        server.stop().await;
        tree
    }

    /// A share with one of everything in it, and a backup of it that was made while it was served.
    async fn backed_up(&self, folder: &Path, more: &[&str]) -> Tree {
        let (server, mut connection) = self.serve().await;
        furnish(&mut connection).await;
        let tree = tree(&mut connection).await;
        went_well(&self.backup(folder, more).await);
        server.stop().await;
        tree
    }
}

#[track_caller]
pub(crate) fn went_well(finished: &Finished) {
    assert_eq!(finished.status, Some(0), "{finished:?}");
}

pub(crate) async fn verify(folder: &Path) -> Finished {
    let arguments = ["restore", "--verify-only", folder.to_str().unwrap()];
    run(trunkfs(Path::new("/"), &arguments)).await
}

#[track_caller]
pub(crate) fn same(one: &Tree, other: &Tree) {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (path, seen) in one {
        let found = &other[path];
        assert_eq!(found.handle, seen.handle, "handle of {path}");
        assert_eq!(found.attributes, seen.attributes, "attributes of {path}");
        assert!(found.data == seen.data, "bytes of {path}");
    }
}

/// The files of a backup that hold contents, and of a content folder.
pub(crate) fn contents(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for part in fs::read_dir(below).unwrap() {
        let part = part.unwrap().path();
        if part.is_dir() {
            found.extend(fs::read_dir(part).unwrap().map(|file| file.unwrap().path()));
        }
    }
    found.sort();
    found
}

/// The one content of so many bytes.
fn content_of(below: &Path, length: u64) -> PathBuf {
    let length_of = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let mut found = contents(below).into_iter().filter(|path| length_of(path) == length);
    let only = found.next().unwrap();
    assert_eq!(found.next(), None, "one content of {length} bytes");
    only
}

#[tokio::test]
async fn a_share_comes_back_on_an_empty_machine() {
    let (one, other) = (Machine::local(), Machine::local());
    let folder = one.path().join("backup");
    let before = one.backed_up(&folder, &[]).await;
    let proof = verify(&folder).await;
    went_well(&proof);
    assert!(proof.out.contains("verified: 3 files"), "{proof:?}");
    let restored = other.restore(&folder, &[]).await;
    went_well(&restored);
    assert!(restored.out.contains("3 files with"), "{restored:?}");
    same(&before, &other.tree().await);
    // Holes stay holes on both ways.
    for below in [folder.join("db/contents"), other.path().join("content")] {
        let holes = content_of(&below, 16 << 20);
        assert!(fs::metadata(&holes).unwrap().blocks() * 512 < 1 << 20, "{}", holes.display());
    }
    // A disk that is not the share's is noticed from the first start on.
    fs::rename(other.path().join("content"), other.path().join("away")).unwrap();
    let refused = run(trunkfs(other.path(), &["serve", "--config", "t.yaml"])).await;
    refused.failed_with(1, &["the share /e keeps its content in the content store disk"]);
}

#[tokio::test]
async fn a_share_comes_back_from_a_database_into_a_file_and_from_a_bucket_into_a_folder() {
    let database = TestDatabase::create().await;
    let bucket_server = S3Server::start().await;
    let one = Machine::new(&postgres(&database), &bucket(&bucket_server));
    let folder = one.path().join("backup");
    let before = one.backed_up(&folder, &[]).await;
    let local = Machine::local();
    went_well(&local.restore(&folder, &[]).await);
    same(&before, &local.tree().await);
    // And back, into another bucket and another database.
    let back = local.path().join("back");
    went_well(&local.backup(&back, &[]).await);
    let (database, bucket_server) = (TestDatabase::create().await, S3Server::start().await);
    let third = Machine::new(&postgres(&database), &bucket(&bucket_server));
    went_well(&third.restore(&back, &[]).await);
    same(&before, &third.tree().await);
}

#[tokio::test]
async fn what_is_damaged_is_refused_by_name_and_changes_nothing() {
    let (one, other) = (Machine::local(), Machine::local());
    let folder = one.path().join("backup");
    one.backed_up(&folder, &[]).await;
    let long = content_of(&folder.join("db/contents"), 5_500_000);
    let small = content_of(&folder.join("db/contents"), 5);
    let whole = |path: &Path| fs::read(path).unwrap();
    let flipped = |path: &Path| {
        let mut bytes = whole(path);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Some(bytes)
    };
    let cut = |path: &Path| Some(whole(path)[..whole(path).len() / 2].to_vec());
    let dump = folder.join("db/metadata.dump");
    let list = folder.join("db/contents.list");
    let manifest = folder.join("backup.json");
    type Case<'a> = (&'a Path, Option<Vec<u8>>, &'a [&'a str]);
    let cases: [Case<'_>; 9] = [
        (&dump, flipped(&dump), &["metadata.dump: corrupt"]),
        (&list, flipped(&list), &["contents.list: corrupt"]),
        (&list, None, &["contents.list: missing; use another backup"]),
        (&dump, cut(&dump), &["metadata.dump: ", "corrupt: "]),
        (&manifest, cut(&manifest), &["backup.json: truncated or corrupt"]),
        (&manifest, None, &["not a backup"]),
        (&long, flipped(&long), &["/e/directory/long (corrupt in the backup", "--incomplete"]),
        (&small, None, &["/file (missing from the backup)", "no share was changed"]),
        (
            &long,
            cut(&long),
            &["/e/directory/long (corrupt in the backup: 2750000 of 5500000 bytes"],
        ),
    ];
    for (path, bytes, words) in cases {
        let before = whole(path);
        fs::remove_file(path).unwrap();
        if let Some(bytes) = bytes {
            fs::write(path, bytes).unwrap();
        }
        let refused = other.restore(&folder, &[]).await;
        refused.failed_with(1, words);
        let proof = verify(&folder).await;
        assert_eq!(proof.status, Some(1), "{proof:?}");
        fs::remove_file(path).ok();
        fs::write(path, before).unwrap();
    }
    let empty = other.command(&["dump", "--store", "db", "names"]).await;
    assert!(empty.status == Some(1) || empty.out.contains(" 0 shares"), "{empty:?}");
    went_well(&verify(&folder).await);

    // What is not there is named, and the rest comes back.
    fs::remove_file(&long).unwrap();
    let some = other.restore(&folder, &["--incomplete"]).await;
    went_well(&some);
    assert_eq!(
        some.err.matches("/e/directory/long: missing from the backup").count(),
        1,
        "{some:?}"
    );
    assert!(some.err.contains("1 file is incomplete"), "{some:?}");
    let (server, mut connection) = other.serve().await;
    let top = root(&mut connection).await;
    let file = super::scene::ok(&mut connection, 3, super::scene::of(&top).opaque(b"file"));
    let file = file.await.opaque();
    assert_eq!(super::tree::read(&mut connection, &file).await, b"hello");
    server.stop().await;
}

#[tokio::test]
async fn what_is_there_is_not_written_over() {
    let one = Machine::local();
    let folder = one.path().join("backup");
    let before = one.backed_up(&folder, &[]).await;
    // The file changes in place: the same content has other bytes now.
    let (server, mut connection) = one.serve().await;
    let top = root(&mut connection).await;
    let file = super::scene::ok(&mut connection, 3, super::scene::of(&top).opaque(b"file"));
    let file = file.await.opaque();
    write(&mut connection, &file, 0, b"HELLO, again").await;
    let now = tree(&mut connection).await;
    let refused = one.restore(&folder, &["--replace"]).await;
    refused.failed_with(1, &["in use by another server"]);
    server.stop().await;
    let refused = one.restore(&folder, &[]).await;
    refused.failed_with(1, &["already has a share /e", "--replace"]);
    same(&now, &one.tree().await);
    let restored = one.restore(&folder, &["--replace"]).await;
    went_well(&restored);
    assert!(restored.out.contains("1 files with"), "{restored:?}");
    assert!(restored.out.contains("2 already present"), "{restored:?}");
    same(&before, &one.tree().await);
}

#[tokio::test]
async fn names_alone_find_their_contents_where_they_are() {
    let one = Machine::local();
    let folder = one.path().join("backup");
    let before = one.backed_up(&folder, &["--metadata-only"]).await;
    assert!(!folder.join("db/contents").exists());
    let proof = verify(&folder).await;
    went_well(&proof);
    fs::remove_file(one.path().join("names.db")).unwrap();
    let long = content_of(&one.path().join("content"), 5_500_000);
    let bytes = fs::read(&long).unwrap();
    fs::write(&long, &bytes[1..]).unwrap();
    let refused = one.restore(&folder, &[]).await;
    refused.failed_with(
        1,
        &["/e/directory/long (changed in the content store disk since the backup)"],
    );
    fs::remove_file(&long).unwrap();
    let refused = one.restore(&folder, &[]).await;
    refused.failed_with(1, &["/e/directory/long (missing from the content store disk)"]);
    fs::write(&long, &bytes).unwrap();
    let renamed = one.restore(&folder, &["--share", "/e", "--as", "/copy"]).await;
    renamed.failed_with(1, &["a backup without content"]);
    let restored = one.restore(&folder, &[]).await;
    went_well(&restored);
    assert!(restored.out.contains("3 already present"), "{restored:?}");
    same(&before, &one.tree().await);
}

#[tokio::test]
async fn a_share_comes_back_under_another_name_beside_its_original() {
    let one = Machine::local();
    let folder = one.path().join("backup");
    let before = one.backed_up(&folder, &[]).await;
    let second = "db: { type: sqlite, sqlite: { path: more.db } }";
    // Where the original is there is no place for it, which is found out before anything is written.
    one.configure("/copy", SQLITE, DISK);
    let (content, count) =
        (one.path().join("content"), contents(&one.path().join("content")).len());
    let beside = one.restore(&folder, &["--share", "/e", "--as", "/copy"]).await;
    beside.failed_with(1, &["a copy needs another store"]);
    assert_eq!(contents(&content).len(), count);
    one.configure("/copy", second, DISK);
    let wrong = one.restore(&folder, &["--share", "/none", "--as", "/copy"]).await;
    wrong.failed_with(1, &["the backup has no share /none; it has /e"]);
    went_well(&one.restore(&folder, &["--share", "/e", "--as", "/copy"]).await);
    // Each has bytes of its own.
    let (server, mut connection) = one.serve().await;
    let top = mount(&mut connection, "/copy").await;
    let file = lookup(&mut connection, &top, "file").await;
    assert_eq!(super::tree::read(&mut connection, &file).await, b"hello");
    write(&mut connection, &file, 0, b"other").await;
    let directory = lookup(&mut connection, &top, "directory").await;
    let nothing = lookup(&mut connection, &directory, "nothing").await;
    write(&mut connection, &nothing, 0, b"the copy's").await;
    server.stop().await;
    one.configure("/e", SQLITE, DISK);
    same(&before, &one.tree().await);
    // So have those that had none yet.
    let (server, mut connection) = one.serve().await;
    let directory = before["/directory"].handle.clone();
    let original = lookup(&mut connection, &directory, "nothing").await;
    write(&mut connection, &original, 0, b"mine").await;
    remove(&mut connection, &directory, "nothing").await;
    server.stop().await;
    one.configure("/copy", second, DISK);
    let (server, mut connection) = one.serve().await;
    assert_eq!(super::tree::read(&mut connection, &nothing).await, b"the copy's");
    server.stop().await;
}

/// MNT.
async fn mount(connection: &mut Connection, share: &str) -> Vec<u8> {
    let call = Call::new(100_005, 3, 1).arguments(Writer::new().opaque(share.as_bytes()));
    let mut mounted = connection.call(call).await.results();
    assert_eq!(mounted.u32(), 0, "mountstat3 of {share}");
    mounted.opaque()
}

/// LOOKUP.
async fn lookup(connection: &mut Connection, directory: &[u8], name: &str) -> Vec<u8> {
    ok(connection, 3, of(directory).opaque(name.as_bytes())).await.opaque()
}

#[tokio::test]
async fn shares_of_several_stores_come_back_into_one() {
    let (one, other) = (Machine::local(), Machine::local());
    let text = |metadata: [&str; 2]| {
        let share = |name: &str, metadata: &str| {
            format!(
                "  - {{ name: {name}, metadata_store: {metadata}, content_store: disk, root: {{ mode: '1777' }}, \
                 clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ] }}\n"
            )
        };
        format!(
            "server: {{ listen: '127.0.0.1:0' }}\nmetadata: {{ stores: {{ {SQLITE}, more: {{ type: sqlite, sqlite: \
             {{ path: more.db }} }} }} }}\ncontent: {{ stores: {{ {DISK} }} }}\nshares:\n{}{}",
            share("/e", metadata[0]),
            share("/f", metadata[1])
        )
    };
    fs::write(one.path().join("t.yaml"), text(["db", "more"])).unwrap();
    let server = Running::start(one.path(), &["--config", "t.yaml"], 2).await;
    let mut connection = Connection::open(server.address).await;
    for share in ["/e", "/f"] {
        let top = mount(&mut connection, share).await;
        let file = create(&mut connection, &top, "file").await;
        write(&mut connection, &file, 0, share.as_bytes()).await;
    }
    let folder = one.path().join("backup");
    went_well(&one.backup(&folder, &[]).await);
    server.stop().await;
    fs::write(other.path().join("t.yaml"), text(["db", "db"])).unwrap();
    went_well(&other.restore(&folder, &[]).await);
    went_well(&other.restore(&folder, &["--replace"]).await);
    let server = Running::start(other.path(), &["--config", "t.yaml"], 2).await;
    let mut connection = Connection::open(server.address).await;
    for share in ["/e", "/f"] {
        let top = mount(&mut connection, share).await;
        let file = lookup(&mut connection, &top, "file").await;
        assert_eq!(super::tree::read(&mut connection, &file).await, share.as_bytes());
    }
    server.stop().await;
}

/// Contents that a server changes meanwhile would be taken for those of the backup.
#[tokio::test]
async fn a_share_that_is_served_is_refused_before_anything_is_written() {
    let database = TestDatabase::create().await;
    let one = Machine::new(&postgres(&database), DISK);
    let folder = one.path().join("backup");
    one.backed_up(&folder, &[]).await;
    let (server, mut connection) = one.serve().await;
    let top = root(&mut connection).await;
    let file = lookup(&mut connection, &top, "file").await;
    write(&mut connection, &file, 0, b"HELLO").await;
    let count = contents(&one.path().join("content")).len();
    let refused = one.restore(&folder, &["--replace"]).await;
    refused.failed_with(1, &["the share /e is being served", "stop its servers first"]);
    assert_eq!(contents(&one.path().join("content")).len(), count);
    server.stop().await;
}

#[tokio::test]
async fn a_later_backup_shares_what_was_not_changed() {
    let (one, other) = (Machine::local(), Machine::local());
    let [first, second] = ["first", "second"].map(|name| one.path().join(name));
    one.backed_up(&first, &[]).await;
    let (server, mut connection) = one.serve().await;
    let top = root(&mut connection).await;
    let file = super::scene::ok(&mut connection, 3, super::scene::of(&top).opaque(b"file"));
    let file = file.await.opaque();
    write(&mut connection, &file, 5, b" world").await;
    let new = create(&mut connection, &top, "new").await;
    write(&mut connection, &new, 0, b"new").await;
    let now = tree(&mut connection).await;
    let taken = one.backup(&second, &["--base", first.to_str().unwrap()]).await;
    went_well(&taken);
    assert!(taken.out.contains("2 files copied, 2 reused from --base"), "{taken:?}");
    server.stop().await;
    let inode = |folder: &Path| {
        let long = content_of(&folder.join("db/contents"), 5_500_000);
        let metadata = fs::metadata(long).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o400, "nobody writes to it");
        metadata.ino()
    };
    assert_eq!(inode(&first), inode(&second));
    fs::remove_dir_all(&first).unwrap();
    went_well(&verify(&second).await);
    went_well(&other.restore(&second, &[]).await);
    same(&now, &other.tree().await);
    let gone = one.backup(&one.path().join("third"), &["--base", first.to_str().unwrap()]).await;
    gone.failed_with(1, &["first: not a backup: not a folder"]);
}

#[tokio::test]
async fn a_folder_that_holds_something_is_left_alone() {
    let one = Machine::local();
    let folder = one.path().join("backup");
    one.backed_up(&folder, &[]).await;
    let again = one.backup(&folder, &[]).await;
    again.failed_with(1, &["already contains a backup"]);
    let other = one.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis"), "").unwrap();
    one.backup(&other, &[]).await.failed_with(1, &["contains other files"]);
    let share = one.backup(&one.path().join("x"), &["--share", "/none"]).await;
    share.failed_with(1, &["the configuration has no share /none; it has /e"]);
    let resumed = one.backup(&one.path().join("x"), &["--resume"]).await;
    resumed.failed_with(1, &["no unfinished backup", "--resume"]);
    let no_backup = one.restore(&other, &[]).await;
    no_backup.failed_with(1, &["not a backup"]);
    let whole = one.backup(&one.path().join("y"), &["--json", "--share", "/e"]).await;
    went_well(&whole);
    let summary: serde_json::Value = serde_json::from_str(&whole.out).unwrap();
    assert_eq!(summary["copied"], 3, "{summary}");
    assert_eq!(summary["stores"][0]["shares"][0]["name"], "/e", "{summary}");
}

#[tokio::test]
async fn what_a_content_store_lacks_is_said_and_the_rest_is_kept() {
    let (one, other) = (Machine::local(), Machine::local());
    let (server, mut connection) = one.serve().await;
    furnish(&mut connection).await;
    server.stop().await;
    fs::remove_file(content_of(&one.path().join("content"), 5_500_000)).unwrap();
    let folder = one.path().join("backup");
    let taken = one.backup(&folder, &[]).await;
    assert_eq!(taken.status, Some(1), "{taken:?}");
    let lost = "/e/directory/long: the content store had 0 of 5500000 bytes";
    assert!(taken.err.contains(lost), "{taken:?}");
    let proof = verify(&folder).await;
    assert_eq!(proof.status, Some(1), "{proof:?}");
    assert!(proof.err.contains(lost), "{proof:?}");
    other.restore(&folder, &[]).await.failed_with(1, &["/e/directory/long (the content store had"]);
    went_well(&other.restore(&folder, &["--incomplete"]).await);
}

#[tokio::test]
async fn truncated_and_removed_files_leave_nothing_of_theirs() {
    let (one, other) = (Machine::local(), Machine::local());
    let (server, mut connection) = one.serve().await;
    let top = root(&mut connection).await;
    for (name, bytes) in [("a", b"aaaa"), ("b", b"bbbb"), ("c", b"cccc")] {
        let file = create(&mut connection, &top, name).await;
        write(&mut connection, &file, 0, bytes).await;
        if name == "b" {
            resize(&mut connection, &file, 0).await;
        }
    }
    remove(&mut connection, &top, "c").await;
    let folder = one.path().join("backup");
    went_well(&one.backup(&folder, &[]).await);
    let before = tree(&mut connection).await;
    server.stop().await;
    assert_eq!(contents(&folder.join("db/contents")).len(), 1);
    went_well(&other.restore(&folder, &[]).await);
    same(&before, &other.tree().await);
}

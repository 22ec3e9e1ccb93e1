//! What the file system store alone promises: where files lie, how many are open, and which folders
//! it takes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::{TempDir, tempdir};
use trunkfs::content::{
    ContentStore as _, Error, FilesystemContent, FilesystemSettings, OpenError,
};
use trunkfs::types::ContentId;

use super::given_up;
use super::support::{
    CASE_LIMIT, assert_missing, call, cut, get, id, length, open_filesystem, pattern, put, whole,
};

fn base(folder: &TempDir) -> PathBuf {
    folder.path().join("content")
}

fn path_of(base: &Path, id: ContentId) -> PathBuf {
    base.join(format!("{:02x}", id.0.as_bytes()[15])).join(id.to_string())
}

async fn try_open(base_path: PathBuf) -> Result<FilesystemContent, OpenError> {
    FilesystemContent::open(FilesystemSettings { base_path, max_open_files: Some(4) }).await
}

#[tokio::test]
async fn a_reopened_store_finds_everything() {
    let folder = tempdir().unwrap();
    let ids: Vec<_> = (0..50).map(|_| id()).collect();
    {
        let store = open_filesystem(&folder, 4).await;
        for (number, id) in ids.iter().enumerate() {
            put(&store, *id, number as u64 * 1_000, &pattern(number as u64, 3_000)).await;
            store.commit(&call(), *id).await.unwrap();
        }
        store.remove(ids[0]).await.unwrap();
    }
    let store = open_filesystem(&folder, 4).await;
    assert_missing(&store, ids[0]).await;
    assert_eq!(store.list(None, 100).await.unwrap(), ids[1..]);
    for (number, id) in ids.iter().enumerate().skip(1) {
        assert_eq!(length(&store, *id).await, number as u64 * 1_000 + 3_000);
        let found = get(&store, *id, number as u64 * 1_000, 5_000).await;
        assert_eq!(found, pattern(number as u64, 3_000));
    }
}

#[tokio::test]
async fn two_stores_share_a_folder() {
    let folder = tempdir().unwrap();
    let (here, there) = (open_filesystem(&folder, 4).await, open_filesystem(&folder, 4).await);
    let id = id();
    put(&here, id, 0, b"from here").await;
    assert_eq!(whole(&there, id).await, b"from here"[..]);
    put(&there, id, 5, b"there").await;
    assert_eq!(whole(&here, id).await, b"from there"[..]);
    cut(&here, id, 4).await;
    assert_eq!(length(&there, id).await, 4);
    there.remove(id).await.unwrap();
    assert_missing(&here, id).await;
    here.commit(&call(), id).await.unwrap();
    put(&here, id, 0, b"anew").await;
    assert_eq!(whole(&there, id).await, b"anew"[..]);
}

/// The descriptors of this process that are content files of `base`.
fn scan_contents(base: &Path) -> BTreeSet<(PathBuf, PathBuf)> {
    let is_content = |target: &Path| {
        target.strip_prefix(base).is_ok_and(|below| below.components().count() == 2)
    };
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            let descriptor = entry.unwrap().path();
            // One that is closed meanwhile has no link any more.
            let target = fs::read_link(&descriptor).ok()?;
            is_content(&target).then_some((descriptor, target))
        })
        .collect()
}

/// How many content files of `base` were open at one moment: between two scans, since one scan may
/// count a descriptor that closes before it ends beside one that opens after.
fn open_contents(base: &Path) -> usize {
    scan_contents(base).intersection(&scan_contents(base)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_given_up_leave_no_descriptor_open() {
    const MAX: usize = 4;
    let folder = tempdir().unwrap();
    let base = base(&folder).canonicalize().unwrap_or_else(|_| base(&folder));
    let store = open_filesystem(&folder, MAX as u64).await;
    given_up::every_operation_is_cancelled_wherever_it_waits(&store).await;
    given_up::every_operation_is_dropped_wherever_it_waits(&store).await;
    assert!(open_contents(&base) <= MAX);
    for id in store.list(None, 10_000).await.unwrap() {
        store.remove(id).await.unwrap();
    }
    // What was dropped may end, and close its file, a moment later.
    all_closed(&base).await;
}

async fn all_closed(base: &Path) {
    let limit = std::time::Instant::now() + CASE_LIMIT;
    while open_contents(base) > 0 {
        assert!(std::time::Instant::now() < limit, "{:?} stay open", scan_contents(base));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_descriptors_are_bounded() {
    const MAX: usize = 8;
    let folder = tempdir().unwrap();
    let base = base(&folder).canonicalize().unwrap_or_else(|_| base(&folder));
    let store = Arc::new(open_filesystem(&folder, MAX as u64).await);
    let ids: Vec<_> = (0..300).map(|_| id()).collect();
    let over = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let (base, over) = (base.clone(), Arc::clone(&over));
        move || {
            let mut most = 0;
            loop {
                // Once more behind the end: descriptors are kept.
                let last = over.load(Ordering::Relaxed);
                most = most.max(open_contents(&base));
                if last {
                    return most;
                }
            }
        }
    });
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let (store, ids) = (Arc::clone(&store), ids.clone());
            tokio::spawn(async move {
                for step in 0..30 {
                    let at = (writer * 37 + step * 11) % ids.len();
                    put(&*store, ids[at], writer as u64 * 10, &[writer as u8 + 1; 10]).await;
                    if step % 3 == 0 {
                        store.commit(&call(), ids[at]).await.unwrap();
                    }
                    get(&*store, ids[at], 0, 100).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let most = watcher.join().unwrap();
    assert!((1..=MAX).contains(&most), "{most} were open at once");
    // All but those for replies that are to be sent.
    let kept = MAX - MAX / 4;
    assert_eq!(open_contents(&base), kept, "descriptors are kept for those who come back");
    drop(store);
    assert_eq!(open_contents(&base), 0);
}

#[tokio::test]
async fn a_removed_content_is_closed() {
    let folder = tempdir().unwrap();
    let store = open_filesystem(&folder, 8).await;
    let id = id();
    put(&store, id, 0, b"x").await;
    assert_eq!(open_contents(&base(&folder)), 1);
    store.remove(id).await.unwrap();
    assert_eq!(open_contents(&base(&folder)), 0, "its space is free");
}

#[tokio::test]
async fn files_lie_by_their_ids_last_byte() {
    let folder = tempdir().unwrap();
    let store = open_filesystem(&folder, 8).await;
    for _ in 0..40 {
        let id = id();
        put(&store, id, 0, b"here").await;
        let path = path_of(&base(&folder), id);
        assert_eq!(fs::read(&path).unwrap(), b"here");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
    let folders = fs::read_dir(base(&folder)).unwrap().count();
    assert_eq!(folders, 258, "256 folders, the marker and the identity");
}

#[tokio::test]
async fn other_names_are_not_listed() {
    let folder = tempdir().unwrap();
    let store = open_filesystem(&folder, 8).await;
    let id = id();
    put(&store, id, 0, b"x").await;
    let own = path_of(&base(&folder), id);
    fs::write(own.with_file_name("notes.txt"), b"").unwrap();
    let elsewhere = format!("{:02x}", id.0.as_bytes()[15] ^ 1);
    fs::write(base(&folder).join(elsewhere).join(id.to_string()), b"").unwrap();
    assert_eq!(store.list(None, 10).await.unwrap(), [id]);
}

#[tokio::test]
async fn holes_take_no_blocks() {
    let folder = tempdir().unwrap();
    let store = open_filesystem(&folder, 8).await;
    let (written, extended) = (id(), id());
    put(&store, written, 1 << 40, b"x").await;
    put(&store, written, 0, b"x").await;
    cut(&store, extended, 1 << 40).await;
    for id in [written, extended] {
        store.commit(&call(), id).await.unwrap();
        let used = fs::metadata(path_of(&base(&folder), id)).unwrap().blocks() * 512;
        assert!(used <= 1 << 17, "{used} bytes");
    }
}

#[tokio::test]
async fn what_the_page_cache_lacks_is_read_from_the_device() {
    let folder = tempdir().unwrap();
    let store = open_filesystem(&folder, 8).await;
    let (id, data) = (id(), pattern(8, 1 << 20));
    // In pieces, since the page cache forgets whole folios.
    for (piece, bytes) in data.chunks(64 << 10).enumerate() {
        put(&store, id, (piece as u64) << 16, bytes).await;
    }
    store.commit(&call(), id).await.unwrap();
    let file = fs::File::open(path_of(&base(&folder), id)).unwrap();
    for (offset, length) in [(512 << 10, 512 << 10), (0, 4_096), (256 << 10, 8_192), (0, 1 << 20)] {
        let length = std::num::NonZeroU64::new(length);
        rustix::fs::fadvise(&file, offset, length, rustix::fs::Advice::DontNeed).unwrap();
        assert_eq!(get(&store, id, 0, 1 << 20).await, data);
    }
}

#[tokio::test]
async fn a_folder_is_made_with_all_above_it() {
    let folder = tempdir().unwrap();
    let deep = folder.path().join("a/b/c");
    let store = try_open(deep.clone()).await.unwrap();
    put(&store, id(), 0, b"x").await;
    assert_eq!(fs::metadata(&deep).unwrap().mode() & 0o777, 0o700);
}

/// Links that another user put into the folder are not followed, by whatever operation.
#[tokio::test]
async fn symbolic_links_are_not_followed() {
    let folder = tempdir().unwrap();
    let (secret, away) = (folder.path().join("secret"), folder.path().join("away"));
    fs::write(&secret, "of another user").unwrap();
    let store = open_filesystem(&folder, 4).await;
    let (link, dangling, below) = (id(), id(), id());
    symlink(&secret, path_of(&base(&folder), link)).unwrap();
    symlink(folder.path().join("nothing"), path_of(&base(&folder), dangling)).unwrap();
    // One of the 256 folders, with what is in it.
    let part = path_of(&base(&folder), below).parent().unwrap().to_path_buf();
    fs::rename(&part, &away).unwrap();
    let file = away.join(below.to_string());
    fs::write(&file, "of another folder").unwrap();
    symlink(&away, &part).unwrap();

    for id in [link, dangling, below] {
        for error in [
            store.read(&call(), id, 0, 100).await.unwrap_err(),
            store.write(&call(), id, 0, "changed".into()).await.unwrap_err(),
            store.truncate(&call(), id, 0).await.unwrap_err(),
            store.length(&call(), id).await.unwrap_err(),
            store.commit(&call(), id).await.unwrap_err(),
        ] {
            let text = trunkfs::types::Chain(&error).to_string();
            assert!(matches!(error, Error::Io(_)) && text.contains("symbolic links"), "{text}");
        }
    }
    assert!(store.remove(below).await.is_err() && store.footprint(below).await.is_err());
    assert!(store.list(None, 10).await.is_err(), "a part of the contents cannot be seen");
    store.remove(link).await.unwrap();
    assert!(!path_of(&base(&folder), link).is_symlink(), "the link itself goes");
    assert_eq!(fs::read(&secret).unwrap(), b"of another user");
    assert_eq!(fs::read(&file).unwrap(), b"of another folder");
    assert!(!folder.path().join("nothing").exists());
    let error = try_open(base(&folder)).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
}

/// The markers may be links as little.
#[tokio::test]
async fn a_marker_that_is_a_link_is_refused() {
    for name in [".trunkfs-content", ".trunkfs-content.id"] {
        let folder = tempdir().unwrap();
        try_open(base(&folder)).await.unwrap();
        let (marker, away) = (base(&folder).join(name), folder.path().join("away"));
        fs::rename(&marker, &away).unwrap();
        symlink(&away, &marker).unwrap();
        let error = try_open(base(&folder)).await.unwrap_err();
        assert!(matches!(error, OpenError::Unreachable { .. }), "{name}: {error:?}");
    }
}

/// A named pipe in a content's place does not hold a thread.
#[tokio::test]
async fn special_files_are_refused() {
    let folder = tempdir().unwrap();
    let store = open_filesystem(&folder, 4).await;
    let id = id();
    let kind = rustix::fs::FileType::Fifo;
    let path = path_of(&base(&folder), id);
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o600.into(), 0).unwrap();
    assert!(store.read(&call(), id, 0, 10).await.is_err());
    assert!(store.write(&call(), id, 0, "bytes".into()).await.is_err());
}

#[tokio::test]
async fn a_fresh_file_system_is_taken() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    try_open(folder.path().to_owned()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_make_a_folder_at_once() {
    for _ in 0..5 {
        let folder = tempdir().unwrap();
        let openers: Vec<_> =
            (0..8).map(|_| tokio::spawn(try_open(folder.path().join("new")))).collect();
        for opener in openers {
            opener.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_folder_of_other_files_is_refused() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("precious"), b"").unwrap();
    let error = try_open(folder.path().to_owned()).await.unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made there");
}

#[tokio::test]
async fn other_formats_are_refused() {
    for marker in ["TrunkFS content, format 2\n", "TrunkFS content, format 10\n", "", "\u{1}junk"] {
        let folder = tempdir().unwrap();
        try_open(base(&folder)).await.unwrap();
        fs::write(base(&folder).join(".trunkfs-content"), marker).unwrap();
        let error = try_open(base(&folder)).await.unwrap_err();
        assert!(matches!(error, OpenError::Format { .. }), "{marker:?}: {error:?}");
        let kept = fs::read_to_string(base(&folder).join(".trunkfs-content")).unwrap();
        assert_eq!(kept, marker, "it is left as it was");
    }
}

#[tokio::test]
async fn a_file_in_the_folders_place_is_refused() {
    let folder = tempdir().unwrap();
    fs::write(base(&folder), b"").unwrap();
    for path in [base(&folder), base(&folder).join("below")] {
        let error = try_open(path.clone()).await.unwrap_err();
        assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_folder_without_write_permission_is_refused() {
    // Nobody, the superuser included, makes files in procfs (proc(5)).
    let path = Path::new("/proc/tty/ldisc");
    assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    let error = try_open(path.to_owned()).await.unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("/proc/tty/ldisc") && text.contains("base_path"), "{text}");
}

//! Faults of the system below, each had from the kernel itself.

use std::sync::atomic::Ordering;

use tempfile::TempDir;
use tokio::time::Duration;

use super::*;

fn call() -> Call {
    Call::internal(Duration::from_secs(60))
}

async fn open(folder: &TempDir, max_open_files: u64) -> FilesystemContent {
    let max_open_files = Some(max_open_files);
    let base_path = folder.path().to_owned();
    FilesystemContent::open(FilesystemSettings { base_path, max_open_files }).await.unwrap()
}

/// Content whose open file is /dev/full: every write finds no space, every sync fails (full(4)).
fn full_device(store: &FilesystemContent) -> ContentId {
    let id = ContentId::generate();
    let device = std::fs::File::options().read(true).write(true).open("/dev/full").unwrap();
    let file = OpenFile::new(id, device.into(), folder::Access::ReadWrite);
    store.shared.descriptors.add(file);
    id
}

fn repair(store: &FilesystemContent, id: ContentId) {
    std::fs::write(store.shared.folder.path(id), b"a good file").unwrap();
}

async fn write(store: &FilesystemContent, id: ContentId) -> Result<(), Error> {
    store.write(&call(), id, 0, Bytes::from_static(b"data")).await
}

#[test]
fn max_open_files_follows_the_limit_and_what_is_left_of_it() {
    let files = |given, stores, left| {
        let mut settings = FilesystemSettings { max_open_files: given, ..Default::default() };
        settings.limit_open_files(stores, left);
        settings.max_open_files.unwrap()
    };
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let half = (limit.current.unwrap_or(u64::MAX) / 2).min(32_768);
    assert!(half >= 512, "the case needs a limit of 1,024 open files");
    assert_eq!(files(None, 1, usize::MAX), half);
    assert_eq!(files(None, 4, usize::MAX), half / 4);
    assert_eq!(files(None, 1, 100), 164);
    assert_eq!(files(None, 2, 100), 114);
    assert_eq!(files(None, 1, 0), 64);
    assert_eq!(files(None, 100_000, usize::MAX), 64);
    assert_eq!(files(Some(7), 1, usize::MAX), 7);
}

#[tokio::test]
async fn pages_in_memory_are_sent_without_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 8).await;
    let id = ContentId::generate();
    let data = Bytes::from(vec![7; 300_000]);
    store.write(&call(), id, 0, data).await.unwrap();
    let pages = |offset, length| store.pages(id, offset, length);
    let all = pages(0, 300_000).unwrap();
    assert_eq!(all.len(), 300_000);
    assert!(pages(1, 300_000).is_none(), "they end before");
    assert!(pages(u64::MAX, 2).is_none());
    assert!(store.pages(ContentId::generate(), 0, 1).is_none());
    // Replies may keep a quarter of the files open.
    let more = pages(100_000, 1000).unwrap();
    assert!(pages(0, 10).is_none());
    drop(more);
    assert!(pages(0, 10).is_some());
    store.remove(id).await.unwrap();
    let (to, mut from) = std::os::unix::net::UnixStream::pair().unwrap();
    let sent =
        std::thread::spawn(move || (all.send(&to, 299_000).unwrap(), all.send(&to, 299_999)));
    let (mut first, mut last) = (vec![0; 1000], [0; 1]);
    std::io::Read::read_exact(&mut from, &mut first).unwrap();
    std::io::Read::read_exact(&mut from, &mut last).unwrap();
    assert_eq!((first, last), (vec![7; 1000], [7]));
    let (sent, again) = sent.join().unwrap();
    assert_eq!((sent, again.unwrap()), (1000, 1));
}

#[tokio::test]
async fn a_full_device_is_no_space() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 8).await;
    let id = full_device(&store);
    let error = write(&store, id).await.unwrap_err();
    assert!(crate::availability::is_told(&error), "the store's own line tells it");
    let Error::NoSpace(source) = error else { panic!("{error:?}") };
    assert!(source.to_string().contains(&id.to_string()), "{source}");
}

#[tokio::test]
async fn removals_at_once_are_done_by_few_threads_and_each_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 256).await;
    let ids: Vec<_> = (0..200).map(|_| ContentId::generate()).collect();
    for id in &ids {
        write(&store, *id).await.unwrap();
    }
    // One that cannot be removed fails alone: a directory.
    let stuck = ContentId::generate();
    std::fs::create_dir(store.shared.folder.path(stuck)).unwrap();
    let removing = ids.iter().chain([&stuck]).map(|id| store.remove(*id));
    let (done, failed): (Vec<_>, Vec<_>) =
        futures_util::future::join_all(removing).await.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), failed.len()), (200, 1));
    assert_eq!(store.list(None, 1000).await.unwrap(), [stuck]);
    assert_eq!(store.shared.descriptors.free_permits(), 192);
}

#[tokio::test]
async fn a_failed_sync_stays_failed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 8).await;
    let id = full_device(&store);
    write(&store, id).await.unwrap_err();
    store.commit(&call(), id).await.unwrap_err();
    // What lies there now could be synced, but it is not what was written.
    repair(&store, id);
    store.shared.descriptors.discard(&store.at_hand(id).unwrap().unwrap().0);
    for _ in 0..3 {
        let again = store.commit(&call(), id).await.unwrap_err();
        assert!(matches!(again, Error::Io(_)), "{again:?}");
        write(&store, id).await.unwrap();
    }
    let other = ContentId::generate();
    write(&store, other).await.unwrap();
    store.commit(&call(), other).await.unwrap();
}

#[tokio::test]
async fn content_removed_or_cut_to_nothing_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 8).await;
    for remove in [true, false] {
        let id = full_device(&store);
        store.commit(&call(), id).await.unwrap_err();
        repair(&store, id);
        store.shared.descriptors.discard(&store.at_hand(id).unwrap().unwrap().0);
        store.truncate(&call(), id, 1).await.unwrap();
        store.commit(&call(), id).await.unwrap_err();
        if remove {
            store.remove(id).await.unwrap();
        } else {
            store.truncate(&call(), id, 0).await.unwrap();
        }
        write(&store, id).await.unwrap();
        store.commit(&call(), id).await.unwrap();
    }
}

#[tokio::test]
async fn a_sync_that_fails_on_eviction_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 1).await;
    let id = full_device(&store);
    write(&store, id).await.unwrap_err();
    // Takes the only descriptor.
    write(&store, ContentId::generate()).await.unwrap();
    repair(&store, id);
    store.commit(&call(), id).await.unwrap_err();
}

#[tokio::test]
async fn an_evicted_file_was_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 1).await;
    let (first, second) = (ContentId::generate(), ContentId::generate());
    write(&store, first).await.unwrap();
    let weak = {
        let (file, _) = store.at_hand(first).unwrap().unwrap();
        assert!(file.is_dirty());
        Arc::downgrade(&file)
    };
    write(&store, second).await.unwrap();
    assert!(weak.upgrade().is_none(), "its descriptor is closed");
    assert_eq!(store.shared.syncs.begun.load(Ordering::SeqCst), 1);
    store.length(&call(), first).await.unwrap();
    let (file, _) = store.at_hand(first).unwrap().unwrap();
    assert!(!file.is_dirty(), "reading makes nothing dirty");
}

#[tokio::test]
async fn one_sync_answers_those_who_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 8).await;
    let id = ContentId::generate();
    write(&store, id).await.unwrap();
    let (file, _) = store.at_hand(id).unwrap().unwrap();
    let gate = Arc::clone(&file.gate).lock_owned().await;
    let context = call();
    let mut waiting = std::pin::pin!(commit_twice(&store, &context, id));
    let early = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
    assert!(early.is_err(), "they wait for the sync under way");
    store.shared.syncs.sync(&store.shared.folder, &file).unwrap();
    drop(gate);
    waiting.await;
    assert_eq!(store.shared.syncs.begun.load(Ordering::SeqCst), 1);
    write(&store, id).await.unwrap();
    store.commit(&call(), id).await.unwrap();
    store.commit(&call(), id).await.unwrap();
    assert_eq!(store.shared.syncs.begun.load(Ordering::SeqCst), 2);
}

async fn commit_twice(store: &FilesystemContent, call: &Call, id: ContentId) {
    let (first, second) = tokio::join!(store.commit(call, id), store.commit(call, id));
    first.unwrap();
    second.unwrap();
}

#[tokio::test]
async fn the_first_commit_syncs_the_name_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 8).await;
    let (unnamed, named) = (ContentId::generate(), ContentId::generate());
    write(&store, unnamed).await.unwrap();
    write(&store, named).await.unwrap();
    store.commit(&call(), named).await.unwrap();
    // The files stay open while the folders that name them cannot be.
    for id in [unnamed, named] {
        let part = store.shared.folder.path(id).parent().unwrap().to_owned();
        // Both may be in one folder.
        drop(std::fs::rename(&part, part.with_extension("away")));
    }
    write(&store, named).await.unwrap();
    store.commit(&call(), named).await.unwrap();
    let error = store.commit(&call(), unnamed).await.unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error:?}");
}

#[tokio::test]
async fn a_write_during_a_sync_is_not_taken_for_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 8).await;
    let id = ContentId::generate();
    write(&store, id).await.unwrap();
    store.commit(&call(), id).await.unwrap();
    let (file, _) = store.at_hand(id).unwrap().unwrap();
    assert!(!file.is_dirty() && file.is_synced_to(file.sync_target()));
    write(&store, id).await.unwrap();
    assert!(file.is_dirty() && !file.is_synced_to(file.sync_target()));
}

#[tokio::test]
async fn what_a_thread_has_begun_is_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 8).await;
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (finish, may_finish) = std::sync::mpsc::channel();
    let caller = call();
    let permit = store.permit(&caller).await.unwrap();
    let mut call = std::pin::pin!(store.run(&caller, permit, move |_, _| {
        begun.send(()).unwrap();
        may_finish.recv().unwrap();
        Ok(7)
    }));
    tokio::select! {
        _ = &mut call => panic!("it cannot be over"),
        began = has_begun => began.unwrap(),
    }
    caller.cancel.cancel();
    let early = tokio::time::timeout(Duration::from_millis(20), &mut call).await;
    assert!(early.is_err(), "it is under way");
    finish.send(()).unwrap();
    assert_eq!(call.await.unwrap(), 7);
}

#[test]
fn what_no_thread_has_begun_is_taken_back() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let case = async {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, 8).await;
        let (finish, may_finish) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || may_finish.recv());
        let id = ContentId::generate();
        let (cancelled, dropped) = (call(), call());
        let data = Bytes::from_static(b"lost");
        let stop = async { cancelled.cancel.cancel() };
        let (answer, ()) = tokio::join!(store.write(&cancelled, id, 0, data.clone()), stop);
        assert!(matches!(answer, Err(Error::Cancelled)), "{answer:?}");
        let write = store.write(&dropped, id, 0, data);
        tokio::time::timeout(Duration::from_millis(20), write).await.unwrap_err();
        finish.send(()).unwrap();
        busy.await.unwrap().unwrap();
        let found = store.length(&call(), id).await;
        assert!(matches!(found, Err(Error::Missing(_))), "{found:?}");
        assert_eq!(store.shared.descriptors.free_permits(), 6);
    };
    let limit = async { tokio::time::timeout(Duration::from_secs(120), case).await };
    runtime.block_on(limit).expect("it ends in time");
}

#[test]
fn errors_tell_full_read_only_and_too_large_apart() {
    use rustix::io::Errno;
    let of = |errno| super::error::of_errno("write", "x".into(), std::path::Path::new("."), errno);
    assert!(matches!(of(Errno::NOSPC), Error::NoSpace(_)));
    assert!(matches!(of(Errno::DQUOT), Error::NoSpace(_)));
    assert!(matches!(of(Errno::ROFS), Error::ReadOnly(_)));
    assert!(matches!(of(Errno::FBIG), Error::TooLarge));
    assert!(matches!(of(Errno::IO), Error::Io(_)));
    assert!(matches!(of(Errno::NOENT), Error::Io(_)));
}

/// Many calls of one client and then a single one of another, all for one open file: the single one is among
/// the first.
#[tokio::test]
async fn clients_take_turns_at_open_files() {
    use futures_util::FutureExt as _;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};

    const CALLS: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, 1).await;
    let from = |host: u8| Call::of_client(([10, 0, 0, host], 700).into(), Duration::from_secs(60));
    let (crowd, single) = (from(1), from(2));
    let held = store.permit(&call()).await.unwrap();
    let mut calls: Vec<_> = (0..=CALLS)
        .map(|number| {
            let call = if number == CALLS { &single } else { &crowd };
            let write = store.write(call, ContentId::generate(), 0, Bytes::from_static(b"data"));
            write.map(move |done| done.map(|()| number))
        })
        .collect();
    assert!(calls.iter_mut().all(|call| call.now_or_never().is_none()), "no permit is free");
    drop(held);
    let mut calls: FuturesUnordered<_> = calls.into_iter().collect();
    let mut before = 0;
    while calls.next().await.unwrap().unwrap() != CALLS {
        before += 1;
    }
    assert!(before < 10, "after {before} calls of the other client");
    while let Some(done) = calls.next().await {
        done.unwrap();
    }
}

//! What only this store can be asked: its check finds every kind of damage.

use std::time::Duration;

use super::*;
use crate::metadata::RootSpec;
use crate::types::{Fileid, ShareName};

struct Sample {
    store: MemoryStore,
    root: ObjectId,
    directory: Attributes,
    file: Attributes,
}

fn name(name: &str) -> Name {
    Name::parse(name.as_bytes()).unwrap()
}

fn context(share: &Share) -> Context {
    Context::internal(share.id, Duration::from_secs(60))
}

/// `/d/f`, `/d/link`, `/d/e`.
async fn sample() -> (Sample, Context) {
    let store = MemoryStore::new();
    let spec = ShareSpec {
        name: ShareName::parse("/s").unwrap(),
        root: RootSpec { uid: 0, gid: 0, mode: 0o755 },
        chunk_size: 1 << 22,
    };
    let share = store.open_share(&spec).await.unwrap();
    let cx = context(&share);
    let set = SetAttributes::default();
    let directory = store.mkdir(&cx, share.root, &name("d"), &set).await.unwrap().object;
    store.mkdir(&cx, directory.id, &name("e"), &set).await.unwrap();
    let target = SymlinkTarget::parse(b"f").unwrap();
    store.symlink(&cx, directory.id, &name("link"), &target, &set).await.unwrap();
    let how = CreateHow::Exclusive(1);
    let file = store.create(&cx, directory.id, &name("f"), &how).await.unwrap().object;
    assert_eq!(store.inconsistencies().await.unwrap(), [""; 0]);
    (Sample { store, root: share.root, directory, file }, cx)
}

#[tokio::test]
async fn every_kind_of_damage_is_found() {
    type Damage = fn(&Sample, &mut MemoryTables);
    let damages: &[(&str, Damage)] = &[
        ("an edge without child", |s, state| {
            state.objects.remove(&s.file.id);
        }),
        ("an orphan", |s, state| state.remove_edge(s.directory.id, &name("f"))),
        ("a wrong link count", |s, state| {
            state.objects.get_mut(&s.file.id).unwrap().nlink = 2;
        }),
        ("wrong subdirectories", |s, state| {
            state.objects.get_mut(&s.directory.id).unwrap().nlink = 2;
        }),
        ("a second name of a directory", |s, state| {
            let edge = state.edge(s.root, &name("d")).unwrap();
            let cookie = state.next_cookie();
            state.objects.get_mut(&s.root).unwrap().nlink += 1;
            state.put_edge(
                s.root,
                &name("again"),
                crate::metadata::single_writer::Edge { cookie, ..edge },
            );
        }),
        ("a wrong parent", |s, state| {
            state.objects.get_mut(&s.directory.id).unwrap().parent = Some(s.directory.id);
        }),
        ("a cycle cut loose", |s, state| {
            let edge = state.edge(s.root, &name("d")).unwrap();
            let child = state.edge(s.directory.id, &name("e")).unwrap().child;
            state.remove_edge(s.root, &name("d"));
            state.put_edge(child, &name("d"), edge);
            state.objects.get_mut(&s.root).unwrap().nlink -= 1;
            state.objects.get_mut(&child).unwrap().nlink += 1;
            state.objects.get_mut(&s.directory.id).unwrap().parent = Some(child);
        }),
        ("a usage counter", |s, state| {
            let file = state.objects.get_mut(&s.file.id).unwrap();
            (file.size, file.used) = (1, 1);
        }),
        ("more used than the size", |s, state| {
            let file = Attributes { used: 4096, ..s.file.clone() };
            state.put(file);
        }),
        ("a directory that takes nothing", |s, state| {
            let directory = Attributes { used: 0, ..s.directory.clone() };
            state.put(directory);
        }),
        ("a cookie that is missing", |s, state| {
            state.entries.get_mut(&s.directory.id).unwrap().by_cookie.pop_first();
        }),
        ("a cookie of another name", |s, state| {
            let entries = state.entries.get_mut(&s.directory.id).unwrap();
            *entries.by_cookie.first_entry().unwrap().get_mut() = name("other");
        }),
        ("a fileid used twice", |s, state| {
            state.objects.get_mut(&s.file.id).unwrap().fileid = Fileid(1);
        }),
        ("a target that is missing", |_, state| state.targets.clear()),
        ("a file without content", |s, state| {
            state.objects.get_mut(&s.file.id).unwrap().content = None;
        }),
        ("a share without root", |s, state| {
            state.objects.remove(&s.root);
        }),
    ];
    for (what, damage) in damages {
        let (sample, _) = sample().await;
        damage(&sample, &mut sample.store.state.lock());
        assert_ne!(sample.store.inconsistencies().await.unwrap(), [""; 0], "{what}");
    }
}

#[tokio::test]
async fn the_link_limit_is_obeyed() {
    let (sample, cx) = sample().await;
    for share in sample.store.state.lock().shares.values_mut() {
        share.capabilities.max_links = 3;
    }
    let store = &sample.store;
    for (new, nlink) in [("1", 2), ("2", 3)] {
        let linked = store.link(&cx, sample.file.id, sample.root, &name(new)).await.unwrap();
        assert_eq!(linked.object.nlink, nlink);
    }
    let refusal = store.link(&cx, sample.file.id, sample.root, &name("3")).await.unwrap_err();
    assert!(matches!(refusal.error, Error::TooManyLinks));
    assert_eq!(refusal.first.unwrap().nlink, 3);
}

#[tokio::test]
async fn a_closed_store_answers_nothing() {
    let (sample, cx) = sample().await;
    sample.store.close().await;
    let answer = sample.store.getattr(&cx, sample.root).await;
    assert!(matches!(answer, Err(Error::Unavailable(_))));
    assert!(matches!(sample.store.shares().await, Err(Error::Unavailable(_))));
}

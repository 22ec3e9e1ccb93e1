//! A small share, to be loaded beside others.

use std::time::Duration;

use tokio::sync::mpsc;
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{
    CreateHow, Dump as _, EntryRecord, Load, LoadError, LoadHow, Loaded, MetadataStore as _,
    Namespace as _, Portion, Record, RootSpec, SetAttributes, ShareSpec,
};
use trunkfs::types::{Context, Name, ObjectId, ShareName};

/// Files of the small share.
pub(crate) const FILES: u64 = 20;

/// The dump of a share `/small`: its root and some files.
pub(crate) async fn small_share() -> Vec<Record> {
    dumped("/small", 0, FILES).await
}

/// The dump of a share whose root has some files, and some directories with as many each.
pub(crate) async fn dumped(share: &str, directories: u64, files: u64) -> Vec<Record> {
    let store = MemoryStore::new();
    let spec = ShareSpec {
        name: ShareName::parse(share).unwrap(),
        root: RootSpec { uid: 0, gid: 0, mode: 0o755 },
        chunk_size: 1 << 22,
    };
    let share = store.open_share(&spec).await.unwrap();
    let cx = Context::internal(share.id, Duration::from_secs(120));
    let name = |kind, number| Name::parse(format!("{kind}{number}").as_bytes()).unwrap();
    let mut places = vec![share.root];
    for number in 0..directories {
        let set = SetAttributes::default();
        let made = store.mkdir(&cx, share.root, &name('d', number), &set).await.unwrap();
        places.push(made.object.id);
    }
    let how = CreateHow::Guarded(SetAttributes::default());
    for place in places {
        for number in 0..files {
            store.create(&cx, place, &name('f', number), &how).await.unwrap();
        }
    }
    let (to, mut from) = mpsc::channel(64);
    let dumping = async {
        store.dump(None, to).await.unwrap();
    };
    let reading = async {
        let mut records = Vec::new();
        while let Some(portion) = from.recv().await {
            records.extend(portion);
        }
        records
    };
    tokio::join!(dumping, reading).1
}

/// Loads records that are a whole dump.
pub(crate) async fn load(store: &impl Load, records: Vec<Record>) -> Result<Loaded, LoadError> {
    let (to, from) = mpsc::channel(2);
    to.send(Portion::Records(records)).await.unwrap();
    to.send(Portion::End).await.unwrap();
    store.load(&LoadHow::default(), from).await
}

/// Dumps that reach into a share that is there already, of which a root, a directory and a file are given.
pub(crate) fn reaching(
    dump: &[Record],
    root: ObjectId,
    directory: ObjectId,
    file: ObjectId,
) -> Vec<(&'static str, Vec<Record>)> {
    let entry = |change: &dyn Fn(&mut EntryRecord)| {
        let mut records = dump.to_vec();
        let last = records.iter_mut().rev().find_map(|record| match record {
            Record::Entry(entry) => Some(entry),
            Record::Share(_) | Record::Object(_) => None,
        });
        change(last.unwrap());
        records
    };
    let rooted = |root| {
        let mut records = dump.to_vec();
        match records.first_mut() {
            Some(Record::Share(share)) => share.root = root,
            other => panic!("no share: {other:?}"),
        }
        records
    };
    vec![
        ("an entry in another share's directory", entry(&|entry| entry.directory = directory)),
        ("an entry of another share's file", entry(&|entry| entry.child = file)),
        ("an entry of another share's directory", entry(&|entry| entry.child = directory)),
        ("another share's root", rooted(root)),
        ("another share's directory as root", rooted(directory)),
    ]
}

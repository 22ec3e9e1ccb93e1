//! Stores that are damaged on purpose, and what a check and a repair make of them.

use tokio_util::sync::CancellationToken;
use trunkfs::admin::fsck::{Check, Extent, Found, Outcome, RepairAccess, Report, Stopped};
use trunkfs::metadata::{
    Checker, CreateHow, Error, Fault, Flaw, MetadataStore, Numbers, Refusal, Repair, Repairable,
    Repaired, RootSpec, SetAttributes, Share, ShareSpec,
};
use trunkfs::types::{Attributes, Context, Name, ObjectId, ShareName, Timestamp};

/// Pages and tables so small that everything spans several.
pub(crate) const SMALL: Extent = Extent { page: 2, counted: 3 };

/// What is broken: `{B}` is the store's type of names, `{R}` a fresh id, `{U}` a change of the counters.
pub(crate) struct Case {
    pub(crate) damage: &'static str,
    /// The kinds of what a check finds.
    pub(crate) found: &'static [&'static str],
    /// The kinds of what a repair finds, which sees what it has changed.
    pub(crate) mended: &'static [&'static str],
}

const fn case(
    damage: &'static str,
    found: &'static [&'static str],
    mended: &'static [&'static str],
) -> Case {
    Case { damage, found, mended }
}

/// Each on a share with the directories `d`, `d/sub`, `d/sub/deep` and `other`, and the files `d/f` (also
/// `other/g`) and `d/sub/x`, beside a second share with the file `far`.
pub(crate) const CASES: [Case; 31] = [
    case("", &[], &[]),
    case(
        "DELETE FROM files WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('x' AS {B}))",
        &["dangling_entry", "usage"],
        &["dangling_entry", "usage"],
    ),
    case(
        "UPDATE parent_child_map SET parent_id = {R} WHERE child_name = CAST('x' AS {B})",
        &["entry_outside_directory"],
        &["entry_outside_directory", "no_name"],
    ),
    case(
        "UPDATE parent_child_map SET parent_id = (SELECT child_id FROM parent_child_map WHERE child_name = CAST('f' AS {B}))
          WHERE child_name = CAST('deep' AS {B})",
        &["entry_outside_directory", "subdirectory_count"],
        &["entry_outside_directory", "no_name", "subdirectory_count"],
    ),
    case(
        "DELETE FROM parent_child_map WHERE child_name = CAST('x' AS {B})",
        &["no_name"],
        &["no_name"],
    ),
    case(
        "DELETE FROM parent_child_map WHERE child_name IN (CAST('f' AS {B}), CAST('g' AS {B}))",
        &["no_name"],
        &["no_name"],
    ),
    case(
        "DELETE FROM parent_child_map WHERE child_name = CAST('sub' AS {B})",
        &["no_name", "subdirectory_count"],
        &["no_name", "subdirectory_count"],
    ),
    case("DELETE FROM link_counts", &["link_count"], &["link_count"]),
    case(
        "INSERT INTO link_counts SELECT child_id, 5 FROM parent_child_map WHERE child_name = CAST('x' AS {B})",
        &["link_count"],
        &["link_count"],
    ),
    case("UPDATE link_counts SET link_count = 3", &["link_count"], &["link_count"]),
    case("INSERT INTO link_counts VALUES ({R}, 2)", &["stray_link_count"], &["stray_link_count"]),
    case(
        "UPDATE files SET subdirs = subdirs + 1
          WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name IN (CAST('sub' AS {B}), CAST('deep' AS {B})))",
        &["subdirectory_count", "subdirectory_count"],
        &["subdirectory_count", "subdirectory_count"],
    ),
    case(
        "UPDATE files SET parent_id = (SELECT child_id FROM parent_child_map WHERE child_name = CAST('other' AS {B}))
          WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('sub' AS {B}))",
        &["wrong_parent"],
        &["wrong_parent"],
    ),
    case(
        "UPDATE files SET parent_id = id
          WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('sub' AS {B}))",
        &["wrong_parent"],
        &["wrong_parent"],
    ),
    case(
        "INSERT INTO parent_child_map (parent_id, child_name, child_id, cookie)
         SELECT o.child_id, CAST('again' AS {B}), s.child_id, (SELECT max(cookie) FROM parent_child_map) FROM parent_child_map o, parent_child_map s
          WHERE o.child_name = CAST('other' AS {B}) AND s.child_name = CAST('sub' AS {B})",
        &["second_parent", "subdirectory_count"],
        &["second_parent"],
    ),
    case(
        "INSERT INTO parent_child_map (parent_id, child_name, child_id, cookie)
         SELECT s.parent_id, CAST('again' AS {B}), s.child_id, (SELECT max(cookie) FROM parent_child_map) FROM parent_child_map s
          WHERE s.child_name = CAST('sub' AS {B})",
        &["several_names", "subdirectory_count"],
        &["several_names", "subdirectory_count"],
    ),
    // The directory `sub` lies in `deep`, which lies in it.
    case(
        "UPDATE files SET parent_id = (SELECT child_id FROM parent_child_map WHERE child_name = CAST('deep' AS {B}))
          WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('sub' AS {B}));
         UPDATE parent_child_map SET parent_id =
                (SELECT child_id FROM parent_child_map WHERE child_name = CAST('deep' AS {B}))
          WHERE child_name = CAST('sub' AS {B})",
        &["cycle", "subdirectory_count", "subdirectory_count"],
        &["cycle", "subdirectory_count", "subdirectory_count"],
    ),
    case("{U}", &["usage"], &["usage"]),
    case(
        "UPDATE files SET mode = mode + 4096
          WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name IN (CAST('x' AS {B}), CAST('deep' AS {B})))",
        &["mode", "mode"],
        &["mode", "mode"],
    ),
    case(
        "UPDATE files SET fileid = (SELECT fileid FROM files WHERE id =
                (SELECT child_id FROM parent_child_map WHERE child_name = CAST('d' AS {B})))
          WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name IN (CAST('x' AS {B}), CAST('deep' AS {B})))",
        &["fileid", "fileid"],
        &["fileid", "fileid"],
    ),
    case(
        "UPDATE files SET fileid = -7 WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('x' AS {B}))",
        &["fileid"],
        &["fileid"],
    ),
    case(
        "UPDATE files SET fileid = 77000000 WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('x' AS {B}))",
        &["sequence"],
        &["sequence"],
    ),
    case(
        "UPDATE parent_child_map SET cookie = 2 WHERE child_name IN (CAST('x' AS {B}), CAST('g' AS {B}))",
        &["cookie", "cookie"],
        &["cookie", "cookie"],
    ),
    case(
        "UPDATE parent_child_map SET cookie = 77000000 WHERE child_name = CAST('x' AS {B})",
        &["sequence"],
        &["sequence"],
    ),
    case(
        "UPDATE files SET file_type = 5, content_id = NULL, link_target = CAST('target' AS {B}), size = 7, used = 6
          WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('x' AS {B}))",
        &["target_size", "usage"],
        &["target_size", "usage"],
    ),
    case(
        "UPDATE parent_child_map SET child_name = CAST('a/b' AS {B}) WHERE child_name = CAST('x' AS {B})",
        &["name"],
        &["name"],
    ),
    case(
        "UPDATE parent_child_map SET child_name = CAST('..' AS {B}), cookie = 0 WHERE child_name = CAST('deep' AS {B})",
        &["cookie", "name"],
        &["cookie", "name"],
    ),
    case(
        "UPDATE files SET create_verifier = 5
          WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('sub' AS {B}))",
        &["verifier"],
        &["verifier"],
    ),
    case(
        "UPDATE files SET used = 4096 WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('x' AS {B}))",
        &["usage", "used"],
        &["used"],
    ),
    case(
        "UPDATE files SET size = 12289, used = 16385 WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('x' AS {B}))",
        &["usage", "used"],
        &["usage", "used"],
    ),
    case(
        "UPDATE files SET used = 0 WHERE id IN (SELECT child_id FROM parent_child_map WHERE child_name = CAST('deep' AS {B}))",
        &["used"],
        &["used"],
    ),
];

/// Further damage: entries of what must have none.
pub(crate) const STRAY_ENTRIES: [Case; 2] = [
    case(
        "INSERT INTO parent_child_map (parent_id, child_name, child_id, cookie)
         SELECT d.child_id, CAST('up' AS {B}), d.parent_id, (SELECT max(cookie) FROM parent_child_map) FROM parent_child_map d
          WHERE d.child_name = CAST('d' AS {B})",
        &["entry_of_root", "subdirectory_count"],
        &["entry_of_root"],
    ),
    case(
        "INSERT INTO parent_child_map (parent_id, child_name, child_id, cookie)
         SELECT d.child_id, CAST('out' AS {B}), f.child_id, (SELECT max(cookie) FROM parent_child_map) FROM parent_child_map d, parent_child_map f
          WHERE d.child_name = CAST('d' AS {B}) AND f.child_name = CAST('far' AS {B})",
        &["entry_of_other_share", "link_count"],
        &["entry_of_other_share"],
    ),
];

/// Hears everything.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) Vec<Found>);

impl Report for Heard {
    fn found(&mut self, found: &Found) {
        self.0.push(found.clone());
    }

    fn read(&mut self, rows: u64) {
        assert!(rows > 0, "an empty page");
    }
}

/// What a check finds.
pub(crate) async fn check(checker: &dyn Checker, extent: Extent) -> Vec<Found> {
    let mut heard = Heard::default();
    let cancel = CancellationToken::new();
    let check = Check::begin(checker, None, None, cancel, &mut heard).await.unwrap();
    check.in_extent(extent).structure().await.unwrap();
    heard.0
}

/// What a repair finds.
pub(crate) async fn repair(store: &dyn Repairable, extent: Extent) -> Vec<Found> {
    repair_until(store, extent, CancellationToken::new(), |_| {}).await.unwrap()
}

/// What a repair finds that is told of each finding, and may be cancelled.
pub(crate) async fn repair_until(
    store: &dyn Repairable,
    extent: Extent,
    cancel: CancellationToken,
    each: impl FnMut(&Found) + Send,
) -> Result<Vec<Found>, Stopped> {
    struct Told<F>(Vec<Found>, F);
    impl<F: FnMut(&Found) + Send> Report for Told<F> {
        fn found(&mut self, found: &Found) {
            (self.1)(found);
            self.0.push(found.clone());
        }
        fn read(&mut self, _rows: u64) {}
    }
    let repairer = store.repairer().await.unwrap();
    let access = RepairAccess { repairer: &*repairer, store };
    let mut told = Told(Vec::new(), each);
    let check = Check::begin(&*repairer, Some(access), None, cancel, &mut told).await.unwrap();
    check.in_extent(extent).structure().await?;
    Ok(told.0)
}

pub(crate) fn kinds(found: &[Found]) -> Vec<&'static str> {
    let mut kinds: Vec<_> = found.iter().map(|found| found.finding.kind()).collect();
    kinds.sort_unstable();
    kinds
}

/// The superuser's call, now.
pub(crate) fn context(share: &Share) -> Context {
    Context::internal(share.id, std::time::Duration::from_secs(120))
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

async fn directory(store: &dyn Repairable, share: &Share, above: ObjectId, it: &str) -> ObjectId {
    let made = store.mkdir(&context(share), above, &name(it), &mode(0o755)).await;
    made.unwrap().object.id
}

async fn file(store: &dyn Repairable, share: &Share, above: ObjectId, it: &str) -> Attributes {
    let how = CreateHow::Guarded(mode(0o644));
    store.create(&context(share), above, &name(it), &how).await.unwrap().object
}

/// Makes what a [`Case`] damages.
pub(crate) async fn furnish(store: &dyn Repairable, share: &Share) {
    let d = directory(store, share, share.root, "d").await;
    let sub = directory(store, share, d, "sub").await;
    directory(store, share, sub, "deep").await;
    let other = directory(store, share, share.root, "other").await;
    let f = file(store, share, d, "f").await;
    store.link(&context(share), f.id, other, &name("g")).await.unwrap();
    file(store, share, sub, "x").await;
    let second = ShareSpec {
        name: ShareName::parse("/second").unwrap(),
        root: RootSpec { uid: 0, gid: 0, mode: 0o755 },
        chunk_size: 1 << 22,
    };
    let second = store.open_share(&second).await.unwrap();
    file(store, &second, second.root, "far").await;
}

/// Every object of a share, by a walk as a client makes it.
pub(crate) async fn walk(store: &dyn MetadataStore, share: &Share) -> Vec<(String, ObjectId)> {
    let mut found = Vec::new();
    let mut pending = vec![(String::new(), share.root)];
    while let Some((path, directory)) = pending.pop() {
        let cx = context(share);
        let page = store.readdir(&cx, directory, trunkfs::types::Cookie::START, 100, true);
        let page = match page.await {
            Ok(page) => page,
            // Others have removed it since its entry was read.
            Err(Refusal { error: Error::Stale, .. }) => continue,
            Err(refusal) => panic!("{path}: {refusal:?}"),
        };
        for entry in page.entries {
            let path = format!("{path}/{}", entry.name);
            if entry.attributes.unwrap().file_type.is_directory() {
                pending.push((path.clone(), entry.object));
            }
            found.push((path, entry.object));
        }
    }
    found
}

/// A mend of what is not broken, or not any more, changes nothing.
pub(crate) async fn mend_nothing(store: &dyn Repairable, share: &Share) {
    furnish(store, share).await;
    let all = walk(store, share).await;
    let id = |path: &str| all.iter().find(|it| it.0 == path).unwrap().1;
    let (d, sub, f, x) = (id("/d"), id("/d/sub"), id("/d/f"), id("/d/sub/x"));
    let gone = ObjectId::generate();
    let ctime = store.getattr(&context(share), x).await.unwrap().ctime;
    let repairer = store.repairer().await.unwrap();
    let entry = |directory, name: &[u8], child, fault| Repair::RemoveEntry {
        directory,
        name: name.to_vec(),
        child,
        fault,
    };
    let parent = |parent, name: &[u8], directory| Repair::SetParent {
        parent,
        name: name.to_vec(),
        directory,
    };
    // Whoever counted saw the file before its last change.
    let late = Timestamp(ctime.0 - 1);
    for mend in [
        entry(d, b"f", f, Fault::Dangling),
        entry(d, b"f", gone, Fault::Dangling),
        entry(d, b"none", f, Fault::Dangling),
        entry(d, b"f", f, Fault::OtherShare),
        entry(d, b"sub", sub, Fault::OtherParent),
        entry(share.root, b"d", d, Fault::NamesRoot),
        entry(gone, b"f", f, Fault::OutsideDirectory),
        parent(d, b"sub", sub),
        parent(share.root, b"sub", sub),
        Repair::KeepOneName { directory: sub },
        Repair::KeepOneName { directory: gone },
        Repair::SetNames { object: x, ctime: late, names: 2 },
        Repair::SetNames { object: x, ctime, names: 1 },
        Repair::SetNames { object: d, ctime, names: 2 },
        Repair::SetNames { object: gone, ctime, names: 2 },
        Repair::Adopt { object: x, ctime: late, into: d },
        Repair::Adopt { object: x, ctime, into: gone },
        Repair::Adopt { object: x, ctime, into: f },
        Repair::Adopt { object: sub, ctime, into: share.root },
        Repair::Adopt { object: gone, ctime, into: share.root },
        Repair::SetSubdirs { directory: d },
        Repair::SetSubdirs { directory: f },
        Repair::ForgetNames { object: f },
        Repair::ForgetNames { object: gone },
        Repair::Amend { object: x, flaw: Flaw::Mode },
        Repair::Amend { object: f, flaw: Flaw::TargetSize },
        Repair::Amend { object: f, flaw: Flaw::Verifier },
        Repair::Amend { object: gone, flaw: Flaw::Mode },
        Repair::Amend { object: f, flaw: Flaw::Used },
        Repair::Amend { object: sub, flaw: Flaw::Used },
        Repair::SetUsed { object: f, ctime: late, used: 0 },
        Repair::SetUsed { object: f, ctime, used: 4096 },
        Repair::SetUsed { object: sub, ctime, used: 1 },
        Repair::SetUsed { object: gone, ctime, used: 1 },
        Repair::Renumber { object: x, fileid: -1 },
        Repair::Renumber { object: gone, fileid: 1 },
        Repair::SetCookie { directory: d, name: b"f".to_vec(), cookie: 2 },
        Repair::SetCookie { directory: d, name: b"none".to_vec(), cookie: 2 },
        Repair::Rename { directory: d, name: b"none".to_vec(), child: f },
        Repair::Rename { directory: d, name: b"f".to_vec(), child: x },
        Repair::Raise { numbers: Numbers::Fileids, highest: 5 },
        Repair::Raise { numbers: Numbers::Cookies, highest: 5 },
    ] {
        assert_eq!(repairer.repair(&mend).await.unwrap(), Repaired::Changed, "{mend:?}");
    }
    repairer.repair(&Repair::SetUsage { share: share.id }).await.unwrap();
    assert_eq!(store.inconsistencies().await.unwrap(), [""; 0]);
    assert_eq!(walk(store, share).await, all);
}

/// Holds a damaged store against its case: what a check finds, what a repair does, and that then nothing is
/// left.
pub(crate) async fn judge(store: &dyn Repairable, share: &Share, case: &Case, objects: usize) {
    let what = case.damage;
    let checker = store.checker().await.unwrap();
    for extent in [Extent::default(), SMALL] {
        let found = check(&*checker, extent).await;
        assert_eq!(kinds(&found), case.found, "{what}: {found:#?}");
        assert!(found.iter().all(|found| found.outcome == Outcome::Said));
    }
    let damaged = store.inconsistencies().await.unwrap();
    assert_eq!(damaged.is_empty(), case.found.is_empty(), "{what}: {damaged:#?}");
    let found = repair(store, SMALL).await;
    assert_eq!(kinds(&found), case.mended, "{what}: {found:#?}");
    assert!(found.iter().all(|found| found.outcome == Outcome::Repaired), "{what}: {found:#?}");
    assert_eq!(store.inconsistencies().await.unwrap(), [""; 0], "{what}: {found:#?}");
    assert_eq!(check(&*checker, SMALL).await, [], "{what}");
    // What is there is there still, by name.
    let mut ids: Vec<_> = walk(store, share).await.into_iter().map(|(_, id)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    let made = walk(store, share).await.iter().any(|(path, _)| path == "/lost+found");
    assert_eq!(ids.len(), objects + usize::from(made), "{what}: {:#?}", walk(store, share).await);
}

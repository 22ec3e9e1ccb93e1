//! Random operations by random users, on this store and on the one in memory: the same answers, and the same
//! refusals.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{
    Answer, Change, CreateHow, Flush, FlushOutcome, MetadataStore, SetAttributes, SetTime, Share,
    Written, ZeroingOutcome,
};
use trunkfs::types::{
    Attributes, Context, Cookie, Credentials, DeviceNumbers, FileType, ObjectId, SymlinkTarget,
    Timestamp,
};

use crate::database::TestDatabase;
use crate::support::{CALL_LIMIT, Fixture, name, share_spec};

const STEPS: usize = 4000;

/// What both stores must agree on: everything but identities.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    kind: FileType,
    mode: u32,
    nlink: u32,
    owner: (u32, u32),
    size: u64,
    times: (Timestamp, Timestamp, Timestamp),
    rdev: DeviceNumbers,
    version: Option<i64>,
    mtime_version: i32,
}

fn shape(it: &Attributes) -> Shape {
    Shape {
        kind: it.file_type,
        mode: it.mode,
        nlink: it.nlink,
        owner: (it.uid, it.gid),
        size: it.size,
        times: (it.atime, it.mtime, it.ctime),
        rdev: it.rdev,
        version: it.content.map(|content| content.version.0),
        mtime_version: it.mtime_version,
    }
}

fn shapes(change: &Change) -> [Shape; 2] {
    [shape(&change.before), shape(&change.after)]
}

/// An operation, its objects by their numbers.
#[derive(Clone, Debug)]
enum Step {
    Create(usize, u8, CreateHow),
    Mkdir(usize, u8, SetAttributes),
    Symlink(usize, u8),
    Mknod(usize, u8, FileType),
    Remove(usize, u8),
    Rmdir(usize, u8),
    Rename((usize, u8), (usize, u8)),
    Link(usize, usize, u8),
    Set(usize, SetAttributes),
    Flush(usize, Option<Timestamp>, bool),
    Zero(usize),
    Lookup(usize, u8),
    Parent(usize),
    Readlink(usize),
    List(usize, bool),
}

/// A store, its share, and the objects that both stores know by the same number.
struct Side<'a> {
    store: &'a dyn MetadataStore,
    share: Share,
    objects: Vec<ObjectId>,
}

/// What a step came to: shapes, an object that is new to the list, freed content, names.
type Outcome = (Vec<Shape>, bool, Vec<String>);

impl Side<'_> {
    fn meet(&mut self, object: &Attributes) -> bool {
        let new = !self.objects.contains(&object.id);
        if new {
            self.objects.push(object.id);
        }
        new
    }

    async fn run(
        &mut self,
        cx: &Context,
        step: &Step,
    ) -> Result<Outcome, (String, Vec<Option<Shape>>)> {
        let cx = Context { share: self.share.id, ..cx.clone() };
        self.attempt(&cx, step).await.map_err(|refusal| {
            let present = [refusal.first, refusal.second];
            let present = present.iter().map(|it| it.as_deref().map(shape)).collect();
            (refusal.error.to_string(), present)
        })
    }

    async fn attempt(&mut self, cx: &Context, step: &Step) -> Answer<Outcome> {
        let store = self.store;
        let object = |number: usize| self.objects[number];
        let entry = |number: u8| name(&format!("n{number}"));
        let none = Vec::new;
        let created = match step.clone() {
            Step::Create(at, n, how) => store.create(cx, object(at), &entry(n), &how).await?,
            Step::Mkdir(at, n, set) => store.mkdir(cx, object(at), &entry(n), &set).await?,
            Step::Symlink(at, n) => {
                let target = SymlinkTarget::parse(b"where/ever").unwrap();
                let set = SetAttributes::default();
                store.symlink(cx, object(at), &entry(n), &target, &set).await?
            }
            Step::Mknod(at, n, kind) => {
                let rdev = DeviceNumbers { major: 8, minor: 1 };
                let set = SetAttributes { mode: Some(0o4755), ..SetAttributes::default() };
                store.mknod(cx, object(at), &entry(n), kind, rdev, &set).await?
            }
            Step::Remove(at, n) => {
                let removed = store.remove(cx, object(at), &entry(n)).await?;
                let freed = removed.object.freed.is_some();
                let mut all = shapes(&removed.directory).to_vec();
                all.push(shape(&removed.object.attributes));
                return Ok((all, freed, none()));
            }
            Step::Rmdir(at, n) => {
                let removed = store.rmdir(cx, object(at), &entry(n)).await?;
                let mut all = shapes(&removed.directory).to_vec();
                all.push(shape(&removed.object.attributes));
                return Ok((all, removed.object.freed.is_some(), none()));
            }
            Step::Rename((from, one), (to, two)) => {
                let renamed =
                    store.rename(cx, object(from), &entry(one), object(to), &entry(two)).await?;
                let mut all = [shapes(&renamed.from), shapes(&renamed.to)].concat();
                all.push(shape(&renamed.object));
                all.extend(renamed.replaced.iter().map(|it| shape(&it.attributes)));
                let freed = renamed.replaced.is_some_and(|it| it.freed.is_some());
                return Ok((all, freed, none()));
            }
            Step::Link(what, at, n) => {
                let linked = store.link(cx, object(what), object(at), &entry(n)).await?;
                let mut all = shapes(&linked.directory).to_vec();
                all.push(shape(&linked.object));
                return Ok((all, false, none()));
            }
            Step::Set(what, set) => {
                let done = store.setattr(cx, object(what), &set).await?;
                return Ok((shapes(&done.change).to_vec(), done.freed.is_some(), none()));
            }
            Step::Flush(what, atime, writes) => {
                let present = store.getattr(cx, object(what)).await?;
                let written = present.content.filter(|_| writes).map(|content| Written {
                    content,
                    end: present.size / 2 + 10,
                    mtime: cx.now,
                    mtime_version: present.mtime_version,
                    ctime: cx.now,
                    clear_mode: 0o6000,
                });
                let outcome = store.flush(cx, object(what), &Flush { atime, written }).await?;
                let FlushOutcome::Recorded(change) = outcome else { panic!("{outcome:?}") };
                return Ok((shapes(&change).to_vec(), false, none()));
            }
            Step::Zero(what) => {
                let present = store.getattr(cx, object(what)).await?;
                let content = present.content.unwrap_or(trunkfs::types::ContentRef {
                    id: trunkfs::types::ContentId::generate(),
                    version: trunkfs::types::ContentVersion(0),
                });
                let outcome = store.begin_zeroing(cx, object(what), content).await?;
                let ZeroingOutcome::Begun(content) = outcome else { panic!("{outcome:?}") };
                return Ok((vec![], true, vec![content.version.0.to_string()]));
            }
            Step::Lookup(at, n) => {
                let found = store.lookup(cx, object(at), &entry(n)).await?;
                let both = [Some(found.directory), found.object];
                return Ok((both.iter().flatten().map(shape).collect(), false, none()));
            }
            Step::Parent(at) => {
                let found = store.lookup_parent(cx, object(at)).await?;
                let both = [Some(found.directory), found.object];
                return Ok((both.iter().flatten().map(shape).collect(), false, none()));
            }
            Step::Readlink(what) => {
                let link = store.readlink(cx, object(what)).await?;
                return Ok((vec![shape(&link.attributes)], false, none()));
            }
            Step::List(at, with_attributes) => {
                let page = store.readdir(cx, object(at), Cookie::START, 3, with_attributes).await?;
                let mut all = vec![shape(&page.directory)];
                let attributes = page.entries.iter().filter_map(|it| it.attributes.as_ref());
                all.extend(attributes.map(shape));
                let names = page.entries.iter().map(|entry| entry.name.to_string()).collect();
                return Ok((all, page.eof, names));
            }
        };
        let mut all = shapes(&created.directory).to_vec();
        all.push(shape(&created.object));
        let new = self.meet(&created.object);
        assert_eq!(new, created.made);
        Ok((all, new, none()))
    }
}

fn some_set(random: &mut StdRng) -> SetAttributes {
    let time = |random: &mut StdRng| match random.random_range(0..4) {
        0 => SetTime::Now,
        1 => SetTime::To(Timestamp(random.random_range(0..1 << 60))),
        _ => SetTime::Keep,
    };
    let mode = [0o777, 0o755, 0o1777, 0o2775, 0o500, 0o6755, 0o644, 0][random.random_range(0..8)];
    SetAttributes {
        mode: random.random_bool(0.5).then_some(mode),
        uid: random.random_bool(0.1).then(|| random.random_range(0..3)),
        gid: random.random_bool(0.2).then(|| random.random_range(0..3)),
        size: None,
        atime: time(random),
        mtime: time(random),
        guard: None,
    }
}

fn some_step(random: &mut StdRng, known: usize) -> Step {
    // The oldest objects are directories, the newest are still there.
    let recent = known.saturating_sub(12);
    let mut at = || {
        let old = random.random_bool(0.6);
        if old { random.random_range(0..known.min(4)) } else { random.random_range(recent..known) }
    };
    let (one, two) = (at(), at());
    let mut n = || random.random_range(0..5_u8);
    let (first, second) = (n(), n());
    let set = some_set(random);
    match random.random_range(0..24) {
        0 => Step::Create(one, first, CreateHow::Unchecked(set)),
        1 => Step::Create(one, first, CreateHow::Guarded(set)),
        2 => Step::Create(one, first, CreateHow::Exclusive(random.random_range(0..2))),
        3 | 4 => Step::Mkdir(one, first, set),
        5 => Step::Symlink(one, first),
        6 => {
            let kinds = [FileType::Fifo, FileType::BlockDevice, FileType::Regular];
            Step::Mknod(one, first, kinds[random.random_range(0..3)])
        }
        7 | 8 => Step::Remove(one, first),
        9 => Step::Rmdir(one, first),
        10..=13 => Step::Rename((one, first), (two, second)),
        14 | 15 => Step::Link(random.random_range(recent..known), two, second),
        16 | 17 => Step::Set(random.random_range(recent..known), set),
        18 => {
            let size = Some(if random.random_bool(0.5) { 0 } else { random.random() });
            Step::Set(random.random_range(recent..known), SetAttributes { size, ..set })
        }
        19 => {
            let atime = random.random_bool(0.5).then(Timestamp::now);
            Step::Flush(random.random_range(recent..known), atime, random.random_bool(0.7))
        }
        20 => Step::Zero(random.random_range(recent..known)),
        21 => Step::Lookup(one, first),
        22 if random.random_bool(0.5) => Step::Readlink(random.random_range(0..known)),
        22 => Step::Parent(random.random_range(0..known)),
        _ => Step::List(one, random.random_bool(0.5)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_stores_give_the_same_answers() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    // One session takes cookies in order, as memory does.
    settings.max_connections = 1;
    let fixture = Fixture::on(settings, database).await;
    let memory = MemoryStore::new();
    let share = memory.open_share(&share_spec()).await.unwrap();
    let (store, other) = (&fixture.store, fixture.share.clone());
    let mut theirs = Side { store: &memory, objects: vec![share.root], share };
    let mut ours = Side { store, objects: vec![other.root], share: other };

    let mut random = StdRng::seed_from_u64(20_260_101);
    let open = SetAttributes { mode: Some(0o777), ..SetAttributes::default() };
    let now = SetAttributes { atime: SetTime::Now, mtime: SetTime::Now, ..open.clone() };
    let mut prologue = vec![Step::Set(0, now)];
    prologue.extend((0..3).map(|n| Step::Mkdir(0, n, open.clone())));
    let mut done = 0;
    for number in 0..STEPS {
        let known = ours.objects.len();
        let first = prologue.get(number).cloned();
        let root = first.is_some() || random.random_bool(0.4);
        let uid = if root { 0 } else { random.random_range(1..3) };
        let step = first.unwrap_or_else(|| some_step(&mut random, known));
        let cx = Context {
            credentials: Credentials { uid, gid: uid, gids: vec![2] },
            // The roots were made at two moments: a clock ahead of both.
            now: Timestamp(Timestamp::now().0 + 1_000_000_000),
            deadline: Instant::now() + CALL_LIMIT,
            ..fixture.cx()
        };
        let (a, b) = (theirs.run(&cx, &step).await, ours.run(&cx, &step).await);
        // What the roots were made with differs until the first change.
        if number > 0 {
            assert_eq!(b, a, "step {number}, {step:?} by {uid}: ours first");
        }
        done += usize::from(b.is_ok());
        let known = known.min(theirs.objects.len());
        let some = random.random_range(0..known);
        let at = |side: &Side<'_>| (side.share.id, side.objects[some]);
        let ((share, id), (other_share, other_id)) = (at(&theirs), at(&ours));
        let a = memory.getattr(&Context { share, ..cx.clone() }, id).await;
        let b = store.getattr(&Context { share: other_share, ..cx }, other_id).await;
        let both = (a.ok(), b.ok());
        if some > 0 {
            assert_eq!(both.1.as_ref().map(shape), both.0.as_ref().map(shape), "step {number}");
        }
    }
    assert!(done > STEPS / 6, "{done} of {STEPS} were done");
    fixture.sound().await;
}

//! Random calls, mostly on what is there.

use rand::Rng as _;
use rand::rngs::StdRng;
use trunkfs::metadata::{CreateHow, Flush, SetAttributes, SetTime, Written};
use trunkfs::types::{Attributes, ContentRef, ContentVersion, DeviceNumbers, FileType, Timestamp};

/// A call. Objects are given by label.
#[derive(Debug)]
pub(super) enum Step {
    Getattr(usize),
    Lookup(usize, String),
    Parent(usize),
    Readlink(usize),
    List(usize),
    Setattr(usize, SetAttributes),
    Create(usize, String, CreateHow),
    Mkdir(usize, String, SetAttributes),
    Symlink(usize, String, String, SetAttributes),
    Mknod(usize, String, FileType, DeviceNumbers, SetAttributes),
    Remove(usize, String),
    Rmdir(usize, String),
    Rename(usize, String, usize, String),
    Link(usize, usize, String),
    Flush(usize, Flush),
    Zero(usize, ContentRef),
}

/// What was last seen of each object, gone ones included.
#[derive(Default)]
pub(super) struct Seen(Vec<Attributes>);

impl Seen {
    pub(super) fn learn(&mut self, objects: Vec<Option<Attributes>>) {
        for object in objects.into_iter().flatten() {
            let number = usize::try_from(object.fileid.0).unwrap();
            if number < self.0.len() {
                self.0[number] = object;
            } else {
                assert_eq!(number, self.0.len());
                self.0.push(object);
            }
        }
    }

    /// One that is there four times of five, and of the wanted kind nine times of ten.
    fn pick(&self, random: &mut StdRng, wanted: impl Fn(&Attributes) -> bool) -> usize {
        let (there, fits) = (random.random_ratio(4, 5), random.random_ratio(9, 10));
        let all = self.0.iter().enumerate();
        let good: Vec<usize> = all
            .filter(|(_, it)| (!there || it.nlink > 0) && (!fits || wanted(it)))
            .map(|(number, _)| number)
            .collect();
        if good.is_empty() { 0 } else { good[random.random_range(0..good.len())] }
    }

    /// Half of the time near the root, where most is.
    fn directory(&self, random: &mut StdRng) -> usize {
        if random.random_ratio(1, 4) {
            return 0;
        }
        self.pick(random, |it| it.file_type.is_directory())
    }

    fn any(&self, random: &mut StdRng) -> usize {
        self.pick(random, |_| true)
    }

    fn file(&self, random: &mut StdRng) -> usize {
        self.pick(random, |it| it.file_type == FileType::Regular)
    }
}

/// Few, so that calls meet what others left.
fn name(random: &mut StdRng) -> String {
    format!("{}", random.random_range(0..6))
}

fn maybe<T>(random: &mut StdRng, value: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    random.random_ratio(1, 3).then(|| value(random))
}

fn number(random: &mut StdRng) -> u32 {
    [0, 500, 1000, 2000, u32::MAX - 1][random.random_range(0..5)]
}

/// Mostly open, so that not all is refused.
fn mode(random: &mut StdRng) -> u32 {
    if random.random_bool(0.5) { 0o777 } else { random.random_range(0..0o10000) }
}

fn time(random: &mut StdRng) -> SetTime {
    match random.random_range(0..6) {
        0 => SetTime::Now,
        1 => SetTime::To(Timestamp(random.random_range(0..1 << 62))),
        _ => SetTime::Keep,
    }
}

fn bytes(random: &mut StdRng) -> u64 {
    match random.random_range(0..8) {
        0 | 1 => 0,
        2 => i64::MAX as u64,
        3 => i64::MAX as u64 + 1,
        _ => random.random_range(0..1_000_000),
    }
}

fn set(random: &mut StdRng) -> SetAttributes {
    SetAttributes {
        mode: Some(mode(random)),
        uid: maybe(random, number),
        gid: maybe(random, number),
        size: None,
        atime: time(random),
        mtime: time(random),
        guard: None,
        content: None,
    }
}

fn kind(random: &mut StdRng) -> FileType {
    FileType::from_number(random.random_range(1..=7)).unwrap()
}

impl Step {
    pub(super) fn random(random: &mut StdRng, seen: &Seen) -> Self {
        match random.random_range(0..100) {
            0..3 => Self::Getattr(seen.any(random)),
            3..7 => Self::Lookup(seen.directory(random), name(random)),
            7..9 => Self::Parent(seen.directory(random)),
            9..11 => Self::Readlink(seen.pick(random, |it| it.file_type == FileType::Symlink)),
            11..14 => Self::List(seen.directory(random)),
            14..26 => Self::setattr(random, seen),
            26..40 => {
                let how = match random.random_range(0..4) {
                    0 => CreateHow::Unchecked(set(random)),
                    1 => CreateHow::Exclusive(random.random_range(0..2)),
                    _ => CreateHow::Guarded(set(random)),
                };
                Self::Create(seen.directory(random), name(random), how)
            }
            40..50 => Self::Mkdir(seen.directory(random), name(random), set(random)),
            50..53 => {
                let to = "x".repeat(random.random_range(1..100));
                Self::Symlink(seen.directory(random), name(random), to, set(random))
            }
            53..56 => {
                let rdev = DeviceNumbers { major: random.random(), minor: random.random() };
                Self::Mknod(seen.directory(random), name(random), kind(random), rdev, set(random))
            }
            56..63 => Self::Remove(seen.directory(random), name(random)),
            63..68 => Self::Rmdir(seen.directory(random), name(random)),
            68..83 => Self::Rename(
                seen.directory(random),
                name(random),
                seen.directory(random),
                name(random),
            ),
            83..88 => Self::Link(
                seen.pick(random, |it| !it.file_type.is_directory()),
                seen.directory(random),
                name(random),
            ),
            88..97 => Self::flush(random, seen),
            _ => {
                let file = seen.file(random);
                match seen.0[file].content {
                    Some(content) => Self::Zero(file, perhaps_old(random, content)),
                    None => Self::Getattr(file),
                }
            }
        }
    }

    fn setattr(random: &mut StdRng, seen: &Seen) -> Self {
        let object = seen.any(random);
        let ctime = seen.0[object].ctime;
        let set = SetAttributes {
            mode: maybe(random, mode),
            uid: maybe(random, number),
            gid: maybe(random, number),
            size: maybe(random, bytes),
            atime: time(random),
            mtime: time(random),
            guard: maybe(random, |random| Timestamp(ctime.0 - random.random_range(0..2))),
            content: None,
        };
        Self::Setattr(object, set)
    }

    fn flush(random: &mut StdRng, seen: &Seen) -> Self {
        let file = seen.file(random);
        let shown = &seen.0[file];
        let mut near = |time: Timestamp| Timestamp(time.0 + random.random_range(-3_000..3_000));
        let (mtime, ctime, atime) = (near(shown.mtime), near(shown.ctime), near(shown.atime));
        let content = shown.content.filter(|_| random.random_ratio(4, 5));
        let written = content.map(|content| Written {
            content: perhaps_old(random, content),
            end: bytes(random),
            mtime,
            mtime_version: shown.mtime_version - i32::from(random.random_ratio(1, 5)),
            replaced_mtime: if random.random_ratio(4, 5) { shown.mtime } else { mtime },
            ctime,
            clear_mode: if random.random() { 0o6000 } else { 0 },
            used: bytes(random),
            seen: Timestamp(shown.ctime.0 - i64::from(random.random_ratio(1, 4))),
        });
        Self::Flush(file, Flush { atime: maybe(random, |_| atime), written })
    }
}

fn perhaps_old(random: &mut StdRng, content: ContentRef) -> ContentRef {
    let version = ContentVersion(content.version.0 - i64::from(random.random_ratio(1, 6)));
    ContentRef { version, ..content }
}

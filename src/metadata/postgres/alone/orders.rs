//! Every order in which a server that is alone, one that takes its place, readings, a cut connection and a
//! crash of the database can take their steps; the database and the lease are modelled, and the cache is the
//! one that is used. No reply shows less than one before it did, no change that was answered is lost, and
//! none is decided on what has been overtaken. Without any one of the rules some order shows otherwise.

use futures_util::FutureExt as _;

use crate::metadata::cache::{Begun, Cache, Since, Touched};
use crate::metadata::postgres::explore::{World, explore};
use crate::metadata::{Capabilities, RootSpec, Share, rules};
use crate::types::{Attributes, Context, Fileid, Fsid, ObjectId, ShareId, ShareName, Timestamp};

/// The object's sizes: at first, by the server's own change, and by the other server's.
const OLD: u64 = 0;
const OWN: u64 = 1;
const OTHER: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The own change is decided and about to be sent; it is committed; it is on the disk; it is answered.
    Begin,
    Apply,
    Flush,
    End,
    /// The own connection is lost, and what became of the change is found out.
    Cut,
    Settle,
    /// A statement of a reading is sent, and sees a snapshot; then it is answered.
    Ask,
    Answer,
    /// A reading finds an answer in the cache.
    Look,
    /// No renewal for a while; one that succeeds.
    LicenceEnds,
    Renew,
    /// The other server takes the lease, changes the object, and leaves.
    TakeOver,
    Change,
    Leave,
    /// What is not on the disk is gone, and all connections.
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The lease is taken once no licence can be left.
    Licence,
    /// Whoever takes it fences the slots of the one before.
    Fence,
    /// What was kept before the lease is not kept in it.
    Forget,
    /// A reading waits for commits under way that touch what it has seen.
    Settle,
    /// What was read before a commit is not kept after it.
    Since,
    /// A commit ends, and is shown, once it is on the disk.
    Flush,
    /// A commit whose outcome is not known takes its keys along.
    Doubt,
}

const RULES: [Rule; 7] =
    [Rule::Licence, Rule::Fence, Rule::Forget, Rule::Settle, Rule::Since, Rule::Flush, Rule::Doubt];

/// The own change.
#[derive(Debug)]
enum Flight {
    Waiting,
    /// Decided upon the size.
    Begun(Begun, u64),
    Applied(Begun),
    Durable(Begun),
    /// Sent upon the size; it is not known whether it was applied, or will be.
    Lost(Begun, u64),
    Over,
}

/// How often there is each of these.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    asks: u32,
    looks: u32,
    cuts: u32,
    crashes: u32,
    /// The licence ends without a crash.
    lapses: u32,
    takes: u32,
    /// The other server leaves again.
    leaves: u32,
}

/// A statement of a reading.
struct Asked {
    since: Since,
    size: u64,
    /// What had been shown when the call came.
    shown: usize,
}

struct Servers {
    without: Option<Rule>,
    left: Left,
    /// Sizes in the order of commits, of which the first so many are on the disk.
    log: Vec<u64>,
    durable: usize,
    /// The lease is the other server's.
    is_taken: bool,
    is_fenced: bool,
    has_licence: bool,
    /// The own writer goes on.
    is_writing: bool,
    /// What the writer knows of the object.
    known: Option<u64>,
    flight: Flight,
    asked: Option<Asked>,
    /// The newest commit that a reply has shown or acknowledged.
    shown: usize,
    hits: usize,
    is_wrong: bool,
    cache: Cache,
    share: Share,
    object: Attributes,
}

impl Servers {
    fn new(left: Left, without: Option<Rule>) -> Self {
        let spec = RootSpec { uid: 0, gid: 0, mode: 0o755 };
        let id = ObjectId(uuid::Uuid::from_u128(1));
        let object = rules::root(id, Fileid(1), Fsid(7), spec, Timestamp(1));
        let share = Share {
            id: ShareId(1),
            name: ShareName::parse("/e").unwrap(),
            root: id,
            fsid: Fsid(7),
            chunk_size: 1,
            capabilities: Capabilities::default(),
        };
        let servers = Self {
            without,
            left,
            log: vec![OLD],
            durable: 1,
            is_taken: false,
            is_fenced: false,
            has_licence: true,
            is_writing: true,
            known: Some(OLD),
            flight: Flight::Waiting,
            asked: None,
            shown: 0,
            hits: 0,
            is_wrong: false,
            cache: Cache::default(),
            share,
            object,
        };
        servers.cache.keep_object(servers.cache.since(), &servers.sized(OLD));
        servers
    }

    fn sized(&self, size: u64) -> Attributes {
        Attributes { size, ..self.object.clone() }
    }

    fn last(&self) -> u64 {
        self.log.last().copied().unwrap_or(OLD)
    }

    /// A reply to a call that came when `shown` had been shown.
    fn reply(&mut self, size: u64, shown: usize) {
        match self.log.iter().position(|known| *known == size) {
            Some(place) if place >= shown => self.shown = self.shown.max(place),
            Some(_) | None => self.is_wrong = true,
        }
    }

    /// The own change is answered.
    fn acknowledge(&mut self) {
        let place = self.log.iter().position(|known| *known == OWN);
        self.is_wrong |= place.is_none();
        self.shown = self.shown.max(place.unwrap_or(0));
    }

    /// A change is committed that was decided upon a size.
    fn commit(&mut self, upon: u64, size: u64) {
        self.is_wrong |= self.last() != upon;
        self.log.push(size);
    }

    fn is_refused(&self) -> bool {
        self.is_fenced && self.without != Some(Rule::Fence)
    }

    /// Whether a reading need not wait for a commit.
    fn is_settled(&self) -> bool {
        let cx = Context::internal(self.share.id, std::time::Duration::from_secs(3600));
        let settled = self.cache.settle(&cx, [self.object.id].into_iter()).now_or_never();
        settled.is_some() || self.without == Some(Rule::Settle)
    }

    /// The own connection is gone.
    fn lose(&mut self) {
        let flight = std::mem::replace(&mut self.flight, Flight::Over);
        self.flight = match flight {
            Flight::Begun(begun, upon) => Flight::Lost(begun, upon),
            // It is in the log, or a crash has taken it.
            Flight::Applied(begun) | Flight::Durable(begun) => Flight::Lost(begun, OWN),
            other => other,
        };
        if let Flight::Lost(begun, _) = &self.flight
            && self.without != Some(Rule::Doubt)
        {
            self.cache.doubt(begun);
        }
    }

    fn end(&self, begun: &Begun, size: Option<u64>) {
        match size.map(|size| self.sized(size)) {
            Some(object) => self.cache.end(begun, Some([object].iter())),
            None => self.cache.end(begun, None::<std::slice::Iter<'_, Attributes>>),
        }
    }

    /// Whether the own change is in the log, once no more can come of it.
    fn settle(&mut self) {
        let Flight::Lost(begun, _) = std::mem::replace(&mut self.flight, Flight::Over) else {
            return;
        };
        let is_applied = self.log.contains(&OWN);
        let kept = self.without == Some(Rule::Doubt);
        self.end(&begun, kept.then_some(OLD));
        self.durable = self.log.len();
        self.known = None;
        if is_applied {
            self.acknowledge();
        }
    }
}

impl World for Servers {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let left = &self.left;
        match &self.flight {
            Flight::Waiting if self.is_writing => steps.push(Step::Begin),
            Flight::Begun(..) => steps.push(Step::Apply),
            Flight::Applied(_) => {
                steps.push(Step::Flush);
                if self.without == Some(Rule::Flush) {
                    steps.push(Step::End);
                }
            }
            Flight::Durable(_) => steps.push(Step::End),
            Flight::Lost(_, upon) => {
                // It may be on its way yet.
                if *upon != OWN {
                    steps.push(Step::Apply);
                }
                steps.push(Step::Settle);
            }
            Flight::Waiting | Flight::Over => {}
        }
        let is_under_way =
            matches!(self.flight, Flight::Begun(..) | Flight::Applied(_) | Flight::Durable(_));
        if is_under_way && left.cuts > 0 {
            steps.push(Step::Cut);
        }
        let is_known = self.cache.object(&self.share, self.object.id).is_ok();
        match &self.asked {
            Some(_) if self.is_settled() => steps.push(Step::Answer),
            None if left.asks > 0 && self.is_writing && !(is_known && self.has_licence) => {
                steps.push(Step::Ask);
            }
            Some(_) | None => {}
        }
        if left.looks > 0 && self.is_writing && self.has_licence && is_known {
            steps.push(Step::Look);
        }
        if self.has_licence && left.lapses > 0 {
            steps.push(Step::LicenceEnds);
        }
        if !self.has_licence && !self.is_taken && self.is_writing {
            steps.push(Step::Renew);
        }
        let may_take = !self.has_licence || self.without == Some(Rule::Licence);
        if !self.is_taken && left.takes > 0 && may_take {
            steps.push(Step::TakeOver);
        }
        if self.is_taken && !self.log.contains(&OTHER) {
            steps.push(Step::Change);
        }
        // A server begins again once what it had begun is over.
        let is_over = matches!(self.flight, Flight::Waiting | Flight::Over);
        if self.is_taken && left.leaves > 0 && is_over {
            steps.push(Step::Leave);
        }
        if left.crashes > 0 {
            steps.push(Step::Crash);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin => {
                let upon = self.known.unwrap_or_else(|| self.last());
                let objects = vec![self.object.id];
                let begun = self.cache.begin(Touched { objects, entries: Vec::new() });
                self.flight = Flight::Begun(begun, upon);
            }
            Step::Apply => match std::mem::replace(&mut self.flight, Flight::Over) {
                Flight::Begun(begun, upon) if !self.is_refused() => {
                    self.commit(upon, OWN);
                    self.flight = Flight::Applied(begun);
                }
                // The writer ends, and its calls take another way.
                Flight::Begun(begun, _) => {
                    self.end(&begun, None);
                    self.is_writing = false;
                }
                Flight::Lost(begun, upon) if !self.is_refused() => {
                    self.commit(upon, OWN);
                    self.flight = Flight::Lost(begun, OWN);
                }
                Flight::Lost(begun, _) => self.flight = Flight::Lost(begun, OWN),
                other => self.flight = other,
            },
            Step::Flush => {
                self.durable = self.log.len();
                if let Flight::Applied(begun) = std::mem::replace(&mut self.flight, Flight::Over) {
                    self.flight = Flight::Durable(begun);
                }
            }
            Step::End => {
                let flight = std::mem::replace(&mut self.flight, Flight::Over);
                if let Flight::Applied(begun) | Flight::Durable(begun) = flight {
                    self.end(&begun, Some(OWN));
                    self.known = Some(OWN);
                    self.acknowledge();
                }
            }
            Step::Cut => {
                self.left.cuts -= 1;
                self.lose();
            }
            Step::Settle => self.settle(),
            Step::Ask => {
                self.left.asks -= 1;
                let (since, shown) = (self.cache.since(), self.shown);
                self.asked = Some(Asked { since, size: self.last(), shown });
            }
            Step::Answer => {
                let Some(Asked { since, size, shown }) = self.asked.take() else { return };
                if self.is_writing {
                    let now = self.cache.since();
                    let since = if self.without == Some(Rule::Since) { now } else { since };
                    self.cache.keep_object(since, &self.sized(size));
                }
                self.reply(size, shown);
            }
            Step::Look => {
                self.left.looks -= 1;
                if let Ok(object) = self.cache.object(&self.share, self.object.id) {
                    self.hits += 1;
                    self.reply(object.size, self.shown);
                }
            }
            Step::LicenceEnds => {
                self.left.lapses -= 1;
                self.has_licence = false;
            }
            Step::Renew => self.has_licence = true,
            Step::TakeOver => {
                self.left.takes -= 1;
                (self.is_taken, self.is_fenced) = (true, true);
            }
            Step::Change => {
                self.log.push(OTHER);
                self.durable = self.log.len();
                self.shown = self.log.len() - 1;
            }
            Step::Leave => {
                self.left.leaves -= 1;
                (self.is_taken, self.is_fenced) = (false, false);
                (self.has_licence, self.is_writing) = (true, true);
                if self.without != Some(Rule::Forget) {
                    drop(self.cache.forget());
                    self.known = None;
                }
            }
            Step::Crash => {
                self.left.crashes -= 1;
                self.log.truncate(self.durable);
                self.is_wrong |= self.shown >= self.log.len();
                (self.asked, self.has_licence) = (None, false);
                // What was sent and not applied is gone with its connection.
                self.lose();
                if let Flight::Lost(_, upon) = &mut self.flight {
                    *upon = OWN;
                }
            }
        }
    }

    fn is_wrong(&self) -> bool {
        self.is_wrong
    }
}

/// What there is besides the own change.
fn cases() -> Vec<Left> {
    let none = Left::default();
    vec![
        Left { asks: 1, looks: 1, lapses: 1, takes: 1, ..none },
        Left { looks: 2, lapses: 1, takes: 1, leaves: 1, ..none },
        Left { asks: 1, looks: 1, lapses: 1, cuts: 1, ..none },
        Left { looks: 1, lapses: 1, takes: 1, cuts: 1, ..none },
        Left { asks: 1, looks: 2, crashes: 1, ..none },
        Left { asks: 1, looks: 1, lapses: 1, takes: 1, leaves: 1, ..none },
        Left { looks: 1, takes: 1, crashes: 1, ..none },
    ]
}

#[tokio::test]
async fn no_order_shows_less_than_was_shown() {
    for left in cases() {
        let mut hits = 0;
        let runs = explore(|| Servers::new(left, None), |world| hits += world.hits);
        let runs = runs.unwrap_or_else(|order| panic!("{left:?}: {order:?}"));
        println!("{left:?}: {runs} orders, {hits} hits");
        assert!(runs > 20 && hits > 0, "{hits} hits in {runs} orders of {left:?}");
    }
}

#[tokio::test]
async fn every_rule_is_needed() {
    for rule in RULES {
        let found = cases().into_iter().find_map(|left| {
            explore(|| Servers::new(left, Some(rule)), |_| {}).err().map(|order| (left, order))
        });
        let (left, order) = found.unwrap_or_else(|| panic!("{rule:?} is not needed"));
        println!("without {rule:?}: {order:?} of {left:?}");
    }
}

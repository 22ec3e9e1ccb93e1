//! The groups of a user as the system knows them (nsswitch.conf(5)), for shares with `groups: server`:
//! AUTH_SYS carries 16 groups at most, and what the client says of them.
//!
//! An answer is used for [`FRESH`], and then while the next is looked for. Where the directory is away, or
//! does not know the user any more, the last good answer is used for [`KEPT`].

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moka::future::Cache;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Error;
use crate::log_limit::{About, limited};
use crate::types::{Call, Credentials, Phase};

/// How long an answer is used without another look.
const FRESH: Duration = Duration::from_secs(300);
/// The same of "there is no such user", and of an answer that could not be renewed.
const RETRY: Duration = Duration::from_secs(60);
/// How long the last good answer is used where there is no other.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The most users whose groups are kept.
const MAX_USERS: u64 = 65_536;
/// The most look-ups at once: a directory that hangs holds no more threads.
const MAX_LOOKUPS: usize = 4;

/// Whose word counts for the supplementary groups of a caller.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupSource {
    /// The client's: 16 groups at most.
    #[default]
    Client,
    /// The system's, by the caller's uid.
    Server,
}

/// The groups of a user, by uid; `None` where there is no such user. It may take long.
type Lookup = dyn Fn(u32) -> io::Result<Option<Vec<u32>>> + Send + Sync;

/// What is known of a user.
struct Known {
    groups: Option<Arc<[u32]>>,
    /// When another look is due,
    due: Instant,
    /// and whether one is under way.
    renewing: AtomicBool,
    /// When the directory last had the groups.
    seen: Instant,
}

/// The users whose groups were asked for.
#[derive(Clone)]
pub(super) struct Groups {
    known: Cache<u32, Arc<Known>>,
    lookup: Arc<Lookup>,
    lookups: Arc<Semaphore>,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("users", &self.known.entry_count()).finish_non_exhaustive()
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self::new(Arc::new(system_groups))
    }
}

impl Known {
    fn of(answer: Option<Vec<u32>>) -> Arc<Self> {
        let now = Instant::now();
        let due = now + if answer.is_some() { FRESH } else { RETRY };
        let groups = answer.map(Arc::from);
        Arc::new(Self { groups, due, renewing: AtomicBool::new(false), seen: now })
    }

    /// What is known where another look had no groups.
    fn kept(&self) -> Option<Arc<Self>> {
        let now = Instant::now();
        (self.groups.is_some() && now.duration_since(self.seen) < KEPT).then(|| {
            let (groups, renewing) = (self.groups.clone(), AtomicBool::new(false));
            Arc::new(Self { groups, due: now + RETRY, renewing, seen: self.seen })
        })
    }
}

impl Groups {
    fn new(lookup: Arc<Lookup>) -> Self {
        let lookups = Arc::new(Semaphore::new(MAX_LOOKUPS));
        Self { known: Cache::new(MAX_USERS), lookup, lookups }
    }

    /// The credentials with the groups that the system knows. A user that it does not know has none but the
    /// primary group, which stays the client's.
    ///
    /// # Errors
    /// [`Error::Busy`] where the directory does not answer, and never has for this user.
    pub(super) async fn of(&self, sent: &Credentials, call: &Call) -> Result<Credentials, Error> {
        let known = match self.known.get(&sent.uid).await {
            Some(known) => known,
            None => call.timing.timed(Phase::Away, self.first(sent.uid, call)).await?,
        };
        if known.due <= Instant::now() && !known.renewing.swap(true, Ordering::Relaxed) {
            tokio::spawn(self.clone().renew(sent.uid, known.clone()));
        }
        let gids = known.groups.as_deref().unwrap_or_default().to_vec();
        Ok(Credentials { gids, ..sent.clone() })
    }

    /// Looks a user up whose groups are not known. Callers that want the same user share one look-up.
    async fn first(&self, uid: u32, call: &Call) -> Result<Arc<Known>, Error> {
        let looked = self.known.try_get_with(uid, async { self.look_up(uid).await.map(Known::of) });
        match call.within(looked).await {
            Some(Ok(known)) => Ok(known),
            Some(Err(error)) => {
                limited!(error, About::default(), "the groups of a user cannot be looked up", uid, %error);
                Err(Error::Busy)
            }
            None => Err(Error::Busy),
        }
    }

    async fn renew(self, uid: u32, known: Arc<Known>) {
        let next = match self.look_up(uid).await {
            Ok(Some(groups)) => Known::of(Some(groups)),
            Ok(None) => known.kept().unwrap_or_else(|| Known::of(None)),
            Err(error) => {
                limited!(error, About::default(), "the groups of a user cannot be looked up", uid, %error);
                match known.kept() {
                    Some(kept) => kept,
                    None => return self.known.invalidate(&uid).await,
                }
            }
        };
        self.known.insert(uid, next).await;
    }

    async fn look_up(&self, uid: u32) -> io::Result<Option<Vec<u32>>> {
        let permit = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let lookup = self.lookup.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            lookup(uid)
        });
        looking.await.map_err(io::Error::other)?
    }
}

/// Asks the system by getpwuid_r(3) and getgrouplist(3).
fn system_groups(uid: u32) -> io::Result<Option<Vec<u32>>> {
    let Some(user) = User::from_uid(Uid::from_raw(uid))? else { return Ok(None) };
    let name = std::ffi::CString::new(user.name)?;
    let groups = getgrouplist(&name, user.gid)?;
    Ok(Some(groups.into_iter().map(Gid::as_raw).collect()))
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    const UID: u32 = 1000;

    /// A directory that says what it is told to.
    #[derive(Clone, Default)]
    struct Directory {
        answer: Arc<Mutex<Option<Option<Vec<u32>>>>>,
        asked: Arc<Mutex<usize>>,
    }

    impl Directory {
        /// `None`: it is away.
        fn says(&self, answer: Option<Option<Vec<u32>>>) {
            *self.answer.lock() = answer;
        }

        fn groups(&self) -> Groups {
            let directory = self.clone();
            Groups::new(Arc::new(move |uid| {
                assert_eq!(uid, UID);
                *directory.asked.lock() += 1;
                directory.answer.lock().clone().ok_or_else(|| io::ErrorKind::TimedOut.into())
            }))
        }
    }

    async fn found(groups: &Groups) -> Result<Vec<u32>, Error> {
        let sent = Credentials { uid: UID, gid: 5, gids: vec![6] };
        let found = groups.of(&sent, &Call::internal(Duration::from_secs(9))).await?;
        assert_eq!((found.uid, found.gid), (UID, 5));
        Ok(found.gids)
    }

    /// Waits until the directory was asked `times`, and its answer is used.
    async fn asked(directory: &Directory, groups: &Groups, times: usize) -> Vec<u32> {
        loop {
            let last = found(groups).await.unwrap();
            let known = groups.known.get(&UID).await.unwrap();
            if *directory.asked.lock() == times && known.due > Instant::now() {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    #[tokio::test]
    async fn the_directorys_groups_are_used_and_renewed() {
        let directory = Directory::default();
        let many: Vec<u32> = (100..140).collect();
        directory.says(Some(Some(many.clone())));
        let groups = directory.groups();
        for _ in 0..3 {
            assert_eq!(found(&groups).await.unwrap(), many);
        }
        assert_eq!(*directory.asked.lock(), 1);
        directory.says(Some(Some(vec![7])));
        pass(FRESH).await;
        // The one before is used until there is another.
        assert_eq!(found(&groups).await.unwrap(), many);
        asked(&directory, &groups, 2).await;
        assert_eq!(found(&groups).await.unwrap(), [7]);
    }

    #[tokio::test]
    async fn the_last_good_answer_is_kept_while_the_directory_is_away() {
        let directory = Directory::default();
        directory.says(Some(Some(vec![7])));
        let groups = directory.groups();
        found(&groups).await.unwrap();
        for (times, answer) in [(2, None), (3, Some(None))] {
            directory.says(answer);
            pass(FRESH).await;
            found(&groups).await.unwrap();
            assert_eq!(asked(&directory, &groups, times).await, [7]);
        }
        pass(KEPT).await;
        found(&groups).await.unwrap();
        asked(&directory, &groups, 4).await;
        assert_eq!(found(&groups).await.unwrap(), [0; 0], "the user is gone");
    }

    #[tokio::test]
    async fn a_user_that_is_not_there_has_no_groups() {
        let directory = Directory::default();
        directory.says(Some(None));
        assert_eq!(found(&directory.groups()).await.unwrap(), [0; 0]);
    }

    #[tokio::test]
    async fn without_any_answer_the_client_is_to_come_again() {
        let directory = Directory::default();
        let groups = directory.groups();
        assert!(matches!(found(&groups).await, Err(Error::Busy)));
        directory.says(Some(Some(vec![7])));
        assert_eq!(found(&groups).await.unwrap(), [7]);
    }

    #[test]
    fn the_system_knows_root_and_no_user_of_this_number() {
        let root = system_groups(0).unwrap().unwrap();
        assert!(root.contains(&0), "{root:?}");
        assert_eq!(system_groups(0xfffe_1234).unwrap(), None);
    }
}

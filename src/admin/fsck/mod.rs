//! Whether a store holds together, and making it hold together again, while servers go on serving it.
//!
//! # How
//! - Everything is read in short pages, each as of one moment ([`Checker`]). What contradicts itself within
//!   one page is wrong at that moment; no operation leaves such a thing, so that another client's work is
//!   never taken for damage.
//! - What spans pages is only suspected, and said when it is confirmed: a file's names were counted while its
//!   ctime stood still ([`crate::metadata::Repair`] says why that is proof), a directory's entries by one
//!   statement.
//! - Each repair is a transaction of its own that looks again. Ending a check or a repair at any moment
//!   leaves nothing half done.
//! - No repair removes an object: what has no name gets one in `/lost+found`.

mod content;
mod counts;
mod finding;
mod numbers;
mod pages;
mod paths;
mod repair;
mod tree;

use std::collections::{BTreeSet, HashMap, HashSet};

use tokio_util::sync::CancellationToken;

pub use self::finding::{Finding, Remedy};
use self::numbers::Gathered;
pub use self::pages::Extent;
use self::paths::Paths;
use crate::admin::Progress;
use crate::content as bytes;
use crate::metadata::{self, Checker, Namespace, Repairer, Share};
use crate::types::{ObjectId, ShareId, ShareName};

/// What became of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was to be mended.
    Said,
    /// It is mended.
    Repaired,
    /// It could not be mended, and why.
    Left(String),
}

/// A finding with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is wrong.
    pub finding: Finding,
    pub share: Option<ShareName>,
    /// A path to what it is about, from the share's name on, where there is one.
    pub path: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
}

/// Hears what a check finds and how far it is.
pub trait Report: Send {
    /// Something is wrong.
    fn found(&mut self, found: &Found);
    /// So many rows were read.
    fn read(&mut self, rows: u64);
}

/// What a repair works with.
#[derive(Clone, Copy, Debug)]
pub struct RepairAccess<'a> {
    /// Mends.
    pub repairer: &'a dyn Repairer,
    /// The same store, for what is an operation like any other.
    pub store: &'a dyn Namespace,
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Objects that were looked at.
    pub objects: u64,
    /// Entries that were looked at.
    pub entries: u64,
    /// Files whose content was looked at.
    pub contents: u64,
    pub findings: u64,
    /// Findings that were mended.
    pub mended: u64,
}

impl Tally {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.entries += other.entries;
        self.contents += other.contents;
        self.findings += other.findings;
        self.mended += other.mended;
    }
}

/// Why a check ends early.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// It was told to.
    #[error("cancelled")]
    Cancelled,
    /// The metadata store failed.
    #[error(transparent)]
    Store(#[from] metadata::Error),
    /// A content store failed.
    #[error("the content of {share} cannot be looked at")]
    Content { share: ShareName, source: bytes::Error },
}

/// A check of one metadata store.
pub struct Check<'a> {
    checker: &'a dyn Checker,
    access: Option<RepairAccess<'a>>,
    report: &'a mut dyn Report,
    cancel: CancellationToken,
    /// Every share.
    shares: Vec<Share>,
    roots: Vec<ObjectId>,
    /// The only share that is checked.
    only: Option<ShareId>,
    paths: Paths,
    /// Where objects without a name go, by share.
    lost_and_found: HashMap<ShareId, ObjectId>,
    /// Directories whose parents may lead round in a circle.
    circles: BTreeSet<ObjectId>,
    /// Directories that have another finding, which says why no root leads to them.
    explained: HashSet<ObjectId>,
    gathered: Gathered,
    tally: Tally,
    extent: Extent,
    /// What its reading waits for.
    pace: Progress,
}

impl std::fmt::Debug for Check<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("tally", &self.tally).finish_non_exhaustive()
    }
}

impl<'a> Check<'a> {
    /// Begins a check of all shares, or of the one that is named; with `access`, a repair.
    pub async fn begin(
        checker: &'a dyn Checker,
        access: Option<RepairAccess<'a>>,
        only: Option<&ShareName>,
        cancel: CancellationToken,
        report: &'a mut dyn Report,
    ) -> Result<Self, Stopped> {
        let shares = checker.shares().await?;
        let only = only.map(|only| {
            let found = shares.iter().find(|share| share.name == *only);
            // A share that is not there has no objects.
            found.map_or(ShareId(0), |share| share.id)
        });
        let roots = shares.iter().map(|share| share.root).collect();
        Ok(Self {
            checker,
            access,
            report,
            cancel,
            shares,
            roots,
            only,
            paths: Paths::default(),
            lost_and_found: HashMap::new(),
            circles: BTreeSet::new(),
            explained: HashSet::new(),
            gathered: Gathered::default(),
            tally: Tally::default(),
            extent: Extent::default(),
            pace: Progress::default(),
        })
    }

    /// Reads and keeps so much at once.
    #[must_use]
    pub fn in_extent(mut self, extent: Extent) -> Self {
        self.extent = extent;
        self
    }

    /// Reads no faster than a job may.
    #[must_use]
    pub fn in_pace_of(mut self, job: &Progress) -> Self {
        self.pace = job.silent();
        self
    }

    /// The shares of the store.
    #[must_use]
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// What was done so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Checks everything but content.
    pub async fn structure(&mut self) -> Result<(), Stopped> {
        self.check_roots().await?;
        self.count().await?;
        self.check_numbers().await?;
        self.check_circles().await?;
        self.check_stray_counts().await?;
        self.check_usage().await
    }

    /// Waits for the turn of so many rows more.
    async fn turn(&self, rows: usize) -> Result<(), Stopped> {
        self.pace.pace_rows(rows).await.map_err(|_| Stopped::Cancelled)
    }

    fn still_wanted(&self) -> Result<(), Stopped> {
        if self.cancel.is_cancelled() { Err(Stopped::Cancelled) } else { Ok(()) }
    }

    /// Whether what belongs to a share, or to none, is checked.
    fn covers(&self, share: Option<ShareId>) -> bool {
        self.only.is_none_or(|only| share == Some(only))
    }

    fn share(&self, id: ShareId) -> Option<&Share> {
        self.shares.iter().find(|share| share.id == id)
    }

    async fn check_roots(&mut self) -> Result<(), Stopped> {
        for share in self.shares.clone() {
            if !self.covers(Some(share.id)) {
                continue;
            }
            let found = self.checker.objects_of(&[share.root]).await?.into_iter().next();
            let whole = found.is_some_and(|root| {
                root.file_type.is_directory()
                    && root.parent == Some(share.root)
                    && root.share == share.id
            });
            if !whole {
                self.settle(Finding::NoRoot { share: share.name }, Some(share.id), None).await?;
            }
        }
        Ok(())
    }

    async fn check_stray_counts(&mut self) -> Result<(), Stopped> {
        // What has no object is of no share.
        if self.only.is_some() {
            return Ok(());
        }
        let mut after = None;
        loop {
            self.still_wanted()?;
            let page = self.checker.counts(after, self.extent.page).await?;
            self.turn(page.len()).await?;
            for (object, counts) in &page {
                if !counts {
                    self.settle(Finding::StrayLinkCount { object: *object }, None, None).await?;
                }
            }
            after = page.last().map(|last| last.0);
            if page.len() < self.extent.page as usize {
                return Ok(());
            }
        }
    }

    async fn check_usage(&mut self) -> Result<(), Stopped> {
        self.still_wanted()?;
        let usages = tokio::select! {
            usages = self.checker.usages() => usages?,
            () = self.cancel.cancelled() => return Err(Stopped::Cancelled),
        };
        for usage in usages {
            let Some(share) = self.share(usage.share).filter(|_| self.covers(Some(usage.share)))
            else {
                continue;
            };
            if usage.recorded != usage.counted {
                let (recorded, counted) = (usage.recorded, usage.counted);
                let finding =
                    Finding::Usage { share: share.name.clone(), id: share.id, recorded, counted };
                self.settle(finding, Some(usage.share), None).await?;
            }
        }
        Ok(())
    }
}

//! One share: its stores, its rules, the state of its files, and its write verifier.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::file::Files;
use super::{Access, ClientRule, Error, GroupSource, Squash, Vfs};
use crate::content::ContentStore;
use crate::log_limit::limited;
use crate::metadata::{Namespace, Share};
use crate::types::{BoundedChain, Caller, ContentId, Context, FileHandle, Phase, Timestamp};

/// How often old state is looked for.
pub(in crate::vfs) const MAINTENANCE_PERIOD: Duration = Duration::from_secs(1);

/// How long a flush that no client waits for may take.
pub(in crate::vfs) const BACKGROUND_TIME: Duration = Duration::from_secs(30);
/// How long a call waits for content to be removed that nothing names any more.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// How long unflushed state may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteBehind {
    /// Unstable data is flushed when it is this old.
    pub max_age: Duration,
    /// A WRITE flushes where a file has this many unflushed bytes.
    pub max_bytes: u64,
    /// Access times are flushed when they are this old.
    pub atime_max_age: Duration,
}

impl Default for WriteBehind {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(10),
            max_bytes: 256 << 20,
            atime_max_age: Duration::from_secs(60),
        }
    }
}

/// What a share is exported with.
#[derive(Debug)]
pub struct ExportSettings {
    /// The share as its metadata store holds it.
    pub share: Share,
    /// Who may use it.
    pub rules: Vec<ClientRule>,
    /// Whose word counts for a caller's supplementary groups.
    pub groups: GroupSource,
    pub metadata: Arc<dyn Namespace>,
    /// Its bytes.
    pub content: Arc<dyn ContentStore>,
    /// Limits of unflushed state.
    pub write_behind: WriteBehind,
}

/// What a call wants of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Ask about the file system or its root, as mounting does before it has credentials.
    Attach,
    Read,
    /// Change something.
    Write,
    /// Lock, which changes no file, and for which some clients send no credentials.
    Lock,
}

#[derive(Debug)]
pub(super) struct Export {
    pub(super) share: Share,
    /// From 1, and of no other share before or after it: for the counters.
    pub(super) number: u32,
    /// Replaced as a whole, and held only to look one up.
    pub(super) rules: RwLock<Vec<ClientRule>>,
    groups: GroupSource,
    pub(super) metadata: Arc<dyn Namespace>,
    pub(super) content: Arc<dyn ContentStore>,
    pub(super) write_behind: WriteBehind,
    pub(super) files: Files,
    verifier: AtomicU64,
    /// Fires where the share is not exported any more.
    pub(super) ended: CancellationToken,
    /// Whether what is old is flushed.
    pub(super) is_maintained: AtomicBool,
}

impl Export {
    pub(super) fn new(settings: ExportSettings, number: u32) -> std::io::Result<Self> {
        let ExportSettings { share, rules, groups, metadata, content, write_behind } = settings;
        Ok(Self {
            share,
            number,
            rules: RwLock::new(rules),
            groups,
            metadata,
            content,
            write_behind,
            files: Files::default(),
            verifier: AtomicU64::new(getrandom::u64().map_err(std::io::Error::from)?),
            ended: CancellationToken::new(),
            is_maintained: AtomicBool::new(false),
        })
    }

    /// The write verifier (RFC 1813 section 3.3.7): random at every start.
    pub(super) fn verifier(&self) -> [u8; 8] {
        self.verifier.load(Ordering::SeqCst).to_be_bytes()
    }

    /// Unstable data may be lost: clients that hold the old verifier must send theirs again.
    pub(super) fn change_verifier(&self) {
        // Adding an odd constant to 64 random bits meets no earlier value of this process, and one
        // of another process with probability 2^-64.
        self.verifier.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
    }

    /// The context of a flush that no client waits for.
    pub(super) fn background(&self) -> Context {
        Context::internal(self.share.id, BACKGROUND_TIME)
    }

    /// Removes content that nothing names any more. The call waits for it, but not for a store that is slow
    /// or away, which goes on by itself. A failure leaves garbage and no harm.
    pub(super) async fn discard(&self, cx: &Context, content: Option<ContentId>) {
        let Some(id) = content else { return };
        let removing = self.discard_later(cx, id);
        // Whether it has ended counts for nothing.
        let _ = cx.call.timing.timed(Phase::Content, timeout(DISCARD_TIME, removing)).await;
    }

    /// The same for a caller that does not wait.
    pub(super) fn discard_later(&self, cx: &Context, id: ContentId) -> JoinHandle<()> {
        let (store, share) = (self.content.clone(), self.share.name.clone());
        let (xid, client) = (cx.call.timing.xid, cx.client);
        tokio::spawn(async move {
            if let Err(error) = store.remove(id).await {
                limited!(warn, client, "unused content could not be removed; trunkfs gc removes it",
                    xid, client = %client, share = %share, content = %id, error = %BoundedChain(&error));
            }
        })
    }
}

impl Vfs {
    /// Admits a call to the handle's share: its rules, and the caller after squashing.
    pub(super) async fn enter(
        &self,
        caller: &Caller,
        handle: &FileHandle,
        intent: Intent,
    ) -> Result<(Arc<Export>, Context), Error> {
        let export = self.exports.get(&handle.share).ok_or(Error::UnknownShare)?;
        caller.call.timing.set_share(export.number);
        let address = caller.address.ip();
        let rule = ClientRule::find(&export.rules.read(), address).copied();
        let rule = rule.ok_or(Error::ClientRefused)?;
        rule.check_port(caller)?;
        if intent == Intent::Write && rule.access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        let attaches = intent == Intent::Attach && handle.object == export.share.root;
        let credentials = match (export.groups, &caller.credentials) {
            (GroupSource::Server, Some(sent)) if rule.squash != Squash::All => {
                // On the heap: every call would carry the room for the look-up along.
                rule.squashed(Some(&Box::pin(self.groups.of(sent, &caller.call)).await?))
            }
            (GroupSource::Client | GroupSource::Server, sent) => rule.squashed(sent.as_ref()),
        };
        let credentials = match credentials {
            Err(Error::TooWeak) if attaches || intent == Intent::Lock => rule.anonymous(),
            squashed => squashed?,
        };
        let context = Context {
            credentials,
            client: caller.address,
            share: export.share.id,
            now: Timestamp::now(),
            call: caller.call.clone(),
            replay: None,
        };
        Ok((export, context))
    }

    /// Whether the rules of the handle's share admit the caller's address and port.
    #[must_use]
    pub fn admits(&self, caller: &Caller, handle: &FileHandle) -> bool {
        self.exports.get(&handle.share).is_some_and(|export| {
            let rules = export.rules.read();
            ClientRule::find(&rules, caller.address.ip())
                .is_some_and(|rule| rule.check_port(caller).is_ok())
        })
    }

    /// Whether the share is read-only for the caller.
    pub(super) fn is_read_only(export: &Export, caller: &Caller) -> bool {
        let rules = export.rules.read();
        ClientRule::find(&rules, caller.address.ip())
            .is_none_or(|rule| rule.access == Access::ReadOnly)
    }
}

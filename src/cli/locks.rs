//! `trunkfs locks`: the locks of clients, asked of the metadata stores, and how to free those of a client
//! that is gone for good.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use super::clients::aligned;
use super::job::{run_async, run_error, write};
use super::{Configured, Failure};
use crate::admin::share;
use crate::config::Config;
use crate::metadata::{Freed, LockBytes, LockFilter, LockRange, LockRecord, LockStanding};
use crate::stores::{LockAdmin, lasting_metadata, open_for_locks};
use crate::types::{FileHandle, ObjectId, ShareName};

/// Records that are read at a time.
const PORTION: usize = 1000;

/// What `locks` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    configured: Configured,
    /// Locks of this share's files
    #[arg(long, value_name = "SHARE", value_parser = share)]
    share: Option<ShareName>,
    #[command(flatten)]
    which: Which,
    /// Locks that are waited for, and those whose client has not said that it knows
    #[arg(long)]
    waiting: bool,
    /// Print an object of JSON per line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Free the locks of a client that is gone for good; a running client is not told
    Break(BreakOptions),
}

/// What `locks break` takes.
#[derive(Debug, Args)]
struct BreakOptions {
    #[command(flatten)]
    configured: Configured,
    #[command(flatten)]
    which: Which,
    /// Free them; without it they are only shown (dry run)
    #[arg(long)]
    yes: bool,
}

/// Whose locks, and on what.
#[derive(Debug, Args)]
struct Which {
    /// Locks of the client with this address
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Locks of the client with this name, as the list shows it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Locks of the owner with this number
    #[arg(long, value_name = "SVID", allow_hyphen_values = true)]
    svid: Option<i32>,
    /// Locks of one file: its id as the list shows it, or its handle
    #[arg(long, value_name = "ID", value_parser = file)]
    file: Option<ObjectId>,
}

fn file(text: &str) -> Result<ObjectId, String> {
    if let Ok(handle) = FileHandle::parse(text.as_bytes()) {
        return Ok(handle.object);
    }
    // Log lines show share and object.
    let id = text.rsplit(':').next().unwrap_or(text);
    let id = Uuid::parse_str(id).map(ObjectId);
    id.map_err(|_| "write the file's id, as trunkfs locks shows it, or its handle".to_owned())
}

impl Which {
    fn filter(&self, waiting: bool) -> Result<LockFilter, Failure> {
        let name = self.name.as_ref().map(|name| {
            LockBytes::new(name.as_bytes())
                .ok_or_else(|| Failure::Wrong(format!("--name: {} bytes are too many", name.len())))
        });
        Ok(LockFilter {
            file: self.file,
            address: self.client.map(|client| client.to_canonical()),
            caller_name: name.transpose()?,
            svid: self.svid,
            waiting,
        })
    }
}

/// A lock, as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    client: String,
    name: String,
    server: String,
    svid: Option<i32>,
    share: Option<String>,
    file: String,
    first: Option<u64>,
    /// None for the end of the file, however far it grows.
    last: Option<u64>,
    kind: String,
    state: &'static str,
    since: String,
    seen: String,
}

impl Shown {
    fn new(record: &LockRecord, share: Option<String>) -> Self {
        let LockRecord { file, owner, standing, range, kind, since, seen, .. } = record;
        let is_share = matches!(standing, LockStanding::Share { .. });
        let kind = match standing {
            // What others may not do, and what the client does.
            LockStanding::Share { mode, access } => format!("deny {mode}, access {access}"),
            LockStanding::Held | LockStanding::Reserved | LockStanding::Waiting => {
                if kind.is_exclusive() { "exclusive" } else { "shared" }.to_owned()
            }
        };
        Self {
            client: owner.client.address().to_string(),
            name: owner.client.caller_name.to_string(),
            server: owner.client.server.to_string(),
            svid: (!is_share).then_some(owner.svid),
            share,
            file: file.to_string(),
            first: (!is_share).then_some(range.first()),
            last: Some(range.last()).filter(|last| !is_share && *last != LockRange::END),
            kind,
            state: match standing {
                LockStanding::Held => "held",
                LockStanding::Reserved => "unconfirmed",
                LockStanding::Waiting => "waiting",
                LockStanding::Share { .. } => "share",
            },
            since: since.utc(),
            seen: seen.utc(),
        }
    }

    fn row(&self) -> [String; 9] {
        let range = self.first.map_or_else(
            || "-".to_owned(),
            |first| match self.last {
                Some(last) => format!("{first}-{last}"),
                None => format!("{first}-"),
            },
        );
        [
            self.client.clone(),
            self.name.clone(),
            self.svid.map_or_else(|| "-".to_owned(), |svid| svid.to_string()),
            self.state.to_owned(),
            self.kind.clone(),
            range,
            self.share.clone().unwrap_or_else(|| "(removed)".to_owned()),
            self.file.clone(),
            self.since.chars().take(19).collect::<String>() + "Z",
        ]
    }
}

/// Lists locks, or breaks them.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        Some(Command::Break(options)) => run_break(options),
        None => list(options),
    }
}

fn list(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let filter = options.which.filter(options.waiting)?;
    run_async(async {
        let mut shown = Vec::new();
        for (name, store) in open(&config, &options.configured).await? {
            let share = options.share.as_ref();
            shown.extend(records(&store, &name, &filter, share).await?);
        }
        if options.json {
            let lines =
                shown.iter().map(|it| Ok(serde_json::to_string(it).map_err(run_error)? + "\n"));
            return write(&lines.collect::<Result<String, Failure>>()?);
        }
        write(&table(&shown))
    })
}

fn run_break(options: &BreakOptions) -> Result<(), Failure> {
    if options.which.client.is_none() && options.which.file.is_none() {
        return Err(Failure::Wrong(
            "set --client or --file: whose locks are to be freed".to_owned(),
        ));
    }
    let config = options.configured.load_for_stores()?;
    let filter = options.which.filter(false)?;
    run_async(async {
        let stores = open(&config, &options.configured).await?;
        let mut shown = Vec::new();
        for (name, store) in &stores {
            shown.extend(records(store, name, &filter, None).await?);
        }
        let mut text = table(&shown);
        if shown.is_empty() {
            return write("no such locks\n");
        }
        if !options.yes {
            text += "dry run, without --yes: nothing was freed. A running client is not told that its \
                     locks were freed; to free them, repeat the command with --yes.\n";
            return write(&text);
        }
        let mut all = Freed::default();
        for (_, store) in &stores {
            let freed = store.records.break_locks(&filter).await.map_err(run_error)?;
            all.locks += freed.locks;
            all.waiters += freed.waiters;
            all.reservations += freed.reservations;
            all.shares += freed.shares;
        }
        let Freed { locks, waiters, reservations, shares, .. } = all;
        text += &format!(
            "freed: {locks} locks, {waiters} waiting, {reservations} unconfirmed, {shares} shares\n"
        );
        write(&text)
    })
}

/// The stores that outlive their process, which another process can look into.
async fn open(
    config: &Config,
    configured: &Configured,
) -> Result<Vec<(String, LockAdmin)>, Failure> {
    let names = lasting_metadata(config);
    if names.is_empty() {
        let text = "the metadata of every share is in memory: only its server knows its locks";
        return Err(Failure::Wrong(text.to_owned()));
    }
    let mut stores = Vec::with_capacity(names.len());
    for name in names {
        let opened = open_for_locks(config, &name).await;
        let opened =
            opened.map_err(|error| Failure::Run(configured.explained(&name, &error).into()))?;
        stores.push((name, opened));
    }
    Ok(stores)
}

async fn records(
    store: &LockAdmin,
    name: &str,
    filter: &LockFilter,
    share: Option<&ShareName>,
) -> Result<Vec<Shown>, Failure> {
    let LockAdmin { records, shares } = store;
    let failed = |error| Failure::Run(format!("metadata.stores.{name}: {error}").into());
    let mut shown = Vec::new();
    let mut after: Option<LockRecord> = None;
    loop {
        let page = records.list_locks(filter, after.as_ref(), PORTION).await.map_err(failed)?;
        for record in &page {
            let named = shares.iter().find(|it| Some(it.id) == record.share);
            let named = named.map(|it| &it.name);
            if share.is_none_or(|share| named == Some(share)) {
                shown.push(Shown::new(record, named.map(ToString::to_string)));
            }
        }
        if page.len() < PORTION {
            return Ok(shown);
        }
        after = page.into_iter().last();
    }
}

fn table(shown: &[Shown]) -> String {
    let heads = ["client", "name", "svid", "state", "kind", "bytes", "share", "file", "since"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(shown.iter().map(Shown::row));
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_id_its_handle_or_as_the_log_has_it() {
        let object = ObjectId::generate();
        let handle = FileHandle { share: ShareName::parse("/e").unwrap(), object };
        for text in [object.to_string(), handle.to_wire(), format!("/e:{object}")] {
            assert_eq!(file(&text), Ok(object), "{text}");
        }
        assert!(file("/e/name").is_err());
    }
}

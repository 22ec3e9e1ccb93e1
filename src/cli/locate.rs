//! `trunkfs locate`: which object a handle of the log means, and which handle a path has.

use clap::Args;
use serde::Serialize;

use super::job::{run_async, run_error, write};
use super::{Configured, Failure};
use crate::admin::locate;
use crate::config::Config;
use crate::metadata::{Checkable, Share};
use crate::stores::open_for_reading;
use crate::types::{FileHandle, ShareName};

/// What `locate` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// A handle, as log lines show it, or a path that begins with a share, such as /export/folder/file
    #[arg(value_name = "HANDLE|PATH")]
    what: String,
}

/// An object by all its names.
#[derive(Debug, Serialize)]
struct Located {
    share: String,
    /// None where the object has no name (any more).
    path: Option<String>,
    handle: String,
    object: String,
}

/// Goes through the share's records in its metadata store, beside a server that serves it.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    let what = options.what.trim();
    run_async(async {
        let located = if what.starts_with('/') {
            by_path(&config, options, what).await?
        } else {
            by_handle(&config, options, what).await?
        };
        if options.json {
            return write(&format!("{}\n", serde_json::to_string(&located).map_err(run_error)?));
        }
        let Located { share, path, handle, object } = located;
        let path = path.as_deref().unwrap_or("none: the object has no name, or is gone");
        write(&format!("share   {share}\npath    {path}\nhandle  {handle}\nobject  {object}\n"))
    })
}

async fn by_handle(config: &Config, options: &Options, text: &str) -> Result<Located, Failure> {
    let handle = FileHandle::parse(text.as_bytes()).map_err(|_| {
        Failure::Wrong(format!(
            "{text:?} is neither a handle of TrunkFS nor a path; a path begins with '/'"
        ))
    })?;
    let (store, share) = open(config, options, &handle.share).await?;
    let path = locate::path(&*store, &share.name, handle.object).await.map_err(run_error)?;
    Ok(located(handle, path))
}

async fn by_path(config: &Config, options: &Options, text: &str) -> Result<Located, Failure> {
    let found = ShareName::longest_in(text.as_bytes(), &config.shares, |it| &it.name);
    let Some((served, names)) = found else {
        return Err(Failure::Run(
            format!("{text}: no share of the configuration has this path").into(),
        ));
    };
    let name = &served.name;
    let (store, share) = open(config, options, name).await?;
    let checker = store.checker().await.map_err(run_error)?;
    let found = locate::object(&*checker, share.root, &names).await.map_err(run_error)?;
    let Some((object, _)) = found else {
        return Err(Failure::Run(format!("{text}: no such file").into()));
    };
    let parts = names.iter().map(|name| format!("/{}", String::from_utf8_lossy(name)));
    let path = format!("{name}{}", parts.collect::<String>());
    Ok(located(FileHandle { share: name.clone(), object }, Some(path)))
}

fn located(handle: FileHandle, path: Option<String>) -> Located {
    Located {
        share: handle.share.to_string(),
        path,
        handle: handle.to_wire(),
        object: handle.object.to_string(),
    }
}

/// The metadata store of a share, and the share in it.
async fn open(
    config: &Config,
    options: &Options,
    name: &ShareName,
) -> Result<(Box<dyn Checkable>, Share), Failure> {
    let Some(served) = config.shares.iter().find(|share| share.name == *name) else {
        return Err(Failure::Run(format!("the configuration has no share {name}").into()));
    };
    let store = &served.metadata_store;
    let opened = open_for_reading(config, store).await;
    let opened =
        opened.map_err(|error| Failure::Run(options.configured.explained(store, &error).into()))?;
    let shares = opened.shares().await.map_err(run_error)?;
    match shares.into_iter().find(|share| share.name == *name) {
        Some(share) => Ok((opened, share)),
        None => Err(Failure::Run(format!("metadata.stores.{store} has no share {name}").into())),
    }
}

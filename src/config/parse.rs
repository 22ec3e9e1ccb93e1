//! The whole document, and the checks across its parts.

use super::Config;
use super::error::Error;
use super::filesystem::distinct_folders;
use super::section::Document;
use super::server::{Server, server};
use super::share::{Share, share};
use super::stores::{content, kept, metadata, stores};

/// The whole document.
pub(super) fn config(document: &Document<'_>) -> Result<Config, Error> {
    let node = document.parse()?;
    let top = document.root(&node).section(&["server", "metadata", "content", "shares"])?;
    let server = top.or("server", Server::default(), server)?;
    let metadata = stores(&top, "metadata", |field| metadata(field, server.request_timeout))?;
    let content = stores(&top, "content", content)?;
    distinct_folders(&content)?;
    let listed = top.required("shares", "name at least one share that clients mount")?;
    let mut shares: Vec<Share> = Vec::new();
    for field in listed.list()? {
        let share = share(&field, &metadata, &content)?;
        if shares.iter().any(|other| other.name == share.name) {
            return Err(field.error(format!(
                "a second share of the name {}; give each share a name of its own",
                share.name
            )));
        }
        shares.push(share);
    }
    if shares.is_empty() {
        return Err(listed.error("no share; name at least one that clients mount"));
    }
    Ok(Config { server, metadata: kept(metadata), content: kept(content), shares })
}

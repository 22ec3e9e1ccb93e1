//! The whole document, and the checks across its parts.

use super::Config;
use super::bucket::distinct_buckets;
use super::error::{Error, Errors};
use super::filesystem::distinct_folders;
use super::logging::logging;
use super::section::{Document, Field};
use super::server::server;
use super::share::{Share, share};
use super::sqlite::distinct_files;
use super::stores::{Found, content, metadata, stores};

/// The whole document.
///
/// # Errors
/// All that is wrong with it, as far as one reading finds it.
pub(super) fn config(document: &Document<'_>) -> Result<Config, Errors> {
    let read = top(document);
    let mut errors = document.take_errors();
    match read {
        Ok(config) if errors.is_empty() => Ok(config),
        Ok(_) => Err(Errors::new(errors)),
        Err(error) => {
            errors.push(error);
            Err(Errors::new(errors))
        }
    }
}

fn top(document: &Document<'_>) -> Result<Config, Error> {
    let top = document.root(document.parse()?);
    let top = top.section(&["server", "logging", "metadata", "content", "shares"])?;
    let server = top.part("server", server)?;
    let logging = top.part("logging", logging)?;
    let metadata = document
        .keep(stores(&top, "metadata", |field| metadata(field, server.request_timeout)))
        .unwrap_or_default();
    let content = document.keep(stores(&top, "content", content)).unwrap_or_default();
    document.keep(distinct_folders(&content.stores));
    document.keep(distinct_files(&metadata.stores));
    document.keep(distinct_buckets(&content.stores));
    let listed = top.required("shares", "define at least one share")?;
    let shares = shares(&listed, &metadata, &content)?;
    Ok(Config { server, logging, metadata: metadata.kept(), content: content.kept(), shares })
}

fn shares(
    listed: &Field<'_>,
    metadata: &Found<'_, super::Metadata>,
    content: &Found<'_, super::Content>,
) -> Result<Vec<Share>, Error> {
    let fields = listed.list()?;
    if fields.is_empty() {
        return Err(listed.error("must not be empty; define at least one share"));
    }
    let mut shares: Vec<Share> = Vec::new();
    for field in fields {
        let Some(share) = field.keep(share(&field, &metadata.names, &content.names)) else {
            continue;
        };
        if shares.iter().any(|other| other.name == share.name) {
            field.keep::<()>(Err(field.error(format!(
                "duplicate share name {}; give each share its own name",
                share.name
            ))));
        }
        shares.push(share);
    }
    Ok(shares)
}

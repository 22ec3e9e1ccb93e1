//! From the tree to the types, and the checks across keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Error;
use super::section::{Document, Field, Section, hint};
use super::values::{
    DEFAULT_OPEN_FILES, Mode, address, count, duration, flag, mode, network, nonempty, number,
    password, word,
};
use super::{
    Access, Client, Config, Content, Filesystem, Metadata, NOBODY, Postgres, Root, Server, Share,
    Squash,
};
use crate::types::ShareName;

/// The largest number of connections and open files that a configuration may ask for.
const MOST: u32 = 1 << 20;

/// The whole document.
pub(super) fn config(document: &Document<'_>) -> Result<Config, Error> {
    let node = document.parse()?;
    let top = document.root(&node).section(&["server", "metadata", "content", "shares"])?;
    let server = top.or("server", Server::default(), server)?;
    let metadata = stores(&top, "metadata", metadata)?;
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

fn server(field: &Field<'_>) -> Result<Server, Error> {
    let section =
        field.section(&["listen", "request_timeout", "drain_timeout", "max_connections"])?;
    let default = Server::default();
    Ok(Server {
        listen: section.or("listen", default.listen, address)?,
        request_timeout: section.or("request_timeout", default.request_timeout, duration)?,
        drain_timeout: section.or("drain_timeout", default.drain_timeout, duration)?,
        max_connections: section
            .or("max_connections", default.max_connections, |field| count(field, MOST))?,
    })
}

/// Stores by name, each with its place in the file.
type Stores<'a, T> = BTreeMap<String, (Field<'a>, T)>;

fn kept<T>(stores: Stores<'_, T>) -> BTreeMap<String, T> {
    stores.into_iter().map(|(name, (_, store))| (name, store)).collect()
}

fn stores<'a, T>(
    top: &Section<'a>,
    key: &str,
    read: impl Fn(&Field<'a>) -> Result<T, Error>,
) -> Result<Stores<'a, T>, Error> {
    let remedy = "name at least one store";
    let section =
        top.required(key, "it says where the shares' data lives")?.section(&["stores"])?;
    let listed = section.required("stores", remedy)?;
    let mut stores = BTreeMap::new();
    for (name, field) in listed.named()? {
        let store = read(&field)?;
        stores.insert(name, (field, store));
    }
    if stores.is_empty() {
        return Err(listed.error(format!("no store; {remedy}")));
    }
    Ok(stores)
}

/// The block of the store's type, which has its name; `None` for the type memory, which has none.
fn block<'a>(section: &Section<'a>, blocks: &[&'static str]) -> Result<Option<Field<'a>>, Error> {
    let words: Vec<_> = ["memory"].iter().chain(blocks).map(|name| (*name, *name)).collect();
    let known = words.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" or ");
    let kind = word(&section.required("type", &format!("write {known}"))?, &words)?;
    for other in blocks.iter().filter(|other| **other != kind) {
        if let Some(field) = section.optional(other) {
            return Err(field.error(format!(
                "a block of another type than the store's, which is {kind}; remove it, or write type: \
                 {other}"
            )));
        }
    }
    if !blocks.contains(&kind) {
        return Ok(None);
    }
    section.required(kind, &format!("a store of type {kind} needs this block")).map(Some)
}

fn metadata(field: &Field<'_>) -> Result<Metadata, Error> {
    let section = field.section(&["type", "postgres"])?;
    Ok(match block(&section, &["postgres"])? {
        None => Metadata::Memory,
        Some(field) => Metadata::Postgres(postgres(&field)?),
    })
}

fn content(field: &Field<'_>) -> Result<Content, Error> {
    let section = field.section(&["type", "filesystem"])?;
    Ok(match block(&section, &["filesystem"])? {
        None => Content::Memory,
        Some(field) => Content::Filesystem(filesystem(&field)?),
    })
}

fn postgres(field: &Field<'_>) -> Result<Postgres, Error> {
    let section = field.section(&[
        "host",
        "port",
        "database",
        "user",
        "password",
        "sslmode",
        "max_conns",
        "auto_migrate",
        "connect_timeout",
    ])?;
    if let Some(field) = section.optional("sslmode") {
        let text = field.text()?;
        if text != "disable" {
            return Err(field.error(format!(
                "{text:?} asks for TLS, which connections to PostgreSQL do not have yet; write disable, and \
                 keep the way to the database private (loopback, a Unix socket, a VPN)"
            )));
        }
    }
    Ok(Postgres {
        host: section.or("host", "localhost".to_owned(), nonempty)?,
        port: section.or("port", 5432, |field| number(field, 1, u16::MAX))?,
        database: section.or("database", "trunkfs".to_owned(), nonempty)?,
        user: section.or("user", "trunkfs".to_owned(), nonempty)?,
        password: section.or("password", None, |field| password(field).map(Some))?,
        max_connections: section.or("max_conns", 15, |field| count(field, MOST))?,
        auto_migrate: section.or("auto_migrate", true, flag)?,
        connect_timeout: section.or("connect_timeout", Duration::from_secs(10), duration)?,
    })
}

fn filesystem(field: &Field<'_>) -> Result<Filesystem, Error> {
    let section = field.section(&["base_path", "max_open_files"])?;
    let base_path = section.required("base_path", "name the folder that holds file content")?;
    Ok(Filesystem {
        base_path: nonempty(&base_path).map(PathBuf::from)?,
        max_open_files: section
            .or("max_open_files", DEFAULT_OPEN_FILES, |field| count(field, MOST))?,
    })
}

/// Two stores in one folder would remove each other's content.
fn distinct_folders(stores: &Stores<'_, Content>) -> Result<(), Error> {
    let mut folders: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for (name, (field, content)) in stores {
        let Content::Filesystem(filesystem) = content else { continue };
        let folder = resolved(&filesystem.base_path);
        if let Some(other) = folders.insert(folder, name) {
            return Err(field.error(format!(
                "its base_path {} is that of the store {other} too; give each store a folder of its own",
                filesystem.base_path.display()
            )));
        }
    }
    Ok(())
}

/// The folder itself where it is there; else what its path says.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.canonicalize().unwrap_or_else(|_| absolute.components().collect())
}

fn share(
    field: &Field<'_>,
    metadata: &Stores<'_, Metadata>,
    content: &Stores<'_, Content>,
) -> Result<Share, Error> {
    let section = field.section(&["name", "metadata_store", "content_store", "root", "clients"])?;
    let named = section.required("name", "write the path that clients mount, such as /export")?;
    let text = named.text()?;
    let name = ShareName::parse(&text)
        .map_err(|error| named.error(format!("{text:?}: {error}; write one such as /export")))?;
    let default = Root { uid: 0, gid: 0, mode: Mode::ROOT };
    Ok(Share {
        name,
        metadata_store: store(&section, "metadata_store", metadata)?,
        content_store: store(&section, "content_store", content)?,
        root: section.or("root", default, root)?,
        clients: clients(&section)?,
    })
}

/// The name of a store that is there.
fn store<T>(section: &Section<'_>, key: &str, stores: &Stores<'_, T>) -> Result<String, Error> {
    let field = section.required(key, "name the store that holds the share")?;
    let name = field.text()?;
    if !stores.contains_key(&name) {
        let near = hint(&name, stores.keys().map(String::as_str));
        return Err(field.error(format!("{name:?} names no store{near}")));
    }
    Ok(name)
}

fn root(field: &Field<'_>) -> Result<Root, Error> {
    let section = field.section(&["uid", "gid", "mode"])?;
    Ok(Root {
        uid: section.or("uid", 0, identity)?,
        gid: section.or("gid", 0, identity)?,
        mode: section.or("mode", Mode::ROOT, mode)?,
    })
}

/// A uid or gid. The last of 32 bits means "nobody in particular" to chown(2).
fn identity(field: &Field<'_>) -> Result<u32, Error> {
    number(field, 0, u32::MAX - 1)
}

fn clients(section: &Section<'_>) -> Result<Vec<Client>, Error> {
    let remedy = "say who may mount the share, such as - { network: 10.0.0.0/8, access: rw }";
    let field = section.required("clients", remedy)?;
    let mut clients: Vec<Client> = Vec::new();
    for field in field.list()? {
        let client = client(&field)?;
        if clients.iter().any(|other| other.network == client.network) {
            return Err(field.error(format!(
                "a second rule for {}, which would never count; keep one",
                client.network
            )));
        }
        clients.push(client);
    }
    if clients.is_empty() {
        return Err(field.error(format!("an empty list lets nobody in; {remedy}")));
    }
    Ok(clients)
}

fn client(field: &Field<'_>) -> Result<Client, Error> {
    let section = field.section(&[
        "network",
        "access",
        "squash",
        "anonuid",
        "anongid",
        "require_reserved_port",
    ])?;
    let squashes = [
        ("root_squash", Squash::Root),
        ("no_root_squash", Squash::None),
        ("all_squash", Squash::All),
    ];
    let remedy = "write the clients' network, such as 10.0.0.0/8";
    Ok(Client {
        network: network(&section.required("network", remedy)?)?,
        access: section.or("access", Access::ReadWrite, |field| {
            word(field, &[("rw", Access::ReadWrite), ("ro", Access::ReadOnly)])
        })?,
        squash: section.or("squash", Squash::Root, |field| word(field, &squashes))?,
        anonuid: section.or("anonuid", NOBODY, identity)?,
        anongid: section.or("anongid", NOBODY, identity)?,
        require_reserved_port: section.or("require_reserved_port", false, flag)?,
    })
}

//! A server under load: its connections, and the directory in which everything happens.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use rand::RngCore as _;

use super::call::{Call, CreateMode, Stability};
use super::error::Error;
use super::link::{Caller, Link};
use super::mount::{self, Addresses};
use super::prepare::Place;
use super::removal::remove_tree;
use super::reply::Reply;
use super::target::Target;
use crate::types::Credentials;

/// Calls in flight while files are made.
const MAKING: usize = 32;
/// READs and WRITEs in flight on a connection while files are filled.
const FILLING: usize = 4;

/// What a load is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections, at least one.
    pub connections: usize,
    /// Calls in flight on each, at least one.
    pub depth: usize,
    /// Files of each connection for calls that change nothing.
    pub files: usize,
    /// Bytes of the file of each connection that READ and WRITE use.
    pub file_bytes: u64,
    /// Who calls.
    pub credentials: Credentials,
    /// Address to call from; the system's choice if not given.
    pub from: Option<IpAddr>,
    /// Whether to call from ports below 1024, as some servers want it.
    pub reserved_port: bool,
    /// The port of MOUNT, where it is another than NFS's.
    pub mount_port: Option<u16>,
}

/// A directory that was made, by name, and the directories in it: one for each connection.
#[derive(Clone, Debug)]
pub(super) struct Area {
    pub(super) name: String,
    pub(super) directory: Bytes,
    pub(super) branches: Vec<Bytes>,
}

/// A server under load. [`Session::close`] removes what it made.
#[derive(Debug)]
pub struct Session {
    pub(super) settings: Settings,
    addresses: Addresses,
    path: String,
    caller: Arc<Caller>,
    root: Bytes,
    name: String,
    directory: Bytes,
    pub(super) links: Vec<Link>,
    /// The largest READ and WRITE that the server takes.
    pub(super) largest: (u32, u32),
    areas: BTreeMap<String, Area>,
    next_area: usize,
    pub(super) population: Option<Vec<Place>>,
    pub(super) data: Bytes,
}

impl Session {
    /// Mounts the export and makes the directory, by a name that no other run has.
    ///
    /// # Errors
    /// [`Error`]. Nothing is left behind.
    pub async fn open(target: &Target, settings: Settings) -> Result<Self, Error> {
        let caller = Caller::new(&settings.credentials, settings.from, settings.reserved_port);
        let addresses = mount::find(target, settings.mount_port, &caller).await?;
        let root = mount::mount(addresses.mount, &target.path, &caller).await?;
        let mut link = Link::connect(addresses.nfs, &caller).await?;
        let largest = largest(&mut link, &root).await?;
        let name = format!("bench-{:016x}", rand::random::<u64>());
        let names = [name.clone()];
        let made = make(&mut link, &root, &names, |name| Call::mkdir(&root, name)).await?;
        let directory = made.into_iter().next().unwrap_or_default();
        let mut data = vec![0; 1 << 20];
        // Bytes that no store can compress or leave out.
        rand::rng().fill_bytes(&mut data);
        Ok(Self {
            settings,
            addresses,
            path: target.path.clone(),
            caller,
            root,
            name,
            directory,
            links: vec![link],
            largest,
            areas: BTreeMap::new(),
            next_area: 0,
            population: None,
            data: data.into(),
        })
    }

    /// The server's address for NFS.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses.nfs
    }

    /// The name of the directory below the export's root.
    #[must_use]
    pub fn directory_name(&self) -> &str {
        &self.name
    }

    /// Whether the server is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let own = self.links.first().and_then(|link| link.own_address().ok());
        self.addresses.nfs.ip().is_loopback()
            || own.is_some_and(|own| own.ip() == self.addresses.nfs.ip())
    }

    /// Makes up for connections that were lost.
    pub(super) async fn connect(&mut self) -> Result<(), Error> {
        while self.links.len() < self.settings.connections {
            let mut link = Link::connect(self.addresses.nfs, &self.caller).await?;
            // A server may end connections that have not used a handle yet, for newer ones.
            largest(&mut link, &self.root).await?;
            self.links.push(link);
        }
        Ok(())
    }

    /// A directory with a directory for each connection in it.
    pub(super) async fn area(&mut self, name: &str) -> Result<Area, Error> {
        self.connect().await?;
        self.next_area += 1;
        let name = format!("{}-{name}", self.next_area);
        let Some(link) = self.links.first_mut() else { return Err(Error::Closed) };
        let parent = &self.directory;
        let made =
            make(link, parent, std::slice::from_ref(&name), |name| Call::mkdir(parent, name))
                .await?;
        let directory = made.into_iter().next().unwrap_or_default();
        let area = Area { name: name.clone(), directory: directory.clone(), branches: Vec::new() };
        self.areas.insert(name.clone(), area.clone());
        let names: Vec<_> =
            (0..self.settings.connections).map(|index| format!("connection-{index}")).collect();
        let branches = make(link, &directory, &names, |name| Call::mkdir(&directory, name)).await?;
        let area = Area { branches, ..area };
        self.areas.insert(name, area.clone());
        Ok(area)
    }

    /// Makes objects in each connection's directory of an area: their handles for each connection.
    pub(super) async fn make(
        &mut self,
        area: &Area,
        names: &[String],
        call: impl Fn(&Bytes, &str) -> Call,
    ) -> Result<Vec<Vec<Bytes>>, Error> {
        self.connect().await?;
        let call = &call;
        let work = self.links.iter_mut().zip(&area.branches);
        let work = work.map(|(link, directory)| async move {
            make(link, directory, names, |name| call(directory, name)).await
        });
        try_join_all(work).await
    }

    /// Makes files in each connection's directory of an area.
    pub(super) async fn make_files(
        &mut self,
        area: &Area,
        names: &[String],
    ) -> Result<Vec<Vec<Bytes>>, Error> {
        let create =
            |directory: &Bytes, name: &str| Call::create(directory, name, CreateMode::Guarded);
        self.make(area, names, create).await
    }

    /// Fills each connection's files with so many bytes, durably.
    pub(super) async fn fill(&mut self, files: &[Vec<Bytes>], bytes: u64) -> Result<(), Error> {
        let doing = "filling files";
        self.connect().await?;
        let block = self.data.len().min(self.largest.1 as usize);
        let data = self.data.slice(..block);
        let data = &data;
        let work = self.links.iter_mut().zip(files).map(|(link, files)| async move {
            for file in files {
                let mut calls = Vec::new();
                for offset in (0..bytes).step_by(block.max(1)) {
                    let left = usize::try_from(bytes - offset).unwrap_or(block).min(block);
                    let data = data.slice(..left);
                    calls.push(Call::write(file, offset, Stability::Unstable, data));
                }
                let mut replies = link.all(calls, FILLING).await?;
                replies.push(link.one(Call::commit(file)).await?);
                for reply in replies {
                    reply
                        .and_then(Reply::succeeded)
                        .map_err(|fault| Error::Refused { doing, fault })?;
                }
            }
            Ok::<_, Error>(())
        });
        try_join_all(work).await.map(drop)
    }

    /// Removes an area.
    pub(super) async fn remove(&mut self, area: &Area) -> Result<(), Error> {
        self.connect().await?;
        // What the area has by now; it may be of a preparation that failed half-way.
        let Some(area) = self.areas.remove(&area.name) else { return Ok(()) };
        let Area { name, directory, branches } = &area;
        remove_tree(&mut self.links, &self.directory, name, directory, branches).await
    }

    /// Removes everything that was made, and unmounts.
    ///
    /// # Errors
    /// [`Error`]; [`Session::directory_name`] may be left behind.
    pub async fn close(mut self) -> Result<(), Error> {
        // A connection may have been left in the middle of something.
        self.links.clear();
        let areas: Vec<_> = self.areas.values().cloned().collect();
        for area in areas {
            self.remove(&area).await?;
        }
        self.connect().await?;
        remove_tree(&mut self.links, &self.root, &self.name, &self.directory, &[]).await?;
        mount::unmount(self.addresses.mount, &self.path, &self.caller).await
    }
}

/// Makes objects in a directory: their handles, which are asked for where the server does not tell them.
pub(super) async fn make(
    link: &mut Link,
    directory: &Bytes,
    names: &[String],
    call: impl Fn(&str) -> Call,
) -> Result<Vec<Bytes>, Error> {
    let doing = "making files and directories";
    let calls = names.iter().map(|name| call(name)).collect();
    let replies = link.all(calls, MAKING).await?;
    let mut handles = Vec::with_capacity(names.len());
    for (name, reply) in names.iter().zip(replies) {
        let refused = |fault| Error::Refused { doing, fault };
        let mut results = reply.and_then(Reply::succeeded).map_err(refused)?;
        handles.push(match results.optional_handle()? {
            Some(handle) => handle,
            None => {
                let reply = link.one(Call::lookup(directory, name)).await?;
                reply.and_then(Reply::succeeded).map_err(refused)?.handle()?
            }
        });
    }
    Ok(handles)
}

/// FSINFO's rtmax and wtmax (RFC 1813 section 3.3.19).
async fn largest(link: &mut Link, root: &Bytes) -> Result<(u32, u32), Error> {
    let reply = link.one(Call::fsinfo(root)).await?.and_then(Reply::succeeded);
    let mut results = reply.map_err(|fault| Error::Refused { doing: "FSINFO", fault })?;
    results.attributes()?;
    let (read, _preferred, _multiple) = (results.word()?, results.word()?, results.word()?);
    Ok((read.max(1), results.word()?.max(1)))
}

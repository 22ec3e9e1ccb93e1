//! What is there while measuring: a directory for each connection, with a file in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Result;
use crate::calls::{self, NFS, Request, Results};
use crate::client::{Caller, Client, Measured};

const FILE: &str = "file";
/// Bytes that a connection writes between two COMMITs, and of a file that is read over and over.
const STRETCH: u64 = 64 << 20;
/// Calls in flight while removing.
const CLEARING: usize = 32;

/// A procedure that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Procedure {
    Null,
    Getattr,
    Lookup,
    Create,
    Write,
    Read,
}

impl Procedure {
    pub(crate) const ALL: [Self; 6] =
        [Self::Null, Self::Getattr, Self::Lookup, Self::Create, Self::Write, Self::Read];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Getattr => "GETATTR",
            Self::Lookup => "LOOKUP",
            Self::Create => "CREATE",
            Self::Write => "WRITE",
            Self::Read => "READ",
        }
    }
}

/// One connection's directory.
#[derive(Clone, Debug)]
struct Place {
    name: String,
    directory: Vec<u8>,
    file: Vec<u8>,
}

/// What one connection asks for.
struct Work {
    procedure: Procedure,
    place: Place,
    /// The number of the last file that was asked for.
    files: u64,
    /// What a WRITE brings, and as many bytes a READ asks for.
    data: Arc<Vec<u8>>,
    /// Where the next WRITE or READ begins.
    offset: u64,
    uncommitted: u64,
    /// Bytes of all WRITEs and READs.
    bytes: u64,
}

impl Work {
    fn next(&mut self) -> Request {
        let Place { directory, file, .. } = &self.place;
        match self.procedure {
            Procedure::Null => Request::new(NFS, 0),
            Procedure::Getattr => calls::getattr(file),
            Procedure::Lookup => calls::lookup(directory, FILE),
            Procedure::Create => {
                self.files += 1;
                calls::create(directory, &file_name(self.files))
            }
            Procedure::Write if self.uncommitted >= STRETCH => {
                self.uncommitted = 0;
                calls::commit(file)
            }
            Procedure::Write => {
                let request = calls::write(file, self.offset, &self.data);
                self.uncommitted += self.data.len() as u64;
                self.advance();
                request
            }
            Procedure::Read => {
                let bytes = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
                let request = calls::read(file, self.offset, bytes);
                self.advance();
                if self.offset + u64::from(bytes) > STRETCH {
                    self.offset = 0;
                }
                request
            }
        }
    }

    fn advance(&mut self) {
        self.offset += self.data.len() as u64;
        self.bytes += self.data.len() as u64;
    }
}

/// The directories, below one that is made for the purpose.
#[derive(Debug)]
pub(crate) struct Scene {
    address: SocketAddr,
    caller: Caller,
    root: Vec<u8>,
    name: String,
    directory: Vec<u8>,
    places: Vec<Place>,
    /// How many files were asked for in each place.
    created: Vec<AtomicU64>,
    /// What a WRITE brings.
    data: Arc<Vec<u8>>,
}

impl Scene {
    /// Mounts, and makes the directories.
    pub(crate) async fn set(
        address: SocketAddr,
        mount: SocketAddr,
        export: &str,
        caller: Caller,
        places: usize,
        bytes: usize,
    ) -> Result<Self> {
        // Not all alike, for stores that would see that.
        let data = (0..bytes).map(|index| (index / 7) as u8 ^ (index % 251) as u8).collect();
        let reply = Client::connect(mount, caller).await?.call(&calls::mount(export)).await?;
        let mut mounted = Results::of(&reply)?
            .succeeded()
            .map_err(|error| format!("mounting {export}: {error}"))?;
        let root = mounted.opaque()?.to_vec();
        let mut client = Client::connect(address, caller).await?;
        let name = format!("wire-{}", Uuid::new_v4());
        let directory = made(&mut client, &calls::mkdir(&root, &name)).await?;
        let mut scene = Self {
            address,
            caller,
            root,
            name,
            directory,
            places: Vec::new(),
            created: (0..places).map(|_| AtomicU64::new(0)).collect(),
            data: Arc::new(data),
        };
        for index in 0..places {
            let name = format!("connection-{index}");
            let directory = made(&mut client, &calls::mkdir(&scene.directory, &name)).await?;
            let file = made(&mut client, &calls::create(&directory, FILE)).await?;
            scene.places.push(Place { name, directory, file });
        }
        Ok(scene)
    }

    /// Measures one procedure on some connections at once.
    pub(crate) async fn measure(
        &self,
        procedure: Procedure,
        connections: usize,
        in_flight: usize,
        time: Duration,
    ) -> Result<Measured> {
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            clients.push(Client::connect(self.address, self.caller).await?);
        }
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for (index, mut client) in clients.into_iter().enumerate() {
            let mut work = self.work(procedure, index);
            tasks.spawn(async move {
                let next = || (Instant::now() < end).then(|| work.next());
                let has_status = procedure != Procedure::Null;
                let measured = client.pipeline(in_flight, next, has_status).await;
                (index, work, measured)
            });
        }
        let mut all = Measured::default();
        let mut failed = None;
        while let Some(task) = tasks.join_next().await {
            let (index, work, measured) = task?;
            self.created[index].store(work.files, Ordering::Relaxed);
            all.bytes += work.bytes;
            match measured {
                Ok(measured) => all.add(measured),
                Err(error) => failed = Some(format!("{}: {error}", procedure.name())),
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None if all.calls() == 0 => Err("no call ended in time".into()),
            None => Ok(all),
        }
    }

    /// Fills the files that READ reads, and empties those that WRITE makes grow.
    pub(crate) async fn prepare(&self, procedure: Procedure) -> Result<()> {
        for (index, place) in self.places.iter().enumerate() {
            let mut client = Client::connect(self.address, self.caller).await?;
            match procedure {
                Procedure::Null | Procedure::Getattr | Procedure::Lookup | Procedure::Create => {}
                Procedure::Write => {
                    Results::of(&client.call(&calls::truncate(&place.file)).await?)?.succeeded()?;
                }
                Procedure::Read => {
                    let mut work = self.work(Procedure::Write, index);
                    let mut left = STRETCH.div_ceil(self.data.len() as u64);
                    let next = || {
                        left = left.checked_sub(1)?;
                        Some(work.next())
                    };
                    client.pipeline(1, next, true).await?;
                    Results::of(&client.call(&calls::commit(&place.file)).await?)?.succeeded()?;
                }
            }
        }
        Ok(())
    }

    fn work(&self, procedure: Procedure, index: usize) -> Work {
        Work {
            procedure,
            place: self.places[index].clone(),
            files: self.created[index].load(Ordering::Relaxed),
            data: self.data.clone(),
            offset: 0,
            uncommitted: 0,
            bytes: 0,
        }
    }

    /// Removes everything that was made.
    pub(crate) async fn clear(self) -> Result<()> {
        let mut tasks = JoinSet::new();
        for (place, created) in self.places.iter().cloned().zip(&self.created) {
            let mut client = Client::connect(self.address, self.caller).await?;
            let (parent, mut left) = (self.directory.clone(), created.load(Ordering::Relaxed));
            tasks.spawn(async move {
                let remove = || {
                    left = left.checked_sub(1)?;
                    Some(calls::remove(&place.directory, &file_name(left + 1)))
                };
                // A file whose CREATE failed is not there to be removed.
                client.pipeline(CLEARING, remove, false).await?;
                removed(&mut client, &calls::remove(&place.directory, FILE)).await?;
                removed(&mut client, &calls::rmdir(&parent, &place.name)).await
            });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        let mut client = Client::connect(self.address, self.caller).await?;
        removed(&mut client, &calls::rmdir(&self.root, &self.name)).await
    }
}

fn file_name(number: u64) -> String {
    format!("created-{number}")
}

/// Makes a file or directory; gives its handle.
async fn made(client: &mut Client, request: &Request) -> Result<Vec<u8>> {
    let reply = client.call(request).await?;
    let mut results =
        Results::of(&reply)?.succeeded().map_err(|error| format!("making files: {error}"))?;
    match results.word()? {
        1 => Ok(results.opaque()?.to_vec()),
        _ => Err("the server gives no handle of what it makes".into()),
    }
}

async fn removed(client: &mut Client, request: &Request) -> Result<()> {
    let reply = client.call(request).await?;
    Results::of(&reply)?.succeeded().map_err(|error| format!("removing files: {error}"))?;
    Ok(())
}

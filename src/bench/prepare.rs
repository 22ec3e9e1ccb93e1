//! Makes the files of a workload, and the calls on them.

use bytes::Bytes;

use super::call::{Call, CreateMode};
use super::error::Error;
use super::session::{Area, Session, make};
use super::source::Source;
use super::workload::Workload;
use super::workloads::{Listing, Numbered, Rename, Repeat, SmallFiles};

/// Entries of the directory that is listed.
const LISTED: u64 = 4000;
/// Files that LINK gives further names, for each connection: a file may have 65,000 on some file systems.
const LINKED: u64 = 64;
/// NFS3ERR_NOENT.
const NOENT: u32 = 2;
/// Bytes of a small file.
const SMALL_FILE_BYTES: usize = 4 << 10;
/// Files of the first round of removals, for each connection.
const FIRST_ROUND: u64 = 256;

/// Files of a connection that several workloads use, and that none changes but for their modes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    directory: Bytes,
    /// Names and handles.
    files: Vec<(String, Bytes)>,
    /// A symbolic link.
    link: Bytes,
}

impl Place {
    /// A call on each file, in turn.
    fn each(&self, call: fn(&[u8]) -> Call) -> Box<dyn Source> {
        repeat(self.files.iter().map(|(_, file)| call(file)))
    }
}

/// A workload whose files are there.
#[derive(Debug)]
pub struct Prepared {
    pub(super) workload: Workload,
    pub(super) area: Option<Area>,
    pub(super) calls: Calls,
}

/// The calls of each connection.
pub(super) enum Calls {
    Endless(Vec<Box<dyn Source>>),
    /// Rounds: what the first calls make is removed by the second ones, whose time alone counts.
    Rounds {
        made: Vec<Numbered>,
        removed: Vec<Numbered>,
        size: u64,
    },
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endless(sources) => f.debug_tuple("Endless").field(&sources.len()).finish(),
            Self::Rounds { size, .. } => f.debug_struct("Rounds").field("size", size).finish(),
        }
    }
}

impl Prepared {
    /// What was prepared.
    #[must_use]
    pub fn workload(&self) -> Workload {
        self.workload
    }
}

type Sources = Vec<Box<dyn Source>>;

pub(super) fn boxed<S: Source + 'static>(sources: impl IntoIterator<Item = S>) -> Sources {
    sources.into_iter().map(|source| Box::new(source) as Box<dyn Source>).collect()
}

impl Session {
    /// Makes what a workload needs. It can be measured several times.
    ///
    /// # Errors
    /// [`Error`]; what was made by then goes with [`Session::close`].
    pub async fn prepare(&mut self, workload: Workload) -> Result<Prepared, Error> {
        self.connect().await?;
        match workload {
            Workload::Null => self.on_files(workload, |_| repeat([Call::null()])).await,
            Workload::Getattr => self.on_files(workload, |it| it.each(Call::getattr)).await,
            Workload::Access => self.on_files(workload, |it| it.each(Call::access)).await,
            Workload::Lookup => {
                let look_up = |it: &Place| {
                    repeat(it.files.iter().map(|(name, _)| Call::lookup(&it.directory, name)))
                };
                self.on_files(workload, look_up).await
            }
            Workload::LookupAbsent => {
                let look_up =
                    |directory: &Bytes, number| Call::lookup(directory, format!("absent-{number}"));
                self.on_files(workload, |it| {
                    Box::new(numbered(&it.directory, look_up).failing(NOENT))
                })
                .await
            }
            Workload::Setattr => {
                let change = |it: &Place| {
                    let of = |mode| it.files.iter().map(move |(_, file)| Call::chmod(file, mode));
                    repeat(of(0o600).chain(of(0o640)))
                };
                self.on_files(workload, change).await
            }
            Workload::Readlink => {
                self.on_files(workload, |it| repeat([Call::readlink(&it.link)])).await
            }
            Workload::Fsstat => {
                self.on_files(workload, |it| repeat([Call::fsstat(&it.directory)])).await
            }
            Workload::Fsinfo => {
                self.on_files(workload, |it| repeat([Call::fsinfo(&it.directory)])).await
            }
            Workload::Pathconf => {
                self.on_files(workload, |it| repeat([Call::pathconf(&it.directory)])).await
            }
            Workload::Readdir => self.listing(workload, false).await,
            Workload::Readdirplus => self.listing(workload, true).await,
            Workload::Create => self.endless(workload, create(CreateMode::Unchecked)).await,
            Workload::CreateGuarded => self.endless(workload, create(CreateMode::Guarded)).await,
            Workload::CreateExclusive => {
                self.endless(workload, create(CreateMode::Exclusive)).await
            }
            Workload::Mkdir => self.endless(workload, mkdir).await,
            Workload::Symlink => {
                let make = |directory: &Bytes, number| {
                    Call::symlink(directory, made_name(number), "a/target/that/is/not/there")
                };
                self.endless(workload, make).await
            }
            Workload::Link => self.hard_links(workload).await,
            Workload::Rename => self.renames(workload).await,
            Workload::Remove => {
                let remove = |directory: &Bytes, number| Call::remove(directory, made_name(number));
                self.rounds(workload, create(CreateMode::Unchecked), remove).await
            }
            Workload::Rmdir => {
                let remove = |directory: &Bytes, number| Call::rmdir(directory, made_name(number));
                self.rounds(workload, mkdir, remove).await
            }
            Workload::SmallFiles => self.small_files(workload).await,
            Workload::Read(block, order) => self.reads(workload, block, order).await,
            Workload::Write(block, order, stability) => {
                self.writes(workload, block, order, stability).await
            }
            Workload::Mixed => self.mixed(workload).await,
        }
    }

    /// Removes what a workload made.
    pub async fn clear(&mut self, prepared: Prepared) -> Result<(), Error> {
        match &prepared.area {
            Some(area) => self.remove(area).await,
            None => Ok(()),
        }
    }

    /// Calls on files that stay there.
    async fn on_files(
        &mut self,
        workload: Workload,
        source: impl Fn(&Place) -> Box<dyn Source>,
    ) -> Result<Prepared, Error> {
        let population = match &self.population {
            Some(population) => population.clone(),
            None => self.populate().await?,
        };
        let calls = Calls::Endless(population.iter().map(source).collect());
        Ok(Prepared { workload, area: None, calls })
    }

    async fn populate(&mut self) -> Result<Vec<Place>, Error> {
        let area = self.area("files").await?;
        let names: Vec<_> =
            (0..self.settings.files.max(1)).map(|number| format!("file-{number}")).collect();
        let files = self.make_files(&area, &names).await?;
        let links = self.symlinks(&area).await?;
        let all = area.branches.iter().zip(files).zip(links);
        let place = |((directory, handles), link): ((&Bytes, Vec<Bytes>), Bytes)| Place {
            directory: directory.clone(),
            files: names.iter().cloned().zip(handles).collect(),
            link,
        };
        let places: Vec<_> = all.map(place).collect();
        self.population = Some(places.clone());
        Ok(places)
    }

    /// A symbolic link in each connection's directory.
    pub(super) async fn symlinks(&mut self, area: &Area) -> Result<Vec<Bytes>, Error> {
        let link = |directory: &Bytes, name: &str| Call::symlink(directory, name, "file-0");
        let made = self.make(area, &["link".to_owned()], link).await?;
        Ok(made.into_iter().flatten().collect())
    }

    /// One directory that all connections list.
    async fn listing(&mut self, workload: Workload, plus: bool) -> Result<Prepared, Error> {
        let area = self.area("listing").await?;
        // Made by all connections, and in the first one's directory.
        let Some(directory) = area.branches.first().cloned() else { return Err(Error::Closed) };
        let count = self.links.len();
        let all: Vec<_> = (0..LISTED).map(|number| format!("{number:05}")).collect();
        let parts: Vec<Vec<_>> = (0..count)
            .map(|part| all.iter().skip(part).step_by(count).cloned().collect())
            .collect();
        let directory_of = &directory;
        let work = self.links.iter_mut().zip(&parts).map(|(link, names)| async move {
            let create = |name: &str| Call::create(directory_of, name, CreateMode::Guarded);
            make(link, directory_of, names, create).await
        });
        futures_util::future::try_join_all(work).await?;
        let depth = self.settings.depth;
        let listing = || Listing::new(directory.clone(), plus, LISTED, depth);
        let sources = boxed((0..count).map(|_| listing()));
        Ok(Prepared { workload, area: Some(area), calls: Calls::Endless(sources) })
    }

    /// Calls on ever new names in each connection's directory.
    async fn endless(&mut self, workload: Workload, call: NumberedCall) -> Result<Prepared, Error> {
        let area = self.area(workload.name()).await?;
        let sources = area.branches.iter().map(|directory| numbered(directory, call));
        let calls = Calls::Endless(boxed(sources));
        Ok(Prepared { workload, area: Some(area), calls })
    }

    /// Removals of what was made for them.
    async fn rounds(
        &mut self,
        workload: Workload,
        make: NumberedCall,
        remove: NumberedCall,
    ) -> Result<Prepared, Error> {
        let area = self.area(workload.name()).await?;
        let each = |call| {
            let sources = area.branches.iter();
            sources.map(|directory| numbered(directory, call).limited()).collect()
        };
        let calls = Calls::Rounds { made: each(make), removed: each(remove), size: FIRST_ROUND };
        Ok(Prepared { workload, area: Some(area), calls })
    }

    async fn hard_links(&mut self, workload: Workload) -> Result<Prepared, Error> {
        let area = self.area(workload.name()).await?;
        let names: Vec<_> = (0..LINKED).map(|number| format!("linked-{number}")).collect();
        let made = self.make_files(&area, &names).await?;
        let sources = made.into_iter().zip(&area.branches).map(|(files, directory)| {
            let directory = directory.clone();
            Numbered::new(move |number| {
                let file = &files[(number % LINKED) as usize];
                Call::link(file, &directory, made_name(number))
            })
        });
        let calls = Calls::Endless(boxed(sources));
        Ok(Prepared { workload, area: Some(area), calls })
    }

    async fn renames(&mut self, workload: Workload) -> Result<Prepared, Error> {
        let area = self.area(workload.name()).await?;
        let depth = self.settings.depth;
        let names: Vec<_> = (0..depth).map(|slot| Rename::name(slot, 0)).collect();
        self.make_files(&area, &names).await?;
        let renames = area.branches.iter().map(|directory| Rename::new(directory.clone(), depth));
        let calls = Calls::Endless(boxed(renames));
        Ok(Prepared { workload, area: Some(area), calls })
    }

    async fn small_files(&mut self, workload: Workload) -> Result<Prepared, Error> {
        let area = self.area(workload.name()).await?;
        let data = self.data.slice(..SMALL_FILE_BYTES);
        let depth = self.settings.depth;
        let sources = area.branches.iter();
        let sources =
            sources.map(|directory| SmallFiles::new(directory.clone(), data.clone(), depth));
        let calls = Calls::Endless(boxed(sources));
        Ok(Prepared { workload, area: Some(area), calls })
    }
}

/// The call of a number in a directory.
type NumberedCall = fn(&Bytes, u64) -> Call;

fn numbered(directory: &Bytes, call: NumberedCall) -> Numbered {
    let directory = directory.clone();
    Numbered::new(move |number| call(&directory, number))
}

fn repeat(calls: impl IntoIterator<Item = Call>) -> Box<dyn Source> {
    Box::new(Repeat::new(calls.into_iter().collect()))
}

fn create(mode: CreateMode) -> NumberedCall {
    match mode {
        CreateMode::Unchecked => {
            |directory, number| Call::create(directory, made_name(number), CreateMode::Unchecked)
        }
        CreateMode::Guarded => {
            |directory, number| Call::create(directory, made_name(number), CreateMode::Guarded)
        }
        CreateMode::Exclusive => {
            |directory, number| Call::create(directory, made_name(number), CreateMode::Exclusive)
        }
    }
}

fn mkdir(directory: &Bytes, number: u64) -> Call {
    Call::mkdir(directory, made_name(number))
}

fn made_name(number: u64) -> String {
    format!("made-{number}")
}

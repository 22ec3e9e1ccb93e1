//! A client whose calls come to several servers of one share, and what it may rely on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use trunkfs::metadata::{CreateHow, SetAttributes};
use trunkfs::types::{Caller, Credentials, FileHandle, Name};
use trunkfs::vfs::{Error, Stability, Vfs};

/// How often a client sends its data again before this is taken for without an end.
const MOST_ROUNDS: usize = 12;

/// As a client does that is told to come again.
macro_rules! until_not_busy {
    ($call:expr) => {
        loop {
            match $call.await {
                Err(failure) if matches!(failure.error, Error::Busy) => {
                    tokio::task::yield_now().await;
                }
                done => break done.unwrap(),
            }
        }
    };
}

pub(crate) fn caller() -> Caller {
    Caller::new(
        "127.0.0.1:900".parse().unwrap(),
        Some(Credentials { uid: 0, gid: 0, gids: Vec::new() }),
        Duration::from_secs(120),
    )
}

pub(crate) async fn new_file(vfs: &Vfs, root: &FileHandle, name: &str) -> FileHandle {
    let how = CreateHow::Guarded(SetAttributes { mode: Some(0o666), ..SetAttributes::default() });
    let name = Name::parse(name.as_bytes()).unwrap();
    let made = vfs.create(&caller(), root, &name, &how).await.unwrap();
    FileHandle { object: made.object.id, ..root.clone() }
}

pub(crate) async fn set_size(vfs: &Vfs, file: &FileHandle, size: u64) {
    let set = SetAttributes { size: Some(size), ..SetAttributes::default() };
    let _ = until_not_busy!(vfs.setattr(&caller(), file, &set));
}

/// The whole file as a server shows it.
pub(crate) async fn read(vfs: &Vfs, file: &FileHandle) -> Vec<u8> {
    let mut found = Vec::new();
    loop {
        let at = found.len() as u64;
        let done = until_not_busy!(vfs.read(&caller(), file, at, 1 << 20));
        found.extend(done.data.copy().unwrap());
        if done.eof {
            return found;
        }
    }
}

/// A write that may have to be sent again.
#[derive(Clone, Debug)]
struct Sent {
    offset: u64,
    length: usize,
    verifier: [u8; 8],
}

/// A client's view of one file.
#[derive(Debug)]
pub(crate) struct Client {
    servers: Vec<Arc<Vfs>>,
    pub(crate) file: FileHandle,
    /// What it has written: what is sent again is what is there by then.
    cache: Vec<u8>,
    /// Written and not known to be durable.
    unstable: Vec<Sent>,
    random: StdRng,
    /// Each call goes to the next server, where it is not left to chance.
    turn: Option<usize>,
    /// The most rounds that a COMMIT has taken.
    pub(crate) rounds: usize,
}

impl Client {
    pub(crate) fn new(servers: Vec<Arc<Vfs>>, file: FileHandle, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self {
            servers,
            file,
            cache: Vec::new(),
            unstable: Vec::new(),
            random,
            turn: None,
            rounds: 0,
        }
    }

    /// Its calls take turns: a balancer that is not left to chance.
    pub(crate) fn in_turn(self) -> Self {
        Self { turn: Some(0), ..self }
    }

    fn server(&mut self) -> Arc<Vfs> {
        let number = match &mut self.turn {
            Some(turn) => {
                *turn += 1;
                *turn % self.servers.len()
            }
            None => self.random.random_range(0..self.servers.len()),
        };
        Arc::clone(&self.servers[number])
    }

    pub(crate) async fn write(&mut self, offset: u64, data: Bytes, stability: Stability) {
        let server = self.server();
        let (file, caller) = (&self.file, caller());
        let done = until_not_busy!(server.write(&caller, file, offset, data.clone(), stability));
        let length = data.len();
        assert_eq!(done.count as usize, length);
        let start = offset as usize;
        self.cache.resize(self.cache.len().max(start + length), 0);
        self.cache[start..start + length].copy_from_slice(&data);
        if done.stability == Stability::Unstable {
            self.unstable.push(Sent { offset, length, verifier: done.verifier });
        }
    }

    /// COMMIT, and everything again whose verifier is another.
    pub(crate) async fn commit(&mut self) {
        let mut rounds = 0;
        while !self.unstable.is_empty() {
            rounds += 1;
            assert!(rounds <= MOST_ROUNDS, "{} writes are never durable", self.unstable.len());
            let server = self.server();
            let verifier = until_not_busy!(server.commit(&caller(), &self.file)).verifier;
            for sent in std::mem::take(&mut self.unstable) {
                if sent.verifier != verifier {
                    let start = sent.offset as usize;
                    let data = Bytes::copy_from_slice(&self.cache[start..start + sent.length]);
                    self.write(sent.offset, data, Stability::Unstable).await;
                }
            }
        }
        self.rounds = self.rounds.max(rounds);
    }

    pub(crate) async fn set_size(&mut self, size: u64) {
        // As a kernel's client does before it sends SETATTR.
        self.commit().await;
        self.cache.resize(size as usize, 0);
        let server = self.server();
        set_size(&server, &self.file, size).await;
    }

    pub(crate) async fn read(&mut self) -> Vec<u8> {
        let server = self.server();
        read(&server, &self.file).await
    }

    pub(crate) async fn size(&mut self) -> u64 {
        let server = self.server();
        server.getattr(&caller(), &self.file).await.unwrap().size
    }
}

/// One client does this and that, each call through some server, and finds what it has written.
pub(crate) async fn one_client(mut client: Client, rounds: usize, span: u64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut model: Vec<u8> = Vec::new();
    for round in 0..rounds {
        match random.random_range(0..10) {
            0..6 => {
                for _ in 0..random.random_range(1..6) {
                    let offset = random.random_range(0..span);
                    let length = random.random_range(1..span / 4);
                    let data = Bytes::from(vec![random.random_range(1..=255); length as usize]);
                    let stability = match random.random_range(0..4) {
                        0 => Stability::FileSync,
                        _ => Stability::Unstable,
                    };
                    let (start, end) = (offset as usize, (offset + length) as usize);
                    model.resize(model.len().max(end), 0);
                    model[start..end].copy_from_slice(&data);
                    client.write(offset, data, stability).await;
                }
            }
            6..8 => {
                let size = random.random_range(0..span) * random.random_range(0..=2).min(1);
                client.set_size(size).await;
                model.resize(size as usize, 0);
            }
            _ => {}
        }
        client.commit().await;
        assert_eq!(client.size().await, model.len() as u64, "round {round}");
        let found = client.read().await;
        let other = found.iter().zip(&model).position(|(found, model)| found != model);
        assert_eq!((found.len(), other), (model.len(), None), "round {round}");
    }
}

/// Clients of one file, each with a part of its own, and one that changes the size behind all parts: each
/// finds in its part what it has written.
pub(crate) async fn many_clients(
    servers: Vec<Arc<Vfs>>,
    file: FileHandle,
    (clients, rounds, part): (u64, usize, u64),
    seed: u64,
) {
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let mut client = Client::new(servers.clone(), file.clone(), seed ^ (number << 8));
        let mut random = StdRng::seed_from_u64(seed ^ number);
        tasks.spawn(async move {
            let mut model = vec![0; part as usize];
            let mut end = 0;
            for round in 0..rounds {
                for _ in 0..random.random_range(1..4) {
                    let offset = random.random_range(0..part);
                    let length = random.random_range(1..=part - offset);
                    let data = Bytes::from(vec![random.random_range(1..=255); length as usize]);
                    model[offset as usize..(offset + length) as usize].copy_from_slice(&data);
                    end = end.max(offset + length);
                    client.write(number * part + offset, data, Stability::Unstable).await;
                }
                client.commit().await;
                let found = client.read().await;
                let start = (number * part) as usize;
                let own = &found[start..start + end as usize];
                let other = own.iter().zip(&model).position(|(found, model)| found != model);
                assert_eq!(other, None, "client {number}, round {round}");
            }
        });
    }
    let mut client = Client::new(servers, file, seed);
    tasks.spawn(async move {
        let mut random = StdRng::seed_from_u64(!seed);
        for _ in 0..rounds {
            let size = clients * part + random.random_range(0..part);
            client.set_size(size).await;
            tokio::task::yield_now().await;
        }
    });
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// A client that sends all of a new file at once, each WRITE to some server, as a kernel does that closes it:
/// then COMMIT, and again what is not durable. Both servers have all of it afterwards.
pub(crate) async fn calls_at_once(
    servers: Vec<Arc<Vfs>>,
    root: FileHandle,
    (files, writes, length): (usize, usize, usize),
    seed: u64,
) {
    let mut random = StdRng::seed_from_u64(seed);
    for number in 0..files {
        let file = new_file(&servers[0], &root, &format!("at-once-{seed:x}-{number}")).await;
        let data: Bytes = (0..writes).flat_map(|at| vec![at as u8 + 1; length]).collect();
        let mut left: Vec<usize> = (0..writes).collect();
        let mut rounds = 0;
        while !left.is_empty() {
            rounds += 1;
            assert!(rounds <= MOST_ROUNDS, "{left:?} are never durable");
            let mut sent = JoinSet::new();
            for at in left {
                let server = Arc::clone(&servers[random.random_range(0..servers.len())]);
                let (file, part) = (file.clone(), data.slice(at * length..(at + 1) * length));
                sent.spawn(async move {
                    let (caller, offset) = (caller(), (at * length) as u64);
                    let stability = Stability::Unstable;
                    let done = until_not_busy!(server.write(
                        &caller,
                        &file,
                        offset,
                        part.clone(),
                        stability
                    ));
                    (at, done)
                });
            }
            let done = sent.join_all().await.into_iter();
            let unstable: Vec<_> =
                done.filter(|(_, done)| done.stability == Stability::Unstable).collect();
            if unstable.is_empty() {
                break;
            }
            let server = &servers[random.random_range(0..servers.len())];
            let verifier = until_not_busy!(server.commit(&caller(), &file)).verifier;
            let lost = unstable.into_iter().filter(|(_, done)| done.verifier != verifier);
            left = lost.map(|(at, _)| at).collect();
        }
        for server in &servers {
            let found = read(server, &file).await;
            let wrong = (0..writes).filter(|at| {
                found.get(at * length..(at + 1) * length)
                    != Some(&data[at * length..(at + 1) * length])
            });
            assert_eq!(wrong.collect::<Vec<_>>(), [0; 0], "file {number} of {seed}");
        }
    }
}

//! The inputs of one target: as many as its time allows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::memory::Memory;

/// How many inputs are measured together.
const GROUP: u64 = 32;
/// Targets take turns: memory is the whole process's.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) struct Inputs {
    target: &'static str,
    /// No group of inputs may take more bytes of memory.
    bound: usize,
    seed: u64,
    until: Instant,
    tried: u64,
    memory: Memory,
    _turn: MutexGuard<'static, ()>,
}

fn variable(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a whole number: {text}")),
        Err(_) => default,
    }
}

impl Inputs {
    pub(crate) fn new(target: &'static str, bound: usize) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + Duration::from_secs(variable("TRUNKFS_FUZZ_SECONDS", 2));
        let seed = variable("TRUNKFS_FUZZ_SEED", 0).wrapping_sub(1);
        Self { target, bound, seed, until, tried: 0, memory: Memory::measure(), _turn: turn }
    }

    /// The randomness of the next input; `None` when the time is over.
    pub(crate) fn next(&mut self) -> Option<StdRng> {
        let is_over = self.tried > 0 && Instant::now() >= self.until;
        if is_over || self.tried % GROUP == GROUP - 1 {
            let (peak, bound) = (self.memory.peak(), self.bound);
            assert!(peak <= bound, "the last {GROUP} inputs took {peak} bytes, more than {bound}");
            self.memory = Memory::measure();
        }
        if is_over {
            return None;
        }
        self.tried += 1;
        self.seed = self.seed.wrapping_add(1);
        Some(StdRng::seed_from_u64(self.seed))
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        let (target, seed) = (self.target, self.seed);
        if std::thread::panicking() {
            eprintln!("{target} failed with TRUNKFS_FUZZ_SEED={seed}");
        } else {
            println!("{target}: the last seed was {seed}");
        }
    }
}

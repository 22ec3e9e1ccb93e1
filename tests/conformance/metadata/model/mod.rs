//! Random operations on a store and on the store in memory, whose answers must be the same.

mod answers;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;
use trunkfs::metadata::SetTime;
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::types::{Credentials, Timestamp};

use self::answers::{Outcome, Side};
use self::steps::{Seen, Step};
use super::world::{ALICE, BOB, World, mode, times};

const STEPS: usize = 4_000;
/// A slow store gets fewer steps.
const TIME: Duration = Duration::from_secs(8);
/// Both trees are compared whole this often.
const WHOLE: usize = 500;

/// Set `TRUNKFS_TEST_SEED` to the seed of a failure to run it again.
pub(crate) async fn random_operations_are_answered_as_in_memory(world: World) {
    let seed = match std::env::var("TRUNKFS_TEST_SEED") {
        Ok(seed) => seed.parse().expect("TRUNKFS_TEST_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("TRUNKFS_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let oracle = World::new(Arc::new(MemoryStore::new())).await;
    let mut sides = [Side::new(oracle.clone()), Side::new(world.clone())];
    let base = Timestamp::now().0 + 1_000_000_000;
    let mut seen = start(&mut sides, base).await;
    let end = Instant::now() + TIME;
    for number in 0..STEPS {
        if Instant::now() >= end {
            println!("{number} steps");
            break;
        }
        let credentials = somebody(&mut random);
        // The clock of one instance is behind another's now and then.
        let now = base + number as i64 * 1_000 + random.random_range(-5_000..5_000);
        let step = Step::random(&mut random, &seen);
        let [expected, answered] = run(&mut sides, &credentials, now, &step).await;
        assert_eq!(
            answered, expected,
            "TRUNKFS_TEST_SEED={seed}, step {number}, {credentials:?}: {step:?}"
        );
        seen.learn(expected.objects);
        if number % WHOLE == WHOLE - 1 {
            compare(&mut sides).await;
        }
    }
    compare(&mut sides).await;
    assert_eq!(oracle.store.inconsistencies().await.unwrap(), [""; 0]);
    let usage = oracle.store.usage(oracle.share.id).await.unwrap();
    world.usage_becomes(usage.objects, usage.bytes).await;
}

/// From here on the times of both roots are the same.
async fn start(sides: &mut [Side; 2], base: i64) -> Seen {
    let mut seen = Seen::default();
    for side in sides {
        let root = side.world.superuser().at(base);
        let top = side.world.root;
        let set = times(SetTime::To(Timestamp(1)), SetTime::To(Timestamp(2)));
        root.setattr(top, set).await.unwrap();
        let after = root.setattr(top, mode(0o1777)).await.unwrap().change.after;
        let shown = side.shown(&after);
        seen.learn(vec![Some(shown)]);
    }
    seen
}

fn somebody(random: &mut StdRng) -> Credentials {
    match random.random_range(0..8) {
        0..4 => Credentials::ROOT,
        4 | 5 => Credentials { uid: ALICE, gid: ALICE, gids: vec![500] },
        6 => Credentials { uid: BOB, gid: 500, gids: Vec::new() },
        _ => Credentials { uid: u32::MAX - 1, gid: u32::MAX - 1, gids: Vec::new() },
    }
}

async fn run(
    sides: &mut [Side; 2],
    credentials: &Credentials,
    now: i64,
    step: &Step,
) -> [Outcome; 2] {
    let [oracle, tested] = sides;
    let oracle_answer = {
        let caller = oracle.world.caller(credentials.clone()).at(now);
        oracle.answer(&caller, step).await
    };
    let tested_answer = {
        let caller = tested.world.caller(credentials.clone()).at(now);
        tested.answer(&caller, step).await
    };
    [oracle_answer, tested_answer]
}

async fn compare(sides: &mut [Side; 2]) {
    let mut trees = Vec::new();
    for side in sides {
        let tree = side.world.clone().snapshot().await;
        let shown: Vec<_> = tree
            .iter()
            .map(|(path, (_, attributes))| (path.clone(), side.shown(attributes)))
            .collect();
        trees.push(shown);
    }
    assert_eq!(trees[1], trees[0], "the trees differ");
}

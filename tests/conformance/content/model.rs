//! Random operations against a plain vector.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use trunkfs::content::{ContentStore, Error};
use trunkfs::types::ContentId;

use super::support::{call, id, pattern};

/// Contents are at most this long.
const LARGEST: usize = 300_000;
const STEPS: usize = 1_500;

struct Model {
    id: ContentId,
    expected: Option<Vec<u8>>,
}

/// Set `TRUNKFS_TEST_SEED` to the seed of a failure to run it again.
pub(crate) async fn random_operations_match_a_vector(store: &dyn ContentStore) {
    let seed = match std::env::var("TRUNKFS_TEST_SEED") {
        Ok(seed) => seed.parse().expect("TRUNKFS_TEST_SEED is a number"),
        Err(_) => rand::random(),
    };
    let mut random = StdRng::seed_from_u64(seed);
    let mut models: Vec<_> = (0..4).map(|_| Model { id: id(), expected: None }).collect();
    for step in 0..STEPS {
        let which = random.random_range(0..models.len());
        let said = one_step(store, &mut random, &mut models[which]).await;
        if let Err(said) = said {
            panic!("TRUNKFS_TEST_SEED={seed}, step {step}, content {which}: {said}");
        }
    }
}

async fn one_step(
    store: &dyn ContentStore,
    random: &mut StdRng,
    model: &mut Model,
) -> Result<(), String> {
    let id = model.id;
    match random.random_range(0..100) {
        0..40 => {
            let (offset, length) = range(random);
            let data = pattern(random.random(), length);
            let written = store.write(&call(), id, offset as u64, Bytes::from(data.clone())).await;
            written.map_err(|error| format!("write {length} at {offset}: {error:?}"))?;
            let expected = model.expected.get_or_insert_default();
            if length > 0 {
                expected.resize(expected.len().max(offset + length), 0);
                expected[offset..offset + length].copy_from_slice(&data);
            }
        }
        40..55 => {
            let length = random.random_range(0..=LARGEST);
            let cut = store.truncate(&call(), id, length as u64).await;
            cut.map_err(|error| format!("truncate to {length}: {error:?}"))?;
            model.expected.get_or_insert_default().resize(length, 0);
        }
        55..58 => {
            store.remove(id).await.map_err(|error| format!("remove: {error:?}"))?;
            model.expected = None;
        }
        58..65 => store.commit(&call(), id).await.map_err(|error| format!("commit: {error:?}"))?,
        65..75 => {
            let found = store.length(&call(), id).await;
            agree("length", found, model.expected.as_ref().map(|bytes| bytes.len() as u64))?;
        }
        _ => {
            let (offset, length) = range(random);
            let found = store.read(&call(), id, offset as u64, length).await;
            let expected = model.expected.as_ref().map(|bytes| {
                let end = bytes.len().min(offset + length);
                Bytes::copy_from_slice(bytes.get(offset..end).unwrap_or_default())
            });
            agree(&format!("read {length} at {offset}"), found, expected)?;
        }
    }
    Ok(())
}

/// Mostly short, now and then long, often at the edge of a block.
fn range(random: &mut StdRng) -> (usize, usize) {
    let longest = if random.random_bool(0.2) { 150_000 } else { 5_000 };
    let length = random.random_range(0..=longest);
    let offset = if random.random_bool(0.3) {
        let edge = random.random_range(1..=2) * 65_536;
        edge - random.random_range(0..=length.min(1_000))
    } else {
        random.random_range(0..=LARGEST - length)
    };
    (offset, length)
}

fn agree<T: PartialEq>(
    what: &str,
    found: Result<T, Error>,
    expected: Option<T>,
) -> Result<(), String> {
    match (found, expected) {
        (Ok(found), Some(expected)) if found == expected => Ok(()),
        (Err(Error::Missing(_)), None) => Ok(()),
        (Ok(_), Some(_)) => Err(format!("{what}: other bytes than expected")),
        (Ok(_), None) => Err(format!("{what}: answered for missing content")),
        (Err(error), _) => Err(format!("{what}: {error:?}")),
    }
}

//! Random operations against a byte vector.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use trunkfs::types::FileHandle;
use trunkfs::vfs::Stability;

use crate::fixture::{Fixture, caller, commit, read, set_size, write};

const ROUNDS: usize = 400;
const SPAN: u64 = 300_000;

async fn step(random: &mut StdRng, fixture: &Fixture, file: &FileHandle, model: &mut Vec<u8>) {
    match random.random_range(0..10) {
        0..5 => {
            let offset = random.random_range(0..SPAN);
            let data = vec![random.random_range(1..=255); random.random_range(0..70_000)];
            let stability = [Stability::Unstable, Stability::DataSync, Stability::FileSync]
                [random.random_range(0..3)];
            write(&fixture.one, file, offset, &data, stability).await.unwrap();
            let (start, end) = (offset as usize, offset as usize + data.len());
            if !data.is_empty() {
                model.resize(model.len().max(end), 0);
                model[start..end].copy_from_slice(&data);
            }
        }
        5..7 => {
            let size = random.random_range(0..SPAN) * random.random_range(0..=1);
            set_size(&fixture.one, file, size).await;
            model.resize(size as usize, 0);
        }
        7 => drop(commit(&fixture.one, file).await.unwrap()),
        8 => {
            let offset = random.random_range(0..SPAN + 1000);
            let done = fixture.one.read(&caller(0), file, offset, 50_000).await.unwrap();
            let from = model.len().min(offset as usize);
            let to = model.len().min(from + 50_000);
            assert_eq!(done.data.copy().unwrap(), model[from..to]);
            assert_eq!(done.eof, to == model.len());
        }
        _ => {
            commit(&fixture.one, file).await.unwrap();
            assert_eq!(
                read(&fixture.two, file).await,
                *model,
                "another instance sees what is committed"
            );
        }
    }
}

#[tokio::test]
async fn a_file_is_what_was_written_to_it() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    let mut model = Vec::new();
    for _ in 0..ROUNDS {
        step(&mut random, &fixture, &file, &mut model).await;
        let size = fixture.one.getattr(&caller(0), &file).await.unwrap().size;
        assert_eq!(size, model.len() as u64);
    }
    assert_eq!(read(&fixture.one, &file).await, model);
}

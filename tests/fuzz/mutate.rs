//! Mutations of bytes.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// Numbers where lengths, offsets and counts are at their limits.
const NUMBERS: [u32; 14] = [
    0,
    1,
    3,
    4,
    5,
    63,
    65,
    1023,
    4096,
    (1 << 20) + 1,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX - 3,
    u32::MAX,
];
/// The most bytes that one mutation adds.
const MOST_ADDED: usize = 64 << 10;

/// One of `corpus` with up to four mutations.
pub(crate) fn mutated(random: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus.choose(random).unwrap().clone();
    for _ in 0..random.random_range(0..=4) {
        mutate(random, &mut bytes, corpus);
    }
    bytes
}

fn mutate(random: &mut StdRng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = random.random_range(0..=bytes.len());
    let end = random.random_range(at..=bytes.len().min(at + 64));
    match random.random_range(0..9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.random();
            }
        }
        // Numbers of XDR are aligned.
        2 | 3 => {
            if let Some(word) = bytes.get_mut(at & !3..(at & !3) + 4) {
                word.copy_from_slice(&NUMBERS.choose(random).unwrap().to_be_bytes());
            }
        }
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..end)),
        6 => {
            let other = corpus.choose(random).unwrap();
            let from = random.random_range(0..=other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        7 => {
            let repeated = bytes[at..end].to_vec();
            let times = MOST_ADDED / repeated.len().max(1);
            let most = random.random_range(1..=times);
            bytes.splice(at..at, repeated.repeat(random.random_range(1..=most)));
        }
        _ => {
            let added: Vec<u8> = (0..end - at).map(|_| random.random()).collect();
            bytes.splice(at..at, added);
        }
    }
}

//! Handles, dumps and configurations.

use std::fmt::Write as _;
use std::fs;

use rand::Rng as _;
use trunkfs::admin::dump::Reader;
use trunkfs::config::Source;
use trunkfs::types::{FileHandle, ObjectId, ShareName};

use crate::inputs::Inputs;
use crate::mutate::mutated;

/// Beyond what the allocator keeps.
const BOUND: usize = 32 << 20;
const DUMP: &[u8] = include_bytes!("../cli/format-1/metadata.dump");
const CONFIGURATION: &str = include_str!("../../config.example.yaml");

#[test]
fn a_handle_has_one_form() {
    let corpus: Vec<_> = ["/e", "/ex", "/exp", "/a-share-whose-name-has-32-bytes"]
        .map(|share| {
            let share = ShareName::parse(share).unwrap();
            FileHandle { share, object: ObjectId::generate() }.to_wire().into_bytes()
        })
        .into();
    let mut inputs = Inputs::new("handles", BOUND);
    while let Some(mut random) = inputs.next() {
        let wire = mutated(&mut random, &corpus);
        if let Ok(handle) = FileHandle::parse(&wire) {
            assert_eq!(handle.to_wire().as_bytes(), wire);
        }
    }
}

/// Reads to the end, or to what is wrong.
fn read(dump: &[u8]) -> bool {
    let Ok(mut reader) = Reader::new(dump) else { return false };
    loop {
        match reader.record() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return false;
            }
        }
    }
}

/// Lines with the checksums that they should have.
fn checked(lines: &[Vec<u8>]) -> Vec<u8> {
    let (mut text, mut crc) = (Vec::new(), 0_u32);
    for line in lines {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&crc.to_le_bytes());
        hasher.update(line);
        crc = hasher.finalize();
        text.extend_from_slice(format!("{{\"crc\":\"{crc:08x}\"").as_bytes());
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    zstd::encode_all(text.as_slice(), 1).unwrap()
}

#[test]
fn a_dump_is_read_or_refused() {
    let text = zstd::decode_all(DUMP).unwrap();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<Vec<u8>> =
        lines.map(|line| line[b"{\"crc\":\"00000000\"".len()..].into()).collect();
    assert!(read(DUMP) && read(&checked(&lines)), "the corpus is whole");
    let mut inputs = Inputs::new("dumps", BOUND);
    while let Some(mut random) = inputs.next() {
        let dump = if random.random() {
            mutated(&mut random, &[DUMP.to_vec()])
        } else {
            let mut lines = lines.clone();
            let at = random.random_range(0..lines.len());
            lines[at] = mutated(&mut random, &lines);
            checked(&lines)
        };
        read(&dump);
    }
}

#[test]
fn a_configuration_is_loaded_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trunkfs.yaml");
    let mut corpus = vec![CONFIGURATION.as_bytes().to_vec()];
    // Every line that is not a comment by itself, and the whole without comments.
    let plain: Vec<&str> =
        CONFIGURATION.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    corpus.extend(plain.iter().map(|line| line.as_bytes().to_vec()));
    corpus.push(plain.join("\n").into_bytes());
    let mut aliases = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{},", level - 1).repeat(9);
        writeln!(aliases, "a{level}: &a{level} [{below}]").unwrap();
    }
    corpus.push(aliases.into_bytes());
    corpus.extend(
        [&b"server: [[[[{{{{"[..], b"shares: &a [*a]", b"server: {listen: ${HOME:-x}}"]
            .map(Vec::from),
    );
    let mut inputs = Inputs::new("configurations", BOUND);
    while let Some(mut random) = inputs.next() {
        fs::write(&path, mutated(&mut random, &corpus)).unwrap();
        if let Err(errors) = Source::File(path.clone()).load_with(&[]) {
            assert!(!errors.to_string().is_empty());
        }
    }
}

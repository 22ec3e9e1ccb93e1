//! Files of holes, the largest sizes of files, and backups of the format before.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::backup::{Machine, verify, went_well};
use super::client::{Call, Connection};
use super::scene::{NFS, of, ok, root};
use super::tree::{create, read, resize, write};

const TOO_LARGE: u32 = 27;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Much less than reading the holes takes, and much more than all else.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(300), work).await.expect("holes are gone through")
}

async fn size_of(connection: &mut Connection, file: &[u8]) -> u64 {
    let mut attributes = ok(connection, 1, of(file)).await;
    attributes.fixed(20);
    attributes.u64()
}

#[tokio::test]
async fn holes_of_terabytes_cost_a_backup_nothing() {
    let (one, other) = (Machine::local(), Machine::local());
    let (server, mut connection) = one.serve().await;
    let top = root(&mut connection).await;
    let hole = create(&mut connection, &top, "hole").await;
    resize(&mut connection, &hole, 8 * TIB).await;
    let holes = create(&mut connection, &top, "holes").await;
    write(&mut connection, &holes, 3 * TIB + 5, b"bytes").await;
    resize(&mut connection, &holes, 7 * TIB).await;
    server.stop().await;
    let [first, second] = ["first", "second"].map(|name| one.path().join(name));
    went_well(&soon(one.backup(&first, &[])).await);
    went_well(&soon(one.backup(&second, &["--base", first.to_str().unwrap()])).await);
    for folder in [&first, &second] {
        went_well(&soon(verify(folder)).await);
    }
    went_well(&soon(other.restore(&second, &[])).await);
    // What is there already is compared.
    went_well(&soon(other.restore(&second, &["--replace"])).await);
    let (server, mut connection) = other.serve().await;
    assert_eq!(size_of(&mut connection, &hole).await, 8 * TIB);
    assert_eq!(size_of(&mut connection, &holes).await, 7 * TIB);
    let arguments = of(&holes).u64(3 * TIB).u32(12);
    let mut part = ok(&mut connection, 6, arguments).await;
    assert_eq!(part.u32(), 1, "attributes follow");
    part.fixed(84 + 4 + 4);
    assert_eq!(part.opaque(), b"\0\0\0\0\0bytes\0\0");
    server.stop().await;
    // A byte in a hole is found.
    let changed = super::backup::contents(&first.join("db/contents"));
    for path in changed {
        let copy = first.join("copy");
        let file = fs::File::create_new(&copy).unwrap();
        file.set_len(fs::metadata(&path).unwrap().len()).unwrap();
        file.write_all_at(b"x", TIB).unwrap();
        fs::rename(copy, path).unwrap();
    }
    let broken = soon(verify(&first)).await;
    assert_eq!(broken.status, Some(1), "{broken:?}");
    for name in ["/e/hole", "/e/holes"] {
        let said = format!("{name}: corrupt in the backup");
        assert!((broken.out.clone() + &broken.err).contains(&said), "{broken:?}");
    }
}

/// A backup of the version before: a file of five bytes, one with holes, and one that is a hole.
fn old_backup(folder: &Path) {
    let part =
        |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/format-1").join(name);
    fs::create_dir_all(folder.join("db")).unwrap();
    fs::copy(part("backup.json"), folder.join("backup.json")).unwrap();
    for name in ["metadata.dump", "contents.list"] {
        fs::copy(part(name), folder.join("db").join(name)).unwrap();
    }
    let content = |id: &str| {
        let folder = folder.join("db/contents").join(&id[id.len() - 2..]);
        fs::create_dir_all(&folder).unwrap();
        fs::File::create_new(folder.join(id)).unwrap()
    };
    content("01a225ee-ecba-723b-86ed-74321cbf7892").write_all(b"hello").unwrap();
    let holes = content("01a225ee-ecce-7129-bfa5-38aae9c9c124");
    holes.write_all_at(b"front", 0).unwrap();
    holes.write_all_at(b"behind", 66 * MIB).unwrap();
    holes.set_len(70 * MIB).unwrap();
    content("01a225ee-ecf0-72b5-8625-dd9c8bb2de8d").set_len(65 * MIB).unwrap();
}

#[tokio::test]
async fn a_backup_of_format_1_is_proved_restored_and_gone_on_from() {
    let machine = Machine::local();
    let [old, new] = ["old", "new"].map(|name| machine.path().join(name));
    old_backup(&old);
    went_well(&verify(&old).await);
    went_well(&machine.restore(&old, &[]).await);
    let (server, mut connection) = machine.serve().await;
    let top = root(&mut connection).await;
    let mut found = ok(&mut connection, 3, of(&top).opaque(b"holes")).await;
    let data = read(&mut connection, &found.opaque()).await;
    assert_eq!((data.len() as u64, &data[..5]), (70 * MIB, &b"front"[..]));
    assert_eq!(&data[66 << 20..][..6], b"behind");
    server.stop().await;
    let taken = machine.backup(&new, &["--base", old.to_str().unwrap()]).await;
    went_well(&taken);
    // Holes have no part in the new checksums.
    assert!(taken.out.contains("2 files copied, 1 reused from --base"), "{taken:?}");
    went_well(&verify(&new).await);
    let manifest = fs::read_to_string(new.join("backup.json")).unwrap();
    assert!(manifest.contains("\"format\": 2"), "{manifest}");
    let links = |folder: &Path| -> Vec<u64> {
        let files = super::backup::contents(&folder.join("db/contents"));
        files.iter().map(|file| fs::metadata(file).unwrap().nlink()).collect()
    };
    assert_eq!(links(&new).iter().filter(|links| **links == 2).count(), 1);
    // A bit of the old one is still found.
    let file = super::backup::contents(&old.join("db/contents")).into_iter();
    let large = file.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
    fs::OpenOptions::new().write(true).open(large).unwrap().write_all_at(b"x", 30 * MIB).unwrap();
    assert_eq!(verify(&old).await.status, Some(1));
}

fn limit(machine: &Machine, size: &str) {
    let path = machine.path().join("t.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let kept = text.lines().filter(|line| !line.contains("max_file_size"));
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    text.push_str(&format!("    max_file_size: {size}\n"));
    fs::write(path, text).unwrap();
}

async fn status(
    connection: &mut Connection,
    procedure: u32,
    arguments: super::client::Writer,
) -> u32 {
    connection.call(Call::new(NFS, 3, procedure).arguments(arguments)).await.results().u32()
}

/// FSINFO's maxfilesize.
async fn largest(connection: &mut Connection, top: &[u8]) -> u64 {
    let mut info = ok(connection, 19, of(top)).await;
    assert_eq!(info.u32(), 1, "attributes follow");
    info.fixed(84 + 7 * 4);
    info.u64()
}

#[tokio::test]
async fn the_largest_size_of_a_file_is_told_and_held() {
    let machine = Machine::local();
    let (server, mut connection) = machine.serve().await;
    let top = root(&mut connection).await;
    let file = create(&mut connection, &top, "file").await;
    write(&mut connection, &file, 3 * MIB - 5, b"bytes").await;
    // What the file system below can hold, and not what any could: a file of that size can be made, and no
    // longer one.
    let most = largest(&mut connection, &top).await;
    let grow = |size: u64| of(&file).u32(0).u32(0).u32(0).u32(1).u64(size).u32(0).u32(0).u32(0);
    let probe = fs::File::create_new(machine.path().join("content/probe")).unwrap();
    assert!(most <= i64::MAX as u64);
    probe.set_len(most).unwrap();
    if most < i64::MAX as u64 {
        probe.set_len(most + 1).unwrap_err();
        assert_eq!(status(&mut connection, 2, grow(most + 1)).await, TOO_LARGE);
    }
    drop(probe);
    fs::remove_file(machine.path().join("content/probe")).unwrap();
    server.stop().await;

    limit(&machine, "2MiB");
    let (server, mut connection) = machine.serve().await;
    assert_eq!(largest(&mut connection, &top).await, 2 * MIB);
    let bytes = |at: u64| of(&file).u64(at).u32(5).u32(2).opaque(b"other");
    assert_eq!(status(&mut connection, 7, bytes(2 * MIB - 4)).await, TOO_LARGE);
    assert_eq!(status(&mut connection, 2, grow(3 * MIB + 1)).await, TOO_LARGE);
    let make =
        of(&top).opaque(b"new").u32(1).u32(1).u32(0o640).u32(0).u32(0).u32(1).u64(2 * MIB + 1);
    assert_eq!(status(&mut connection, 8, make.u32(0).u32(0)).await, TOO_LARGE);
    // It stays readable, takes bytes below the limit, and may be made shorter.
    let data = read(&mut connection, &file).await;
    assert_eq!((data.len() as u64, &data[data.len() - 5..]), (3 * MIB, &b"bytes"[..]));
    ok(&mut connection, 7, bytes(2 * MIB - 5)).await;
    for size in [3 * MIB - 1, 2 * MIB + 1, 2 * MIB] {
        ok(&mut connection, 2, grow(size)).await;
    }
    assert_eq!(status(&mut connection, 2, grow(2 * MIB + 1)).await, TOO_LARGE);
    server.stop().await;
}

#[tokio::test]
async fn a_file_that_does_not_fit_is_named_before_anything_is_brought_in() {
    let (one, other) = (Machine::local(), Machine::local());
    let (server, mut connection) = one.serve().await;
    let top = root(&mut connection).await;
    let dir = super::tree::mkdir(&mut connection, &top, "dir").await;
    let file = create(&mut connection, &dir, "large").await;
    resize(&mut connection, &file, 3 * MIB).await;
    create(&mut connection, &top, "small").await;
    server.stop().await;
    let (folder, dump) = (one.path().join("backup"), one.path().join("dump"));
    went_well(&one.backup(&folder, &[]).await);
    went_well(&one.command(&["dump", "--store", "db", dump.to_str().unwrap()]).await);
    limit(&other, "2MiB");
    let load = ["load", "--store", "db", dump.to_str().unwrap()];
    for refused in [other.restore(&folder, &[]).await, other.command(&load).await] {
        assert_eq!(refused.status, Some(1), "{refused:?}");
        for word in ["/e/dir/large has 3145728 bytes", "2097152", "max_file_size"] {
            assert!(refused.err.contains(word), "{word}: {refused:?}");
        }
    }
    assert_eq!(super::backup::contents(&other.path().join("content")).len(), 0);
    limit(&other, "3MiB");
    went_well(&other.restore(&folder, &[]).await);
}

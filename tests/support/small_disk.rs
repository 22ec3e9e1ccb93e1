//! A file system of a few MiB that a test may fill: a tmpfs in a mount namespace of a process of its own,
//! with which it ends.

use std::path::PathBuf;
use std::process::Command;

/// Where it is, for the process that has it.
const FOLDER: &str = "TRUNKFS_TEST_SMALL_DISK";
/// Ways to a mount namespace: as the superuser; as anybody, where the system allows it; as somebody who may
/// become the superuser.
const WAYS: [&[&str]; 3] = [
    &["unshare", "--mount"],
    &["unshare", "--user", "--map-root-user", "--mount"],
    &["sudo", "-n", "unshare", "--mount"],
];
const MOUNT: &str = r#"mount -t tmpfs -o "size=$1" none "$2" && export TRUNKFS_TEST_SMALL_DISK="$2" && shift 2 && exec "$@""#;

/// The folder of the file system, in the second process. The first runs `test`, by its full name, in a second
/// one with `size` (as mount(8) takes it) and expects that it passes; it gets `None`.
pub(crate) fn small_disk(test: &str, size: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let mounted = |way: &[&str]| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).args(["sh", "-c", MOUNT, "sh", size]).arg(folder.path());
        command
    };
    let works = |way: &&&[&str]| {
        mounted(way).arg("true").output().is_ok_and(|tried| tried.status.success())
    };
    let way = WAYS.iter().find(works).expect(
        "a small file system cannot be mounted here: run this as root, allow user namespaces, or sudo without a password",
    );
    let ran = mounted(way)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && out.contains("1 passed"),
        "{out}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    None
}

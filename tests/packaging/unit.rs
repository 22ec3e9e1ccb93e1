//! packaging/trunkfs.service, as systemd-analyze sees it (systemd.unit(5), systemd-analyze(1)).

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use trunkfs::config::Server;
use trunkfs::server::AFTER_DRAIN;

const UNIT: &str = include_str!("../../packaging/trunkfs.service");

/// The most of exposure, in tenths, that the sandbox may leave: 10 is the least that is called OK, 100 is none.
const MOST_EXPOSURE: &str = "15";

/// The values of a key.
fn values(key: &str) -> Vec<&'static str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// The unit with `change` made to it, to be started from where this build's program is.
fn unit(change: impl FnOnce(String) -> String) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trunkfs.service");
    let text = UNIT.replace("/usr/local/bin/trunkfs", env!("CARGO_BIN_EXE_trunkfs"));
    assert_ne!(text, UNIT);
    std::fs::write(&path, change(text)).unwrap();
    (folder, path)
}

/// What systemd-analyze says of a unit: whether all is well, and its words.
fn analyze(arguments: &[&str], unit: &PathBuf) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(arguments).arg(unit).output().expect("systemd-analyze is there");
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(words).unwrap())
}

#[test]
#[ignore = "needs systemd-analyze: tests/run.sh runs it where there is one"]
fn systemd_takes_every_line() {
    let (_folder, path) = unit(|text| text);
    let (well, words) = analyze(&["verify", "--man=no"], &path);
    // Other units of the machine may be wrong.
    let about: Vec<_> = words.lines().filter(|line| line.contains("trunkfs")).collect();
    assert!(well && about.is_empty(), "{words}");
    let (_folder, path) = unit(|text| text.replace("ProtectHome=", "ProtectHom="));
    let (_, words) = analyze(&["verify", "--man=no"], &path);
    assert!(words.contains("ProtectHom"), "what is wrong would be seen: {words}");
}

#[test]
#[ignore = "needs systemd-analyze: tests/run.sh runs it where there is one"]
fn the_sandbox_is_tight() {
    let threshold = format!("--threshold={MOST_EXPOSURE}");
    let arguments = ["security", "--offline=true", "--no-pager", &threshold];
    let (_folder, path) = unit(|text| text);
    let (well, words) = analyze(&arguments, &path);
    assert!(well, "{words}");
    let (_folder, path) = unit(|text| text.replace("CapabilityBoundingSet=\n", "\n"));
    assert!(!analyze(&arguments, &path).0, "a wider one would be seen");
}

#[test]
fn systemd_waits_longer_than_the_program_takes_to_stop() {
    let config = "
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares: [ { name: /e, metadata_store: m, content_store: c, clients: [ { network: '::/0' } ] } ]
";
    let config = trunkfs::config::Config::parse("t.yaml", config, &|_| None).unwrap();
    let Server { drain_timeout, .. } = config.server;
    let [stop] = values("TimeoutStopSec")[..] else { panic!("TimeoutStopSec stands once") };
    let stop = Duration::from_secs(stop.strip_suffix('s').unwrap().parse().unwrap());
    assert!(stop > drain_timeout + AFTER_DRAIN, "{stop:?}");
}

#[test]
fn what_the_program_says_and_takes_is_what_the_unit_expects() {
    assert_eq!(values("Type"), ["notify"]);
    assert_eq!(values("ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!(values("WatchdogSec"), ["30s"]);
    // The status of a wrong configuration.
    assert_eq!(values("RestartPreventExitStatus"), ["2"]);
    let [start] = values("ExecStart")[..] else { panic!("ExecStart stands once") };
    assert_eq!(start, "/usr/local/bin/trunkfs serve --config /etc/trunkfs/config.yaml");
}

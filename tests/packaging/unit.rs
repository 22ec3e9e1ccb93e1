//! The unit of packaging/ as systemd-analyze sees them (systemd.unit(5), systemd-analyze(1)).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use trunkfs::daemon::AFTER_DRAIN;

const SERVER: &str = include_str!("../../packaging/trunkfs.service");
const UNIT: &str = "trunkfs.service";
const SYSUSERS: &str = include_str!("../../packaging/sysusers.d/trunkfs.conf");
/// The most of exposure, in tenths, that the sandbox may leave: 10 is the least that is called OK, 100 is
/// none.
const MOST_EXPOSURE: &str = "15";

/// The values of a key.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// The only value of a key.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let [value] = values(unit, key)[..] else { panic!("{key} stands once") };
    value
}

/// The unit, to be started from where this build's program is, with a change.
fn unit(change: impl Fn(String) -> String) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_trunkfs");
    let text = SERVER.replace("/usr/bin/trunkfs ", &format!("{binary} "));
    std::fs::write(folder.path().join(UNIT), change(text)).unwrap();
    folder
}

/// What systemd-analyze says of a unit: whether all is well, and its words.
fn analyze(arguments: &[&str], folder: &TempDir) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    let output = command
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
        .args(arguments)
        .arg(folder.path().join(UNIT))
        .output()
        .expect("systemd-analyze is there");
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(words).unwrap())
}

#[test]
#[ignore = "needs systemd-analyze: tests/run.sh runs it where there is one"]
fn systemd_takes_every_line() {
    let verify = ["verify", "--man=no"];
    let (well, words) = analyze(&verify, &unit(|text| text));
    // Other units of the machine may be wrong.
    let about: Vec<_> = words.lines().filter(|line| line.contains("trunkfs")).collect();
    assert!(well && about.is_empty(), "{words}");
    let (_, words) = analyze(&verify, &unit(|text| text.replace("ProtectHome=", "ProtectHom=")));
    assert!(words.contains("ProtectHom"), "a mistake would be seen: {words}");
}

#[test]
#[ignore = "needs systemd-analyze: tests/run.sh runs it where there is one"]
fn the_sandbox_is_tight() {
    let threshold = format!("--threshold={MOST_EXPOSURE}");
    let arguments = ["security", "--offline=true", "--no-pager", &threshold];
    let (well, words) = analyze(&arguments, &unit(|text| text));
    assert!(well, "{words}");
    let wider = unit(|text| text.replace("CapabilityBoundingSet=\n", "\n"));
    assert!(!analyze(&arguments, &wider).0, "a wider one would be seen");
}

#[test]
fn the_user_is_a_static_one() {
    let user = value(SERVER, "User");
    assert_eq!(value(SERVER, "Group"), user);
    assert_eq!(values(SERVER, "DynamicUser"), [""; 0], "no other unit can be a dynamic user");
    let lines: Vec<_> = SYSUSERS.lines().filter(|line| !line.starts_with('#')).collect();
    let [line] = lines[..] else { panic!("one user: {lines:?}") };
    assert_eq!(line.split(' ').take(2).collect::<Vec<_>>(), ["u", user]);
    assert!(line.ends_with(value(SERVER, "WorkingDirectory")), "{line}");
}

#[test]
#[ignore = "needs systemd-analyze: tests/run.sh runs it where there is one"]
fn systemd_sysusers_makes_the_user() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["etc", "usr/lib/sysusers.d"] {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    let file: PathBuf = root.path().join("usr/lib/sysusers.d/trunkfs.conf");
    std::fs::write(file, SYSUSERS).unwrap();
    let root = root.path();
    let status =
        Command::new("systemd-sysusers").arg(format!("--root={}", root.display())).status();
    assert!(status.expect("systemd-sysusers is there").success());
    let line_of = |file: &str| {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        text.lines().find(|line| line.starts_with("trunkfs:")).map(str::to_owned)
    };
    assert!(line_of("etc/group").is_some());
    let user = line_of("etc/passwd").unwrap();
    let [_, _, uid, _, _, home, shell] = user.split(':').collect::<Vec<_>>()[..] else {
        panic!("{user}")
    };
    assert!(uid.parse::<u32>().unwrap() < 1000, "a system user: {user}");
    assert!(Path::new(shell).ends_with("nologin"), "{user}");
    assert_eq!(home, "/var/lib/trunkfs");
}

#[test]
fn systemd_waits_longer_than_the_program_takes_to_stop() {
    let config = "
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares: [ { name: /e, metadata_store: m, content_store: c, clients: [ { network: '::/0' } ] } ]
";
    let config = trunkfs::config::Config::parse("t.yaml", config, &|_| None).unwrap();
    let drain_timeout = config.server.settings.drain_timeout;
    let stop = value(SERVER, "TimeoutStopSec");
    let stop = Duration::from_secs(stop.strip_suffix('s').unwrap().parse().unwrap());
    assert!(stop > drain_timeout + AFTER_DRAIN, "{stop:?}");
}

#[test]
fn what_the_program_says_and_takes_is_what_the_unit_expects() {
    assert_eq!(values(SERVER, "Type"), ["notify"]);
    assert_eq!(values(SERVER, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!(values(SERVER, "WatchdogSec"), ["30s"]);
    // The status of a wrong configuration.
    assert_eq!(values(SERVER, "RestartPreventExitStatus"), ["2"]);
    let start = value(SERVER, "ExecStart");
    assert_eq!(start, "/usr/bin/trunkfs serve --config /etc/trunkfs/config.yaml");
}

//! The units of packaging/ as systemd-analyze sees them (systemd.unit(5), systemd-analyze(1)).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use trunkfs::daemon::AFTER_DRAIN;

const SERVER: &str = include_str!("../../packaging/trunkfs.service");
const MAINTENANCE: &str = include_str!("../../packaging/trunkfs-.service.d/maintenance.conf");
const DROP_IN: &str = "trunkfs-.service.d/maintenance.conf";
/// The maintenance commands: unit, and its timer.
const JOBS: [(&str, &str, &str); 3] = [
    (
        "gc",
        include_str!("../../packaging/trunkfs-gc.service"),
        include_str!("../../packaging/trunkfs-gc.timer"),
    ),
    (
        "fsck",
        include_str!("../../packaging/trunkfs-fsck.service"),
        include_str!("../../packaging/trunkfs-fsck.timer"),
    ),
    (
        "backup",
        include_str!("../../packaging/trunkfs-backup.service"),
        include_str!("../../packaging/trunkfs-backup.timer"),
    ),
];
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

/// All units, to be started from where this build's programs are. `change` is made to each file.
fn units(change: impl Fn(String) -> String) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_trunkfs");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/trunkfs-backup");
    let write = |name: &str, text: &str| {
        let text = text
            .replace("/usr/local/bin/trunkfs-backup", script)
            .replace("/usr/local/bin/trunkfs ", &format!("{binary} "));
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, change(text)).unwrap();
    };
    write("trunkfs.service", SERVER);
    write(DROP_IN, MAINTENANCE);
    for (job, service, timer) in JOBS {
        write(&format!("trunkfs-{job}.service"), service);
        write(&format!("trunkfs-{job}.timer"), timer);
    }
    folder
}

fn services() -> impl Iterator<Item = String> {
    let jobs = JOBS.iter().map(|(job, ..)| format!("trunkfs-{job}.service"));
    std::iter::once("trunkfs.service".to_owned()).chain(jobs)
}

/// What systemd-analyze says of a unit: whether all is well, and its words.
fn analyze(arguments: &[&str], folder: &TempDir, unit: &str) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    let output = command
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
        .args(arguments)
        .arg(folder.path().join(unit))
        .output()
        .expect("systemd-analyze is there");
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(words).unwrap())
}

#[test]
#[ignore = "needs systemd-analyze: tests/run.sh runs it where there is one"]
fn systemd_takes_every_line() {
    let folder = units(|text| text);
    let timers = JOBS.iter().map(|(job, ..)| format!("trunkfs-{job}.timer"));
    for unit in services().chain(timers) {
        let (well, words) = analyze(&["verify", "--man=no"], &folder, &unit);
        // Other units of the machine may be wrong.
        let about: Vec<_> = words.lines().filter(|line| line.contains("trunkfs")).collect();
        assert!(well && about.is_empty(), "{unit}: {words}");
    }
    let folder = units(|text| text.replace("ProtectHome=", "ProtectHom="));
    for unit in services() {
        let (_, words) = analyze(&["verify", "--man=no"], &folder, &unit);
        assert!(words.contains("ProtectHom"), "{unit}: a mistake would be seen: {words}");
    }
}

#[test]
#[ignore = "needs systemd-analyze: tests/run.sh runs it where there is one"]
fn the_sandbox_is_tight() {
    let threshold = format!("--threshold={MOST_EXPOSURE}");
    let arguments = ["security", "--offline=true", "--no-pager", &threshold];
    let folder = units(|text| text);
    for unit in services() {
        let (well, words) = analyze(&arguments, &folder, &unit);
        assert!(well, "{unit}: {words}");
    }
    let folder = units(|text| text.replace("CapabilityBoundingSet=\n", "\n"));
    for unit in services() {
        assert!(!analyze(&arguments, &folder, &unit).0, "{unit}: a wider one would be seen");
    }
}

/// The lines that decide who a command is, and what it may touch.
fn sandbox(unit: &str) -> Vec<&str> {
    let differs = |line: &str| {
        ["StateDirectory=", "Type=", "Exec", "Nice=", "IO", "Wants=", "#", "["]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let lines = unit.lines().skip_while(|line| *line != "[Service]");
    let lines = lines.take_while(|line| *line != "[Install]");
    lines.filter(|line| !line.is_empty() && !differs(line)).collect()
}

#[test]
fn maintenance_has_the_user_the_folders_and_the_sandbox_of_the_server() {
    let server = sandbox(SERVER);
    let maintenance = sandbox(MAINTENANCE);
    for line in &maintenance {
        assert!(server.contains(line), "trunkfs.service has no {line}");
    }
    let own = ["NotifyAccess", "Restart", "WatchdogSec", "Timeout"];
    for line in server.iter().filter(|line| !own.iter().any(|key| line.starts_with(key))) {
        assert!(maintenance.contains(line), "{DROP_IN} has no {line}");
    }
    for (job, service, _) in JOBS {
        assert_eq!(sandbox(service), [""; 0], "{job} has all of it from {DROP_IN}");
        assert_eq!(value(service, "Type"), "oneshot");
    }
    let folders: Vec<_> = value(MAINTENANCE, "StateDirectory").split(' ').collect();
    assert!(folders.contains(&value(SERVER, "StateDirectory")));
    // The same line names the credentials of both.
    let credential = "#LoadCredential=postgres:/etc/trunkfs/postgres.password";
    assert!([SERVER, MAINTENANCE].iter().all(|unit| unit.lines().any(|line| line == credential)));
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
    assert_eq!(start, "/usr/local/bin/trunkfs serve --config /etc/trunkfs/config.yaml");
}

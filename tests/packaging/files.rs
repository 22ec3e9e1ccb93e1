//! The deb and the rpm (`package.metadata` of Cargo.toml): their files, scripts and first configuration.
//! packaging/test.sh builds and installs them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use trunkfs::config::Config;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const UNIT: &str = include_str!("../../packaging/trunkfs.service");
const SYSUSERS: &str = include_str!("../../packaging/sysusers.d/trunkfs.conf");
const CONFIG: &str = include_str!("../../packaging/config.yaml");
const BUILD: &str = include_str!("../../packaging/build.sh");
const POSTINST: &str = include_str!("../../packaging/deb/postinst");
const POSTRM: &str = include_str!("../../packaging/deb/postrm");
const RPM_PRE: &str = include_str!("../../packaging/rpm/pre.sh");
const RPM_POST: &str = include_str!("../../packaging/rpm/post.sh");
/// What packaging/build.sh makes before the packages.
const STAGE: &str = "target/package/";

/// `package.metadata` of Cargo.toml.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut all: Value = serde_json::from_slice(&output.stdout).unwrap();
    all["packages"][0]["metadata"].take()
}

/// Where a file goes, and its mode, by where it comes from.
type Files = BTreeMap<String, (String, String)>;

fn text(value: &Value) -> String {
    value.as_str().unwrap().trim_start_matches('/').to_owned()
}

fn deb_files(metadata: &Value) -> Files {
    let assets = metadata["deb"]["assets"].as_array().unwrap();
    assets.iter().map(|it| (text(&it[0]), (text(&it[1]), text(&it[2])))).collect()
}

fn rpm_files(metadata: &Value) -> Files {
    let assets = metadata["generate-rpm"]["assets"].as_array().unwrap();
    assets.iter().map(|it| (text(&it["source"]), (text(&it["dest"]), text(&it["mode"])))).collect()
}

/// The values of a key of the unit.
fn of_unit(key: &str) -> &'static str {
    let line = UNIT.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn both_packages_have_the_same_files() {
    let metadata = metadata();
    let (mut deb, mut rpm) = (deb_files(&metadata), rpm_files(&metadata));
    // Each system has its own folder for zsh, and its own place for the licence.
    let zsh = format!("{STAGE}completion/_trunkfs");
    assert_eq!(deb.remove(&zsh).unwrap().0, "usr/share/zsh/vendor-completions/");
    assert_eq!(rpm.remove(&zsh).unwrap().0, "usr/share/zsh/site-functions/");
    assert_eq!(rpm.remove("LICENSE").unwrap().0, "usr/share/licenses/trunkfs/");
    assert_eq!(deb.remove("packaging/copyright").unwrap().0, "usr/share/doc/trunkfs/");
    assert_eq!(deb, rpm);
    assert!(deb.len() > 10);
}

#[test]
fn every_file_exists_or_is_made() {
    let metadata = metadata();
    let mut sources: BTreeSet<String> = deb_files(&metadata).into_keys().collect();
    sources.extend(rpm_files(&metadata).into_keys());
    sources.insert(text(&metadata["deb"]["changelog"]));
    for source in sources {
        if let Some(made) = source.strip_prefix(STAGE) {
            let by = match made {
                "man/*.1.gz" => "\"$stage\"/man/*.1\n".to_owned(),
                made => format!("\"$stage/{made}\""),
            };
            assert!(BUILD.contains(&by), "packaging/build.sh makes no {source}");
        } else if let Some(folder) = source.strip_suffix("/*.md") {
            let mut files = std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
            assert!(files.all(|it| it.unwrap().path().extension().is_some_and(|it| it == "md")));
        } else {
            assert!(Path::new(ROOT).join(&source).is_file(), "{source}");
        }
    }
}

#[test]
fn the_unit_finds_what_is_installed() {
    let metadata = metadata();
    let files = deb_files(&metadata);
    let installed: BTreeSet<String> = files
        .iter()
        .map(|(source, (folder, _))| {
            format!("/{folder}{}", source.rsplit_once('/').map_or(&**source, |it| it.1))
        })
        .collect();
    let words: Vec<_> = of_unit("ExecStart").split(' ').collect();
    let [program, _, _, config] = words[..] else { panic!("{words:?}") };
    for path in [program, config] {
        assert!(installed.contains(path), "{path} is not in {installed:?}");
    }
    assert!(installed.contains("/usr/lib/systemd/system/trunkfs.service"));
    assert!(installed.contains("/usr/lib/sysusers.d/trunkfs.conf"));
    // It may hold passwords.
    assert_eq!(files["packaging/config.yaml"].1, "640");
    let of_rpm = metadata["generate-rpm"]["assets"].as_array().unwrap();
    let config = of_rpm.iter().find(|it| it["source"] == "packaging/config.yaml").unwrap();
    assert_eq!(config["config"], "noreplace");
    assert_eq!(config["group"], of_unit("Group"));
}

#[test]
fn one_user_runs_the_service_and_owns_its_files() {
    let lines = |text: &'static str| -> Vec<_> {
        text.lines().filter(|line| line.starts_with("u ")).collect()
    };
    assert_eq!(lines(RPM_PRE), lines(SYSUSERS));
    let user = of_unit("User");
    assert!(lines(SYSUSERS)[0].starts_with(&format!("u {user} ")));
    let state = of_unit("StateDirectory").split(' ').next().unwrap();
    let mode = of_unit("StateDirectoryMode");
    let made = format!("install -d -m {mode} -o {user} -g {user} /var/lib/{state}\n");
    assert!(POSTINST.contains(&made) && RPM_POST.contains(&made), "{made}");
    assert!(POSTINST.contains(&format!("chgrp {user} /etc/trunkfs/config.yaml\n")));
    let depends = metadata()["deb"]["depends"].to_string();
    assert!(depends.contains("systemd-sysusers") && depends.contains("$auto"), "{depends}");
}

#[test]
fn nothing_starts_unasked_and_no_data_are_removed() {
    let metadata = metadata();
    let units = &metadata["deb"]["systemd-units"];
    assert_eq!(units["unit-name"], "trunkfs");
    assert_eq!(units["enable"], false);
    assert_eq!(units["start"], false);
    assert_eq!(units["restart-after-upgrade"], true);
    let folder = Path::new(ROOT).join(text(&metadata["deb"]["maintainer-scripts"]));
    let mut scripts: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(scripts.len(), 2);
    for deb in [POSTINST, POSTRM] {
        assert!(deb.starts_with("#!/bin/sh\n") && deb.contains("\nset -e\n"));
        assert!(deb.contains("\n#DEBHELPER#\n"), "where cargo-deb puts the unit's part");
    }
    for when in ["pre_install", "post_install", "pre_uninstall", "post_uninstall"] {
        let script = &metadata["generate-rpm"][format!("{when}_script")];
        scripts.push(Path::new(ROOT).join(text(script)));
    }
    for script in scripts {
        let words = std::fs::read_to_string(&script).unwrap();
        assert!(
            Command::new("sh").arg("-n").arg(&script).status().unwrap().success(),
            "{script:?}"
        );
        let commands = words.lines().filter(|line| !line.trim_start().starts_with(['#', 'e']));
        for command in commands {
            for never in ["rm ", "userdel", "deluser", "systemctl start", "systemctl enable"] {
                // rmdir takes an empty folder alone.
                assert!(!command.contains(never), "{script:?}: {command}");
            }
        }
    }
}

#[test]
fn the_first_configuration_is_for_this_machine_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.yaml"), CONFIG).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkfs"));
    let output = command.arg("check-config").current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let config = Config::parse("config.yaml", CONFIG, &|_| None).unwrap();
    assert!(config.server.listener.listen.ip().is_loopback());
    assert!(config.admin.is_local());
    let written: Value = serde_saphyr::from_str(CONFIG).unwrap();
    for client in written["shares"][0]["clients"].as_array().unwrap() {
        let network = client["network"].as_str().unwrap().split_once('/').unwrap().0;
        assert!(network.parse::<IpAddr>().unwrap().is_loopback(), "{network}");
    }
    // Below the folders of the unit, as everything else is read-only for it.
    for path in [
        &written["metadata"]["stores"]["main"]["sqlite"]["path"],
        &written["content"]["stores"]["disk"]["filesystem"]["base_path"],
    ] {
        assert!(path.as_str().unwrap().starts_with("/var/lib/trunkfs/"), "{path}");
    }
}

#[test]
fn actions_are_pinned_to_a_commit() {
    let folder = Path::new(ROOT).join(".github/workflows");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for uses in text.lines().filter_map(|line| line.split_once("uses: ")) {
            let (_, commit) = uses.1.split_once('@').unwrap();
            let commit = commit.split(' ').next().unwrap();
            assert!(
                commit.len() == 40 && commit.bytes().all(|it| it.is_ascii_hexdigit()),
                "{uses:?}"
            );
            seen += 1;
        }
    }
    assert!(seen > 5);
}

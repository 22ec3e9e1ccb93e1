//! The Grafana board and the alert rules: their syntax. That every figure exists which they name is tested
//! beside a server (`tests/cli/admin.rs`).

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

const BOARD: &str = include_str!("../../packaging/grafana/trunkfs.json");
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/prometheus/trunkfs.rules.yml");

#[test]
fn the_board_has_panels_that_do_not_overlap() {
    let board: Value = serde_json::from_str(BOARD).unwrap();
    let panels = board["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    let mut cells = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && cells.insert((x, y)), "{}", panel["title"]);
            }
        }
        for target in panel["targets"].as_array().unwrap() {
            assert!(target["expr"].as_str().unwrap().contains("trunkfs_"), "{target}");
        }
    }
}

#[test]
#[ignore = "needs promtool of Prometheus: tests/run.sh unpacks it, or names this test"]
fn promtool_takes_the_alert_rules() {
    let program = std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    let output = Command::new(program).args(["check", "rules", RULES]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("SUCCESS"), "{output:?}");
}

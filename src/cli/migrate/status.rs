//! What `trunkfs migrate status` prints.

use serde_json::json;

use super::say;
use super::target::Opened;
use crate::cli::Failure;
use crate::metadata::schema::{SchemaError, Status, VersionStatus};

/// Exit status: versions are pending.
const BEHIND: u8 = 3;
/// Exit status: not a schema for this program.
const FOREIGN: u8 = 4;

/// Prints it. What this program cannot serve is an exit status of its own.
pub(super) fn show(opened: &Opened, status: &Status, as_json: bool) -> Result<(), Failure> {
    let (word, code) = match &status.verdict {
        Ok(()) => ("current", 0),
        Err(SchemaError::Behind { .. }) => ("behind", BEHIND),
        Err(SchemaError::Newer { .. }) => ("newer", FOREIGN),
        Err(_) => ("diverged", FOREIGN),
    };
    if as_json {
        let versions = status.versions.iter().map(|version| {
            json!({
                "version": version.number,
                "name": version.name,
                "state": state(version),
                "applied_on": version.applied,
            })
        });
        let object = json!({
            "store": opened.store,
            "database": opened.place,
            "state": word,
            "version": status.present(),
            "needed": status.needed,
            "versions": versions.collect::<Vec<_>>(),
        });
        say(&object.to_string())?;
    } else {
        say(&table(opened, status))?;
    }
    if code == 0 { Ok(()) } else { Err(Failure::Said(code)) }
}

fn state(version: &VersionStatus) -> &'static str {
    match (&version.applied, version.known) {
        (None, _) => "pending",
        (Some(_), true) => "applied",
        (Some(_), false) => "foreign",
    }
}

fn table(opened: &Opened, status: &Status) -> String {
    let names = status.versions.iter().map(|version| version.name.chars().count());
    let width = names.max().unwrap_or(0).max(4);
    let mut text = format!("{}\nVERSION  {:width$}  STATE\n", opened.place, "NAME");
    for version in &status.versions {
        let when = version.applied.as_deref().unwrap_or_default();
        let line = format!(
            "{:<7}  {:width$}  {:<7}  {when}",
            version.number,
            version.name,
            state(version)
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let present = status.present();
    let verdict = match &status.verdict {
        Ok(()) => format!("up to date: version {present}"),
        Err(behind @ SchemaError::Behind { .. }) => {
            format!("behind: {behind}; to fix it: trunkfs migrate up{}", opened.again)
        }
        Err(other) => format!("unsupported: {other}"),
    };
    text + &verdict
}

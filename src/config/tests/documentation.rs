//! The documentation has every key there is, in the right section, with its default.

use std::collections::{BTreeMap, BTreeSet};

use super::{defaults, offered, same};

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Each key of the page's tables, in the form that `Document::offered` has, and what stands in the column of
/// its default. The headings of sections are keys too.
fn documented() -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    let mut section = None;
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            section = quoted(heading).first().map(|key| (*key).to_owned());
            let mut key = section.clone().unwrap_or_default();
            while !key.is_empty() {
                key = key.trim_end_matches("[]").trim_end_matches(".*").to_owned();
                keys.entry(key.clone()).or_default();
                key = key.rsplit_once('.').map_or("", |(above, _)| above).to_owned();
            }
            continue;
        }
        let (Some(section), Some(row)) = (&section, line.strip_prefix("| `")) else { continue };
        let row = format!("`{row}");
        let columns: Vec<_> = row.split(" | ").collect();
        for key in quoted(columns[0]) {
            keys.insert(format!("{section}.{key}"), columns[1].to_owned());
        }
    }
    keys
}

#[test]
fn the_documentation_has_every_key_with_its_default() {
    let (offered, documented) = (offered(), documented());
    let names: BTreeSet<_> = documented.keys().cloned().collect();
    let missing: Vec<_> = offered.difference(&names).collect();
    assert_eq!(missing, [""; 0], "keys that the documentation lacks");
    let unknown: Vec<_> = names.difference(&offered).collect();
    assert_eq!(unknown, [""; 0], "keys of the documentation that there are not");
    let defaults = defaults();
    for (key, default) in &defaults {
        let shown = quoted(&documented[key]).first().copied().unwrap_or_default().to_owned();
        assert!(
            same(&shown, default),
            "{key}: the default is {default}, the documentation says {shown:?}"
        );
    }
    assert_eq!(defaults["server.listen"], "0.0.0.0:12049");
}

//! Keys that had another name in the release before. The old name works for one release, with a warning.

use super::document::Document;
use super::path::{Path, Step};
use super::tree::{Entry, Node, Origin, Value};

/// A key that has another name now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renamed {
    /// The whole key as it was, with `*` for a name that the user chooses and `[]` behind the key of a list,
    /// such as `metadata.stores.*.postgres.max_conns` or `shares[].clients[].access`.
    pub(super) old: &'static str,
    /// Its last part now.
    pub(super) new: &'static str,
}

/// Every such key. A release removes the entries of the one before.
pub(super) const RENAMED: &[Renamed] = &[];

impl Document<'_> {
    /// Gives the keys of the tree that have an old name the new one, and warns of each.
    pub(super) fn rename(&self, root: &mut Node, renamed: &[Renamed]) {
        for Renamed { old, new } in renamed {
            let old = old.replace("[]", ".[]");
            let steps: Vec<_> = old.split('.').collect();
            self.rename_below(root, &Path::default(), &steps, new);
        }
    }

    fn rename_below(&self, node: &mut Node, path: &Path, steps: &[&str], new: &str) {
        let Some((step, rest)) = steps.split_first() else { return };
        match &mut node.value {
            Value::Map(entries) if rest.is_empty() => self.rename_in(entries, path, step, new),
            Value::Map(entries) => {
                for Entry { key, node, .. } in entries {
                    if step == key || *step == "*" {
                        let path = path.then(Step::Key(key.clone()));
                        self.rename_below(node, &path, rest, new);
                    }
                }
            }
            Value::List(nodes) if *step == "[]" => {
                for (index, node) in nodes.iter_mut().enumerate() {
                    let path = path.then(Step::Index(index));
                    self.rename_below(node, &path, rest, new);
                }
            }
            Value::List(_)
            | Value::Null
            | Value::Flag(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_) => {}
        }
    }

    /// Renames a key of a mapping. Where both names are there, a variable goes over the file as always.
    fn rename_in(&self, entries: &mut Vec<Entry>, path: &Path, old: &str, new: &str) {
        let at = |entries: &[Entry], key| entries.iter().position(|entry| entry.key == key);
        let Some(old_at) = at(entries, old) else { return };
        let is_variable = |entry: &Entry| matches!(entry.node.origin, Origin::Variable { .. });
        let (key, renamed) =
            (path.then(Step::Key(old.to_owned())), path.then(Step::Key(new.to_owned())));
        let told = |message| self.error_from(&entries[old_at].node.origin, &key, message);
        let warning = told(format!("renamed to {renamed}; the next release refuses the old name"));
        if let Some(new_at) = at(entries, new) {
            match (is_variable(&entries[old_at]), is_variable(&entries[new_at])) {
                (true, false) => entries[new_at].node = entries[old_at].node.clone(),
                (false, true) => {}
                (true, true) | (false, false) => {
                    let both = format!("renamed to {renamed}, which is there too; remove {key}");
                    self.note(told(both));
                }
            }
            entries.remove(old_at);
        } else {
            entries[old_at].key = new.to_owned();
        }
        self.warn(warning.headline());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, overrides};
    use super::*;

    const TABLE: &[Renamed] = &[
        Renamed { old: "server.drain", new: "drain_timeout" },
        Renamed { old: "content.stores.*.filesystem.folder", new: "base_path" },
        Renamed { old: "shares[].clients[].net", new: "network" },
    ];

    /// What becomes of the keys of `server`, in the file and in variables: the drain time in seconds, or the
    /// errors; and the warnings.
    fn read(server: &str, variables: &[(&str, &str)]) -> (Result<u64, String>, Vec<String>) {
        let text = format!(
            "server: {{ {server} }}
metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ c: {{ type: filesystem, filesystem: {{ folder: /x }} }} }} }}
shares: [ {{ name: /e, metadata_store: m, content_store: c, clients: [ {{ net: '::/0' }} ] }} ]
"
        );
        let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
        let overrides = overrides::among(variables);
        let document =
            Document::with_renamed("t.yaml", &text, &|_| None, &overrides, TABLE).unwrap();
        let read = Config::read(&document);
        let read = read.map(|config| config.server.settings.drain_timeout.as_secs());
        let mut warnings = document.take_warnings();
        let others = warnings.split_off(warnings.len().saturating_sub(2));
        assert!(others[0].contains(": content.stores.c.filesystem.folder: renamed to "));
        assert!(others[1].contains(": shares[0].clients[0].net: renamed to "), "{others:?}");
        (read.map_err(|errors| errors.to_string()), warnings)
    }

    #[test]
    fn an_old_name_works_with_a_warning() {
        let (read, warnings) = self::read("drain: 7s", &[]);
        assert_eq!(read, Ok(7));
        let warning = "t.yaml:1:18: server.drain: renamed to server.drain_timeout; the next release refuses \
                       the old name";
        assert_eq!(warnings, [warning]);
        let (read, warnings) = self::read("drain_timeout: 7s", &[]);
        assert_eq!((read, warnings), (Ok(7), Vec::new()));
    }

    #[test]
    fn a_variable_goes_over_the_file_under_either_name() {
        let old = ("TRUNKFS__SERVER__DRAIN", "8s");
        let new = ("TRUNKFS__SERVER__DRAIN_TIMEOUT", "9s");
        for (file, variable, seconds) in [
            ("", old, 8),
            ("drain: 7s", old, 8),
            ("drain_timeout: 7s", old, 8),
            ("drain: 7s", new, 9),
        ] {
            let (read, warnings) = self::read(file, &[variable]);
            assert_eq!((read, warnings.len()), (Ok(seconds), 1), "{file:?} {variable:?}");
        }
    }

    #[test]
    fn both_names_in_one_place_are_an_error() {
        let (read, _) = self::read("drain: 7s, drain_timeout: 8s", &[]);
        let error = read.unwrap_err();
        assert!(error.contains("t.yaml:1:18: server.drain: renamed to server.drain_timeout, "));
        assert!(error.contains("remove server.drain"), "{error}");
    }

    #[test]
    fn a_value_is_refused_under_the_new_name() {
        let (read, _) = self::read("drain: soon", &[]);
        assert!(read.unwrap_err().contains("server.drain_timeout: \"soon\" is not a duration"));
    }

    #[test]
    fn the_new_names_are_keys() {
        let offered = super::super::tests::offered();
        for Renamed { old, new } in RENAMED {
            let above = old.rsplit_once('.').map(|(above, _)| format!("{above}."));
            let new = format!("{}{new}", above.unwrap_or_default());
            assert!(offered.contains(&new), "{new}");
            assert!(!offered.contains(*old), "{old}");
        }
    }
}

//! What differs between two readings of a configuration, and which of it a running server can take over.

use std::fmt::{self, Write as _};

use super::Loaded;
use super::effective::scalar;
use super::tree::{self, Value};

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key, such as `server.listen` or `shares[/export].clients`.
    pub key: String,
    /// What became of it.
    pub how: How,
    /// When it counts.
    pub takes: Takes,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It has another value.
    Changed,
    New,
    Gone,
}

/// When a change counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// At once.
    Effect,
    /// When the server starts again.
    Restart,
    /// Never: it is about the making of what is made.
    Nothing,
}

/// Keys that a running server takes over.
const LIVE: [&str; 6] = [
    "server.request_timeout",
    "server.drain_timeout",
    "server.idle_timeout",
    "server.probe_networks",
    "logging.levels",
    "logging.slow_calls",
];

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Changed => "has changed",
            How::New => "was added",
            How::Gone => "was removed",
        };
        write!(f, "{} {how}", self.key)
    }
}

impl Loaded {
    /// What differs in `new`, in the order of the keys. Shares are told apart by their names, and their
    /// clients are one key. Secrets, which nothing shows, are told by their store.
    #[must_use]
    pub fn changes(&self, new: &Loaded) -> Vec<Change> {
        // What is written can be read.
        let read = |text: &str| tree::parse(text).map_or(Value::Null, |node| node.value);
        let mut changes = Vec::new();
        compare("", &read(&self.effective), &read(&new.effective), &mut changes);
        let (old, new) = (&self.config, &new.config);
        let metadata = old
            .metadata
            .iter()
            .filter(|(name, store)| new.metadata.get(*name).is_some_and(|other| other != *store));
        let content = old
            .content
            .iter()
            .filter(|(name, store)| new.content.get(*name).is_some_and(|other| other != *store));
        let metadata = metadata.map(|(name, _)| format!("metadata.stores.{name}"));
        for key in metadata.chain(content.map(|(name, _)| format!("content.stores.{name}"))) {
            if !changes.iter().any(|change| change.key.starts_with(&format!("{key}."))) {
                let key = format!("{key}: a secret");
                changes.push(Change { key, how: How::Changed, takes: Takes::Restart });
            }
        }
        changes
    }
}

/// Notes what differs at and below a key.
fn compare(key: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    match (parts(key, old), parts(key, new)) {
        (Some(old), Some(new)) => {
            for (key, value) in &old {
                match new.iter().find(|(other, _)| other == key) {
                    Some((_, other)) => compare(key, value, other, changes),
                    None => note(key, How::Gone, changes),
                }
            }
            let added = new.iter().filter(|(key, _)| !old.iter().any(|(other, _)| other == key));
            added.for_each(|(key, _)| note(key, How::New, changes));
        }
        (Some(_), None) | (None, Some(_)) => note(key, How::Changed, changes),
        (None, None) => {
            if written(old) != written(new) {
                note(key, How::Changed, changes);
            }
        }
    }
}

/// The keys below a key that are compared one by one. Levels of modules and clients are no such keys: each
/// set of them is one decision.
fn parts<'v>(key: &str, value: &'v Value) -> Option<Vec<(String, &'v Value)>> {
    let below = |name: &str| match key {
        "" => name.to_owned(),
        _ => format!("{key}.{name}"),
    };
    match value {
        Value::Map(_) if key == "logging.levels" => None,
        Value::Map(entries) => {
            Some(entries.iter().map(|entry| (below(&entry.key), &entry.node.value)).collect())
        }
        Value::List(shares) if key == "shares" => {
            let named = shares.iter().map(|share| (share_key(&share.value), &share.value));
            Some(named.collect())
        }
        Value::List(_)
        | Value::Null
        | Value::Flag(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Text(_) => None,
    }
}

fn share_key(share: &Value) -> String {
    let Value::Map(entries) = share else { return "shares".to_owned() };
    let name = entries.iter().find(|entry| entry.key == "name").map(|entry| &entry.node.value);
    name.map_or("shares".to_owned(), |name| format!("shares[{}]", written(name)))
}

fn note(key: &str, how: How, changes: &mut Vec<Change>) {
    let of_share =
        key.strip_prefix("shares[").and_then(|rest| rest.split_once("].")).map(|it| it.1);
    let takes = if LIVE.contains(&key) || of_share == Some("clients") {
        Takes::Effect
    } else if of_share.is_some_and(|key| key.starts_with("root.")) {
        Takes::Nothing
    } else {
        Takes::Restart
    };
    changes.push(Change { key: key.to_owned(), how, takes });
}

/// A value as text that differs where the values do.
fn written(value: &Value) -> String {
    match value {
        Value::List(elements) => {
            let elements: Vec<_> = elements.iter().map(|node| written(&node.value)).collect();
            format!("[{}]", elements.join(","))
        }
        Value::Map(entries) => entries.iter().fold(String::new(), |mut text, entry| {
            _ = write!(text, "{}:{};", entry.key, written(&entry.node.value));
            text
        }),
        Value::Null => "null".to_owned(),
        Value::Flag(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => scalar(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;

    const BEFORE: &str = "
server: { listen: 127.0.0.1:1 }
metadata:
  stores:
    m: { type: memory }
    db: { type: postgres, postgres: { password: one } }
content: { stores: { c: { type: memory } } }
shares:
  - { name: /a, metadata_store: m, content_store: c, clients: [ { network: 10.0.0.0/8 } ] }
  - { name: /b, metadata_store: db, content_store: c, clients: [ { network: 10.0.0.0/8 } ] }
";

    fn loaded(text: &str) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.yaml");
        std::fs::write(&file, text).unwrap();
        Source::File(file).load_with(&[]).unwrap()
    }

    /// What differs where in [`BEFORE`] `from` becomes `to`.
    fn changed(from: &str, to: &str) -> Vec<(String, Takes)> {
        assert!(BEFORE.contains(from), "{from}");
        let changes = loaded(BEFORE).changes(&loaded(&BEFORE.replace(from, to)));
        changes.iter().map(|change| (change.to_string(), change.takes)).collect()
    }

    fn is(text: &str, takes: Takes) -> Vec<(String, Takes)> {
        vec![(text.to_owned(), takes)]
    }

    #[test]
    fn what_is_written_otherwise_and_means_the_same_is_no_change() {
        assert_eq!(
            changed("server: { listen: 127.0.0.1:1 }", "server:\n  listen: '127.0.0.1:1'"),
            []
        );
        assert_eq!(changed("127.0.0.1:1 }", "127.0.0.1:1, drain_timeout: 20s }"), []);
        assert_eq!(changed("10.0.0.0/8 } ] }\n  - ", "10.0.0.0/8, access: rw } ] }\n  - "), []);
        assert_eq!(changed("content:", "# a word\ncontent:"), []);
    }

    #[test]
    fn clients_and_timeouts_take_effect() {
        let clients = "10.0.0.0/8 } ] }\n  - { name: /b";
        assert_eq!(
            changed(clients, "10.0.0.0/8 }, { network: '::/0', access: ro } ] }\n  - { name: /b"),
            is("shares[/a].clients has changed", Takes::Effect)
        );
        assert_eq!(
            changed("127.0.0.1:1 }", "127.0.0.1:1, request_timeout: 31s }")[0],
            ("server.request_timeout has changed".to_owned(), Takes::Effect)
        );
    }

    #[test]
    fn what_takes_a_restart_is_named() {
        let restart = |text| is(text, Takes::Restart);
        assert_eq!(changed("127.0.0.1:1", "127.0.0.1:2"), restart("server.listen has changed"));
        assert_eq!(
            changed("name: /a", "name: /c"),
            [
                ("shares[/a] was removed".to_owned(), Takes::Restart),
                ("shares[/c] was added".to_owned(), Takes::Restart)
            ]
        );
        assert_eq!(
            changed("stores: { c:", "stores: { d: { type: memory }, c:"),
            restart("content.stores.d was added")
        );
        assert_eq!(
            changed("metadata_store: m", "metadata_store: db"),
            restart("shares[/a].metadata_store has changed")
        );
        assert_eq!(
            changed("name: /a,", "name: /a, root: { uid: 7 },"),
            is("shares[/a].root.uid has changed", Takes::Nothing)
        );
    }

    #[test]
    fn secrets_are_told_without_being_shown() {
        let changes = changed("password: one", "password: two");
        assert_eq!(changes, is("metadata.stores.db: a secret has changed", Takes::Restart));
    }
}

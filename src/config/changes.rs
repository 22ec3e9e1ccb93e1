//! What differs between two configurations, and which of it a running server takes over.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::effective::{scalar, yaml};
use super::tree::{self, Value};
use super::{Config, Content, Listener, Logging, Metadata, Server, Share};
use crate::http;
use crate::net::ServerSettings;

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key, such as `server.listen` or `shares[/export].clients`.
    pub key: String,
    /// What became of it.
    pub how: How,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It has another value.
    Changed,
    New,
    Gone,
}

impl Change {
    /// Whether the key is about the making of what is made already: no restart takes it over either.
    #[must_use]
    pub fn is_of_making(&self) -> bool {
        of_share(&self.key).is_some_and(|key| key.starts_with("root."))
    }
}

/// The key of a share without the share's name.
fn of_share(key: &str) -> Option<&str> {
    key.strip_prefix("shares[").and_then(|rest| rest.split_once("].")).map(|it| it.1)
}

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

impl Config {
    /// What a server that runs by this configuration runs by once it has read `new`: what it takes over is
    /// new, and all the rest as it was. What still differs from `new` then waits for a restart.
    #[must_use]
    pub fn taking(&self, new: &Self) -> Self {
        let goes_on = |share: &Share| new.shares.iter().any(|it| it.name == share.name);
        let shares = new.shares.iter().map(|share| {
            let known = self.shares.iter().find(|it| it.name == share.name);
            known.map_or_else(|| share.clone(), |known| known.taking(share))
        });
        let mut admin = http::Settings { token: new.admin.token.clone(), ..self.admin.clone() };
        if admin.check().is_err() {
            // A port that other machines reach keeps its token.
            admin.token.clone_from(&self.admin.token);
        }
        Self {
            server: Server {
                listener: Listener {
                    probe_networks: new.server.listener.probe_networks.clone(),
                    ..self.server.listener.clone()
                },
                settings: limits(&self.server.settings, &new.server.settings),
            },
            admin,
            logging: Logging { format: self.logging.format, ..new.logging.clone() },
            locks: self.locks.clone(),
            maintenance: new.maintenance.clone(),
            metadata: stores(
                (&self.metadata, &new.metadata),
                |name| self.shares.iter().any(|it| it.metadata_store == name),
                |name| self.shares.iter().any(|it| it.metadata_store == name && goes_on(it)),
                Metadata::taking,
            ),
            content: stores(
                (&self.content, &new.content),
                |name| self.shares.iter().any(|it| it.content_store == name),
                |name| self.shares.iter().any(|it| it.content_store == name && goes_on(it)),
                Content::taking,
            ),
            shares: shares.collect(),
        }
    }

    /// What differs in `new`, in the order of the keys. Shares are told apart by their names, and their
    /// clients are one key. Secrets, which nothing shows, are told by their store.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        // What is written can be read.
        let read =
            |config: &Self| tree::parse(&yaml(config)).map_or(Value::Null, |node| node.value);
        let mut changes = Vec::new();
        compare("", &read(self), &read(new), &mut changes);
        let differs = |below: &str, key: String, changes: &mut Vec<Change>| {
            if !changes.iter().any(|change| change.key.starts_with(below)) {
                changes.push(Change { key, how: How::Changed });
            }
        };
        if self.admin != new.admin {
            differs("admin.", "admin.token".to_owned(), &mut changes);
        }
        let metadata = self.metadata.iter().filter_map(|(name, store)| {
            let differs = new.metadata.get(name).is_some_and(|other| other != store);
            differs.then(|| format!("metadata.stores.{name}"))
        });
        let content = self.content.iter().filter_map(|(name, store)| {
            let differs = new.content.get(name).is_some_and(|other| other != store);
            differs.then(|| format!("content.stores.{name}"))
        });
        for key in metadata.chain(content) {
            differs(&format!("{key}."), format!("{key}: a secret"), &mut changes);
        }
        changes
    }
}

impl Share {
    fn taking(&self, new: &Self) -> Self {
        Self { clients: new.clients.clone(), ..self.clone() }
    }
}

impl Metadata {
    /// An open store's settings with what it takes over.
    fn taking(&self, new: &Self) -> Self {
        match (self, new) {
            (Self::Postgres(now), Self::Postgres(new)) => Self::Postgres(Box::new(now.taking(new))),
            (Self::Postgres(_) | Self::Sqlite(_) | Self::Memory { .. }, _) => self.clone(),
        }
    }
}

impl Content {
    /// An open store's settings with what it takes over.
    fn taking(&self, new: &Self) -> Self {
        match (self, new) {
            (Self::Object(now), Self::Object(new)) => Self::Object(Box::new(now.taking(new))),
            (Self::Object(_) | Self::Filesystem(_) | Self::Memory { .. }, _) => self.clone(),
        }
    }
}

/// Times and limits of calls and connections.
fn limits(now: &ServerSettings, new: &ServerSettings) -> ServerSettings {
    ServerSettings {
        request_timeout: new.request_timeout,
        drain_timeout: new.drain_timeout,
        idle_timeout: new.idle_timeout,
        max_connections: new.max_connections,
        max_connections_per_client: new.max_connections_per_client,
        memory_budget: new.memory_budget,
        ..now.clone()
    }
}

/// The stores of a server: those that are open take over what they can, and are there for as long as shares
/// that go on have them.
fn stores<S: Clone>(
    (now, new): (&BTreeMap<String, S>, &BTreeMap<String, S>),
    is_open: impl Fn(&str) -> bool,
    is_needed: impl Fn(&str) -> bool,
    taking: impl Fn(&S, &S) -> S,
) -> BTreeMap<String, S> {
    let named = new.iter().map(|(name, store)| {
        let open = now.get(name).filter(|_| is_open(name));
        (name.clone(), open.map_or_else(|| store.clone(), |open| taking(open, store)))
    });
    let needed = now.iter().filter(|(name, _)| !new.contains_key(*name) && is_needed(name));
    named.chain(needed.map(|(name, store)| (name.clone(), store.clone()))).collect()
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
    changes.push(Change { key: key.to_owned(), how });
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

    fn config(text: &str) -> Config {
        Config::parse("t.yaml", text, &|_| None).unwrap()
    }

    /// What a server takes over, and what waits for a restart, where in [`BEFORE`] `from` becomes `to`.
    fn changed(from: &str, to: &str) -> (Vec<String>, Vec<String>) {
        assert!(BEFORE.contains(from), "{from}");
        let (before, after) = (config(BEFORE), config(&BEFORE.replacen(from, to, 1)));
        let taken = before.taking(&after);
        let told = |changes: Vec<Change>| changes.iter().map(ToString::to_string).collect();
        // What was taken over once is not taken over again.
        assert_eq!(taken.taking(&after), taken);
        (told(before.changes(&taken)), told(taken.changes(&after)))
    }

    fn takes_effect(from: &str, to: &str, expected: &[&str]) {
        let (taken, waits) = changed(from, to);
        assert_eq!((taken, waits), (expected.iter().map(ToString::to_string).collect(), vec![]));
    }

    fn waits(from: &str, to: &str, expected: &[&str]) {
        let (taken, waits) = changed(from, to);
        assert_eq!((taken, waits), (vec![], expected.iter().map(ToString::to_string).collect()));
    }

    #[test]
    fn what_is_written_otherwise_and_means_the_same_is_no_change() {
        takes_effect("server: { listen: 127.0.0.1:1 }", "server:\n  listen: '127.0.0.1:1'", &[]);
        takes_effect("127.0.0.1:1 }", "127.0.0.1:1, drain_timeout: 20s }", &[]);
        takes_effect("10.0.0.0/8 } ] }\n  - ", "10.0.0.0/8, access: rw } ] }\n  - ", &[]);
        takes_effect("content:", "# a word\ncontent:", &[]);
    }

    #[test]
    fn clients_times_and_limits_take_effect() {
        let clients = "10.0.0.0/8 } ] }\n  - { name: /b";
        takes_effect(
            clients,
            "10.0.0.0/8 }, { network: '::/0', access: ro } ] }\n  - { name: /b",
            &["shares[/a].clients has changed"],
        );
        takes_effect(
            "127.0.0.1:1 }",
            "127.0.0.1:1, request_timeout: 31s, max_connections: 7, memory_budget: 64MiB, \
             probe_networks: [ 10.1.0.0/16 ] }\nlogging: { levels: warn }\n\
             maintenance: { rate: 1MiB }",
            &[
                "server.probe_networks has changed",
                "server.request_timeout has changed",
                "server.max_connections has changed",
                "server.memory_budget has changed",
                "logging.levels has changed",
                "maintenance.rate has changed",
            ],
        );
    }

    #[test]
    fn shares_come_and_go_with_their_stores() {
        takes_effect("name: /a", "name: /c", &["shares[/a] was removed", "shares[/c] was added"]);
        takes_effect(
            "stores: { c:",
            "stores: { d: { type: memory }, c:",
            &["content.stores.d was added"],
        );
        let b = "  - { name: /b, metadata_store: db, content_store: c, clients: [ { network: 10.0.0.0/8 } ] }\n";
        takes_effect(b, "", &["shares[/b] was removed"]);
        // With its store.
        let after = BEFORE.replacen(b, "", 1);
        let after =
            after.replacen("    db: { type: postgres, postgres: { password: one } }\n", "", 1);
        let (before, after) = (config(BEFORE), config(&after));
        assert_eq!(before.taking(&after), after);
        // No share has it: its settings are those of the next that does.
        let unused = config(&BEFORE.replacen(b, "", 1));
        let other = config(&BEFORE.replacen(b, "", 1).replacen(
            "password: one",
            "host: h, sslmode: require",
            1,
        ));
        assert_eq!(unused.taking(&other), other);
    }

    #[test]
    fn what_takes_a_restart_is_named() {
        waits("127.0.0.1:1", "127.0.0.1:2", &["server.listen has changed"]);
        waits(
            "metadata_store: m",
            "metadata_store: db",
            &["shares[/a].metadata_store has changed"],
        );
        waits("name: /a,", "name: /a, root: { uid: 7 },", &["shares[/a].root.uid has changed"]);
        waits(
            "127.0.0.1:1 }",
            "127.0.0.1:1 }\nlogging: { format: json }",
            &["logging.format has changed"],
        );
        waits(
            "password: one",
            "password: one, database: other",
            &["metadata.stores.db.postgres.database has changed"],
        );
        // The store of a share that goes on is kept, and so is what it was opened with.
        let other =
            BEFORE.replace("    m: { type: memory }\n", "").replace("store: m,", "store: db,");
        let (before, after) = (config(BEFORE), config(&other));
        let taken = before.taking(&after);
        assert_eq!(taken.metadata.len(), 2);
        let told: Vec<_> = taken.changes(&after).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["metadata.stores.m was removed", "shares[/a].metadata_store has changed"]
        );
    }

    #[test]
    fn secrets_are_told_without_being_shown() {
        takes_effect(
            "password: one",
            "password: two",
            &["metadata.stores.db: a secret has changed"],
        );
        let pool = &["metadata.stores.db.postgres.max_conns has changed"];
        takes_effect("password: one", "password: two, max_conns: 7", pool);
        let token = "admin: { token: 0123456789abcdef }\nmetadata:";
        takes_effect("metadata:", token, &["admin.token has changed"]);
        // The password of another place is that place's.
        let (taken, waits) =
            changed("password: one", "password: two, host: elsewhere, sslmode: require");
        assert_eq!(taken, Vec::<String>::new());
        assert!(
            waits.contains(&"metadata.stores.db.postgres.host has changed".to_owned()),
            "{waits:?}"
        );
        let by = |url: &str| BEFORE.replacen("password: one", &format!("url: '{url}'"), 1);
        let urls = [
            "postgres://u:one@localhost/d",
            "postgres://u:two@localhost/d",
            "postgres://u:two@localhost/e",
        ];
        let [one, two, elsewhere] = urls.map(|url| config(&by(url)));
        assert_eq!(one.taking(&two), two);
        assert_eq!(one.taking(&elsewhere), one);
    }
}

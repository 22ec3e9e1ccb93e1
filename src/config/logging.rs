//! `logging`: the form of log lines, and which are written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::de::hint;
use crate::net::ServerSettings;
use crate::types::settings::Time;

/// The program's own modules, as log lines name them behind `trunkfs::`.
const MODULES: [&str; 23] = [
    "admin",
    "bench",
    "cli",
    "config",
    "content",
    "counters",
    "daemon",
    "http",
    "maintenance",
    "metadata",
    "mount",
    "net",
    "nfs3",
    "nlm",
    "nsm",
    "ownership",
    "portmap",
    "rpc",
    "stores",
    "telemetry",
    "types",
    "vfs",
    "xdr",
];

/// Modules of the release before, and those that have their code now. They can be named for one release.
const FORMER: [(&str, &[&str]); 4] = [
    ("backup", &["trunkfs::admin::backup"]),
    ("dump", &["trunkfs::admin::dump"]),
    ("fsck", &["trunkfs::admin::fsck"]),
    ("server", &["trunkfs::admin", "trunkfs::daemon", "trunkfs::net", "trunkfs::stores"]),
];

/// The form of log lines, and which are written.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Logging {
    /// How a line is written.
    pub format: LogFormat,
    /// Which lines are written.
    pub levels: Levels,
    /// A call that takes this long is logged, with where its time went; zero: none.
    #[serde(with = "Time::<0>")]
    pub slow_calls: Duration,
}

impl Default for Logging {
    fn default() -> Self {
        let (format, levels) = (LogFormat::Text, Levels::default());
        Self { format, levels, slow_calls: ServerSettings::default().slow_calls }
    }
}

/// How a line is written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

/// The least of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    Off,
    /// What went wrong for good.
    Error,
    /// What went wrong for now, or may.
    Warn,
    /// What an operator wants to know.
    Info,
    /// Details for finding the cause of a problem: every call has a line.
    Debug,
    /// Everything, of the libraries too.
    Trace,
}

const LEVELS: [(&str, Level); 6] = [
    ("off", Level::Off),
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];

/// A level for everything, and others for some modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// For what `modules` does not name.
    pub default: Level,
    /// A module's path, such as `trunkfs::metadata`, and the level for all that is in it. The longest that
    /// fits counts.
    pub modules: Vec<(String, Level)>,
}

/// Why levels cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LevelsError(String);

impl Default for Levels {
    fn default() -> Self {
        Self { default: Level::Info, modules: Vec::new() }
    }
}

impl FromStr for Levels {
    type Err = LevelsError;

    /// Reads `level`, or `level,module=level,…`.
    fn from_str(text: &str) -> Result<Self, LevelsError> {
        let mut levels = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None => levels.default = level(part)?,
                Some((path, text)) => {
                    levels.set(path.trim(), level(text.trim())?)?;
                }
            }
        }
        Ok(levels)
    }
}

impl Levels {
    /// Sets the level of a module, or of those that have its code now.
    fn set(&mut self, path: &str, level: Level) -> Result<(), LevelsError> {
        self.modules.extend(modules(path)?.into_iter().map(|module| (module, level)));
        Ok(())
    }
}

fn level(text: &str) -> Result<Level, LevelsError> {
    let found = LEVELS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, level)| *level).ok_or_else(|| {
        LevelsError(format!(
            "{text:?} is not a log level; write off, error, warn, info, debug or trace, and for one module \
             module=level, such as info,trunkfs::metadata=debug"
        ))
    })
}

fn modules(path: &str) -> Result<Vec<String>, LevelsError> {
    let mut steps = path.split("::");
    let fits = |step: &str| {
        !step.is_empty() && step.chars().all(|each| each.is_ascii_alphanumeric() || each == '_')
    };
    if !steps.clone().all(fits) {
        return Err(LevelsError(format!(
            "{path:?} is not a module; write the path that log lines show, such as trunkfs::metadata"
        )));
    }
    if let (Some("trunkfs"), Some(own)) = (steps.next(), steps.next()) {
        if let Some((_, now)) = FORMER.iter().find(|(former, _)| *former == own) {
            return Ok(now.iter().map(|&module| module.to_owned()).collect());
        }
        if !MODULES.contains(&own) {
            let near = hint(own, MODULES.into_iter());
            return Err(LevelsError(format!("trunkfs has no module {own:?}{near}")));
        }
    }
    Ok(vec![path.to_owned()])
}

/// The lines of a document's `logging` section, which can be read alone where the document cannot be read.
pub(super) fn section_of(text: &str) -> String {
    let begins = |line: &&str| line.starts_with("logging:");
    let within = |line: &&str| line.is_empty() || line.starts_with([' ', '#']);
    let mut lines = text.lines().skip_while(|line| !begins(line));
    let first = lines.next();
    first.into_iter().chain(lines.take_while(within)).flat_map(|line| [line, "\n"]).collect()
}

/// Text as [`Levels`] reads it, or a mapping from modules, and `default`, to levels.
impl<'de> Deserialize<'de> for Levels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LevelsVisitor)
    }
}

struct LevelsVisitor;

impl<'de> Visitor<'de> for LevelsVisitor {
    type Value = Levels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string; put it in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Levels, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Levels, A::Error> {
        let mut levels = Levels::default();
        while let Some(path) = map.next_key::<String>()? {
            map.next_value_seed(ModuleLevel { path, levels: &mut levels })?;
        }
        Ok(levels)
    }
}

/// The level of a module, or of all others.
struct ModuleLevel<'l> {
    path: String,
    levels: &'l mut Levels,
}

impl<'de> DeserializeSeed<'de> for ModuleLevel<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let level = level(&String::deserialize(from)?).map_err(D::Error::custom)?;
        if self.path == "default" {
            self.levels.default = level;
            return Ok(());
        }
        self.levels.set(&self.path, level).map_err(D::Error::custom)
    }
}

/// A level, or a mapping from `default` and modules to levels.
impl Serialize for Levels {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.modules.is_empty() {
            return self.default.serialize(to);
        }
        let modules = self.modules.iter().map(|(path, level)| (path.as_str(), level));
        to.collect_map([("default", &self.default)].into_iter().chain(modules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Levels>().unwrap_err().to_string()
    }

    #[test]
    fn levels_are_read() {
        let levels: Levels = "warn, trunkfs::metadata=DEBUG,tokio_postgres=trace".parse().unwrap();
        let modules = [("trunkfs::metadata", Level::Debug), ("tokio_postgres", Level::Trace)];
        let modules = modules.map(|(path, level)| (path.to_owned(), level)).to_vec();
        assert_eq!(levels, Levels { default: Level::Warn, modules });
        assert_eq!("".parse(), Ok(Levels::default()));
        let former: Levels = "trunkfs::fsck=debug,trunkfs::server::gc=off".parse().unwrap();
        let paths: Vec<_> = former.modules.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths[..3], ["trunkfs::admin::fsck", "trunkfs::admin", "trunkfs::daemon"]);
    }

    #[test]
    fn what_would_silence_the_log_by_mistake_is_refused() {
        assert!(refused("inof").contains("\"inof\" is not a log level"));
        assert!(refused("a=b=c").contains("\"b=c\" is not a log level"));
        assert!(refused("trunkfs::metdata=debug").contains("did you mean 'metadata'?"));
        assert!(refused("[call]=debug").contains("is not a module"));
    }

    #[test]
    fn the_modules_are_those_that_there_are() {
        let declared = include_str!("../lib.rs").lines();
        let declared = declared.filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        assert_eq!(declared.collect::<Vec<_>>(), MODULES);
    }
}

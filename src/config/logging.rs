//! `logging`: the form of log lines, and which are written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::error::Error;
use super::section::{Document, Field, hint};
use super::tree::Value;
use super::values::{duration_or_none, word};
use crate::net::ServerSettings;

/// The program's own modules, as log lines name them behind `trunkfs::`.
const MODULES: [&str; 17] = [
    "admin",
    "bench",
    "cli",
    "config",
    "content",
    "daemon",
    "metadata",
    "mount",
    "net",
    "nfs3",
    "ownership",
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// How a line is written.
    pub format: LogFormat,
    /// Which lines are written.
    pub levels: Levels,
    /// A call that takes this long is logged, with where its time went; zero: none.
    pub slow_calls: Duration,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

/// The least of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Off,
    /// What went wrong for good.
    Error,
    /// What went wrong for now, or may.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What somebody who looks for the cause of something wants to know: every call has a line.
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
    /// A module's path, such as `trunkfs::metadata`, and the level for all that is in it. The longest that fits counts.
    pub modules: Vec<(String, Level)>,
}

/// Why levels cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelsError(String);

impl fmt::Display for LevelsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LevelsError {}

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

pub(super) fn logging(field: &Field<'_>) -> Result<Logging, Error> {
    let section = field.section(&["format", "levels", "slow_calls"])?;
    let slow_calls = ServerSettings::new(Vec::new()).slow_calls;
    Ok(Logging {
        format: section.or("format", "text", format)?,
        levels: section.or("levels", "info", levels)?,
        slow_calls: section.or("slow_calls", slow_calls, duration_or_none)?,
    })
}

fn format(field: &Field<'_>) -> Result<LogFormat, Error> {
    word(field, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

/// The form of log lines in a document that may be wrong elsewhere.
pub(super) fn format_in(document: &Document<'_>) -> Option<LogFormat> {
    let top = document.root(document.parse().ok()?).section(&["logging"]).ok()?;
    let section = top.optional("logging")?.section(&["format"]).ok()?;
    format(&section.optional("format")?).ok()
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
fn levels(field: &Field<'_>) -> Result<Levels, Error> {
    if !matches!(field.value(), Value::Map(_)) {
        return field.text()?.parse().map_err(|error: LevelsError| field.error(error.0));
    }
    let mut levels = Levels::default();
    for (path, field) in field.named()? {
        let level = level(&field.text()?).map_err(|error| field.error(error.0))?;
        if path == "default" {
            levels.default = level;
        } else {
            levels.set(&path, level).map_err(|error| field.error(error.0))?;
        }
    }
    Ok(levels)
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

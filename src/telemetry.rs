//! What the server says of itself: log lines on standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use serde_json::{Map, Value};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt as lines, reload};

use crate::config::{Level, Levels, LevelsError, LogFormat};
use crate::log_limit::{About, Excerpt, limited};

/// The variable that overrides the configuration's levels.
const VARIABLE: &str = "RUST_LOG";

/// Libraries whose lines of level info say nothing to an administrator.
const LIBRARIES: [&str; 2] = ["refinery_core", "tokio_postgres"];

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The variable `RUST_LOG` cannot be read.
    #[error("the environment variable {VARIABLE}: {0}")]
    Variable(LevelsError),
    /// It is set up already.
    #[error("logging cannot be set up")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Changes levels while the server runs.
#[derive(Clone)]
pub struct Handle {
    filter: reload::Handle<Targets, Registry>,
    overridden: bool,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("overridden", &self.overridden).finish_non_exhaustive()
    }
}

impl Handle {
    /// Sets which lines are written from now on. False where `RUST_LOG` says that, which counts for as long
    /// as the process runs.
    pub fn set_levels(&self, levels: &Levels) -> bool {
        // It fails only where the subscriber is gone, which is the process's.
        !self.overridden && self.filter.reload(targets(levels)).is_ok()
    }
}

/// Sends log lines to standard error in this form, coloured where it is a terminal, and panics as log lines.
/// The levels are those of `RUST_LOG`, in the form `level` or `level,module=level,…`, which override the
/// configuration's; else `info` until [`Handle::set_levels`].
///
/// # Errors
/// A `RUST_LOG` of another form, or logging that is set up already.
pub fn start(format: LogFormat) -> Result<Handle, StartError> {
    let variable = std::env::var_os(VARIABLE).filter(|text| !text.is_empty());
    let levels = match &variable {
        Some(text) => text.to_string_lossy().parse().map_err(StartError::Variable)?,
        None => Levels::default(),
    };
    let (filter, handle) = reload::Layer::new(targets(&levels));
    let to_stderr = lines::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => to_stderr.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => to_stderr.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let set = tracing_subscriber::registry().with(filter).with(lines).try_init();
    set.map_err(|error| StartError::Twice(Box::new(error)))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Handle { filter: handle, overridden: variable.is_some() })
}

/// A panic as a log line, with its backtrace where `RUST_BACKTRACE` asks for one.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let location = panic.location().map(ToString::to_string);
    let text = panic.payload_as_str().unwrap_or("no message");
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    limited!(error, About::default(), "a thread panicked", thread = thread.name(), location,
        panic = %Excerpt(text.as_bytes()), backtrace);
}

/// An object on a line as the log has them in the form [`LogFormat::Json`], for what is written where no log
/// level counts.
#[must_use]
pub fn json_line<'a>(
    level: tracing::Level,
    message: &str,
    fields: impl IntoIterator<Item = (&'a str, Value)>,
) -> String {
    let mut time = String::new();
    // It fails only where the text does not take it.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let own = [("level", level.as_str()), ("message", message), ("target", "trunkfs")];
    let mut line = Map::from_iter([("timestamp".to_owned(), Value::from(time))]);
    line.extend(own.map(|(key, text)| (key.to_owned(), Value::from(text))));
    line.extend(fields.into_iter().map(|(key, value)| (key.to_owned(), value)));
    format!("{}\n", Value::from(line))
}

fn targets(levels: &Levels) -> Targets {
    let modules = levels.modules.iter().map(|(path, level)| (path.clone(), filter(*level)));
    // What these say at info is for their own developers; who names them, or a finer level, gets it.
    let quiet = LIBRARIES.into_iter().filter(|_| levels.default == Level::Info);
    let quiet = quiet.map(|library| (library, LevelFilter::WARN));
    Targets::new().with_default(filter(levels.default)).with_targets(quiet).with_targets(modules)
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level as Line;

    use super::*;

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        let enabled = |levels: &str| {
            targets(&levels.parse().unwrap()).would_enable("refinery_core::traits", &Line::INFO)
        };
        assert!(!enabled("info") && !enabled("warn"));
        assert!(enabled("debug") && enabled("info,refinery_core=info"));
    }

    #[test]
    fn the_longest_module_that_fits_counts() {
        let levels =
            "warn,trunkfs::metadata=debug,trunkfs::metadata::postgres=off".parse().unwrap();
        let targets = targets(&levels);
        assert!(!targets.would_enable("trunkfs::vfs", &Line::INFO));
        assert!(targets.would_enable("trunkfs::vfs", &Line::WARN));
        assert!(targets.would_enable("trunkfs::metadata::memory", &Line::DEBUG));
        assert!(!targets.would_enable("trunkfs::metadata::postgres::pool", &Line::ERROR));
    }

    /// A process of its own, since the log is the process's.
    #[test]
    fn a_panic_is_a_limited_line_of_the_log() {
        const CHILD: &str = "TRUNKFS_TEST_OF_PANICS";
        if std::env::var_os(CHILD).is_some() {
            start(LogFormat::Json).unwrap();
            for _ in 0..5 {
                std::thread::spawn(|| panic!("two\nlines")).join().unwrap_err();
            }
            crate::log_limit::write_counts();
            return;
        }
        let name = "telemetry::tests::a_panic_is_a_limited_line_of_the_log";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([name, "--exact", "--nocapture"]).env(CHILD, "1");
        let output = child.env_remove(VARIABLE).env_remove("RUST_BACKTRACE").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [first, .., count] = &lines[..] else { panic!("{text}") };
        assert_eq!((lines.len(), &first["message"]), (4, &"a thread panicked".into()));
        assert_eq!((&first["level"], &first["panic"]), (&"ERROR".into(), &r"two\nlines".into()));
        assert!(first["location"].as_str().unwrap().starts_with("src/telemetry.rs:"), "{first}");
        assert_eq!((&count["line"], &count["left_out"]), (&"a thread panicked".into(), &2.into()));
    }
}

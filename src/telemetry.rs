//! What the server says of itself: log lines on standard error.

use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt as lines, reload};

use crate::config::{Level, Levels, LevelsError, LogFormat, Logging};

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
    /// Sets which lines are written from now on. False where `RUST_LOG` says that, which counts for as long as the
    /// process runs.
    pub fn set_levels(&self, levels: &Levels) -> bool {
        // It fails only where the subscriber is gone, which is the process's.
        !self.overridden && self.filter.reload(targets(levels)).is_ok()
    }
}

/// Sends log lines to standard error, in the configured form and levels, coloured where it is a terminal. `RUST_LOG`, in
/// the form `level` or `level,module=level,…`, overrides the levels.
///
/// # Errors
/// A `RUST_LOG` of another form, or logging that is set up already.
pub fn start(logging: &Logging) -> Result<Handle, StartError> {
    let variable = std::env::var_os(VARIABLE).filter(|text| !text.is_empty());
    let levels = match &variable {
        Some(text) => text.to_string_lossy().parse().map_err(StartError::Variable)?,
        None => logging.levels.clone(),
    };
    let (filter, handle) = reload::Layer::new(targets(&levels));
    let to_stderr = lines::layer().with_writer(std::io::stderr);
    let lines = match logging.format {
        LogFormat::Text => to_stderr.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => to_stderr.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let set = tracing_subscriber::registry().with(filter).with(lines).try_init();
    set.map_err(|error| StartError::Twice(Box::new(error)))?;
    Ok(Handle { filter: handle, overridden: variable.is_some() })
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
}

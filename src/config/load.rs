//! From a file or the defaults of `serve`, and the environment, to what counts.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;
use std::{fmt, fs, io};

use super::document::Document;
use super::effective::{effective, scalar};
use super::error::{Error, Errors};
use super::logging::{LogFormat, section_of};
use super::overrides::{self, Override};
use super::path::Path;
use super::server::DEFAULT_PORT;
use super::{Config, de, warnings};

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// What is served without one: `/export` to this machine alone, writable for `uid` and for the
    /// superuser, with metadata in a SQLite file.
    Local {
        /// The folder that holds everything; relative to the working directory.
        data: String,
        /// The root directory's owner.
        uid: u32,
        /// The root directory's group.
        gid: u32,
    },
}

impl Source {
    /// The arguments with which a command has the same configuration.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        match self {
            Self::File(path) => vec!["--config".into(), path.into()],
            Self::Local { data, .. } => vec!["--data".into(), data.into()],
        }
    }
}

/// A configuration, and what is to be said of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What counts.
    pub config: Config,
    /// The same as YAML, with every key, secrets masked.
    pub effective: String,
    /// What is no error and still not as it should be.
    pub warnings: Vec<String>,
    /// The environment variables that override keys.
    pub overrides: Vec<String>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Local { .. } => f.write_str("the built-in configuration"),
        }
    }
}

impl Source {
    /// Reads it with this process's environment: `${VAR}` in values, and `TRUNKFS__…` over keys.
    pub fn load(&self) -> Result<Loaded, Errors> {
        self.load_with(&std::env::vars_os().collect::<Vec<_>>())
    }

    /// The same with other variables.
    pub fn load_with(&self, variables: &[(OsString, OsString)]) -> Result<Loaded, Errors> {
        let overrides = overrides::among(variables.iter().cloned());
        let named = RefCell::new(BTreeSet::new());
        let held = |name: &str| {
            let (_, text) = variables.iter().find(|(each, _)| each == name)?;
            text.to_str().map(str::to_owned)
        };
        let variable = |name: &str| {
            named.borrow_mut().insert(name.to_owned());
            held(name)
        };
        let name = self.to_string();
        let (text, file) = self.read().map_err(|error| Error::unreadable(name.clone(), error))?;
        let document = Document::new(&name, &text, &variable, &overrides)?;
        let config = Config::read(&document)?;
        let effective = effective(&document, &config);
        let mut warnings = document.take_warnings();
        if let (Self::File(path), Some(file)) = (self, file) {
            warnings.extend(warnings::exposed(path, &file, &document.take_plain_secrets()));
        }
        let named = named.take();
        warnings.extend(warnings::unread(variables, &named, &effective));
        let url = held(warnings::URL_VARIABLE);
        warnings.extend(warnings::database_url(url.as_deref(), &named, &config));
        warnings.extend(warnings::exposed_token(&config));
        let overrides = overrides.iter().map(|each| each.name().to_owned()).collect();
        Ok(Loaded { config, effective, warnings, overrides })
    }

    /// The text, and what the file is that has it.
    pub(super) fn read(&self) -> io::Result<(String, Option<fs::Metadata>)> {
        match self {
            Self::File(path) => {
                let mut file = fs::File::open(path)?;
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                Ok((text, Some(file.metadata()?)))
            }
            Self::Local { data, uid, gid } => Ok((local(data, *uid, *gid), None)),
        }
    }

    /// The form of log lines with this process's environment, as far as it can be read: the errors of a
    /// configuration that is wrong, or of a file that cannot be read, have that form too.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        let overrides = overrides::among(std::env::vars_os());
        let text = match self {
            Self::File(path) => std::fs::read_to_string(path).unwrap_or_default(),
            Self::Local { .. } => String::new(),
        };
        log_format(&text, &|name| std::env::var(name).ok(), &overrides)
    }
}

fn log_format(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    overrides: &[Override],
) -> LogFormat {
    let read = |text: &str| {
        let document = Document::new("", text, variable, overrides).ok()?;
        de::read_at(&document, &Path::of(["logging", "format"]))
    };
    read(text).or_else(|| read(&section_of(text))).unwrap_or(LogFormat::Text)
}

/// What is served without a file.
fn local(data: &str, uid: u32, gid: u32) -> String {
    let within = |name| scalar(&format!("{data}/{name}"));
    let (metadata, content) = (within("metadata.sqlite"), within("content"));
    format!(
        "server: {{ listen: 127.0.0.1:{DEFAULT_PORT} }}
metadata: {{ stores: {{ names: {{ type: sqlite, sqlite: {{ path: {metadata} }} }} }} }}
content: {{ stores: {{ files: {{ type: filesystem, filesystem: {{ base_path: {content} }} }} }} }}
shares:
  - name: /export
    metadata_store: names
    content_store: files
    root: {{ uid: {uid}, gid: {gid} }}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_log_is_read_from_a_configuration_that_is_wrong() {
        let read = |text: &str, variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
            log_format(text, &|_| Some("json".to_owned()), &overrides::among(variables))
        };
        for text in [
            "logging: { format: json }",
            "logging:\n  format: ${FORM}\nserver: { lisen: 1 }\nshares: 5",
            "server: [\nlogging:\n\n  # for programs\n  format: json\n  levels: inof\nshares: }{",
            "logging: { format: json }\n\tshares",
        ] {
            assert_eq!(read(text, &[]), LogFormat::Json, "{text}");
            assert_eq!(read(text, &[("TRUNKFS__LOGGING__FORMAT", "text")]), LogFormat::Text);
        }
        for text in
            ["", "logging: { format: yaml }", "logging: }", "a: { logging: { format: json } }"]
        {
            assert_eq!(read(text, &[]), LogFormat::Text, "{text}");
        }
        // The file cannot be read.
        assert_eq!(read("", &[("TRUNKFS__LOGGING__FORMAT", "json")]), LogFormat::Json);
        assert_eq!(read("[", &[("TRUNKFS__LOGGING__FORMAT", "json")]), LogFormat::Json);
    }
}

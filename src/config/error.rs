//! What is wrong with a configuration, and where.

use std::fmt;

/// The first thing that is wrong with a configuration: where it stands, which key, and the remedy.
#[derive(Debug)]
pub struct Error {
    file: String,
    place: Option<Place>,
    key: String,
    message: String,
    source: Option<std::io::Error>,
}

/// A place in the file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Line, from 1.
    pub(super) line: u64,
    /// Column, from 1.
    pub(super) column: u64,
    /// The line itself, where it may be shown.
    pub(super) excerpt: Option<String>,
}

impl Error {
    /// The file cannot be read.
    pub(super) fn unreadable(file: String, source: std::io::Error) -> Self {
        let message = format!("cannot be read: {source}; name a file with --config");
        Self { file, place: None, key: String::new(), message, source: Some(source) }
    }

    /// Something at a place, about a key (the empty one is the whole file).
    pub(super) fn at(file: &str, place: Option<Place>, key: &str, message: String) -> Self {
        Self { file: file.to_owned(), place, key: key.to_owned(), message, source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        let Some(Place { line, column, excerpt: Some(excerpt) }) = &self.place else {
            return Ok(());
        };
        let line = line.to_string();
        let indent = usize::try_from(column.saturating_sub(1)).unwrap_or(0);
        write!(f, "\n {line} | {excerpt}\n {:1$} | ", "", line.len())?;
        write!(f, "{:1$}^", "", indent)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

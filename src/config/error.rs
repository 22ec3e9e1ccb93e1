//! What is wrong with a configuration, and where.

use std::fmt;

/// One thing that is wrong with a configuration: where it stands, which key, and the remedy.
#[derive(Debug)]
pub struct Error {
    place: Place,
    key: String,
    message: String,
    source: Option<std::io::Error>,
}

/// Where something stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A file as a whole.
    File(String),
    /// A line of a file.
    Line {
        file: String,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// The line itself, where it may be shown.
        excerpt: Option<String>,
    },
    /// An environment variable.
    Variable(String),
}

impl Error {
    /// The file cannot be read.
    pub(super) fn unreadable(file: String, source: std::io::Error) -> Self {
        let message = format!("cannot be read: {source}; set --config to a configuration file");
        Self { place: Place::File(file), key: String::new(), message, source: Some(source) }
    }

    /// Something at a place, about a key (the empty one is all that is there).
    pub(super) fn at(place: Place, key: &str, message: String) -> Self {
        Self { place, key: key.to_owned(), message, source: None }
    }

    /// Variables first, then by line.
    fn order(&self) -> (u64, u64) {
        match &self.place {
            Place::File(_) | Place::Variable(_) => (0, 0),
            Place::Line { line, column, .. } => (*line, *column),
        }
    }
}

impl Error {
    /// Place, key and message, without the line of the file.
    #[must_use]
    pub fn headline(&self) -> String {
        let place = match &self.place {
            Place::File(file) => file.clone(),
            Place::Line { file, line, column, .. } => format!("{file}:{line}:{column}"),
            Place::Variable(name) => format!("the environment variable {name}"),
        };
        let key = if self.key.is_empty() { String::new() } else { format!(": {}", self.key) };
        format!("{place}{key}: {}", self.message)
    }

    /// The line of the file, where it may be shown, above a mark at the column.
    #[must_use]
    pub fn excerpt(&self) -> Option<String> {
        let Place::Line { line, column, excerpt: Some(excerpt), .. } = &self.place else {
            return None;
        };
        let number = line.to_string();
        let indent = usize::try_from(column.saturating_sub(1)).unwrap_or(0);
        let (margin, mark) = (" ".repeat(number.len()), " ".repeat(indent));
        Some(format!(" {number} | {excerpt}\n {margin} | {mark}^"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        self.excerpt().map_or(Ok(()), |excerpt| write!(f, "\n{excerpt}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// What is wrong with a configuration, in the order of the file; at least one thing.
#[derive(Debug)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// In order.
    pub(super) fn new(mut errors: Vec<Error>) -> Self {
        errors.sort_by_key(Error::order);
        Self(errors)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.first().and_then(std::error::Error::source)
    }
}

//! The way from the top of a document to a value.

use std::fmt;

#[cfg(test)]
use super::overrides::NAMED;
use super::overrides::PREFIX;

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    /// An element of a list.
    Index(usize),
}

/// The steps from the top of the document to a value, as errors write them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// The path of keys.
    pub(super) fn of<const N: usize>(keys: [&str; N]) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect())
    }

    /// One step further.
    pub(super) fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// The path of a key below.
    pub(super) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// One step back.
    pub(super) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// The last key; empty for an element of a list.
    pub(super) fn last(&self) -> &str {
        match self.0.last() {
            Some(Step::Key(key)) => key,
            Some(Step::Index(_)) | None => "",
        }
    }

    /// The path with `*` and `[]` for what the user chose.
    #[cfg(test)]
    pub(super) fn pattern(&self) -> String {
        let mut pattern = String::new();
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(_) if index > 0 && self.0[index - 1] == Step::Key(NAMED.to_owned()) => {
                    pattern.push_str(".*");
                }
                Step::Key(key) if index == 0 => pattern.push_str(key),
                Step::Key(key) => pattern.extend([".", key]),
                Step::Index(_) => pattern.push_str("[]"),
            }
        }
        pattern
    }

    /// The environment variable that overrides it.
    pub(super) fn variable(&self) -> String {
        let steps = self.0.iter().map(|step| match step {
            Step::Key(name) => name.to_ascii_uppercase(),
            Step::Index(index) => index.to_string(),
        });
        format!("{PREFIX}{}", steps.collect::<Vec<_>>().join("__"))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(name) if index == 0 => f.write_str(name)?,
                Step::Key(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

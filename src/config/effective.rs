//! The configuration as it counts, defaults and overrides included, written as YAML again.

use std::fmt::{self, Write as _};

use super::tree::{self, Value};

/// What stands for a secret.
pub(super) const MASK: &str = "***";

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A key that the program knows.
    Key(String),
    /// A name that the user chose.
    Chosen(String),
    /// An element of a list.
    Index(usize),
}

/// The steps from the top of the document to a value, as errors write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// One step further.
    pub(super) fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// The path with `*` and `[]` for what the user chose.
    #[cfg(test)]
    pub(super) fn pattern(&self) -> String {
        let steps = self.0.iter().map(|step| match step {
            Step::Key(key) => Step::Key(key.clone()),
            Step::Chosen(_) => Step::Chosen("*".to_owned()),
            Step::Index(_) => Step::Key("[]".to_owned()),
        });
        Self(steps.collect()).to_string().replace(".[]", "[]")
    }

    /// The environment variable that overrides it.
    pub(super) fn variable(&self) -> String {
        let steps = self.0.iter().map(|step| match step {
            Step::Key(name) | Step::Chosen(name) => name.to_ascii_uppercase(),
            Step::Index(index) => index.to_string(),
        });
        format!("{}{}", super::overrides::PREFIX, steps.collect::<Vec<_>>().join("__"))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(name) | Step::Chosen(name) if index == 0 => f.write_str(name)?,
                Step::Key(name) | Step::Chosen(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A part of what counts.
#[derive(Clone, Debug)]
pub(super) enum Effective {
    /// A scalar in YAML, and the variable that set it.
    Scalar(String, Option<String>),
    /// A mapping, in the order of reading.
    Map(Vec<(String, Effective)>),
    /// A list.
    List(Vec<Effective>),
}

impl Default for Effective {
    fn default() -> Self {
        Self::Map(Vec::new())
    }
}

impl Effective {
    /// Puts a part where the path leads, in place of a scalar that is there.
    pub(super) fn put(&mut self, path: &[Step], part: Effective) {
        let Some((step, rest)) = path.split_first() else {
            let both_maps = matches!((&*self, &part), (Self::Map(_), Self::Map(_)));
            let both_lists = matches!((&*self, &part), (Self::List(_), Self::List(_)));
            if !both_maps && !both_lists {
                *self = part;
            }
            return;
        };
        let nothing = Self::Scalar("null".to_owned(), None);
        let below = match step {
            Step::Key(name) | Step::Chosen(name) => {
                if !matches!(self, Self::Map(_)) {
                    *self = Self::default();
                }
                let Self::Map(entries) = self else { return };
                let at = entries.iter().position(|(key, _)| key == name).unwrap_or_else(|| {
                    entries.push((name.clone(), nothing));
                    entries.len() - 1
                });
                &mut entries[at].1
            }
            Step::Index(index) => {
                if !matches!(self, Self::List(_)) {
                    *self = Self::List(Vec::new());
                }
                let Self::List(elements) = self else { return };
                if *index >= elements.len() {
                    elements.resize(index + 1, nothing);
                }
                &mut elements[*index]
            }
        };
        below.put(rest, part);
    }

    /// The end of the name of the variable that sets each scalar, from the first `__` on.
    pub(super) fn variables(&self) -> Vec<String> {
        let below = |step: &dyn fmt::Display, part: &Self| {
            let mut names = part.variables();
            let step = step.to_string().to_ascii_uppercase();
            names.iter_mut().for_each(|name| *name = format!("__{step}{name}"));
            names
        };
        match self {
            Self::Scalar(..) => vec![String::new()],
            Self::Map(entries) => entries.iter().flat_map(|(key, part)| below(key, part)).collect(),
            Self::List(elements) => {
                elements.iter().enumerate().flat_map(|(at, part)| below(&at, part)).collect()
            }
        }
    }

    /// The YAML document.
    pub(super) fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    /// The lines of a mapping or list, or what follows the key on its line.
    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Self::Scalar(text, None) => out.push_str(&format!("{text}\n")),
            Self::Scalar(text, Some(variable)) => {
                out.push_str(&format!("{text}  # {variable}\n"));
            }
            Self::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    // The first key of a list's element follows the dash.
                    if index > 0 || !out.ends_with("- ") {
                        _ = write!(out, "{:indent$}", "");
                    }
                    _ = write!(out, "{}:", scalar(&Value::Text(key.clone())));
                    value.write_behind(out, indent + 2);
                }
            }
            Self::List(elements) => {
                for element in elements {
                    _ = write!(out, "{:indent$}- ", "");
                    element.write(out, indent + 2);
                }
            }
        }
    }

    /// The same behind a key.
    fn write_behind(&self, out: &mut String, indent: usize) {
        match self {
            Self::Scalar(..) => out.push(' '),
            Self::Map(entries) if entries.is_empty() => return out.push_str(" {}\n"),
            Self::List(elements) if elements.is_empty() => return out.push_str(" []\n"),
            Self::Map(_) | Self::List(_) => out.push('\n'),
        }
        self.write(out, indent);
    }
}

/// A scalar in YAML that reads as the same value; `${` in text is written so that it stays.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::Flag(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => {
            let text = text.replace("${", "$${");
            let plain = |each: char| each.is_ascii_alphanumeric() || "/._-:@+".contains(each);
            let is_plain = text
                .starts_with(|each: char| each.is_ascii_alphanumeric() || each == '/')
                && text.chars().all(plain)
                && matches!(tree::parse(&text).map(|node| node.value), Ok(Value::Text(same)) if same == text);
            if is_plain { text } else { quoted(&text) }
        }
        Value::Null | Value::List(_) | Value::Map(_) => "null".to_owned(),
    }
}

/// Text in double quotes. JSON leaves some control characters as they are, which YAML does not take.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::new();
    for each in serde_json::Value::from(text).to_string().chars() {
        if each.is_control() {
            _ = write!(out, "\\u{:04x}", u32::from(each));
        } else {
            out.push(each);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_read_as_they_were() {
        for text in [
            "",
            "a",
            "/a/b",
            "true",
            "null",
            "12",
            "0x1f",
            "1.5",
            "a: b",
            "a #b",
            "- a",
            "'",
            "\"\\\n\u{7f}\t",
            "a:",
            "[::]:1",
            "10.0.0.0/8",
            "${A}",
            "$${A}",
            "é",
            "0755",
            "30s",
            "~",
            "a:1",
            "1:2",
            "2001-01-01",
        ] {
            let written = scalar(&Value::from(text));
            let Value::Text(read) = tree::parse(&written).unwrap().value else {
                panic!("{written}")
            };
            let read = super::super::environment::expand(&read, &|_| None).unwrap();
            assert_eq!(read, text, "{written}");
        }
    }
}

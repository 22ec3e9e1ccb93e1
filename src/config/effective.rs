//! The configuration as it counts, defaults and overrides included, written as YAML again.

use std::fmt::Write as _;

use serde_saphyr::{Location, SerializerOptions};

use super::Config;
use super::document::Document;
use super::path::{Path, Step};
use super::tree::{self, Node, Origin, Value};

/// The configuration as YAML, with every key. Secrets are masked, or named by the file that holds them; a
/// value that a variable sets has its name in a comment.
pub(super) fn effective(document: &Document<'_>, config: &Config) -> String {
    let yaml = yaml(config);
    let mut lines: Vec<_> = yaml.lines().map(str::to_owned).collect();
    for (path, location) in scalars(&yaml) {
        let line =
            usize::try_from(location.line()).ok().and_then(|it| lines.get_mut(it.checked_sub(1)?));
        let Some(line) = line else { continue };
        let mut key = path.clone();
        if let Some((written, text)) = document.secret_places.borrow().get(&path) {
            let indent = line.len() - line.trim_start().len();
            *line = format!("{:indent$}{written}: {}", "", scalar(text));
            key = path.parent().key(written);
        }
        if document.has(&key)
            && let Some(Origin::Variable { name, .. }) =
                document.find(&key).map(|node| &node.origin)
        {
            _ = write!(line, "  # {name}");
        }
    }
    lines.join("\n") + "\n"
}

/// A value in YAML, secrets masked; `${` in text is written so that it stays.
pub(crate) fn yaml(value: &impl serde::Serialize) -> String {
    // What is written is text, lists and mappings by keys that are text.
    let written = serde_saphyr::to_string_with_options(value, options()).unwrap_or_default();
    written.replace("${", "$${")
}

fn options() -> SerializerOptions {
    serde_saphyr::ser_options! {
        compact_list_indent: false,
        prefer_block_scalars: false,
    }
}

/// Text as a scalar that reads as the same text.
pub(super) fn scalar(text: &str) -> String {
    yaml(&text).trim_end().to_owned()
}

/// The paths of all values in YAML that have nothing below them, and where they are.
pub(super) fn scalars(yaml: &str) -> Vec<(Path, Location)> {
    let mut found = Vec::new();
    if let Ok(root) = tree::parse(yaml) {
        below(&root, &Path::default(), &mut found);
    }
    found
}

fn below(node: &Node, path: &Path, found: &mut Vec<(Path, Location)>) {
    match (&node.value, &node.origin) {
        (Value::Map(entries), _) if !entries.is_empty() => {
            entries.iter().for_each(|entry| below(&entry.node, &path.key(&entry.key), found));
        }
        (Value::List(nodes), _) if !nodes.is_empty() => {
            let nodes = nodes.iter().enumerate();
            nodes.for_each(|(index, node)| below(node, &path.then(Step::Index(index)), found));
        }
        (_, Origin::File(location)) => found.push((path.clone(), *location)),
        (_, Origin::Variable { .. }) => {}
    }
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
            let written = scalar(text);
            let Value::Text(read) = tree::parse(&written).unwrap().value else {
                panic!("{written}")
            };
            let read = super::super::environment::expand(&read, &|_| None).unwrap();
            assert_eq!(read, text, "{written}");
        }
    }
}

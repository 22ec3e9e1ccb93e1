//! Every kind of error, word for word: place, key, value and remedy.
//!
//! `messages.txt` has a heading, the wrong part of a configuration, variables of the environment behind `$ `,
//! and the errors behind `! `. Sections that a case leaves out are those of a right configuration.

use std::ffi::OsString;

use super::super::document::Document;
use super::super::{Config, overrides};

const CASES: &str = include_str!("messages.txt");
const SECTIONS: [(&str, &str); 3] = [
    ("metadata:", "metadata: { stores: { m: { type: memory } } }"),
    ("content:", "content: { stores: { c: { type: memory } } }"),
    (
        "shares:",
        "shares: [ { name: /e, metadata_store: m, content_store: c, clients: [ { network: '::/0' } ] } ]",
    ),
];

/// A case without its errors, and with those that there are.
fn told(case: &str) -> String {
    let (mut text, mut variables) = (String::new(), Vec::<(OsString, OsString)>::new());
    let kept: Vec<_> = case.lines().filter(|line| !line.starts_with("! ")).collect();
    for line in kept.iter().skip(1) {
        match line.strip_prefix("$ ").and_then(|line| line.split_once('=')) {
            Some((name, value)) => variables.push((name.into(), value.into())),
            None => text.extend([line, "\n"]),
        }
    }
    for (key, section) in SECTIONS {
        if text != "just text\n" && !text.lines().any(|line| line.starts_with(key)) {
            text.extend([section, "\n"]);
        }
    }
    let overrides = overrides::among(variables.into_iter());
    let read = Document::new("t.yaml", &text, &|_| None, &overrides)
        .map_err(Into::into)
        .and_then(|document| Config::read(&document));
    let errors = match read {
        Ok(_) => vec!["! no error".to_owned()],
        Err(errors) => errors.iter().map(|error| format!("! {}", error.headline())).collect(),
    };
    kept.join("\n").trim_end().to_owned() + "\n" + &errors.join("\n")
}

#[test]
fn errors_name_place_key_value_and_remedy() {
    let all: Vec<_> = CASES.trim_end().split("\n\n").map(told).collect();
    let all = all.join("\n\n") + "\n";
    if let Some(file) = std::env::var_os("MESSAGES") {
        std::fs::write(file, &all).unwrap();
    }
    let (got, wanted): (Vec<_>, Vec<_>) =
        (all.split("\n\n").collect(), CASES.split("\n\n").collect());
    for (got, wanted) in got.iter().zip(&wanted) {
        assert_eq!(got.trim_end(), wanted.trim_end());
    }
    assert_eq!(got.len(), wanted.len());
}

//! The paths that a file's tokens name.

use std::collections::BTreeSet;

use super::tokens::{is_word, tokens};

/// A file of the repository: its path from the root, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A file's place in the crate; lib.rs is the root.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let below = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<_> = below.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

/// The tokens of every file, without its test modules, and without files that are one.
pub(crate) fn production(sources: &[Source]) -> Vec<(&Source, Vec<String>)> {
    let mut tests = BTreeSet::new();
    let mut all = Vec::new();
    for source in sources {
        let (tokens, test_modules) = without_tests(&tokens(&source.text));
        let module = module_of(&source.path);
        tests.extend(test_modules.into_iter().map(|name| [&module[..], &[name]].concat()));
        all.push((source, tokens));
    }
    all.retain(|(source, _)| {
        let module = module_of(&source.path);
        !tests.iter().any(|test| module.starts_with(test))
    });
    all
}

/// Takes out `#[cfg(test)] mod name { … }`, and answers the names of those in files of their own.
fn without_tests(tokens: &[String]) -> (Vec<String>, Vec<String>) {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut names) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let mut next = at + CFG_TEST.len();
        let is_test = tokens.get(at..next).is_some_and(|found| found == CFG_TEST);
        while is_test && tokens.get(next).is_some_and(|token| token == "#") {
            next = after_group(tokens, next + 1);
        }
        let module = tokens.get(next..next + 3).filter(|found| is_test && found[0] == "mod");
        match module {
            Some([_, name, end]) if end == ";" => {
                names.push(name.clone());
                at = next + 3;
            }
            Some([_, _, open]) if open == "{" => at = after_group(tokens, next + 2),
            Some(_) | None => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    (kept, names)
}

/// Where the group that opens at `at` is over.
fn after_group(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" | "[" | "(" => depth += 1,
            "}" | "]" | ")" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The paths within the crate that tokens of `module` name, from the root.
pub(crate) fn paths(module: &[String], tokens: &[String]) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    // Modules that stand in this file, and at which depth they opened.
    let (mut inner, mut depth) = (Vec::<(String, usize)>::new(), 0_usize);
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        at += 1;
        match tokens[start].as_str() {
            "mod" if tokens.get(start + 2).is_some_and(|token| token == "{") => {
                inner.push((tokens[start + 1].clone(), depth));
            }
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inner.pop_if(|(_, opened)| *opened == depth);
            }
            word @ ("crate" | "super" | "self" | "trunkfs")
                if tokens.get(at).is_some_and(|token| token == "::") =>
            {
                let here = module.iter().chain(inner.iter().map(|(name, _)| name)).cloned();
                let mut base: Vec<String> = match word {
                    "crate" | "trunkfs" => Vec::new(),
                    "super" => here.rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect(),
                    _ => here.collect(),
                };
                at += 1;
                while tokens.get(at).is_some_and(|token| token == "super") {
                    base.pop();
                    at += if tokens.get(at + 1).is_some_and(|token| token == "::") { 2 } else { 1 };
                }
                let trees = use_tree(tokens, &mut at);
                found.extend(trees.map(|rest| [&base[..], &rest].concat()));
            }
            _ => {}
        }
    }
    found
}

/// The paths of the use tree at `at`, which is left behind it: `a::{b, c::d}` is `a::b` and
/// `a::c::d`, `a::*` and `a::{self}` are `a`.
pub(crate) fn use_tree(tokens: &[String], at: &mut usize) -> std::vec::IntoIter<Vec<String>> {
    let mut prefix = Vec::new();
    let mut found = Vec::new();
    while let Some(token) = tokens.get(*at) {
        match token.as_str() {
            "{" => {
                *at += 1;
                while tokens.get(*at).is_some_and(|token| token != "}") {
                    let before = *at;
                    let inside = use_tree(tokens, at);
                    found.extend(inside.map(|rest| [&prefix[..], &rest].concat()));
                    while tokens.get(*at).is_some_and(|token| token != "," && token != "}") {
                        *at += 1; // `as name`
                    }
                    if tokens.get(*at).is_some_and(|token| token == ",") || *at == before {
                        *at += 1;
                    }
                }
                *at += 1;
                return found.into_iter();
            }
            "self" | "*" => *at += 1,
            word if is_word(word) => {
                prefix.push(word.to_owned());
                *at += 1;
            }
            _ => break,
        }
        if tokens.get(*at).is_none_or(|token| token != "::") {
            break;
        }
        *at += 1;
    }
    found.push(prefix);
    found.into_iter()
}

pub(crate) fn path(text: &str) -> Vec<String> {
    text.split("::").map(str::to_owned).collect()
}

#[test]
fn paths_are_found_in_every_form() {
    let found = |text| {
        let found = paths(&path("vfs::file"), &tokens(text));
        found.iter().map(|path| path.join("::")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        found("use crate::types::{A, b::{self, C}, d::*};"),
        "types::A types::b types::b::C types::d"
    );
    assert_eq!(found("use crate::{rpc, xdr::D as E, types};"), "rpc types xdr::D");
    assert_eq!(
        found("let x: crate::nfs3::T<crate::rpc::U> = $crate::xdr::f();"),
        "nfs3::T rpc::U xdr::f"
    );
    assert_eq!(found("use super::state; use super::super::nfs3::X;"), "nfs3::X vfs::state");
    assert_eq!(found("mod inner { use super::a; } use super::b;"), "vfs::b vfs::file::a");
    assert_eq!(found("use self::write::W;"), "vfs::file::write::W");
    assert_eq!(found("pub(crate) fn f(self) { crate_like::g(); super_(); }"), "");
    assert_eq!(
        found("// crate::a\n/* crate::b /* */ crate::c */ let _ = (\"crate::d\", 'e');"),
        ""
    );
    assert_eq!(
        found(
            "let _ = (r#\"\"crate::a\"#, '\"', b'\\'', \"\\\"crate::b\"); crate::c!(); fn f<'a>() {}"
        ),
        "c"
    );
    assert_eq!(found("/// [`crate::a`]\nfn f<'a>(x: &'a str) -> crate::d::E<'a> {}"), "d::E");
}

//! docs/troubleshooting.md explains messages of the program: those that it quotes exist, and it has every
//! warning and error of the log.

use super::paths::Source;

/// Shorter parts of a message are too common to be looked for.
const LEAST: usize = 8;
/// What clients say is not in the source.
const CLIENTS: &str = "On the client";

/// Text with each run of white space as one blank, and without what continues a literal on the next line.
fn flat(text: &str) -> String {
    let text = text.replace("\\\n", " ").replace("\\\"", "\"");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parts of a message between what stands for names and numbers.
fn parts(message: &str) -> Vec<String> {
    let mut inside = false;
    let plain = message.chars().map(|each| {
        let shown = !inside && each != '{';
        inside = each != '}' && (inside || each == '{');
        if shown { each } else { '…' }
    });
    let plain: String = plain.collect();
    let parts = plain.split('…').map(|part| flat(part.trim_matches([':', ';', ',', ' '])));
    parts.filter(|part| part.len() >= LEAST).collect()
}

/// The messages that the page quotes: what is in backticks in the first column of its tables.
fn quoted(page: &str) -> Vec<&str> {
    let mut section = "";
    let mut quoted = Vec::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading;
        } else if let Some(row) = line.strip_prefix("| ").filter(|_| section != CLIENTS) {
            let cell = row.split(" | ").next().unwrap_or_default();
            quoted.extend(cell.split('`').skip(1).step_by(2));
        }
    }
    quoted
}

/// The messages of a source's `tracing::warn!` and `tracing::error!`, and of the `limited!` of the same
/// levels, whose message comes first.
fn logged(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    for start in ["tracing::warn!(", "tracing::error!("] {
        for (at, _) in text.match_indices(start) {
            let literals = literals(&text[at + start.len()..]);
            messages.extend(literals.into_iter().rfind(|literal| literal.contains(' ')));
        }
    }
    for start in ["limited!(warn,", "limited!(error,"] {
        for (at, _) in text.match_indices(start) {
            let literals = literals(&text[at + start.len()..]);
            messages.extend(literals.into_iter().find(|literal| literal.contains(' ')));
        }
    }
    messages
}

/// The texts in quotes up to the parenthesis that closes.
fn literals(rest: &str) -> Vec<String> {
    let (mut depth, mut literals) = (1, Vec::new());
    let mut literal: Option<String> = None;
    let mut each = rest.chars();
    while let Some(next) = each.next() {
        match (&mut literal, next) {
            (Some(text), '\\') => {
                text.push('\\');
                text.extend(each.next());
            }
            (Some(_), '"') => literals.extend(literal.take()),
            (Some(text), other) => text.push(other),
            (None, '"') => literal = Some(String::new()),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
        if depth == 0 {
            break;
        }
    }
    literals
}

/// Where clients cause lines.
const FOR_CLIENTS: [&str; 11] = [
    "src/rpc/",
    "src/xdr/",
    "src/mount/",
    "src/nfs3/",
    "src/vfs/",
    "src/content/",
    "src/metadata/",
    "src/net/",
    "src/admin/",
    "src/stores/",
    "src/daemon.rs",
];

/// Files and folders of these whose lines no client causes: they are written at a start or an end, or once
/// for a change of a store's state.
const ONCE: [&str; 20] = [
    "src/net/mod.rs",
    "src/net/supervised.rs",
    "src/daemon.rs",
    "src/stores/",
    "src/content/object/open.rs",
    "src/content/object/disk_cache.rs",
    "src/content/filesystem/folder.rs",
    "src/content/filesystem/permissions.rs",
    "src/metadata/postgres/change_log.rs",
    "src/metadata/postgres/lease/",
    "src/metadata/postgres/list_bounds.rs",
    "src/metadata/postgres/pool.rs",
    "src/metadata/postgres/maintenance.rs",
    "src/metadata/postgres/migrations/",
    "src/metadata/sqlite/connect.rs",
    "src/metadata/sqlite/health.rs",
    "src/metadata/sqlite/wal.rs",
    "src/metadata/sqlite/migrations.rs",
    "src/metadata/sqlite/mod.rs",
    "src/metadata/sqlite/disk_reserve.rs",
];

/// Lines that clients can cause and that go around the limit.
pub(crate) fn unlimited(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for Source { path, text } in sources {
        let starts = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
        if !starts(&FOR_CLIENTS) || starts(&ONCE) {
            continue;
        }
        for level in ["info", "warn", "error"] {
            if text.contains(&format!("tracing::{level}!(")) {
                found.push(format!("{path}: write limited!({level}, …) of log_limit"));
            }
        }
    }
    found
}

/// Messages that the page quotes and no source has.
pub(crate) fn invented(page: &str, sources: &[Source]) -> Vec<String> {
    let sources: Vec<_> = sources.iter().map(|source| flat(&source.text)).collect();
    let there = |part: &String| sources.iter().any(|source| source.contains(part.as_str()));
    let quoted = quoted(page).into_iter();
    let invented = quoted.filter(|message| !parts(message).iter().all(there));
    invented.map(|message| format!("docs/troubleshooting.md: no source says {message:?}")).collect()
}

/// Warnings and errors of the log that the page does not explain.
pub(crate) fn unexplained(page: &str, sources: &[Source]) -> Vec<String> {
    let page = flat(page);
    let mut unexplained = Vec::new();
    for source in sources {
        for message in logged(&source.text) {
            if !parts(&message).iter().all(|part| page.contains(part.as_str())) {
                unexplained.push(format!(
                    "{}: explain {:?} in docs/troubleshooting.md",
                    source.path,
                    flat(&message)
                ));
            }
        }
    }
    unexplained
}

#[test]
fn messages_are_compared_without_their_names_and_numbers() {
    let text = r#"
        tracing::warn!(xid = f(1), "the disk {} is \
                        full", disk);
        tracing::info!("nobody wants to know");
        limited!(error, about, "a \"great\" failure", %error, handle = "one of two");"#;
    let sources = [Source { path: "src/x.rs".to_owned(), text: text.to_owned() }];
    let page = |second: &str| {
        format!(
            "## On the client\n| `never said` | a | b |\n## Log\n| `the disk … is full` | `a great` |\n{second}"
        )
    };
    let right = page("| `a \"great\" failure`, `the disk` | c |");
    assert_eq!(parts("the disk {} is full"), ["the disk"]);
    assert_eq!(quoted(&right), ["the disk … is full", "a \"great\" failure", "the disk"]);
    assert_eq!(invented(&right, &sources), [""; 0]);
    assert_eq!(unexplained(&right, &sources), [""; 0]);
    assert_eq!(invented(&page("| `was never there` | c |"), &sources).len(), 1);
    assert_eq!(unexplained(&page(""), &sources).len(), 1);
}

#[test]
fn lines_around_the_limit_are_found() {
    let found = |path: &str, text: &str| {
        unlimited(&[Source { path: path.to_owned(), text: text.to_owned() }]).len()
    };
    assert_eq!(found("src/mount/mod.rs", "tracing::info!(xid); tracing::error!(xid)"), 2);
    assert_eq!(
        found("src/mount/mod.rs", "limited!(info, client, \"mounted\"); tracing::debug!(xid)"),
        0
    );
    assert_eq!(found("src/daemon.rs", "tracing::warn!(xid)"), 0);
}

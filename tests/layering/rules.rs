//! The rules, and that they can be broken.

use std::collections::BTreeSet;

use super::paths::{Source, module_of, paths, production, use_tree};

/// From a module of the crate to those that it may name besides itself; `main` is
/// main.rs, which names the library by its name.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    // Which of the lines that clients cause are written.
    ("log_limit", &["types"]),
    // What every room may count with.
    ("counters", &["types"]),
    ("ownership", &[]),
    ("availability", &["log_limit", "types"]),
    // The settings that it fills.
    (
        "config",
        &["metadata", "content", "vfs", "net", "nlm", "portmap", "http", "maintenance", "types"],
    ),
    ("telemetry", &["config", "log_limit", "types"]),
    ("xdr", &["types"]),
    ("rpc", &["counters", "xdr", "log_limit", "types"]),
    // The client's side of the wire.
    ("bench", &["xdr", "types"]),
    ("portmap", &["counters", "rpc", "xdr", "types"]),
    ("metadata", &["counters", "availability", "ownership", "types"]),
    ("content", &["counters", "availability", "log_limit", "ownership", "types"]),
    ("vfs", &["counters", "metadata", "content", "log_limit", "types"]),
    ("mount", &["vfs", "rpc", "xdr", "log_limit", "types"]),
    // metadata: the locks, which it decodes, encodes and wakes.
    ("nlm", &["vfs", "metadata", "rpc", "xdr", "availability", "counters", "log_limit", "types"]),
    // nlm: whose locks it frees.
    ("nsm", &["nlm", "metadata", "rpc", "xdr", "log_limit", "types"]),
    // metadata: what the operations that it decodes and encodes take and answer.
    ("nfs3", &["vfs", "metadata", "rpc", "xdr", "availability", "log_limit", "types"]),
    ("net", &["counters", "rpc", "xdr", "log_limit", "types"]),
    // Its jobs are processes of their own.
    ("maintenance", &["counters", "metadata", "types"]),
    // What it shows is given to it.
    ("http", &["counters", "log_limit", "types"]),
    // vfs: the settings of an export.
    ("stores", &["counters", "config", "vfs", "metadata", "content", "types"]),
    (
        "daemon",
        &[
            "config",
            "counters",
            "net",
            "http",
            "maintenance",
            "stores",
            "portmap",
            "nlm",
            "nsm",
            "mount",
            "nfs3",
            "vfs",
            "metadata",
            "content",
            "rpc",
            "log_limit",
            "types",
        ],
    ),
    ("admin", &["stores", "config", "ownership", "metadata", "content", "types"]),
    (
        "cli",
        &[
            "admin",
            "bench",
            "daemon",
            "net",
            "http",
            "maintenance",
            "rpc",
            "stores",
            "config",
            "telemetry",
            "ownership",
            "vfs",
            "metadata",
            "content",
            "log_limit",
            "types",
        ],
    ),
    ("main", &["cli"]),
];

/// One file's arrows beyond its module's.
const FILE_ARROWS: &[(&str, &str)] = &[
    // Its one match makes every layer's errors a status.
    ("src/nfs3/status.rs", "content"),
];

/// Words that one folder or file alone may use.
const WORDS: &[(&str, &str)] = &[
    ("nfsserve", "src/nfs3/"),
    ("nfsstat3", "src/nfs3/"),
    ("SqlState", "src/metadata/postgres/error.rs"),
];

/// Folders or files of stores. What their parent re-exports from them is found there.
const STORES: &[(&str, &str)] = &[
    ("metadata", "memory"),
    ("metadata", "sqlite"),
    ("metadata", "postgres"),
    ("content", "memory"),
    ("content", "filesystem"),
    ("content", "object"),
];
/// The folder that makes stores.
const NAMES_STORES: &str = "src/stores/";

/// How the names of stores' settings, and of types in them, end. `src/config/` may name these.
const SETTINGS: &[&str] = &["Settings", "Parameters", "Service", "S3", "Gcs", "Azure"];

const MAX_LINES: usize = 600;

pub(crate) fn wrong_arrows(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (source, from, to) in file_arrows(sources) {
        let Some((_, allowed)) = ARROWS.iter().find(|(module, _)| *module == from) else {
            wrong.push(format!("{}: list the module {from:?} in ARROWS", source.path));
            continue;
        };
        let own = FILE_ARROWS.contains(&(source.path.as_str(), &to));
        if !allowed.contains(&to.as_str()) && !own {
            wrong.push(format!("{}: {from} may not name {to:?}", source.path));
        }
    }
    wrong
}

pub(crate) fn all_arrows(sources: &[Source]) -> BTreeSet<(String, String)> {
    file_arrows(sources).into_iter().map(|(_, from, to)| (from, to)).collect()
}

/// Every file's arrows that leave its module. lib.rs, which declares them all, has none.
fn file_arrows(sources: &[Source]) -> Vec<(&Source, String, String)> {
    let mut arrows = Vec::new();
    for (source, tokens) in production(sources) {
        let module = module_of(&source.path);
        let Some(from) = module.first().cloned() else { continue };
        let named = paths(&module, &tokens).into_iter().map(|path| first(&path));
        let others: BTreeSet<_> = named.filter(|to| *to != from).collect();
        arrows.extend(others.into_iter().map(|to| (source, from.clone(), to)));
    }
    arrows
}

fn first(path: &[String]) -> String {
    path.first().cloned().unwrap_or_default()
}

pub(crate) fn store_names(sources: &[Source]) -> Vec<String> {
    let exported = exported_stores(sources);
    let mut wrong = Vec::new();
    for (source, tokens) in production(sources) {
        let module = module_of(&source.path);
        for path in paths(&module, &tokens) {
            let inside = |store: &[String]| path.starts_with(store) && !module.starts_with(store);
            let through = STORES
                .iter()
                .any(|(parent, store)| inside(&[(*parent).to_owned(), (*store).to_owned()]));
            let by_name = exported
                .iter()
                .any(|name| path.starts_with(name) && module.first() != name.first());
            let allowed = source.path.starts_with(NAMES_STORES);
            // A store's settings have the defaults of its keys.
            let settings = source.path.starts_with("src/config/")
                && path.last().is_some_and(|name| SETTINGS.iter().any(|it| name.ends_with(it)));
            if (through || by_name) && !allowed && !settings {
                wrong.push(format!("{}: names the store {}", source.path, path.join("::")));
            }
        }
    }
    wrong
}

/// What `metadata/mod.rs` and `content/mod.rs` re-export from stores.
pub(crate) fn exported_stores(sources: &[Source]) -> BTreeSet<Vec<String>> {
    let mut exported = BTreeSet::new();
    for (source, tokens) in production(sources) {
        for (parent, store) in STORES {
            if source.path == format!("src/{parent}/mod.rs") {
                let used = tokens.windows(2).enumerate().filter(|(_, two)| two[0] == "use");
                let trees = used.flat_map(|(at, _)| use_tree(&tokens, &mut (at + 1)));
                exported.extend(
                    trees
                        .filter(|path| path.first().is_some_and(|first| first == store))
                        .filter_map(|path| path.last().cloned())
                        .map(|name| vec![(*parent).to_owned(), name]),
                );
            }
        }
    }
    exported
}

pub(crate) fn misplaced_words(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (source, tokens) in production(sources) {
        for (word, place) in WORDS {
            if !source.path.starts_with(place) && tokens.iter().any(|token| token == word) {
                wrong.push(format!("{}: {word} is used in {place} alone", source.path));
            }
        }
    }
    wrong
}

pub(crate) fn long_files(sources: &[Source]) -> Vec<String> {
    let counted = sources.iter().map(|source| (&source.path, source.text.lines().count()));
    let long = counted.filter(|(_, lines)| *lines > MAX_LINES);
    long.map(|(path, lines)| format!("{path}: {lines} lines, {MAX_LINES} at most")).collect()
}

fn tree(files: &[(&str, &str)]) -> Vec<Source> {
    let source =
        |(path, text): &(&str, &str)| Source { path: (*path).to_owned(), text: (*text).to_owned() };
    files.iter().map(source).collect()
}

#[test]
fn test_modules_name_what_they_like() {
    let text = "use crate::types::A; #[cfg(test)] #[path = \"x\"] mod tests { mod m { use crate::server::B; } } use crate::rpc::C; #[cfg(test)] mod more;";
    let sources = tree(&[("src/rpc/mod.rs", text), ("src/rpc/more.rs", "use crate::cli::X;")]);
    let to: Vec<_> = file_arrows(&sources).into_iter().map(|(_, _, to)| to).collect();
    assert_eq!(to, ["types"]);
    let sources = tree(&[("src/rpc/more.rs", "use crate::cli::X;")]);
    assert_eq!(wrong_arrows(&sources), ["src/rpc/more.rs: rpc may not name \"cli\""]);
}

#[test]
fn arrows_upward_are_found() {
    let wrong = |path, text| !wrong_arrows(&tree(&[(path, text)])).is_empty();
    assert!(wrong("src/types/ids.rs", "use crate::xdr::Encoder;"));
    assert!(wrong("src/metadata/mod.rs", "fn f(_: &crate::vfs::Vfs) {}"));
    assert!(wrong("src/content/memory.rs", "use super::super::metadata::Error;"));
    assert!(wrong("src/nfs3/read.rs", "use crate::content::Error;"));
    assert!(!wrong("src/nfs3/status.rs", "use crate::content::Error;"));
    assert!(wrong("src/telemetry.rs", "use super::*;"));
    assert!(wrong("src/novel/mod.rs", "use crate::types::Name;"));
    assert!(wrong("src/main.rs", "fn main() { trunkfs::vfs::start() }"));
    assert!(!wrong("src/main.rs", "fn main() { trunkfs::cli::run() }"));
    assert!(!wrong("src/lib.rs", "pub mod types; pub use crate::types::Name;"));
    assert!(!wrong("src/vfs/file/mod.rs", "use crate::{content::Error, metadata, vfs::X};"));
}

#[test]
fn stores_named_elsewhere_are_found() {
    let with = |file, text| {
        let exports =
            "mod memory; pub use memory::{MemoryContent, Sized as S}; pub use error::Error;";
        store_names(&tree(&[("src/content/mod.rs", exports), (file, text)])).len()
    };
    assert_eq!(with("src/vfs/mod.rs", "use crate::content::{Error, MemoryContent};"), 1);
    assert_eq!(with("src/cli/gc.rs", "crate::metadata::postgres::connect()"), 1);
    assert_eq!(with("src/metadata/sqlite/mod.rs", "use crate::metadata::postgres::rows;"), 1);
    assert_eq!(with("src/metadata/sqlite/mod.rs", "use crate::metadata::sqlite::rows;"), 0);
    assert_eq!(with("src/stores/mod.rs", "use crate::content::MemoryContent;"), 0);
    assert_eq!(with("src/stores/preflight/mod.rs", "use crate::content::MemoryContent;"), 0);
    assert_eq!(with("src/stores_too.rs", "use crate::content::MemoryContent;"), 1);
    assert_eq!(with("src/vfs/mod.rs", "use crate::content::Error;"), 0);
    assert_eq!(with("src/config/sqlite.rs", "use crate::metadata::sqlite::Settings;"), 0);
    assert_eq!(with("src/config/sqlite.rs", "use crate::metadata::sqlite::SqliteStore;"), 1);
    assert_eq!(
        with("src/config/postgres.rs", "use crate::metadata::postgres::target::Parameters;"),
        0
    );
    assert_eq!(with("src/cli/gc.rs", "use crate::metadata::sqlite::Settings;"), 1);
}

#[test]
fn misplaced_words_and_long_files_are_found() {
    let words = |path, text| misplaced_words(&tree(&[(path, text)])).len();
    assert_eq!(words("src/mount/mod.rs", "use nfsserve::nfs::fattr3;"), 1);
    assert_eq!(words("src/vfs/error.rs", "fn f() -> nfsstat3 {}"), 1);
    assert_eq!(words("src/nfs3/status.rs", "use nfsserve::nfs::nfsstat3;"), 0);
    assert_eq!(words("src/metadata/postgres/rows.rs", "match *e { SqlState::X => {} }"), 1);
    assert_eq!(words("src/metadata/postgres/error.rs", "use tokio_postgres::error::SqlState;"), 0);
    assert_eq!(words("src/xdr/encode.rs", "/// What nfsserve has."), 0);
    let long = |lines: usize| long_files(&tree(&[("src/a.rs", &"x\n".repeat(lines))])).len();
    assert_eq!((long(600), long(601)), (0, 1));
}

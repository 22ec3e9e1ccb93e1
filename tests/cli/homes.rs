//! Shares and the content that is theirs: what an administrator mistakes is refused with its remedy, and
//! what is meant goes on.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::process::{Finished, Running, run, trunkfs};

/// A configuration: shares, each with its content store and what else it says; content stores, each with its
/// folder.
fn write(folder: &Path, metadata: &str, content: &[(&str, &str)], shares: &[(&str, &str, &str)]) {
    let mut text = format!(
        "server: {{ listen: '127.0.0.1:0' }}
metadata: {{ stores: {{ db: {{ type: sqlite, sqlite: {{ path: {metadata} }} }} }} }}
content:
  stores:
"
    );
    for (name, path) in content {
        text += &match *path {
            "" => format!("    {name}: {{ type: memory }}\n"),
            path => {
                format!("    {name}: {{ type: filesystem, filesystem: {{ base_path: {path} }} }}\n")
            }
        };
    }
    text += "shares:\n";
    for (name, store, more) in shares {
        text += &format!(
            "  - {{ name: {name}, metadata_store: db, content_store: {store}, clients: [ {{ network: 127.0.0.1 \
             }} ]{more} }}\n"
        );
    }
    fs::write(folder.join("t.yaml"), text).unwrap();
}

const ARGUMENTS: [&str; 3] = ["serve", "--config", "t.yaml"];

/// Starts, stops, and gives what it said.
async fn serves(folder: &Path, shares: usize) -> String {
    let server = Running::start(folder, &ARGUMENTS[1..], shares).await;
    server.signal(rustix::process::Signal::TERM);
    let Finished { status, err, .. } = server.finish().await;
    assert_eq!(status, Some(0), "{err}");
    err
}

/// Does not start, for a reason that has the words. Answers with what was said.
async fn refuses(folder: &Path, words: &[&str]) -> String {
    let finished = run(trunkfs(folder, &ARGUMENTS)).await;
    finished.failed_with(1, words);
    finished.err
}

/// `check-config --connect` says so too, once, and leaves everything as it is.
async fn foresees(folder: &Path, words: &[&str]) {
    let arguments = ["check-config", "--config", "t.yaml", "--connect"];
    let finished = run(trunkfs(folder, &arguments)).await;
    assert_eq!(finished.status, Some(1), "{finished:?}");
    let said: Vec<_> = finished.err.lines().filter(|line| line.contains(words[0])).collect();
    assert_eq!(said.len(), 1, "{finished:?}");
    for word in words {
        assert!(said[0].contains(word), "no {word:?} in {}", said[0]);
    }
}

fn identity(folder: &TempDir, content: &str) -> String {
    let file = folder.path().join(content).join(".trunkfs-content.id");
    fs::read_to_string(file).unwrap().trim_end().to_owned()
}

/// Puts content there that a client might have written.
fn fill(folder: &TempDir, content: &str) {
    let id = "01930000-0000-7000-8000-0000000000aa";
    fs::write(folder.path().join(content).join("aa").join(id), "bytes").unwrap();
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none())
}

#[tokio::test]
async fn a_disk_that_is_not_mounted_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "db", &[("disk", "disk")], &[("/e", "disk", "")]);
    assert!(serves(at, 1).await.contains("/e: its content is in disk"));
    let known = identity(&folder, "disk");
    fs::rename(at.join("disk"), at.join("away")).unwrap();
    fs::create_dir(at.join("disk")).unwrap();
    let said = refuses(
        at,
        &[
            "the share /e keeps its content in the content store disk",
            &known,
            "mount its disk",
            "content_identity: ",
        ],
    )
    .await;
    foresees(at, &["the share /e keeps its content in the content store disk", &known]).await;
    assert!(is_empty(&at.join("disk")), "nothing is made there");
    // A further share on the same store changes nothing about that.
    write(at, "db", &[("disk", "disk")], &[("/new", "disk", ""), ("/e", "disk", "")]);
    refuses(at, &["the share /e keeps", &known]).await;
    assert!(is_empty(&at.join("disk")), "nothing is made there");

    // The administrator gives the disk up: what the error said to write is what the new store becomes.
    let fresh = said.split("content_identity: ").nth(1).unwrap().split_whitespace().next().unwrap();
    let accepting = format!(", content_identity: {fresh}");
    write(at, "db", &[("disk", "disk")], &[("/e", "disk", &accepting)]);
    assert!(serves(at, 1).await.contains("as content_identity permits"));
    assert_eq!(identity(&folder, "disk"), fresh);
    assert!(!serves(at, 1).await.contains("no bytes"), "the second time there is nothing to say");
    // The key may stay, and protects as before.
    fs::remove_dir_all(at.join("disk")).unwrap();
    fs::rename(at.join("away"), at.join("disk")).unwrap();
    refuses(at, &[fresh, &known]).await;
}

#[tokio::test]
async fn content_that_is_anothers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let stores = [("one", "one"), ("two", "two"), ("mem", "")];
    write(at, "db", &stores, &[("/a", "one", ""), ("/b", "two", "")]);
    serves(at, 2).await;
    let (one, two) = (identity(&folder, "one"), identity(&folder, "two"));

    write(at, "db", &stores, &[("/a", "two", ""), ("/b", "two", "")]);
    refuses(
        at,
        &[
            &format!("the share /a keeps its content in the content store one (identity {one})"),
            &format!("content_store two (two) holds the content {two}: correct content_store"),
            &format!("write content_identity: {two} under the share"),
        ],
    )
    .await;
    foresees(at, &["the share /a keeps its content", &one, &two]).await;
    write(at, "db", &stores, &[("/a", "mem", ""), ("/b", "two", "")]);
    refuses(at, &["/a keeps its content", "(in memory) holds content in memory"]).await;

    // A store of another name over the same content is the same, wherever the folder is now.
    fs::rename(at.join("one"), at.join("moved")).unwrap();
    write(
        at,
        "db",
        &[("renamed", "moved"), ("two", "two")],
        &[("/a", "renamed", ""), ("/b", "two", "")],
    );
    assert!(serves(at, 2).await.contains("/a: its content store one is now renamed"));

    let accepting = format!(", content_identity: {one}");
    write(at, "db", &[("two", "two")], &[("/c", "two", &accepting)]);
    refuses(at, &[&format!("the share /c is {one}"), &two, "remove content_identity"]).await;
}

/// Whoever moves a share and forgets to name the new store is told that nothing has moved.
#[tokio::test]
async fn an_identity_that_is_not_that_of_the_store_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "names.db", &[("old", "old")], &[("/e", "old", "")]);
    serves(at, 1).await;
    let other = "01930000-0000-7000-8000-0000000000bb";
    let key = format!(", content_identity: {other}");
    write(at, "names.db", &[("old", "old")], &[("/e", "old", &key)]);
    let said = serves(at, 1).await;
    let words = format!("content_identity is {other}, but content_store old holds");
    assert!(said.contains(&words), "{said}");
    let key = format!(", content_identity: {}", identity(&folder, "old"));
    write(at, "names.db", &[("old", "old")], &[("/e", "old", &key)]);
    let said = serves(at, 1).await;
    assert!(!said.contains("content_identity"), "{said}");
}

#[tokio::test]
async fn a_database_that_was_mistaken_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "db", &[("disk", "disk")], &[("/e", "disk", "")]);
    serves(at, 1).await;
    fill(&folder, "disk");
    write(at, "other", &[("disk", "disk")], &[("/e", "disk", "")]);
    let identity = identity(&folder, "disk");
    refuses(
        at,
        &[
            "the metadata store db has no share /e yet",
            "content_store disk (disk) holds content of shares unknown to this metadata store",
            &format!("content_identity: {identity}"),
        ],
    )
    .await;
    foresees(at, &["the metadata store db has no share /e yet", &identity]).await;
    // A further share of the database that knows the content may have it.
    write(at, "db", &[("disk", "disk")], &[("/e", "disk", ""), ("/f", "disk", "")]);
    serves(at, 2).await;
    let accepting = format!(", content_identity: {identity}");
    write(at, "other", &[("disk", "disk")], &[("/e", "disk", &accepting)]);
    serves(at, 1).await;
}

/// A share of another name over the content of one that the configuration has lost is a share that was
/// renamed.
#[tokio::test]
async fn a_share_that_was_renamed_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "db", &[("disk", "disk")], &[("/e", "disk", "")]);
    serves(at, 1).await;
    let identity = identity(&folder, "disk");
    write(at, "db", &[("disk", "disk")], &[("/new", "disk", "")]);
    let words = [
        "the metadata store db has no share /new, but it has /e over the same content",
        "write name: /e ",
        &format!("write content_identity: {identity} under /new"),
    ];
    refuses(at, &words).await;
    foresees(at, &words).await;
    let accepting = format!(", content_identity: {identity}");
    write(at, "db", &[("disk", "disk")], &[("/new", "disk", &accepting)]);
    serves(at, 1).await;
    write(at, "db", &[("disk", "disk")], &[("/new", "disk", ""), ("/e", "disk", "")]);
    serves(at, 2).await;
}

/// A share whose metadata store is another now, while the one that has it is still configured.
#[tokio::test]
async fn a_share_that_another_metadata_store_has_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "db", &[("disk", "disk")], &[("/e", "disk", "")]);
    serves(at, 1).await;
    let text = fs::read_to_string(at.join("t.yaml")).unwrap();
    let other = "{ type: sqlite, sqlite: { path: other } }";
    let text = text.replace("stores: { db:", &format!("stores: {{ large: {other}, db:"));
    let text = text.replace("metadata_store: db", "metadata_store: large");
    fs::write(at.join("t.yaml"), text).unwrap();
    let words = [
        "the metadata store large has no share /e, but the metadata store db has it",
        "write metadata_store: db",
        "trunkfs load --store large",
        "content_identity: ",
    ];
    refuses(at, &words).await;
    foresees(at, &words).await;
    for arguments in [
        ["dump", "--config", "t.yaml", "--store", "db", "d"],
        ["load", "--config", "t.yaml", "--store", "large", "d"],
    ] {
        assert_eq!(run(trunkfs(at, &arguments)).await.status, Some(0), "{arguments:?}");
    }
    serves(at, 1).await;
}

/// A copy of a content folder beside the folder itself.
#[tokio::test]
async fn two_content_stores_that_are_one_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "db", &[("disk", "disk")], &[("/e", "disk", ""), ("/f", "disk", "")]);
    serves(at, 2).await;
    fs::create_dir(at.join("copy")).unwrap();
    for file in [".trunkfs-content", ".trunkfs-content.id"] {
        fs::copy(at.join("disk").join(file), at.join("copy").join(file)).unwrap();
    }
    let stores = [("copy", "copy"), ("disk", "disk")];
    write(at, "db", &stores, &[("/e", "disk", ""), ("/f", "copy", "")]);
    let words =
        ["the content stores copy and disk hold the same content", &identity(&folder, "disk")];
    refuses(at, &words).await;
    let words = ["the content stores copy and disk hold the same content"];
    foresees(at, &words).await;
}

/// What the server may not look into is not taken for empty.
#[tokio::test]
async fn content_that_cannot_be_reached_is_not_absent() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "db", &[("disk", "disk")], &[("/e", "disk", "")]);
    serves(at, 1).await;
    fs::rename(at.join("disk"), at.join("away")).unwrap();
    fs::write(at.join("disk"), "a file").unwrap();
    let words = ["cannot open the content folder disk", "base_path", "Not a directory"];
    let said = refuses(at, &words).await;
    assert!(!said.contains("content_identity"), "{said}");
    foresees(at, &words).await;
}

#[tokio::test]
async fn a_share_that_is_not_named_any_more_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "db", &[("disk", "disk")], &[("/e", "disk", ""), ("/old", "disk", "")]);
    serves(at, 2).await;
    write(at, "db", &[("disk", "disk")], &[("/e", "disk", "")]);
    let said = serves(at, 1).await;
    assert!(
        said.contains(
            "the metadata store db has the share /old, which is not in the configuration"
        ),
        "{said}"
    );
    write(at, "db", &[("disk", "disk")], &[("/old", "gone", "")]);
    run(trunkfs(at, &ARGUMENTS)).await.failed_with(2, &["\"gone\" is not a defined store"]);
}

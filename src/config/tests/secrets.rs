//! Secrets from files and credentials.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::document::Document;
use super::super::effective::effective;
use super::super::{Config, Metadata};
use crate::metadata::postgres::target::{ConnectOptions, PasswordSource};
use crate::types::settings::masked;

/// What the keys give as the password, and the warnings; or the errors.
fn read(folder: &Path, keys: &str) -> Result<(Option<String>, Vec<String>), String> {
    found(folder, keys).map(|(target, warnings)| (target.password, warnings))
}

fn target(folder: &Path, keys: &str) -> Result<ConnectOptions, String> {
    found(folder, keys).map(|(target, _)| target)
}

fn found(folder: &Path, keys: &str) -> Result<(ConnectOptions, Vec<String>), String> {
    let text = format!(
        "metadata: {{ stores: {{ m: {{ type: postgres, postgres: {{ {keys} }} }} }} }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares: [ {{ name: /e, metadata_store: m, content_store: c, clients: [ {{ network: '::/0' }} ] }} ]
"
    );
    let variable = |name: &str| match name {
        "FOLDER" => Some(folder.display().to_string()),
        "CREDENTIALS_DIRECTORY" => folder.join("credentials").to_str().map(str::to_owned),
        _ => None,
    };
    let document = Document::new("t.yaml", &text, &variable, &[]).unwrap();
    let config = Config::read(&document).map_err(|errors| errors.to_string())?;
    let effective = effective(&document, &config);
    assert!(!effective.contains("hush"), "{effective}");
    let Metadata::Postgres(database) = &config.metadata["m"] else { panic!("{config:?}") };
    Ok((database.target.clone(), document.take_warnings()))
}

fn folder(name: &str, content: impl AsRef<[u8]>, mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("credentials")).unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    folder
}

#[test]
fn a_file_holds_a_secret() {
    for (content, secret) in [
        ("hush", "hush"),
        ("hush\n", "hush"),
        ("hush\r\n", "hush"),
        (" hush \n\n", " hush \n"),
        ("ä${X}", "ä${X}"),
    ] {
        let folder = folder("pg", content, 0o400);
        let found = read(folder.path(), "password_file: '${FOLDER}/pg'").unwrap();
        assert_eq!(found, (Some(secret.to_owned()), Vec::new()), "{content:?}");
    }
    let folder = folder("pg", "hush", 0o644);
    let (secret, warnings) = read(folder.path(), "password_file: '${FOLDER}/pg'").unwrap();
    assert_eq!(secret.as_deref(), Some("hush"));
    assert!(warnings[0].starts_with("metadata.stores.m.postgres.password_file: "), "{warnings:?}");
    assert!(warnings[0].contains("chmod o-r"), "{warnings:?}");
}

#[test]
fn a_password_in_a_file_is_that_of_the_file_whatever_it_holds() {
    let folder = folder("pg", "hush-1", 0o400);
    let target = |keys: &str| target(folder.path(), keys).unwrap();
    let path = folder.path().join("pg");
    let write = |text: &str| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, text).unwrap();
    };
    for (keys, text, source) in [
        ("password_file: '${FOLDER}/pg'", "hush-2", PasswordSource::Password(path.clone())),
        ("url_file: '${FOLDER}/pg'", "postgres://u:hush-3@db/d", PasswordSource::Url(path.clone())),
    ] {
        write(&text.replace("hush", "other"));
        let before = target(keys);
        assert_eq!(before.password_source.as_ref(), Some(&source));
        write(text);
        let after = target(keys);
        assert_ne!(before.password, after.password);
        assert_eq!(before, after, "nothing takes a restart");
        assert_eq!(source.read().unwrap(), after.password);
    }
    write("postgres://u@db/d");
    assert_eq!(target("url_file: '${FOLDER}/pg', password: hush").password_source, None);
    assert_ne!(target("password: hush"), target("password: hush-2"));
}

#[test]
fn a_credential_is_a_file_of_the_service() {
    let folder = folder("credentials/pg", "hush\n", 0o400);
    for keys in ["password_credential: pg", "password_file: '${CREDENTIALS_DIRECTORY}/pg'"] {
        assert_eq!(read(folder.path(), keys).unwrap().0.as_deref(), Some("hush"), "{keys}");
    }
    for name in ["../pg", "", ".."] {
        let error = read(folder.path(), &format!("password_credential: '{name}'")).unwrap_err();
        assert!(
            error.contains("password_credential") && error.contains("LoadCredential="),
            "{error}"
        );
    }
    let error = read(folder.path(), "password_credential: other").unwrap_err();
    assert!(error.contains("credentials/other"), "{error}");
}

#[test]
fn a_url_may_come_from_a_file() {
    let folder = folder("url", "postgres://u:hush@db/d\n", 0o400);
    let (password, _) = read(folder.path(), "url_file: '${FOLDER}/url'").unwrap();
    assert_eq!(password.as_deref(), Some("hush"));
    let error = read(folder.path(), "url_file: '${FOLDER}/url', user: u").unwrap_err();
    assert!(error.contains("postgres.user: user is also in url"), "{error}");
}

#[test]
fn files_that_hold_no_secret_are_errors() {
    let place = "t.yaml:1:";
    for (name, content, words) in [
        ("pg", &b"\n"[..], "is empty"),
        ("pg", &b""[..], "is empty"),
        ("pg", &b"\xff"[..], "UTF-8"),
        ("other", &b"hush"[..], "cannot read"),
        ("pg", &[b'x'; 70_000][..], "65536 bytes"),
    ] {
        let folder = folder(name, content, 0o400);
        let error = read(folder.path(), "password_file: '${FOLDER}/pg'").unwrap_err();
        assert!(error.contains(words) && error.contains("password_file: "), "{words}: {error}");
        assert!(error.starts_with(place) && error.contains("/pg"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
    let folder = folder("pg", "hush", 0o400);
    for both in [
        "password: hush, password_file: '${FOLDER}/pg'",
        "password_file: x, password_credential: y",
    ] {
        let error = read(folder.path(), both).unwrap_err();
        assert!(error.contains("also set by password") && error.contains("keep one"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
    let error = read(folder.path(), "password_file: [a]").unwrap_err();
    assert!(error.contains("a list is not a string"), "{error}");
}

#[test]
fn urls_lose_their_passwords_alone() {
    for (url, shown) in [
        ("postgres://host/db", "postgres://host/db"),
        ("postgres://user@host/db?sslmode=require", "postgres://user@host/db?sslmode=require"),
        ("postgres://user:pa:ss@w/ord@host:5/db", "postgres://user:***@host:5/db"),
        ("postgres://h/db?user=u&password=p&x=1", "postgres://h/db?user=u&password=***&x=1"),
        ("host=a password=b", "***"),
        ("", "***"),
    ] {
        assert_eq!(masked(url), shown);
    }
}

//! The source revision for the log: that of the packager's `TRUNKFS_COMMIT`, else that of git in a release build, where
//! there is one. A debug build records none, so that a commit does not compile everything again.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TRUNKFS_COMMIT");
    let told = std::env::var("TRUNKFS_COMMIT").ok().filter(|commit| is_word(commit));
    let released = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = told.or_else(|| if released { of_git() } else { None });
    println!("cargo::rustc-env=TRUNKFS_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    let variable = |name| std::env::var(name).unwrap_or_default();
    println!("cargo::rustc-env=BUILD_KIND={}, {}", variable("PROFILE"), variable("TARGET"));
}

/// The revision, with `+changes` where files differ from it. The package's folder is the work tree's root: a package
/// within another repository has not the revision of that one.
fn of_git() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    // The first two are written by a commit or a checkout.
    let named = ["HEAD", "logs/HEAD"].map(|name| git(&["rev-parse", "--git-path", name]));
    let sources = ["src", "migrations", "Cargo.toml", "Cargo.lock"].map(str::to_owned);
    let watched = named.into_iter().flatten().chain(sources);
    for path in watched.filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit}+changes") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success()).then_some(text)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|each| each.is_ascii_graphic())
}

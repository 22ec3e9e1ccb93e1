//! What packages install beside the program: completion, manual pages; and its version.

use std::process::Stdio;

use super::process::{run, trunkfs};

#[tokio::test]
async fn every_shell_gets_a_script_that_it_can_read() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let made = run(trunkfs(folder.path(), &["completion", shell])).await;
        assert_eq!(made.status, Some(0), "{made:?}");
        for word in ["check-config", "restore", "--timeout"] {
            let word = if shell == "fish" { word.trim_start_matches('-') } else { word };
            assert!(made.out.contains(word), "{shell} does not know {word}");
        }
        if shell == "bash" {
            std::fs::write(folder.path().join("script"), &made.out).unwrap();
            let mut bash = tokio::process::Command::new("bash");
            bash.args(["-n", "script"]).current_dir(folder.path()).stdin(Stdio::null());
            assert!(bash.status().await.unwrap().success());
        }
    }
}

#[tokio::test]
async fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let made = run(trunkfs(folder.path(), &["man", "--into", "man1"])).await;
    assert_eq!((made.status, made.out.as_str()), (Some(0), ""), "{made:?}");
    let help = run(trunkfs(folder.path(), &["--help"])).await.out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let names: Vec<_> = commands
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.contains(&"top") && names.contains(&"serve"), "{help}");
    for name in names {
        let page = folder.path().join(format!("man1/trunkfs-{name}.1"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.contains(".SH SYNOPSIS"), "{name}: {text}");
    }
    let page = run(trunkfs(folder.path(), &["man"])).await.out;
    assert!(page.contains(".SH SUBCOMMANDS") && page.contains("trunkfs\\-serve(1)"), "{page}");
    assert!(folder.path().join("man1/trunkfs.1").is_file());
}

#[tokio::test]
async fn the_version_has_the_commit_and_the_build() {
    let folder = tempfile::tempdir().unwrap();
    let short = run(trunkfs(folder.path(), &["-V"])).await.out;
    let version = concat!("trunkfs ", env!("CARGO_PKG_VERSION"));
    assert!(short.starts_with(version) && short.lines().count() == 1, "{short}");
    let long = run(trunkfs(folder.path(), &["--version"])).await.out;
    for part in [version, "\ncommit: ", "\nbuild: ", std::env::consts::ARCH] {
        assert!(long.contains(part), "no {part:?} in {long}");
    }
}

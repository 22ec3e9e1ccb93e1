//! Dockerfile: its syntax, and the facts that matter. No engine builds it here.

use std::path::Path;
use std::process::Command;

use trunkfs::config::DEFAULT_PORT;

const DOCKERFILE: &str = include_str!("../../Dockerfile");
const DOCKERIGNORE: &str = include_str!("../../.dockerignore");

/// One instruction and what stands behind it.
#[derive(Debug)]
struct Instruction {
    name: String,
    rest: String,
}

/// The instructions, with continued lines put together; each is one that Docker has.
fn instructions() -> Vec<Instruction> {
    const KNOWN: [&str; 13] = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "VOLUME",
        "EXPOSE",
        "ENV",
        "ARG",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ];
    let text = DOCKERFILE.replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parsed: Vec<_> = lines
        .map(|line| {
            let (name, rest) = line.split_once(' ').expect("an instruction has arguments");
            assert!(KNOWN.contains(&name), "{line}");
            Instruction { name: name.to_owned(), rest: rest.trim().to_owned() }
        })
        .collect();
    assert_eq!(parsed[0].name, "FROM");
    parsed
}

/// What stands behind the instructions of a name.
fn of(name: &str) -> Vec<String> {
    let of_name = instructions().into_iter().filter(|each| each.name == name);
    of_name.map(|each| each.rest).collect()
}

/// The only one of a name.
fn only(name: &str) -> String {
    let [rest] = <[String; 1]>::try_from(of(name)).unwrap();
    rest
}

#[test]
fn base_images_have_a_version() {
    let images = of("FROM");
    assert_eq!(images.len(), 2, "one builds, one runs");
    for image in images {
        let name = image.split(' ').next().unwrap();
        let (_, tag) = name.split_once(':').unwrap_or_else(|| panic!("{image}: no tag"));
        assert!(tag.starts_with(|first: char| first.is_ascii_digit()), "{image}");
    }
}

#[test]
fn what_is_copied_is_there_and_is_all_that_a_build_reads() {
    let copies = of("COPY");
    let from_here = copies.iter().filter(|copy| !copy.starts_with("--from="));
    let mut sources: Vec<_> = from_here
        .flat_map(|copy| {
            let mut words: Vec<_> = copy.split(' ').collect();
            words.pop();
            words
        })
        .collect();
    sources.sort_unstable();
    assert_eq!(sources, ["Cargo.lock", "Cargo.toml", "build.rs", "migrations", "src"]);
    let allowed: Vec<_> = DOCKERIGNORE.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(DOCKERIGNORE.starts_with("*\n"));
    for source in &sources {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{source}");
        assert!(allowed.contains(source), ".dockerignore keeps {source} out");
    }
    // Files that the program is compiled with from outside src.
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_stem().is_some_and(|name| name == "tests") {
                // No part of the program.
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let outside = text.lines().find(|line| {
                    line.contains("include_str!(\"../..") && !line.contains("/migrations/")
                });
                assert_eq!(outside, None, "{}: copy it in the Dockerfile", path.display());
                for embedded in text.split("embed_migrations!(\"").skip(1) {
                    assert!(embedded.starts_with("migrations/"), "{}", path.display());
                }
            }
        }
    }
}

#[test]
fn it_runs_as_nobody_special_and_ends_as_the_program_does() {
    let user = only("USER");
    let (uid, gid) = user.split_once(':').unwrap();
    assert!(uid.parse::<u32>().unwrap() > 0 && gid.parse::<u32>().unwrap() > 0, "{user}");
    assert_eq!(only("STOPSIGNAL"), "SIGTERM");
    assert_eq!(only("EXPOSE"), DEFAULT_PORT.to_string());
    let owned = of("COPY").into_iter().find(|copy| copy.ends_with(&only("VOLUME")));
    assert!(owned.unwrap().contains(&format!("--chown={user} ")), "the volume is the user's");
}

#[test]
fn its_commands_are_the_programs() {
    let words = |json: &str| serde_json::from_str::<Vec<String>>(json).unwrap();
    assert_eq!(words(&only("ENTRYPOINT")), ["trunkfs"]);
    let health = only("HEALTHCHECK");
    let health = words(health.split_once("CMD ").unwrap().1);
    assert_eq!(health[0], "trunkfs");
    for arguments in [&words(&only("CMD"))[..], &health[1..]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkfs"));
        let output = command.args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

//! Which module may name which: every arrow that the code may have stands in [`rules::ARROWS`], and no
//! other. Besides: who may name concrete stores and foreign vocabularies, and how long a file may be.
//!
//! The source is read as tokens, so that comments and texts name nothing. Test modules of a source
//! file (`#[cfg(test)] mod …`) may name what they like.

#[cfg(test)]
mod messages;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod tokens;

#[cfg(test)]
mod tree {
    use std::fs;
    use std::path::Path;

    use crate::messages::{invented, unexplained, unlimited};
    use crate::paths::{Source, path};
    use crate::rules::{
        all_arrows, exported_stores, long_files, misplaced_words, store_names, wrong_arrows,
    };

    #[test]
    fn imports_follow_the_design() {
        let sources = read_tree("src");
        assert!(sources.len() > 20, "{} files found", sources.len());
        let arrows = all_arrows(&sources);
        for known in [("vfs", "metadata"), ("vfs", "content"), ("content", "types")] {
            let known = (known.0.to_owned(), known.1.to_owned());
            assert!(arrows.contains(&known), "the arrow {known:?} was not found: {arrows:?}");
        }
        assert_none(wrong_arrows(&sources));
    }

    #[test]
    fn concrete_stores_are_named_in_one_place() {
        let sources = read_tree("src");
        let exported = exported_stores(&sources);
        assert!(exported.contains(&path("content::MemoryContent")), "{exported:?}");
        assert_none(store_names(&sources));
    }

    #[test]
    fn foreign_vocabularies_stay_in_their_place() {
        let sources = read_tree("src");
        assert_none(misplaced_words(&sources));
    }

    #[test]
    fn files_are_short() {
        let sources: Vec<_> = ["src", "tests"].into_iter().flat_map(read_tree).collect();
        assert!(sources.iter().any(|source| source.path == "tests/layering/main.rs"));
        assert_none(long_files(&sources));
    }

    #[test]
    fn troubleshooting_has_the_messages() {
        let page = include_str!("../../docs/troubleshooting.md");
        let sources = read_tree("src");
        assert_none(invented(page, &sources));
        assert_none(unexplained(page, &sources));
    }

    #[test]
    fn lines_that_clients_cause_are_limited() {
        assert_none(unlimited(&read_tree("src")));
    }

    fn assert_none(violations: Vec<String>) {
        assert!(violations.is_empty(), "\n{}", violations.join("\n"));
    }

    fn read_tree(folder: &str) -> Vec<Source> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut sources = Vec::new();
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let below = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    sources.push(Source { path: below, text: fs::read_to_string(path).unwrap() });
                }
            }
        }
        sources.sort_by(|one, other| one.path.cmp(&other.path));
        sources
    }
}

//! The versions that are known, held against those that were applied.

use std::collections::BTreeMap;
use std::path::Path;

use refinery::Migration;

use super::error::SchemaError;
use super::{Applied, Status, VersionStatus, folder};

/// A version and its two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Its number, from 1.
    pub(crate) number: i32,
    pub(crate) name: String,
    /// What applies it.
    pub(crate) up: String,
    /// What takes it back.
    pub(crate) down: Option<String>,
    /// The checksum of number, name and `up`, as refinery computes it.
    checksum: String,
}

impl Version {
    pub(super) fn new(migration: &Migration, down: Option<String>) -> Self {
        Self {
            number: migration.version(),
            name: migration.name().to_owned(),
            up: migration.sql().unwrap_or_default().to_owned(),
            down,
            checksum: migration.checksum().to_string(),
        }
    }

    /// What the history says once it is applied, but for when.
    pub(crate) fn checksum(&self) -> &str {
        &self.checksum
    }

    /// What taking it back destroys: the comment at the head of its file.
    pub(crate) fn destroys(&self) -> String {
        let lines = self.down.as_deref().unwrap_or_default().lines();
        let comment = lines.map_while(|line| line.strip_prefix("--")).map(str::trim);
        comment.collect::<Vec<_>>().join(" ")
    }
}

/// The versions that are known, ascending.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    versions: Vec<Version>,
    /// The version that this program serves.
    needed: i32,
}

impl Catalog {
    /// The versions that are built into this program; it serves the newest.
    pub(crate) fn embedded(migrations: &[Migration], downs: &[(i32, &str)]) -> Self {
        let down = |number| {
            downs.iter().find(|(version, _)| *version == number).map(|(_, sql)| (*sql).to_owned())
        };
        let mut versions: Vec<_> =
            migrations.iter().map(|it| Version::new(it, down(it.version()))).collect();
        versions.sort_by_key(|version| version.number);
        let needed = versions.last().map_or(0, |version| version.number);
        Self { versions, needed }
    }

    /// The versions of a folder. What this program serves stays what it is.
    ///
    /// # Errors
    /// [`SchemaError::Folder`].
    pub(crate) fn in_folder(self, folder: &Path) -> Result<Self, SchemaError> {
        Ok(Self { versions: folder::versions(folder)?, needed: self.needed })
    }

    /// All of them, ascending.
    #[cfg(test)]
    pub(crate) fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The version that this program serves.
    pub(crate) fn needed(&self) -> i32 {
        self.needed
    }

    /// The newest version that is known.
    pub(crate) fn newest(&self) -> i32 {
        self.versions.last().map_or(0, |version| version.number)
    }

    /// Known and applied versions side by side.
    pub(crate) fn status(&self, applied: &[Applied]) -> Status {
        let mut versions: BTreeMap<_, _> =
            self.versions.iter().map(|version| (version.number, pending(version))).collect();
        for row in applied {
            let known =
                self.find(row.version).is_some_and(|known| differences(known, row).is_none());
            let status = VersionStatus {
                number: row.version,
                name: row.name.clone(),
                applied: Some(row.when.clone()),
                known,
            };
            versions.insert(row.version, status);
        }
        Status {
            versions: versions.into_values().collect(),
            needed: self.needed,
            verdict: self.verdict(applied),
        }
    }

    /// Whether this program can serve what was applied.
    pub(crate) fn verdict(&self, applied: &[Applied]) -> Result<(), SchemaError> {
        let present = present(applied);
        if present > self.needed {
            return Err(SchemaError::Newer { present, known: self.needed });
        }
        self.check(applied)?;
        if present < self.needed {
            return Err(SchemaError::Behind { present, needed: self.needed });
        }
        Ok(())
    }

    /// What to apply, in order, to reach `to` or the newest version.
    ///
    /// # Errors
    /// [`SchemaError::NoVersion`], and where what was applied is not what is known.
    pub(crate) fn ascent(
        &self,
        applied: &[Applied],
        to: Option<i32>,
    ) -> Result<&[Version], SchemaError> {
        self.check(applied)?;
        let to = to.unwrap_or_else(|| self.newest());
        self.find(to).ok_or_else(|| self.no_version(to))?;
        let present = present(applied);
        let from = self.versions.partition_point(|version| version.number <= present);
        let end = self.versions.partition_point(|version| version.number <= to);
        Ok(self.versions.get(from..end).unwrap_or_default())
    }

    /// What to take back, newest first, to reach `to`, or what the newest was applied upon.
    ///
    /// # Errors
    /// [`SchemaError::NoVersion`], [`SchemaError::NoWayBack`], and where what was applied is not what is
    /// known.
    pub(crate) fn descent(
        &self,
        applied: &[Applied],
        to: Option<i32>,
    ) -> Result<Vec<&Version>, SchemaError> {
        self.check(applied)?;
        let present = present(applied);
        let before = || {
            let older = applied.iter().map(|row| row.version).filter(|version| *version < present);
            older.max().unwrap_or(0)
        };
        let to = to.unwrap_or_else(before);
        if to != 0 {
            self.find(to).ok_or_else(|| self.no_version(to))?;
        }
        let steps: Vec<_> = self
            .versions
            .iter()
            .rev()
            .filter(|version| version.number > to && version.number <= present)
            .collect();
        match steps.iter().find(|version| version.down.is_none()) {
            Some(version) => Err(SchemaError::NoWayBack(version.number)),
            None => Ok(steps),
        }
    }

    fn find(&self, number: i32) -> Option<&Version> {
        self.versions.iter().find(|version| version.number == number)
    }

    fn no_version(&self, asked: i32) -> SchemaError {
        let known: Vec<_> = self.versions.iter().map(|it| it.number.to_string()).collect();
        SchemaError::NoVersion { asked, known: known.join(", ") }
    }

    /// Whether what was applied is the beginning of what is known.
    fn check(&self, applied: &[Applied]) -> Result<(), SchemaError> {
        let present = present(applied);
        if present > self.newest() {
            return Err(SchemaError::Newer { present, known: self.newest() });
        }
        for row in applied {
            let number = row.version;
            let problem = match self.find(number) {
                Some(known) => differences(known, row),
                None => Some(format!("version {number} ({}) is unknown here", row.name)),
            };
            if let Some(problem) = problem {
                return Err(SchemaError::Diverged(problem));
            }
        }
        let skipped = self.versions.iter().find(|version| {
            version.number < present && !applied.iter().any(|row| row.version == version.number)
        });
        match skipped {
            Some(Version { number, name, .. }) => Err(SchemaError::Diverged(format!(
                "version {number} ({name}) was passed over, version {present} was applied"
            ))),
            None => Ok(()),
        }
    }
}

/// The newest version that was applied; 0 in an empty database.
pub(crate) fn present(applied: &[Applied]) -> i32 {
    applied.iter().map(|row| row.version).max().unwrap_or(0)
}

fn pending(version: &Version) -> VersionStatus {
    VersionStatus { number: version.number, name: version.name.clone(), applied: None, known: true }
}

/// How what was applied differs from what is known under the same number.
fn differences(known: &Version, row: &Applied) -> Option<String> {
    let number = row.version;
    if row.name != known.name {
        return Some(format!("version {number} is called {} there, {} here", row.name, known.name));
    }
    if row.checksum != known.checksum {
        return Some(format!(
            "version {number} ({}) was applied from another text (checksum {} there, {} here)",
            row.name, row.checksum, known.checksum
        ));
    }
    None
}

//! The directories of shares, and where they are.

use std::collections::HashMap;

use super::SurveyError;
use crate::admin::locate;
use crate::metadata::{Checker, Share};
use crate::types::{FileType, ObjectId, ShareName};

/// A directory by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The share's root.
    root: ObjectId,
    /// The names on the way down.
    names: Vec<Vec<u8>>,
    path: String,
}

impl Place {
    /// The place that a path such as `/export/a/b` means: of the shares whose names it begins with, that of
    /// the longest name.
    #[must_use]
    pub fn parse(path: &str, shares: &[Share]) -> Option<Self> {
        let (share, names) = ShareName::longest_in(path.as_bytes(), shares, |it| &it.name)?;
        let names = names.into_iter().map(<[u8]>::to_vec).collect();
        Some(Self { root: share.root, names, path: path.to_owned() })
    }

    /// A share's root.
    #[must_use]
    pub fn of(share: &Share) -> Self {
        Self { root: share.root, names: Vec::new(), path: share.name.to_string() }
    }

    /// The directory that it is now.
    pub(super) async fn find(&self, checker: &dyn Checker) -> Result<ObjectId, SurveyError> {
        match locate::object(checker, self.root, &self.names).await? {
            Some((directory, FileType::Directory)) => Ok(directory),
            Some(_) | None => Err(SurveyError::NoDirectory(self.path.clone())),
        }
    }

    /// Whether it is in this share.
    #[must_use]
    pub fn is_in(&self, share: &Share) -> bool {
        self.root == share.root
    }
}

/// The directories of shares.
#[derive(Debug)]
pub struct Tree {
    roots: HashMap<ObjectId, ShareName>,
    /// Parent and name.
    directories: HashMap<ObjectId, (ObjectId, Box<[u8]>)>,
}

impl Tree {
    pub(super) fn new(shares: &[Share]) -> Self {
        Self {
            roots: shares.iter().map(|share| (share.root, share.name.clone())).collect(),
            directories: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, id: ObjectId, parent: ObjectId, name: &[u8]) {
        self.directories.insert(id, (parent, name.into()));
    }

    /// Every directory but the roots.
    pub(super) fn directories(&self) -> impl Iterator<Item = ObjectId> {
        self.directories.keys().copied()
    }

    /// The directories from one up to another, both included; `None` where the second is not above the first.
    /// A circle, which only damage makes, is left.
    pub(super) fn way(&self, from: ObjectId, to: ObjectId) -> Option<Vec<ObjectId>> {
        let mut way = vec![from];
        let mut at = from;
        while at != to {
            at = self.directories.get(&at)?.0;
            if way.len() > self.directories.len() {
                return None;
            }
            way.push(at);
        }
        Some(way)
    }

    /// A directory's path, the share's name in front.
    pub(super) fn path(&self, directory: ObjectId) -> String {
        let mut names = Vec::new();
        let mut at = directory;
        while let Some((parent, name)) = self.directories.get(&at) {
            if names.len() > self.directories.len() {
                break;
            }
            names.push(name);
            at = *parent;
        }
        let mut path = self.roots.get(&at).map(ToString::to_string).unwrap_or_default();
        for name in names.iter().rev() {
            if !path.ends_with('/') {
                path.push('/');
            }
            path.push_str(&String::from_utf8_lossy(name));
        }
        path
    }

    /// The path of a name in a directory.
    pub(super) fn path_in(&self, directory: ObjectId, name: &[u8]) -> String {
        let path = self.path(directory);
        let slash = if path.ends_with('/') { "" } else { "/" };
        format!("{path}{slash}{}", String::from_utf8_lossy(name))
    }
}

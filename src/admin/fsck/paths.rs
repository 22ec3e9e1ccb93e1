//! Paths to what is found, for those who read about it.

use std::collections::HashMap;

use crate::metadata::{Checker, Error, Share};
use crate::types::{Name, ObjectId};

/// How many directories' paths are kept.
const KEPT: usize = 1 << 16;
/// The longest path, in directories. What is longer, or leads round in a circle, has none.
const LONGEST: usize = 4096;

/// Paths of directories.
#[derive(Debug, Default)]
pub(super) struct Paths(HashMap<ObjectId, Option<String>>);

impl Paths {
    /// The path of a directory, from its share's name on; `None` where no root leads to it.
    pub(super) async fn directory(
        &mut self,
        checker: &dyn Checker,
        shares: &[Share],
        directory: ObjectId,
    ) -> Result<Option<String>, Error> {
        let mut below: Vec<(ObjectId, Vec<u8>)> = Vec::new();
        let mut here = directory;
        let mut path = loop {
            if let Some(known) = self.0.get(&here) {
                break known.clone();
            }
            if let Some(share) = shares.iter().find(|share| share.root == here) {
                break Some(share.name.to_string());
            }
            let found = checker.objects_of(&[here]).await?.into_iter().next();
            let Some(parent) = found.and_then(|found| found.parent) else { break None };
            let Some(name) = checker.name_in(parent, here).await? else { break None };
            below.push((here, name));
            if below.len() > LONGEST {
                break None;
            }
            here = parent;
        };
        if self.0.len() + below.len() > KEPT {
            self.0.clear();
        }
        for (directory, name) in below.into_iter().rev() {
            path = path.map(|above| join(&above, &name));
            self.0.insert(directory, path.clone());
        }
        Ok(path)
    }

    /// The path of an entry.
    pub(super) async fn entry(
        &mut self,
        checker: &dyn Checker,
        shares: &[Share],
        directory: ObjectId,
        name: &[u8],
    ) -> Result<Option<String>, Error> {
        let path = self.directory(checker, shares, directory).await?;
        Ok(path.map(|above| join(&above, name)))
    }

    /// Forgets all: something was moved.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

fn join(above: &str, name: &[u8]) -> String {
    let above = above.trim_end_matches('/');
    match Name::parse(name) {
        Ok(name) => format!("{above}/{name}"),
        Err(_) => format!("{above}/{}", name.escape_ascii()),
    }
}

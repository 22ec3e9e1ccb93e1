//! Files by the names that people know, found in a dump.

use std::collections::HashMap;
use std::path::Path;

use uuid::Uuid;

use super::Error;
use super::diff::open_dump;
use crate::metadata::PathFinder;
use crate::types::ObjectId;

/// The paths of objects, the share's name in front; those that have none are left out.
pub(super) fn of(dump: &Path, objects: &[Uuid]) -> Result<HashMap<Uuid, String>, Error> {
    let failed = Error::unreadable(dump);
    let mut finder = PathFinder::new(objects.iter().copied().map(ObjectId));
    while finder.begin_round() {
        let mut reader = open_dump(dump)?;
        while let Some(record) = reader.record().map_err(&failed)? {
            finder.see(&record);
        }
    }
    Ok(finder.paths().into_iter().map(|(object, path)| (object.0, path)).collect())
}

//! What a store holds, as far as it can be found out without opening it.

use std::collections::BTreeMap;

use crate::types::ShareName;

/// A store as it is, whether a server has it open or not. Looking at it changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The schema's version; 0 where there are no tables yet.
    pub present: i32,
    /// The version that this program serves.
    pub wanted: i32,
    pub shares: Vec<ShareName>,
    /// The settings, as [`MetadataStore::setting`](super::MetadataStore::setting) answers them.
    pub settings: BTreeMap<String, String>,
}

//! Whether open stores answer.

use std::sync::Arc;

use super::Stores;
use crate::config::Config;
use crate::content::ContentStore;
use crate::metadata::MetadataStore;
use crate::types::BoundedChain;

/// A setting that no store has: looking for it takes what a call takes, and answers nothing.
const NO_SETTING: &str = "health";

/// An open store that can be asked whether it answers.
#[derive(Debug)]
pub(crate) struct StoreProbe {
    /// Where it stands in the configuration.
    pub(crate) name: String,
    /// Its type.
    pub(crate) kind: &'static str,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Metadata(Arc<dyn MetadataStore>),
    Content(Arc<dyn ContentStore>),
}

impl StoreProbe {
    /// Has the store read a little where its data is: a row, a small file or object.
    ///
    /// # Errors
    /// Why it does not answer, in a line.
    pub(crate) async fn ask(&self) -> Result<(), String> {
        let line = |error: &(dyn std::error::Error + 'static)| BoundedChain(error).to_string();
        match &self.store {
            Store::Metadata(store) => match store.setting(NO_SETTING).await {
                Ok(_) => Ok(()),
                Err(error) => Err(line(&error)),
            },
            Store::Content(store) => match store.owners().await {
                Ok(_) => Ok(()),
                Err(error) => Err(line(&error)),
            },
        }
    }
}

impl Stores {
    /// Every open store.
    pub(crate) fn probes(&self, config: &Config) -> Vec<StoreProbe> {
        let metadata = self.metadata.iter().map(|(name, store)| StoreProbe {
            name: format!("metadata.stores.{name}"),
            kind: config.metadata.get(name).map_or("", |settings| settings.kind()),
            store: Store::Metadata(store.clone()),
        });
        let content = self.content.iter().map(|(name, store)| StoreProbe {
            name: format!("content.stores.{name}"),
            kind: config.content.get(name).map_or("", |settings| settings.kind()),
            store: Store::Content(store.clone()),
        });
        metadata.chain(content).collect()
    }
}

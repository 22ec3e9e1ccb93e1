//! New settings for stores that are open: first all of them are tried, and then all are taken over, or none.

use std::sync::Arc;

use super::{StoreError, Stores, is_of_one_process};
use crate::config::{self, Config};
use crate::content::{ObjectContent, ObjectKeys};
use crate::metadata::Error;
use crate::metadata::postgres::{PostgresStore, Settings};

/// Settings that stores have taken.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    databases: Vec<(Arc<PostgresStore>, Settings)>,
    buckets: Vec<(Arc<ObjectContent>, ObjectKeys)>,
    /// Stores whose secret is another though its key names the same file.
    pub(crate) reread: Vec<String>,
}

impl Stores {
    /// Tries what open stores are to take over: passwords and keys, and room for connections.
    ///
    /// # Errors
    /// Why one of them is refused.
    pub(crate) async fn try_settings(
        &self,
        running: &Config,
        taken: &Config,
    ) -> Result<Renewals, StoreError> {
        let mut renewals = Renewals::default();
        for (name, store) in &self.databases {
            let (Some(now), Some(config::Metadata::Postgres(settings))) =
                (running.metadata.get(name), taken.metadata.get(name))
            else {
                continue;
            };
            if *now == config::Metadata::Postgres(settings.clone()) {
                continue;
            }
            match store.try_settings(settings).await {
                Ok(()) => {}
                Err(Error::Unavailable(error)) => {
                    tracing::warn!(%error, "the new password cannot be tried, since the database does not answer; \
                                            it is used all the same");
                }
                Err(source) => {
                    return Err(StoreError::Metadata {
                        name: name.clone(),
                        place: settings.target.to_string(),
                        waited: None,
                        source,
                    });
                }
            }
            renewals.databases.push((store.clone(), (**settings).clone()));
        }
        for (name, store) in &self.buckets {
            let (Some(config::Content::Object(now)), Some(config::Content::Object(settings))) =
                (running.content.get(name), taken.content.get(name))
            else {
                continue;
            };
            if !settings.service.has_other_keys(&now.service) {
                continue;
            }
            let keys = store.try_keys(settings).await.map_err(|error| StoreError::Content {
                name: name.clone(),
                source: Box::new(error),
            })?;
            if now == settings {
                renewals.reread.push(format!("content.stores.{name}"));
            }
            renewals.buckets.push((store.clone(), keys));
        }
        Ok(renewals)
    }

    /// Looks whether shares that come leave open content stores what they were opened as.
    ///
    /// # Errors
    /// [`StoreError::Exclusive`].
    pub(crate) fn keep_exclusive(
        &self,
        running: &Config,
        taken: &Config,
    ) -> Result<(), StoreError> {
        for name in self.buckets.keys() {
            let told = match running.content.get(name) {
                Some(config::Content::Object(settings)) => settings.exclusive,
                Some(config::Content::Memory { .. } | config::Content::Filesystem(_)) | None => {
                    false
                }
            };
            if told {
                continue;
            }
            let shares = |config: &Config| {
                let shares = config.shares.iter().filter(|it| it.content_store == *name);
                shares.cloned().collect::<Vec<_>>()
            };
            if !shares(running).iter().all(|share| is_of_one_process(running, share)) {
                continue;
            }
            let other = shares(taken).into_iter().find(|it| !is_of_one_process(taken, it));
            if let Some(share) = other {
                return Err(StoreError::Exclusive { share: share.name, name: name.clone() });
            }
        }
        Ok(())
    }

    /// Takes over what was tried.
    pub(crate) fn take_over(&self, renewals: Renewals) {
        for (store, settings) in renewals.databases {
            store.renew(&settings);
        }
        for (store, keys) in renewals.buckets {
            store.take_keys(keys);
        }
    }
}

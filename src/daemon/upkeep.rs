//! What a server does for its stores by itself: rounds of jobs, and a look at how full they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::{JobState, MaintenanceState};
use crate::maintenance::{Maintenance, Outcome, Plan, Settings};
use crate::stores::{Stores, lasting_content, lasting_metadata};
use crate::vfs::Vfs;

/// Between two looks at how full the stores are.
const LOOK: Duration = Duration::from_secs(60);
/// Percentages from which on a store is said to be filling up.
const LEVELS: [u64; 3] = [80, 90, 95];
/// A level is left where a store is so many percent below it.
const MARGIN: u64 = 2;

/// The jobs of a server, whose shares are those of open stores; none where every share is in memory.
pub(super) fn plan(config: &Config, stores: &Stores) -> Plan {
    let lasting = lasting_metadata(config);
    let shares = config.shares.iter().filter(|share| lasting.contains(&share.metadata_store));
    let mut shares: Vec<_> =
        shares.map(|share| (share.name.clone(), share.metadata_store.clone())).collect();
    // Several servers have their shares in the same order.
    shares.sort();
    let home = shares.iter().map(|(_, store)| store).min();
    let home = home.and_then(|home| stores.open_metadata(home));
    Plan { settings: jobs(config), home, shares }
}

/// The jobs that are of use: content in memory goes with the server.
fn jobs(config: &Config) -> Settings {
    let gc_days = match lasting_content(config).is_empty() {
        true => 0,
        false => config.maintenance.gc_days,
    };
    Settings { gc_days, ..config.maintenance.clone() }
}

/// The jobs as the admin port shows them.
pub(super) fn state(maintenance: &Maintenance) -> MaintenanceState {
    if !maintenance.has_work() {
        return MaintenanceState::default();
    }
    let jobs = maintenance.last().into_iter().map(|(job, record)| JobState {
        job: job.name(),
        running: record.is_running_now(),
        outcome: record.outcome.map(|outcome| match outcome {
            Outcome::Done => "done",
            Outcome::Findings => "findings",
            Outcome::Failed => "failed",
            Outcome::Interrupted => "interrupted",
        }),
        host: record.host,
        begun: record.begun,
        seconds: record.seconds,
        findings: record.findings,
        text: record.text,
        last_success: record.last_success,
    });
    MaintenanceState { next: maintenance.next(), jobs: jobs.collect() }
}

/// Says in the log when the content store of a share fills up.
pub(super) async fn watch_capacity(vfs: Arc<Vfs>, stopped: CancellationToken) {
    let mut reached = BTreeMap::new();
    while stopped.run_until_cancelled(sleep(LOOK)).await.is_some() {
        for share in vfs.overview().await {
            let Ok(Some(capacity)) = share.capacity else { continue };
            let level = reached.entry(share.name.clone()).or_default();
            let used = capacity.total.saturating_sub(capacity.available);
            let Some(percent) = (u128::from(used) * 100).checked_div(capacity.total.into()) else {
                continue;
            };
            let percent = u64::try_from(percent).unwrap_or(100);
            if rises(level, percent) {
                tracing::warn!(
                    "{}: its content store is {percent} % full: {} bytes are free; remove files, or \
                     enlarge it",
                    share.name,
                    capacity.available
                );
            }
        }
    }
}

/// Whether another level is reached.
fn rises(level: &mut u64, percent: u64) -> bool {
    let now = LEVELS.into_iter().rfind(|it| *it <= percent).unwrap_or_default();
    let before = *level;
    if now > before || percent + MARGIN <= before {
        *level = now;
    }
    now > before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_in_memory_is_not_collected() {
        for (content, days) in [("memory", 0), ("filesystem, filesystem: { base_path: c }", 7)] {
            let text = format!(
                "metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ c: {{ type: {content} }}, unused: {{ type: filesystem, filesystem: {{ base_path: u }} }} }} }}
shares: [ {{ name: /e, metadata_store: m, content_store: c, clients: [ {{ network: '::/0' }} ] }} ]"
            );
            let config = Config::parse("t.yaml", &text, &|_| None).unwrap();
            assert_eq!(jobs(&config).gc_days, days, "{content}");
        }
    }

    #[test]
    fn each_level_is_told_once() {
        let mut level = 0;
        let percents = [79, 80, 80, 79, 80, 91, 89, 90, 99, 94, 95, 50, 96];
        let told: Vec<_> =
            percents.into_iter().filter(|percent| rises(&mut level, *percent)).collect();
        assert_eq!(told, [80, 91, 99, 96]);
    }
}

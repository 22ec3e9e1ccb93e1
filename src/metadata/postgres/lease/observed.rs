//! How long the counts of other instances have stood still, by this process's own clock. No wall clocks are
//! compared.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::session::Seen;

/// The counts as they were seen on one connection. After a new one the observation begins anew: what another
/// instance committed before a failover may be missing in the database that is seen now.
#[derive(Debug, Default)]
pub(super) struct Observed {
    instances: HashMap<Uuid, Still>,
    begun: bool,
}

/// A count, and since when it is that.
#[derive(Clone, Copy, Debug)]
struct Still {
    /// `None`: a holder without a row.
    count: Option<i64>,
    since: Instant,
}

impl Observed {
    /// Notes what was seen; `now` is a time after the answer, so that a count was written before it. Answers
    /// whether another instance has shown that it lives, or that it lived until now.
    pub(super) fn note(&mut self, seen: &Seen, own: Uuid, now: Instant) -> bool {
        let holder = seen.holder.filter(|holder| *holder != own);
        let rowless = holder.filter(|holder| seen.others.iter().all(|(other, _)| other != holder));
        let present = seen.others.iter().map(|(other, count)| (*other, Some(*count)));
        let mut others = HashMap::new();
        let mut lives = false;
        for (other, count) in present.chain(rowless.map(|holder| (holder, None))) {
            let known = self.instances.remove(&other).filter(|still| still.count == count);
            lives |= known.is_none() && self.begun;
            others.insert(other, known.unwrap_or(Still { count, since: now }));
        }
        // Those that are left have ended.
        lives |= !self.instances.is_empty();
        self.instances = others;
        self.begun = true;
        lives
    }

    /// Whether the instance's count has stood still for so long.
    pub(super) fn is_still(&self, instance: Uuid, now: Instant, time: Duration) -> bool {
        let still = self.instances.get(&instance);
        still.is_some_and(|still| now.saturating_duration_since(still.since) >= time)
    }

    /// Whether every other instance's has.
    pub(super) fn all_still(&self, now: Instant, time: Duration) -> bool {
        self.instances.keys().all(|instance| self.is_still(*instance, now, time))
    }

    /// The count that was last seen.
    pub(super) fn count(&self, instance: Uuid) -> Option<i64> {
        self.instances.get(&instance).and_then(|still| still.count)
    }

    /// Those that have a row and have stood still for so long, with their counts.
    pub(super) fn still(&self, now: Instant, time: Duration) -> (Vec<Uuid>, Vec<i64>) {
        let still = self.instances.iter().filter(|(other, _)| self.is_still(**other, now, time));
        still.filter_map(|(other, still)| Some((*other, still.count?))).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(6);
    const OWN: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn seen(holder: Option<Uuid>, others: &[(Uuid, i64)]) -> Seen {
        Seen { holder, others: others.to_vec(), ..Seen::default() }
    }

    #[test]
    fn a_count_is_still_once_it_has_not_moved_for_a_ttl() {
        let (mut observed, start) = (Observed::default(), Instant::now());
        assert!(!observed.note(&seen(None, &[(OTHER, 7)]), OWN, start), "it may be dead");
        assert!(!observed.all_still(start + TTL / 2, TTL));
        assert!(!observed.note(&seen(None, &[(OTHER, 7)]), OWN, start + TTL));
        assert!(observed.all_still(start + TTL, TTL));
        assert_eq!(observed.still(start + TTL, TTL), (vec![OTHER], vec![7]));
        assert!(observed.note(&seen(None, &[(OTHER, 8)]), OWN, start + TTL));
        assert!(!observed.all_still(start + TTL, TTL));
    }

    #[test]
    fn one_that_comes_or_goes_lives() {
        let (mut observed, now) = (Observed::default(), Instant::now());
        assert!(!observed.note(&seen(None, &[]), OWN, now));
        assert!(observed.all_still(now, TTL), "nobody else is there");
        assert!(observed.note(&seen(None, &[(OTHER, 0)]), OWN, now));
        assert!(observed.note(&seen(None, &[]), OWN, now));
    }

    #[test]
    fn a_holder_without_a_row_is_waited_for_too() {
        let (mut observed, start) = (Observed::default(), Instant::now());
        observed.note(&seen(Some(OTHER), &[]), OWN, start);
        assert!(!observed.all_still(start, TTL));
        observed.note(&seen(Some(OTHER), &[]), OWN, start + TTL);
        assert!(observed.is_still(OTHER, start + TTL, TTL));
        assert_eq!(observed.count(OTHER), None);
        // Its row is there again.
        observed.note(&seen(Some(OTHER), &[(OTHER, 0)]), OWN, start + TTL);
        assert!(!observed.is_still(OTHER, start + TTL, TTL));
        observed.note(&seen(Some(OWN), &[]), OWN, start + TTL);
        assert!(observed.all_still(start + TTL, TTL), "the own lease is nobody else's");
    }
}

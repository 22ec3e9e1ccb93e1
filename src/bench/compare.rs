//! Two servers side by side: ratios of their figures, and how far rounds differ.

use super::measure::Measurement;
use super::workload::Workload;

/// The median of some numbers, with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two middle ones.
    pub median: f64,
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

impl Spread {
    /// Of numbers; `None` where there are none.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted.get((sorted.len() - 1) / 2)?, sorted.get(sorted.len() / 2)?);
        Some(Self { median: f64::midpoint(*low, *high), least, most })
    }
}

/// A workload's rounds on two servers.
#[derive(Debug)]
pub struct Comparison {
    pub workload: Workload,
    /// The rounds on each.
    pub rounds: Vec<[Measurement; 2]>,
}

impl Comparison {
    /// Operations a second of one of them.
    #[must_use]
    pub fn rates(&self, server: usize) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| round.get(server)).map(Measurement::rate))
    }

    /// How many operations a second the second server makes for each of the first: the ratio of the medians,
    /// and the least and greatest ratio of a round.
    #[must_use]
    pub fn rate_ratio(&self) -> Option<Spread> {
        self.ratio(Measurement::rate)
    }

    /// The same of the latency that `percent` of the operations did not exceed.
    #[must_use]
    pub fn latency_ratio(&self, percent: f64) -> Option<Spread> {
        self.ratio(|it| it.operations.percentile(percent).as_secs_f64())
    }

    fn ratio(&self, figure: impl Fn(&Measurement) -> f64) -> Option<Spread> {
        let of = |server: usize| {
            Spread::of(self.rounds.iter().filter_map(|round| round.get(server)).map(&figure))
        };
        let by_round = self.rounds.iter().map(|[first, second]| figure(second) / figure(first));
        let ratio = Spread::of(by_round.filter(|ratio| ratio.is_finite()))?;
        let median = of(1)?.median / of(0)?.median;
        median.is_finite().then_some(Spread { median, ..ratio })
    }

    /// Unexpected replies of all rounds.
    #[must_use]
    pub fn error_count(&self) -> u64 {
        self.rounds.iter().flatten().map(Measurement::error_count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_both_ends() {
        let spread = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { median: 3.0, least: 3.0, most: 3.0 }));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 9.0 }));
        assert_eq!(
            spread(&[4.0, 1.0, 2.0, 9.0]),
            Some(Spread { median: 3.0, least: 1.0, most: 9.0 })
        );
    }
}

//! What runs side by side say, and when they say nothing.

use super::Carrier;

/// Spread of the reference, largest by smallest, from which on there is no verdict.
const MAX_SPREAD: f64 = 1.5;

/// Share of one core that a load generator may use.
const MAX_CLIENT: f64 = 0.8;

/// What is measured of a run. Less is better in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    CpuPerGigabyte,
    CpuPerFrame,
    SwitchesPerFrame,
    RssPerSubscriber,
    LatencyP50,
    LatencyP99,
}

impl Metric {
    pub(crate) const ALL: [Self; 6] = [
        Self::CpuPerGigabyte,
        Self::CpuPerFrame,
        Self::SwitchesPerFrame,
        Self::RssPerSubscriber,
        Self::LatencyP50,
        Self::LatencyP99,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuPerGigabyte => "CPU s/GB",
            Self::CpuPerFrame => "CPU us/frame",
            Self::SwitchesPerFrame => "switches/frame",
            Self::RssPerSubscriber => "RSS kB/subscriber",
            Self::LatencyP50 => "p50 ms",
            Self::LatencyP99 => "p99 ms",
        }
    }

    /// What ours may be beside the null relay, where that is decided: for loads at their usual size. With few
    /// subscribers what is there once weighs too much.
    pub(crate) fn bar(self, workload: &str, carrier: Carrier) -> Option<f64> {
        match (workload, self, carrier) {
            ("V5", Self::CpuPerGigabyte, Carrier::Quic) => Some(1.35),
            ("V5", Self::CpuPerGigabyte, Carrier::Webtransport) => Some(1.5),
            ("F4", Self::CpuPerFrame, Carrier::Quic) => Some(1.5),
            ("A50", Self::CpuPerFrame, Carrier::Quic) => Some(1.6),
            ("V5", Self::LatencyP99 | Self::RssPerSubscriber, Carrier::Quic) => Some(1.3),
            // Beside as many of which all read.
            ("SLOW", Self::LatencyP99, Carrier::Quic) => Some(1.1),
            _ => None,
        }
    }
}

impl Metric {
    /// What ours may be beside the best relay of others.
    pub(crate) fn peer_bar(self, workload: &str) -> Option<f64> {
        match (workload, self) {
            ("V5", Self::CpuPerFrame) => Some(0.55),
            ("F4" | "A50", Self::CpuPerFrame) => Some(0.5),
            _ => None,
        }
    }

    /// What is aimed at, where a bar is what has to hold.
    pub(crate) fn goal(self, workload: &str, carrier: Carrier) -> Option<f64> {
        match (workload, self, carrier) {
            ("V5", Self::CpuPerGigabyte, Carrier::Quic) => Some(1.15),
            ("V5", Self::CpuPerGigabyte, Carrier::Webtransport) => Some(1.2),
            ("F4", Self::CpuPerFrame, Carrier::Quic) => Some(1.25),
            ("A50", Self::CpuPerFrame, Carrier::Quic) => Some(1.3),
            ("V5", Self::LatencyP99, Carrier::Quic) => Some(1.1),
            ("V5", Self::RssPerSubscriber, Carrier::Quic) => Some(1.2),
            ("SLOW", Self::LatencyP99, Carrier::Quic) => Some(1.05),
            _ => None,
        }
    }
}

/// Least, middle and most of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` without numbers.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (upper, lower) = (values.get(values.len() / 2)?, values.get((values.len() - 1) / 2)?);
        Some(Self { min, median: f64::midpoint(*upper, *lower), max })
    }
}

/// One repeat: both arms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    pub(crate) ours: f64,
    pub(crate) reference: f64,
    /// The larger of the two generators' shares of a core.
    pub(crate) client: f64,
}

/// A metric over all repeats.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) ours: Spread,
    pub(crate) reference: Spread,
    pub(crate) ratio: Spread,
    pub(crate) bar: Option<f64>,
    /// What is aimed at, whatever the verdict.
    pub(crate) goal: Option<f64>,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// No bar to hold it against.
    Measured,
    Holds,
    Fails,
    /// Nothing can be said, for this reason.
    Refused(String),
}

impl Verdict {
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Measured => String::new(),
            Self::Holds => "holds".to_owned(),
            Self::Fails => "FAILS".to_owned(),
            Self::Refused(why) => format!("no verdict: {why}"),
        }
    }
}

/// Judges the ratio of each pair, their median against the bar. `None` without pairs.
pub(crate) fn judge(pairs: &[Pair], bar: Option<f64>) -> Option<Finding> {
    let all = |of: fn(&Pair) -> f64| Spread::of(&pairs.iter().map(of).collect::<Vec<_>>());
    let (ours, reference) = (all(|pair| pair.ours)?, all(|pair| pair.reference)?);
    let ratio = all(|pair| if pair.reference > 0.0 { pair.ours / pair.reference } else { f64::NAN })?;
    let client = pairs.iter().map(|pair| pair.client).fold(0.0, f64::max);
    let spread = if reference.min > 0.0 { reference.max / reference.min } else { f64::INFINITY };
    let verdict = if spread > MAX_SPREAD {
        Verdict::Refused(format!("the reference itself varies by {spread:.2}"))
    } else if client > MAX_CLIENT {
        Verdict::Refused(format!("the load generator used {:.0} % of a core", client * 100.0))
    } else {
        match bar {
            None => Verdict::Measured,
            Some(bar) if ratio.median <= bar => Verdict::Holds,
            Some(_) => Verdict::Fails,
        }
    };
    Some(Finding { ours, reference, ratio, bar, goal: None, verdict })
}

/// A random order of `count` things, from a seed.
pub(crate) fn shuffled(count: usize, seed: &mut u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        order.swap(at, (*seed % (at as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(f64, f64)]) -> Vec<Pair> {
        of.iter().map(|&(ours, reference)| Pair { ours, reference, client: 0.5 }).collect()
    }

    #[test]
    fn the_median_of_the_ratios_is_held_against_the_bar() {
        let pairs = pairs(&[(2.6, 2.0), (2.0, 2.0), (2.9, 2.2)]);
        let finding = judge(&pairs, Some(1.35)).unwrap();
        assert_eq!(finding.verdict, Verdict::Holds);
        assert!((finding.ratio.median - 1.3).abs() < 1e-9 && (finding.ratio.min - 1.0).abs() < 1e-9);
        assert_eq!(judge(&pairs, Some(1.2)).unwrap().verdict, Verdict::Fails);
        assert_eq!(judge(&pairs, None).unwrap().verdict, Verdict::Measured);
        assert_eq!(judge(&[], None), None);
    }

    #[test]
    fn a_reference_that_varies_and_a_busy_client_allow_no_verdict() {
        let finding = judge(&pairs(&[(1.0, 1.0), (1.0, 1.6)]), Some(9.0)).unwrap();
        assert!(finding.verdict.words().contains("varies by 1.60"));
        let mut busy = pairs(&[(1.0, 1.0), (1.0, 1.1)]);
        busy[1].client = 0.93;
        assert!(judge(&busy, None).unwrap().verdict.words().contains("93 %"));
    }

    #[test]
    fn the_middle_of_an_even_count_is_between_two() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { min: 1.0, median: 2.5, max: 4.0 });
    }

    #[test]
    fn bars_are_for_loads_at_their_usual_size() {
        let bar = |workload: &str, carrier| Metric::CpuPerGigabyte.bar(workload, carrier);
        assert_eq!(bar("V5", Carrier::Quic), Some(1.35));
        assert_eq!(bar("V5", Carrier::Webtransport), Some(1.5));
        assert_eq!(bar("V5:20", Carrier::Quic), None);
        for metric in Metric::ALL {
            for (workload, carrier) in
                [("V5", Carrier::Quic), ("V5", Carrier::Webtransport), ("A50", Carrier::Quic)]
            {
                let (bar, goal) = (metric.bar(workload, carrier), metric.goal(workload, carrier));
                assert_eq!(
                    (goal.is_some(), goal <= bar),
                    (bar.is_some(), true),
                    "{workload} {}",
                    metric.name()
                );
            }
        }
    }

    #[test]
    fn an_order_holds_everything_once() {
        let mut seed = 5;
        let mut order = shuffled(9, &mut seed);
        assert_ne!(order, shuffled(9, &mut seed));
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
}

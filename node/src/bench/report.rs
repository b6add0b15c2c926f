//! The table: ratio to the floor first, medians, the spread, what was measured with what.

use super::Options;

/// One round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// What is compared; more is better.
    pub(super) rate: f64,
    pub(super) cpu_per_gb: f64,
    pub(super) gb_per_second: f64,
    /// Seconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// Pairs of rounds.
pub(super) struct Figure {
    name: &'static str,
    unit: &'static str,
    pairs: Vec<(Sample, Sample)>,
}

impl Figure {
    pub(super) fn new(name: &'static str, unit: &'static str) -> Figure {
        Figure { name, unit, pairs: Vec::new() }
    }

    pub(super) fn add(&mut self, ours: Sample, floor: Sample) {
        self.pairs.push((ours, floor));
    }

    pub(super) fn print(&self) {
        let ratios: Vec<f64> = self.pairs.iter().map(|(ours, floor)| ours.rate / floor.rate).collect();
        let of = |which: fn(&(Sample, Sample)) -> Sample, what: fn(Sample) -> f64| {
            median(self.pairs.iter().map(|pair| what(which(pair))).collect())
        };
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        println!(
            "{:<14} {:5.1} % of the floor ({:.1}..{:.1})   {}",
            self.name,
            100.0 * median(ratios),
            100.0 * least,
            100.0 * most,
            self.unit
        );
        for (who, which) in [("broker", (|p| p.0) as fn(&(Sample, Sample)) -> Sample), ("floor", |p| p.1)] {
            println!(
                "    {who:<7} {:>11.3}   {:.3} CPU-s/GB   {:.3} GB/s   p50 {:.0} us   p99 {:.0} us",
                of(which, |s| s.rate),
                of(which, |s| s.cpu_per_gb),
                of(which, |s| s.gb_per_second),
                1e6 * of(which, |s| s.p50),
                1e6 * of(which, |s| s.p99),
            );
        }
    }
}

pub(super) fn heading(options: &Options) {
    let congestion = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    println!(
        "broker and floor in turn on core 0, load on core 1; {} pairs of {:?}, median (least..most) of the pairs' ratios; disk driver {}, congestion control {}",
        options.rounds,
        options.round,
        options.disk,
        congestion.trim(),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

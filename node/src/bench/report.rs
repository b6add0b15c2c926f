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
    /// The share of the bytes sent that left by `sendfile`, where the server says so.
    pub(super) by_sendfile: Option<f64>,
}

/// The samples of one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) ours: Sample,
    pub(super) floor: Sample,
    pub(super) kafka: Option<Sample>,
}

/// All rounds of a figure.
pub(super) struct Figure {
    name: &'static str,
    unit: &'static str,
    rounds: Vec<Round>,
}

impl Figure {
    pub(super) fn new(name: &'static str, unit: &'static str) -> Figure {
        Figure { name, unit, rounds: Vec::new() }
    }

    pub(super) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    pub(super) fn print(&self) {
        println!("{:<14} {}   {}", self.name, self.ratio(|r| Some(r.floor)).unwrap_or_default(), self.unit);
        self.line("broker", |r| Some(r.ours));
        self.line("floor", |r| Some(r.floor));
        self.line("kafka", |r| r.kafka);
        if let Some(sent) = self.median(|r| Some(r.ours), |s| s.by_sendfile) {
            println!("    {:.1} % of the bytes sent left by sendfile", 100.0 * sent);
        }
        let kafka: Vec<f64> = self.rounds.iter().filter_map(|r| Some(r.ours.rate / r.kafka?.rate)).collect();
        let cpu: Vec<f64> = self.rounds.iter().filter_map(|r| Some(r.ours.cpu_per_gb / r.kafka?.cpu_per_gb)).collect();
        if !kafka.is_empty() {
            println!("    {:.1} times Apache Kafka, at {:.3} times its CPU a GB", median(kafka), median(cpu));
        }
    }

    /// Ours in percent of another's.
    fn ratio(&self, other: fn(&Round) -> Option<Sample>) -> Option<String> {
        let ratios: Vec<f64> = self.rounds.iter().filter_map(|r| Some(100.0 * r.ours.rate / other(r)?.rate)).collect();
        let least = ratios.iter().copied().reduce(f64::min)?;
        let most = ratios.iter().copied().reduce(f64::max)?;
        Some(format!("{:5.1} % of the floor ({least:.1}..{most:.1})", median(ratios)))
    }

    fn median(&self, who: fn(&Round) -> Option<Sample>, what: fn(Sample) -> Option<f64>) -> Option<f64> {
        let all: Vec<f64> = self.rounds.iter().filter_map(|r| what(who(r)?)).collect();
        (!all.is_empty()).then(|| median(all))
    }

    fn line(&self, name: &str, who: fn(&Round) -> Option<Sample>) {
        let of = |what: fn(Sample) -> Option<f64>| self.median(who, what).unwrap_or_default();
        if self.rounds.iter().any(|r| who(r).is_some()) {
            println!(
                "    {name:<7} {:>11.3}   {:.3} CPU-s/GB   {:.3} GB/s   p50 {:.0} us   p99 {:.0} us",
                of(|s| Some(s.rate)),
                of(|s| Some(s.cpu_per_gb)),
                of(|s| Some(s.gb_per_second)),
                1e6 * of(|s| Some(s.p50)),
                1e6 * of(|s| Some(s.p99)),
            );
        }
    }
}

pub(super) fn heading(options: &Options) {
    let congestion = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    println!(
        "servers in turn on core 0, load on core 1; {} rounds of {:?}, median (least..most) of their ratios; disk driver {}, congestion control {}",
        options.rounds,
        options.round,
        options.disk,
        congestion.trim(),
    );
    if congestion.trim() == "bbr" {
        println!(
            "bbr paces what it sends, on loopback too: for figures of fetches set net.ipv4.tcp_congestion_control to cubic"
        );
    }
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

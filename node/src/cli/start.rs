//! `klamm start`: a broker from Kafka's `server.properties`. The command line beats the environment, the environment the
//! file, and the file the defaults.

use super::settings::{Origin, Settings, key_value};
use super::{Failure, broker, properties};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Kafka's properties file. Variables such as KAFKA_LOG_DIRS (for log.dirs) and CLUSTER_ID go before it.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Goes before the file and the environment.
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
}

/// Runs a broker until it is told to stop.
pub(super) fn run(args: &Args, give_back: fn()) -> Result<(), Failure> {
    let mut all: BTreeMap<String, (String, Origin)> = BTreeMap::new();
    if let Some(path) = &args.config {
        let bad = |why: String| Failure::configuration(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let origin = Origin::File(path.display().to_string());
        let pairs = properties::parse(&text).map_err(bad)?;
        all.extend(pairs.into_iter().map(|(key, value)| (key, (value, origin.clone()))));
    }
    let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let variables = properties::of_environment(variables);
    all.extend(variables.into_iter().map(|(key, value)| (key, (value, Origin::Environment))));
    all.extend(args.overrides.iter().cloned().map(|(key, value)| (key, (value, Origin::CommandLine))));
    let mut settings = Settings { cluster: std::env::var("CLUSTER_ID").ok(), ..Settings::default() };
    for (key, (value, origin)) in &all {
        settings.set(key, value, origin)?;
    }
    settings.finish()?;
    broker::run(&settings, give_back)
}

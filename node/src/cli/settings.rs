//! What a broker is run with, by Kafka's keys. A key that would have no effect is never passed over in silence: what would
//! change a promise (security, replication, retention) is refused, what only tunes Kafka's own threads is said once.
//!
//! Configs of topics and of the broker that the core knows ([`broker_key`]) are checked by it and handed on.

use super::Failure;
use crate::disk::Driver;
use crate::host::MAX_FRAME;
use crate::net::BACKLOG;
use klamm_core::ids::BrokerId;
use klamm_core::metadata::configs::{Configs, broker_key, broker_keys};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// The default of `listeners`, and of `log.dirs`.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9092);
const DATA: &str = "klamm-data";

/// Who set a value.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// `--override`, or an option of its own.
    CommandLine,
    /// A variable.
    Environment,
    /// A file.
    File(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::CommandLine => write!(f, "command line"),
            Origin::Environment => write!(f, "environment"),
            Origin::File(path) => write!(f, "{path}"),
        }
    }
}

/// What a broker is run with.
#[derive(Debug)]
pub(super) struct Settings {
    /// `log.dirs`.
    pub(super) data: PathBuf,
    /// `node.id`; what the directory says if it is not set.
    pub(super) node: Option<BrokerId>,
    /// The cluster's id; what the directory says if it is not set.
    pub(super) cluster: Option<String>,
    /// `listeners`.
    pub(super) listen: SocketAddr,
    /// `advertised.listeners`.
    pub(super) advertised: Option<(String, u16)>,
    /// `klamm.shards`; as many as there are cores if not set.
    pub(super) shards: Option<u16>,
    /// `klamm.disk`.
    pub(super) driver: Driver,
    /// `klamm.http`.
    pub(super) http: Http,
    /// `socket.listen.backlog.size`.
    pub(super) backlog: i32,
    /// `max.connections`.
    pub(super) max_connections: usize,
    /// `max.connections.per.ip`.
    pub(super) max_connections_per_ip: usize,
    /// `connections.max.idle.ms`.
    pub(super) idle_ms: i64,
    /// `socket.request.max.bytes`.
    pub(super) max_frame: usize,
    /// What the core is told.
    pub(super) configs: Configs,
    /// What is to be said before it starts.
    pub(super) warnings: Vec<String>,
    /// `listeners`, all of them.
    pub(super) listeners: Vec<Listener>,
    /// `advertised.listeners`, all of them.
    pub(super) advertised_listeners: Vec<Listener>,
    /// `controller.listener.names`.
    pub(super) controllers: Vec<String>,
    /// `listener.security.protocol.map`.
    pub(super) protocols: Vec<(String, String)>,
    /// Keys that only tune what is not here.
    pub(super) idle_keys: Vec<String>,
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Http {
    /// On the default port or, where another broker has that, on a free one.
    Default,
    /// On this address.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

impl std::str::FromStr for Http {
    type Err = String;

    fn from_str(text: &str) -> Result<Http, String> {
        match text {
            "off" => Ok(Http::Off),
            _ => text
                .parse()
                .map(Http::At)
                .map_err(|_| format!("{text:?} is not off or an address such as 127.0.0.1:9404")),
        }
    }
}

/// `NAME://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    name: String,
    host: String,
    port: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            data: DATA.into(),
            node: None,
            cluster: None,
            listen: LISTEN,
            advertised: None,
            shards: None,
            driver: Driver::Auto,
            http: Http::Default,
            backlog: BACKLOG,
            max_connections: usize::MAX,
            max_connections_per_ip: usize::MAX,
            idle_ms: 600_000,
            max_frame: MAX_FRAME,
            configs: Configs::new(),
            warnings: Vec::new(),
            listeners: Vec::new(),
            advertised_listeners: Vec::new(),
            controllers: Vec::new(),
            protocols: Vec::new(),
            idle_keys: Vec::new(),
        }
    }
}

/// Keys that are read here.
const OWN: &[&str] = &[
    "advertised.listeners",
    "broker.id",
    "connections.max.idle.ms",
    "controller.listener.names",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "inter.broker.listener.name",
    "klamm.disk",
    "klamm.http",
    "klamm.shards",
    "listener.security.protocol.map",
    "listeners",
    "log.dir",
    "log.dirs",
    "max.connections",
    "max.connections.per.ip",
    "node.id",
    "process.roles",
    "socket.listen.backlog.size",
    "socket.request.max.bytes",
];

/// Keys that take these values only, and why.
const ONLY: &[(&str, &[&str], &str)] = &[
    ("broker.rack", &[""], "brokers have no racks yet"),
    ("max.connections.per.ip.overrides", &[""], "every address is held to max.connections.per.ip"),
    ("max.connection.creation.rate", &["2147483647"], "connections are not limited by rate"),
    ("offsets.topic.replication.factor", &["1"], ALONE),
    ("transaction.state.log.replication.factor", &["1"], ALONE),
    ("transaction.state.log.min.isr", &["1"], ALONE),
    ("share.coordinator.state.topic.replication.factor", &["1"], ALONE),
    ("share.coordinator.state.topic.min.isr", &["1"], ALONE),
    ("security.inter.broker.protocol", &["PLAINTEXT"], "there is no TLS or authentication yet"),
    ("remote.log.storage.system.enable", &["false"], "there is no tiered storage"),
    ("authorizer.class.name", &[""], "there are no ACLs yet"),
];
const ALONE: &str = "this broker is alone, and replicates nothing yet";

/// What begins so is refused: to go without would break a promise.
const REFUSED: &[(&str, &str)] = &[
    ("ssl.", "there is no TLS yet"),
    ("sasl.", "there is no authentication yet"),
    ("listener.name.", "listeners have no settings of their own yet"),
    ("super.users", "there are no ACLs yet"),
    ("principal.builder.class", "there is no authentication yet"),
    ("zookeeper.", "metadata lives in the broker itself (KRaft)"),
    ("client.quota.callback.class", "there are no quotas yet"),
    ("create.topic.policy.class.name", "there are no policies"),
    ("alter.config.policy.class.name", "there are no policies"),
];

/// What begins so tunes threads, buffers and parts of Kafka that are not here.
const IDLE: &[&str] = &[
    "auto.include.jmx.reporter",
    "auto.leader.rebalance.enable",
    "background.threads",
    "broker.heartbeat.interval.ms",
    "broker.id.generation.enable",
    "broker.session.timeout.ms",
    "client.metrics.",
    "connection.failed.authentication.delay.ms",
    "controller.performance.",
    "controller.quorum.",
    "controller.socket.timeout.ms",
    "controlled.shutdown.",
    "delegation.token.",
    "fetch.purgatory.",
    "group.",
    "initial.broker.registration.timeout.ms",
    "kafka.metrics.",
    "leader.imbalance.",
    "log.cleaner.",
    "log.flush.offset.checkpoint.interval.ms",
    "log.flush.scheduler.interval.ms",
    "log.flush.start.offset.checkpoint.interval.ms",
    "max.incremental.fetch.session.cache.slots",
    "metadata.log.",
    "metadata.max.",
    "metric.reporters",
    "metrics.",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.",
    "offset.metadata.max.bytes",
    "offsets.",
    "producer.id.expiration.check.interval.ms",
    "producer.purgatory.",
    "queued.max.",
    "quota.",
    "remote.log.",
    "replica.",
    "request.timeout.ms",
    "reserved.broker.max.id",
    "server.max.startup.time.ms",
    "share.",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "streams.",
    "telemetry.",
    "transaction.",
    "transactional.id.",
];

impl Settings {
    /// Sets one key.
    ///
    /// # Errors
    /// For a key that nobody knows, and for a value that means nothing or would have no effect.
    pub(super) fn set(&mut self, key: &str, value: &str, origin: &Origin) -> Result<(), Failure> {
        let value = value.trim();
        self.take(key, value).map_err(|why| Failure::configuration(format!("{key}: {why} (from the {origin})")))
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "log.dirs" | "log.dir" => {
                if value.is_empty() || value.contains(',') {
                    return Err(format!("{value:?} is not one directory: a broker has one"));
                }
                self.data = value.into();
            }
            "node.id" | "broker.id" => self.node = Some(BrokerId(number(value, 0, i32::MAX)?)),
            "listeners" => self.listeners = listeners(value)?,
            "advertised.listeners" => self.advertised_listeners = listeners(value)?,
            "controller.listener.names" => self.controllers = words(value),
            "inter.broker.listener.name" => {}
            "listener.security.protocol.map" => {
                let pair = |word: String| {
                    let (name, protocol) =
                        word.split_once(':').ok_or_else(|| format!("{word:?} is not NAME:PROTOCOL"))?;
                    Ok((name.to_owned(), protocol.to_owned()))
                };
                self.protocols = words(value).into_iter().map(pair).collect::<Result<_, String>>()?;
            }
            "process.roles" => {
                let mut roles = words(value);
                roles.sort_unstable();
                if roles != ["broker", "controller"] {
                    return Err(format!("{value:?}: a node is broker and controller here (broker,controller)"));
                }
            }
            "controller.quorum.voters" | "controller.quorum.bootstrap.servers" => {
                if value.contains(',') {
                    return Err(format!("{value:?} names several: {ALONE}"));
                }
            }
            "klamm.shards" => self.shards = Some(number(value, 1, 1_024)?),
            "klamm.http" => self.http = value.parse()?,
            "klamm.disk" => {
                self.driver = match value {
                    "auto" => Driver::Auto,
                    "uring" => Driver::Uring,
                    "blocking" => Driver::Blocking,
                    _ => return Err(format!("{value:?} is not auto, uring or blocking")),
                };
            }
            "socket.listen.backlog.size" => self.backlog = number(value, 1, i32::MAX)?,
            "max.connections" => self.max_connections = count(value)?,
            "max.connections.per.ip" => self.max_connections_per_ip = count(value)?,
            "connections.max.idle.ms" => self.idle_ms = number(value, i64::MIN, i64::MAX)?,
            "socket.request.max.bytes" => {
                let most = i32::try_from(MAX_FRAME).expect("it is 100 MiB");
                self.max_frame = usize::try_from(number(value, 1, most)?).expect("it is positive");
            }
            _ => return self.take_other(key, value),
        }
        Ok(())
    }

    fn take_other(&mut self, key: &str, value: &str) -> Result<(), String> {
        if let Some(known) = broker_key(key) {
            known.check(value).map_err(|error| error.0.trim_start_matches(&format!("{key}: ")).to_owned())?;
            self.configs.insert(key.to_owned(), value.to_owned());
        } else if let Some((_, values, why)) = ONLY.iter().find(|(only, ..)| *only == key) {
            if !values.contains(&value) {
                return Err(format!("{value:?} is refused: {why}"));
            }
        } else if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| begins(key, refused)) {
            return Err(format!("refused: {why}"));
        } else if IDLE.iter().any(|idle| begins(key, idle)) {
            self.idle_keys.push(key.to_owned());
        } else {
            let hint = nearest(key).map_or(String::new(), |known| format!("; did you mean {known}?"));
            return Err(format!("no such key{hint}"));
        }
        Ok(())
    }

    /// Puts together what several keys say.
    ///
    /// # Errors
    /// When they contradict one another, or ask for what is not there.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.listen_where().map_err(Failure::configuration)?;
        if !self.idle_keys.is_empty() {
            let keys = std::mem::take(&mut self.idle_keys).join(", ");
            self.warnings.push(format!("no effect here: {keys}"));
        }
        Ok(())
    }

    /// What `listeners` and its like come to: one plaintext listener. A controller's is not opened.
    fn listen_where(&mut self) -> Result<(), String> {
        let (controllers, own): (Vec<_>, Vec<_>) =
            self.listeners.iter().cloned().partition(|listener| self.controllers.contains(&listener.name));
        for listener in controllers {
            let what = "this node's controller takes no connections";
            self.warnings.push(format!("the listener {} is not opened: {what}", listener.name));
        }
        let listener = match &own[..] {
            [] if self.listeners.is_empty() => None,
            [one] => Some(one.clone()),
            many => return Err(format!("listeners: {} for clients, but there must be one", many.len())),
        };
        let name = listener.as_ref().map_or("PLAINTEXT", |listener| &listener.name);
        let mapped = self.protocols.iter().find(|(mapped, _)| mapped == name);
        let protocol = mapped.map_or(name, |(_, protocol)| protocol);
        if protocol != "PLAINTEXT" {
            return Err(format!("listeners: {name} is {protocol}, but there is no TLS or authentication yet"));
        }
        if let Some(listener) = &listener {
            let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
            let bad = |why: String| format!("listeners: {host}:{}: {why}", listener.port);
            let mut found = (host, listener.port).to_socket_addrs().map_err(|error| bad(error.to_string()))?;
            self.listen = found.next().ok_or_else(|| bad("no address".to_owned()))?;
        }
        if let Some(told) = self.advertised_listeners.iter().find(|told| told.name == name) {
            if told.host.is_empty() || told.host == "0.0.0.0" {
                return Err(format!("advertised.listeners: clients cannot connect to {:?}", told.host));
            }
            self.advertised = Some((told.host.clone(), told.port));
        }
        Ok(())
    }

    /// Whether clients could connect to what they are told.
    ///
    /// # Errors
    /// When they could not.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.listen.ip().is_unspecified() && self.advertised.is_none() {
            let say = "say with --advertise HOST:PORT or advertised.listeners what they are to connect to";
            return Err(Failure::usage(format!("clients cannot connect to {}: {say}", self.listen.ip())));
        }
        Ok(())
    }
}

/// A prefix ends with a dot, a key does not.
fn begins(key: &str, with: &str) -> bool {
    if with.ends_with('.') { key.starts_with(with) } else { key == with }
}

fn words(value: &str) -> Vec<String> {
    value.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

#[allow(clippy::needless_pass_by_value, reason = "bounds are literals")]
fn number<N: std::str::FromStr + PartialOrd + fmt::Display + Copy>(
    value: &str,
    least: N,
    most: N,
) -> Result<N, String> {
    let fits = |n: &N| *n >= least && *n <= most;
    value.parse().ok().filter(fits).ok_or_else(|| format!("{value:?} is not a number of {least} to {most}"))
}

/// A limit of Kafka's, where 2147483647 is none.
fn count(value: &str) -> Result<usize, String> {
    let n = number(value, 1, i32::MAX)?;
    Ok(if n == i32::MAX { usize::MAX } else { usize::try_from(n).expect("it is positive") })
}

fn listeners(value: &str) -> Result<Vec<Listener>, String> {
    let listener = |word: String| {
        let bad = || format!("{word:?} is not NAME://HOST:PORT");
        let (name, address) = word.split_once("://").ok_or_else(bad)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = port.parse().map_err(|_| bad())?;
        Ok(Listener { name: name.to_ascii_uppercase(), host, port })
    };
    words(value).into_iter().map(listener).collect()
}

/// `HOST:PORT`.
pub(super) fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("want HOST:PORT")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match port.parse() {
        Ok(port) if !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err("want HOST:PORT".to_owned()),
    }
}

/// `KEY=VALUE`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("want KEY=VALUE".to_owned()),
    }
}

/// The known key that a mistyped one is nearest to, if it is near.
fn nearest(key: &str) -> Option<&'static str> {
    let exact = [REFUSED.iter().map(|r| r.0).collect::<Vec<_>>(), IDLE.to_vec()].concat();
    let exact = exact.into_iter().filter(|known| !known.ends_with('.'));
    let known = OWN.iter().copied().chain(ONLY.iter().map(|only| only.0)).chain(exact);
    let known = known.chain(broker_keys().map(|key| key.name));
    let (distance, best) = known.map(|known| (distance(key, known), known)).min()?;
    (distance <= 1 + key.len() / 4).then_some(best)
}

/// How many letters must be put in, taken out or replaced.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = replaced.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let mut settings = Settings::default();
        for (key, value) in pairs {
            settings.set(key, value, &Origin::CommandLine).map_err(|failure| failure.message)?;
        }
        settings.finish().map_err(|failure| failure.message)?;
        Ok(settings)
    }

    /// The file that comes with Kafka 4.
    const STOCK: &[(&str, &str)] = &[
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.bootstrap.servers", "localhost:9093"),
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("advertised.listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL"),
        ("num.network.threads", "3"),
        ("num.io.threads", "8"),
        ("socket.send.buffer.bytes", "102400"),
        ("socket.receive.buffer.bytes", "102400"),
        ("socket.request.max.bytes", "104857600"),
        ("log.dirs", "/tmp/kraft-combined-logs"),
        ("num.partitions", "1"),
        ("num.recovery.threads.per.data.dir", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("log.retention.hours", "168"),
        ("log.segment.bytes", "1073741824"),
        ("log.retention.check.interval.ms", "300000"),
    ];

    #[test]
    fn kafkas_own_file_is_understood() {
        let settings = of(STOCK).unwrap();
        assert_eq!(settings.listen, "0.0.0.0:9092".parse().unwrap());
        assert_eq!(settings.advertised, Some(("localhost".to_owned(), 9092)));
        assert_eq!((settings.node, settings.max_frame), (Some(BrokerId(1)), 100 << 20));
        assert_eq!(settings.configs["log.segment.bytes"], "1073741824");
        assert_eq!(settings.configs["log.retention.check.interval.ms"], "300000");
        assert!(settings.warnings[0].contains("CONTROLLER") && settings.warnings[1].contains("num.io.threads"));
    }

    #[test]
    fn what_would_break_a_promise_is_refused() {
        for (key, value, words) in [
            ("ssl.keystore.location", "x", "no TLS"),
            ("sasl.enabled.mechanisms", "PLAIN", "no authentication"),
            ("authorizer.class.name", "x.Authorizer", "no ACLs"),
            ("offsets.topic.replication.factor", "3", "alone"),
            ("controller.quorum.voters", "1@a:1,2@b:2", "alone"),
            ("process.roles", "broker", "broker,controller"),
            ("log.dirs", "/a,/b", "one directory"),
            ("listeners", "SSL://127.0.0.1:9092", "no TLS"),
            ("listeners", "A://127.0.0.1:1,B://127.0.0.1:2", "must be one"),
            ("listeners", "127.0.0.1:1", "NAME://HOST:PORT"),
            ("max.connections", "0", "not a number"),
            ("num.partitions", "none", "num.partitions"),
            ("log.initial.task.delay.ms", "-1", "log.initial.task.delay.ms"),
            ("node.id", "-1", "not a number"),
        ] {
            let why = of(&[(key, value)]).unwrap_err();
            assert!(why.contains(words), "{key}={value}: {why}");
        }
    }

    #[test]
    fn a_mistyped_key_is_guessed() {
        for (key, known) in [
            ("log.dir s", "log.dirs"),
            ("listenrs", "listeners"),
            ("num.partition", "num.partitions"),
            ("log.retention.hour", "log.retention.hours"),
            ("conections.max.idle.ms", "connections.max.idle.ms"),
        ] {
            let why = of(&[(key, "1")]).unwrap_err();
            assert!(why.contains(&format!("did you mean {known}?")), "{why}");
        }
        assert!(!of(&[("utter.nonsense.of.a.key", "1")]).unwrap_err().contains("did you mean"));
    }
}

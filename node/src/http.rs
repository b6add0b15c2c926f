//! `/metrics`, `/livez` and `/readyz` over HTTP: what the shards report, in Prometheus' words. Knows no shard's inside.
//!
//! Names are Klamm's own, and beside them those that dashboards made for Apache Kafka under Strimzi's exporter read.

use crate::host::{Inquiry, Report, Traffic};
use crate::meter::Counts;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use klamm_core::wire::error;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::timeout;

/// How long the shards may take to report.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections at once; more wait.
const CONNECTIONS: usize = 64;
/// How long a request's headers may take.
const HEADERS: Duration = Duration::from_secs(10);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What the page needs beside the shards' reports.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The version of the program.
    pub version: &'static str,
    /// The disk driver, once it is chosen.
    pub driver: Arc<OnceLock<&'static str>>,
    /// Set once every shard serves, unset when the broker stops.
    pub ready: Arc<AtomicBool>,
}

/// Where it listens unless told otherwise: as Strimzi's exporter does, but on this machine only.
pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9404);

/// Listens on an address; with `None` on the default one or, where another broker has that, on a free port.
///
/// # Errors
/// The system's.
pub fn listen(address: Option<SocketAddr>) -> io::Result<std::net::TcpListener> {
    let listener = match std::net::TcpListener::bind(address.unwrap_or(DEFAULT)) {
        Err(error) if address.is_none() && error.kind() == io::ErrorKind::AddrInUse => {
            std::net::TcpListener::bind((DEFAULT.ip(), 0))?
        }
        bound => bound?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until it is dropped, inside a `LocalSet`.
///
/// # Errors
/// When the runtime cannot watch the socket.
pub async fn serve<F: 'static>(
    listener: std::net::TcpListener,
    inquiry: Inquiry<F>,
    about: About,
) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let state = Rc::new((inquiry, about));
    let room = Rc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Rc::clone(&room);
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // It is never closed; one too many waits here, and those behind it.
        let Ok(()) = place.acquire().await.map(tokio::sync::SemaphorePermit::forget) else { continue };
        let state = Rc::clone(&state);
        spawn_local(async move {
            let respond = service_fn(|request| {
                let state = Rc::clone(&state);
                async move { Ok::<_, Infallible>(respond(&request, &state.0, &state.1).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(16 << 10);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), respond).await {
                tracing::debug!(%error, "an HTTP connection failed");
            }
            place.add_permits(1);
        });
    }
}

async fn respond<F>(request: &Request<Incoming>, inquiry: &Inquiry<F>, about: &About) -> Response<Full<Bytes>> {
    let ready = about.ready.load(Ordering::Relaxed);
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET it\n".to_owned());
    }
    let reports = || async { timeout(PATIENCE, inquiry.ask()).await.ok().flatten() };
    match request.uri().path() {
        // While its logs are recovered, and while it stops, a broker is alive and not to be killed for it.
        "/livez" if !ready => page(StatusCode::OK, PLAIN, "alive, but not serving\n".to_owned()),
        "/livez" => match reports().await {
            Some(_) => page(StatusCode::OK, PLAIN, "alive\n".to_owned()),
            None => page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "a shard does not answer\n".to_owned()),
        },
        "/readyz" if ready => page(StatusCode::OK, PLAIN, "ready\n".to_owned()),
        "/readyz" => page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "not serving\n".to_owned()),
        "/metrics" => match reports().await {
            Some(reports) => page(StatusCode::OK, OPEN_METRICS, metrics(reports, about)),
            None => page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "a shard does not answer\n".to_owned()),
        },
        _ => page(StatusCode::NOT_FOUND, PLAIN, "there are /metrics, /livez and /readyz\n".to_owned()),
    }
}

fn page(status: StatusCode, kind: &str, text: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, kind).body(Full::new(text.into()));
    response.expect("a status and a known header make a response")
}

fn metrics(reports: Vec<Report>, about: &About) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page { reports, about: about.clone() }));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a string takes what is written");
    text
}

#[derive(Debug)]
struct Page {
    reports: Vec<Report>,
    about: About,
}

/// Writes metrics, one family after the other.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(self.0.encode_descriptor(name, help, None, kind)?)
    }

    /// `_total` is added to the name.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |mut to| to.encode_counter::<NoLabelSet, _, u64>(&value, None))
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |mut to| {
            for (labels, value) in values {
                to.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
            Ok(())
        })
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, |mut to| to.encode_gauge(&value))
    }

    /// In units of `1 / per` of what is counted.
    fn histogram(&mut self, name: &str, help: &str, counts: &Counts, per: f64) -> fmt::Result {
        let bound = |bound: Option<u64>| bound.map_or(f64::INFINITY, |bound| bound as f64 / per);
        let buckets: Vec<_> = counts.bounds().map(|(upper, count)| (bound(upper), count)).collect();
        self.family(name, help, MetricType::Histogram, |mut to| {
            to.encode_histogram::<NoLabelSet>(counts.sum as f64 / per, counts.count(), &buckets, None)
        })
    }
}

impl Page {
    fn sum(&self, of: impl Fn(&Report) -> u64) -> u64 {
        self.reports.iter().map(of).sum()
    }

    fn counts(&self, of: impl Fn(&Report) -> &Counts) -> Counts {
        let mut all = Counts::default();
        self.reports.iter().map(of).filter(|counts| counts.unit > 0).for_each(|counts| all.add(counts));
        all
    }

    fn network(&self, out: &mut Out<'_>) -> fmt::Result {
        out.gauge("klamm_connections", "Open client connections", self.sum(|r| r.connections))?;
        out.counter("klamm_connections_accepted", "Client connections so far", self.sum(|r| r.accepted))?;
        out.counter("klamm_received_bytes", "Bytes of requests", self.sum(|r| r.received_bytes))?;
        let ways = [("sendfile", self.sum(|r| r.sendfile_bytes)), ("copied", self.sum(|r| r.copied_bytes))];
        let ways = ways.into_iter().map(|(way, bytes)| ([("way", way)], bytes));
        out.counters("klamm_sent_bytes", "Bytes of answers, by how they left", ways)?;
        let mut requests = BTreeMap::new();
        for (api, count) in self.reports.iter().flat_map(|r| &r.requests) {
            *requests.entry(format!("{api:?}")).or_insert(0) += count;
        }
        let requests = requests.into_iter().map(|(api, count)| ([("api", api)], count));
        out.counters("klamm_requests", "Requests, by API", requests)?;
        let mut errors = BTreeMap::new();
        for ((api, code), count) in self.reports.iter().flat_map(|r| &r.errors) {
            *errors.entry((format!("{api:?}"), error::name(*code))).or_insert(0) += count;
        }
        let errors = errors.into_iter().map(|((api, name), n)| ([("api", api), ("error", name.to_owned())], n));
        out.counters("klamm_errors", "Errors in answers, of requests and of their parts, by API", errors)
    }

    fn storage(&self, out: &mut Out<'_>) -> fmt::Result {
        let syncs = self.counts(|r| &r.syncs);
        out.histogram("klamm_fsync_seconds", "How long syncs to the device took", &syncs, 1e9)?;
        out.histogram("klamm_group_batches", "Batches made durable by one sync", &self.counts(|r| &r.groups), 1.0)
    }

    /// With and without a topic, as Kafka's own are exported.
    fn topics(&self, out: &mut Out<'_>) -> fmt::Result {
        let mut topics: BTreeMap<&str, Traffic> = BTreeMap::new();
        for (name, traffic) in self.reports.iter().flat_map(|r| &r.traffic) {
            let sum = topics.entry(name).or_default();
            sum.messages += traffic.messages;
            sum.bytes += traffic.bytes;
            sum.fetched += traffic.fetched;
        }
        let prefix = "kafka_server_brokertopicmetrics";
        let sum = |of: fn(&Traffic) -> u64| topics.values().map(of).sum::<u64>();
        let mut both = |name: &str, help: &str, all: u64, of: fn(&Traffic) -> u64| {
            out.family(&format!("{prefix}_{name}"), help, MetricType::Counter, |mut to| {
                to.encode_counter::<NoLabelSet, _, u64>(&all, None)?;
                for (topic, traffic) in &topics {
                    let labels = [("topic", *topic)];
                    to.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&of(traffic), None)?;
                }
                Ok(())
            })
        };
        both("messagesin", "Records appended", sum(|t| t.messages), |t| t.messages)?;
        both("bytesin", "Bytes of batches appended", sum(|t| t.bytes), |t| t.bytes)?;
        both("bytesout", "Bytes of batches fetched", self.sum(|r| r.fetched_bytes), |t| t.fetched)
    }

    fn cluster(&self, out: &mut Out<'_>) -> fmt::Result {
        let leads = u64::from(self.about.ready.load(Ordering::Relaxed));
        let [replicas, controller] = ["kafka_server_replicamanager", "kafka_controller_kafkacontroller"];
        out.gauge(&format!("{replicas}_partitioncount"), "Replicas here", self.sum(|r| r.partitions))?;
        out.gauge(&format!("{replicas}_leadercount"), "Partitions led here", self.sum(|r| r.leaders))?;
        let under = self.sum(|r| r.under_replicated);
        out.gauge(&format!("{replicas}_underreplicatedpartitions"), "Led here, with replicas out of sync", under)?;
        out.gauge(&format!("{controller}_activecontrollercount"), "Whether the controller is here", leads)?;
        let offline = self.sum(|r| r.offline);
        out.gauge(&format!("{controller}_offlinepartitionscount"), "Partitions that nobody serves", offline)
    }
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut Out(encoder);
        let driver = self.about.driver.get().copied().unwrap_or("unknown");
        let build = vec![("version", self.about.version), ("disk", driver)];
        out.family("klamm_build", "What runs here", MetricType::Info, |mut to| to.encode_info(&build))?;
        out.gauge("klamm_shards", "Shards, each a thread", self.reports.len() as u64)?;
        self.network(out)?;
        self.storage(out)?;
        self.topics(out)?;
        self.cluster(out)
    }
}

//! The answers themselves.
//!
//! | path | means | asks |
//! |---|---|---|
//! | `/health` | can a client work with this member (JSON, as etcd's) | a leader, no alarm, a read |
//! | `/livez` | is the process alive: restart it if not | a local read |
//! | `/readyz` | should clients be sent here | a local read, a linearizable read, a vote |
//! | `/metrics` | text, or OpenMetrics if it is asked for | |
//! | `/version` | JSON | |
//! | `/status` | how far this member has come, with the digest of its state, at one moment (JSON) | |
//!
//! `?serializable=true` on `/health` leaves the other members out; `?exclude=NOSPACE` (or a check's
//! name) leaves one cause out; `?verbose` lists every check; `/readyz/linearizable_read` asks one.

use super::PageBody;
use crate::ETCD_VERSION;
use crate::metrics::{Exposition, Live, Metrics};
use bytes::Bytes;
use conclave_state::ClusterVersion;
use conclave_state::placement::Labels;
use conclave_storage::{DIGEST_EVERY, ReplicaStatus};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use serde_json::json;
use std::sync::Arc;

/// What the pages ask of the node.
pub trait Probe: Send + Sync + 'static {
    fn metrics(&self) -> &Metrics;

    fn live(&self) -> Live;

    fn status(&self) -> MemberStatus;

    /// Names of the raised alarms, `NOSPACE` or `CORRUPT`.
    fn alarms(&self) -> Result<Vec<&'static str>, String>;

    /// Reads from this member; if `linearizable`, after the leader confirmed itself.
    fn read(&self, linearizable: bool) -> BoxFuture<'_, Result<(), String>>;
}

/// What decides how much a member should lead.
#[derive(Clone, Debug, Default)]
pub struct PlacementOf {
    pub labels: Labels,
    pub maintenance: bool,
    /// By the policy; `None`: never.
    pub weight: Option<u32>,
}

/// A member at one moment. Members with the same `applied_index` have the same revision and digest,
/// or their states differ.
#[derive(Clone, Debug, Default)]
pub struct MemberStatus {
    pub name: String,
    pub member_id: u64,
    pub cluster_id: u64,
    pub leader_id: u64,
    pub term: u64,
    pub committed_index: u64,
    /// Of this member.
    pub placement: PlacementOf,
    /// Of Conclave: the cluster's version.
    pub versions: ClusterVersion,
    pub now: ReplicaStatus,
    /// Index and digest, at every index that [`DIGEST_EVERY`] divides, for the last of them.
    pub digests: Vec<(u64, u64)>,
}

#[derive(Clone)]
pub struct Pages {
    probe: Arc<dyn Probe>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] = &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }
}

impl Pages {
    pub fn new(probe: Arc<dyn Probe>) -> Pages {
        Pages { probe }
    }

    pub async fn respond(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<PageBody> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return match is_page(uri.path()) {
                true => text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"),
                false => text(StatusCode::NOT_FOUND, NOT_FOUND),
            };
        }
        let query = Query::parse(uri.query().unwrap_or_default());
        match uri.path() {
            "/metrics" => self.metrics(headers),
            "/version" => version(&self.probe.status()),
            "/status" => status_page(&self.probe.status()),
            "/health" => self.health(&query).await,
            "/livez" => self.checks(LIVE, &query).await,
            "/readyz" => self.checks(READY, &query).await,
            path => match single(path) {
                Some(check) => self.checks(&[check], &query).await,
                None => text(StatusCode::NOT_FOUND, NOT_FOUND),
            },
        }
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<PageBody> {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let exposition = Exposition::asked_for(accept);
        let text = self.probe.metrics().render(self.probe.live(), exposition);
        page(StatusCode::OK, exposition.content_type(), text)
    }

    async fn health(&self, query: &Query<'_>) -> Response<PageBody> {
        let reason = self.unhealthy(query).await.err();
        let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let metrics = self.probe.metrics();
        let answers = if reason.is_none() { &metrics.health_success } else { &metrics.health_failures };
        answers.inc();
        let health = if reason.is_none() { "true" } else { "false" };
        let body = json!({ "health": health, "reason": reason.unwrap_or_default() });
        page(status, "application/json", body.to_string())
    }

    async fn unhealthy(&self, query: &Query<'_>) -> Result<(), String> {
        let alarms = self.probe.alarms()?;
        if let Some(alarm) = alarms.iter().find(|alarm| !query.excludes(alarm)) {
            return Err(format!("ALARM {alarm}"));
        }
        if !query.serializable && !self.probe.live().has_leader {
            return Err("RAFT NO LEADER".to_owned());
        }
        self.probe.read(!query.serializable).await
    }

    async fn checks(&self, checks: &[Check], query: &Query<'_>) -> Response<PageBody> {
        let mut failed = false;
        let mut lines = String::new();
        for check in checks {
            let line = match query.excludes(check.name()) {
                true => format!("[+]{} excluded: ok\n", check.name()),
                false => match self.check(*check).await {
                    Ok(()) => format!("[+]{} ok\n", check.name()),
                    Err(why) => {
                        failed = true;
                        format!("[-]{} failed: {why}\n", check.name())
                    }
                },
            };
            lines.push_str(&line);
        }
        match failed {
            true => text(StatusCode::SERVICE_UNAVAILABLE, lines),
            false if query.verbose => text(StatusCode::OK, lines + "ok\n"),
            false => text(StatusCode::OK, "ok\n"),
        }
    }

    async fn check(&self, check: Check) -> Result<(), String> {
        match check {
            Check::DataCorruption => match self.probe.alarms()?.contains(&"CORRUPT") {
                true => Err("alarm CORRUPT".to_owned()),
                false => Ok(()),
            },
            Check::SerializableRead => self.probe.read(false).await,
            Check::LinearizableRead => self.probe.read(true).await,
            Check::NonLearner => match self.probe.live().is_learner {
                true => Err("learner".to_owned()),
                false => Ok(()),
            },
        }
    }
}

const NOT_FOUND: &str = "404 page not found\n";

fn is_page(path: &str) -> bool {
    matches!(path, "/metrics" | "/version" | "/status" | "/health" | "/livez" | "/readyz") || single(path).is_some()
}

/// `/livez/<check>` and `/readyz/<check>`.
fn single(path: &str) -> Option<Check> {
    let (page, name) = path.strip_prefix('/')?.split_once('/')?;
    let checks = match page {
        "livez" => LIVE,
        "readyz" => READY,
        _ => return None,
    };
    checks.iter().copied().find(|check| check.name() == name)
}

struct Query<'a> {
    serializable: bool,
    verbose: bool,
    exclude: Vec<&'a str>,
}

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Query<'a> {
        let mut parsed = Query { serializable: false, verbose: false, exclude: Vec::new() };
        for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            match name {
                "serializable" => parsed.serializable = value == "true",
                "verbose" => parsed.verbose = value != "false",
                "exclude" => parsed.exclude.push(value),
                _ => {}
            }
        }
        parsed
    }

    fn excludes(&self, name: &str) -> bool {
        self.exclude.contains(&name)
    }
}

fn version(member: &MemberStatus) -> Response<PageBody> {
    let body = json!({
        "etcdserver": ETCD_VERSION,
        "etcdcluster": ETCD_VERSION,
        "storage": "3.6.0",
        "conclave": env!("CARGO_PKG_VERSION"),
        "conclavecluster": member.versions.version().to_string(),
    });
    page(StatusCode::OK, "application/json", body.to_string())
}

fn status_page(member: &MemberStatus) -> Response<PageBody> {
    let MemberStatus { name, member_id, cluster_id, leader_id, term, committed_index, placement, .. } = member;
    let MemberStatus { versions, now, digests, .. } = member;
    // Numbers of 64 bits do not survive every JSON reader.
    let digests: Vec<_> = digests.iter().map(|(index, digest)| json!([index, format!("{digest:016x}")])).collect();
    let body = json!({
        "name": name,
        "member_id": format!("{member_id:x}"),
        "cluster_id": format!("{cluster_id:x}"),
        "leader_id": format!("{leader_id:x}"),
        "raft_term": term,
        "committed_index": committed_index,
        "labels": placement.labels,
        "maintenance": placement.maintenance,
        // Null: by the policy it should never lead.
        "placement_weight": placement.weight,
        // Null until the first one is decided on.
        "cluster_version": versions.decided.map(|version| version.to_string()),
        "downgrade_to": versions.downgrade.map(|target| target.to_string()),
        "applied_index": now.applied_index,
        "applied_term": now.applied_term,
        "revision": now.revision,
        "compacted_revision": now.compacted,
        "digest": format!("{:016x}", now.digest),
        "digest_every": DIGEST_EVERY,
        "digests": digests,
    });
    page(StatusCode::OK, "application/json", body.to_string())
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<PageBody> {
    page(status, "text/plain; charset=utf-8", body)
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<PageBody> {
    let mut response = Response::new(PageBody::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;

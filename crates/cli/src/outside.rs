//! What a member says without a login: its HTTP pages, which are on the client addresses too.
//!
//! A login is decided by a majority of the members. Without one nobody can ask a member for its
//! status, or for the other members; what is here is all that can be found out then.

use conclave_client::Channel;
use serde_json::Value;
use std::{future::poll_fn, pin::pin, time::Duration};
use tokio::time::timeout;
use tonic::{
    body::Body as Empty,
    codegen::{Body as _, Service, http::Request},
};

/// For one page. The member may be stopped while it is asked.
const PATIENCE: Duration = Duration::from_millis(300);
/// A page is not larger than a member makes it.
const MOST: usize = 1 << 20;
/// In etcd's words.
const NO_LEADER: &str = "RAFT NO LEADER";

/// What a member says of itself; empty or 0 where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) id: u64,
    pub(crate) cluster: u64,
    pub(crate) leader: u64,
    pub(crate) term: u64,
    pub(crate) committed: u64,
    pub(crate) applied: u64,
    pub(crate) revision: i64,
    pub(crate) version: String,
    /// Why no client can work with it, in its own words; `None`: one can.
    pub(crate) trouble: Option<String>,
}

/// Asks a member for its pages; `None` if there are none.
pub(crate) async fn look(channel: &Channel) -> Option<Seen> {
    let (status, health, version) =
        futures::join!(page(channel, "/status"), page(channel, "/health"), page(channel, "/version"));
    Seen::of(status.as_ref(), health.as_ref(), version.as_ref())
}

impl Seen {
    fn of(status: Option<&Value>, health: Option<&Value>, version: Option<&Value>) -> Option<Self> {
        let text = |page: Option<&Value>, name: &str| Some(page?.get(name)?.as_str()?.to_owned());
        let id = |name| text(status, name).and_then(|text| u64::from_str_radix(&text, 16).ok()).unwrap_or(0);
        let number = |name: &str| status.and_then(|page| page.get(name)?.as_u64()).unwrap_or(0);
        let trouble = match text(health, "health").as_deref() {
            Some("true") => None,
            Some(_) => Some(text(health, "reason").filter(|reason| !reason.is_empty()).unwrap_or("not healthy".into())),
            None => Some("it does not say whether it is healthy".to_owned()),
        };
        let version = text(version, "etcdserver");
        (status.is_some() || health.is_some() || version.is_some()).then(|| Self {
            name: text(status, "name").unwrap_or_default(),
            id: id("member_id"),
            cluster: id("cluster_id"),
            // It remembers one that it has lost touch with.
            leader: if trouble.as_deref() == Some(NO_LEADER) { 0 } else { id("leader_id") },
            term: number("raft_term"),
            committed: number("committed_index"),
            applied: number("applied_index"),
            revision: number("revision").try_into().unwrap_or(0),
            version: version.unwrap_or_default(),
            trouble,
        })
    }

    /// In a few words.
    pub(crate) fn words(&self) -> String {
        let who = if self.name.is_empty() { "it" } else { &self.name };
        let how = match self.trouble.as_deref() {
            None => "is healthy".to_owned(),
            Some(NO_LEADER) => "knows no leader".to_owned(),
            Some(trouble) => format!("is not healthy ({trouble})"),
        };
        match self.revision {
            0 => format!("{who} {how}"),
            revision => format!("{who} {how}, and has revision {revision}"),
        }
    }
}

/// One page, if it is JSON.
async fn page(channel: &Channel, path: &str) -> Option<Value> {
    let request = Request::get(path).body(Empty::empty()).ok()?;
    let mut channel = channel.clone();
    let reading = async {
        poll_fn(|cx| Service::<Request<Empty>>::poll_ready(&mut channel, cx)).await.ok()?;
        let mut body = pin!(channel.call(request).await.ok()?.into_body());
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            if let Ok(data) = frame.ok()?.into_data() {
                bytes.extend_from_slice(&data);
            }
            if bytes.len() > MOST {
                return None;
            }
        }
        serde_json::from_slice(&bytes).ok()
    };
    timeout(PATIENCE, reading).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_member_without_a_leader_says_what_it_has() {
        let status = json!({"name": "n1", "member_id": "a1", "cluster_id": "c", "leader_id": "b2", "raft_term": 7,
            "committed_index": 12, "applied_index": 11, "revision": 5});
        let health = json!({"health": "false", "reason": "RAFT NO LEADER"});
        let version = json!({"etcdserver": "3.6.0"});
        let seen = Seen::of(Some(&status), Some(&health), Some(&version)).expect("pages");
        assert_eq!((seen.id, seen.cluster, seen.leader), (0xa1, 0xc, 0), "the leader that it remembers does not count");
        assert_eq!((seen.term, seen.committed, seen.applied, seen.version.as_str()), (7, 12, 11, "3.6.0"));
        assert_eq!(seen.words(), "n1 knows no leader, and has revision 5");
        let healthy = Seen::of(Some(&status), Some(&json!({"health": "true"})), None).expect("pages");
        assert_eq!((healthy.leader, healthy.trouble), (0xb2, None));
        // A stock etcd has no page of its status.
        let etcd = Seen::of(None, Some(&health), None).expect("pages");
        assert_eq!(etcd.words(), "it knows no leader");
        assert_eq!(Seen::of(None, None, None), None);
        let odd = Seen::of(Some(&json!({"revision": "x", "member_id": 7})), None, Some(&json!([]))).expect("pages");
        assert_eq!(odd.words(), "it is not healthy (it does not say whether it is healthy)");
    }
}

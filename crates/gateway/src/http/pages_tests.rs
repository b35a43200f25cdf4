use super::*;
use http_body_util::BodyExt;
use parking_lot::Mutex;

#[derive(Default)]
struct Fake {
    metrics: Metrics,
    has_leader: bool,
    alarms: Mutex<Vec<&'static str>>,
    quorum_lost: bool,
    status: MemberStatus,
}

impl Probe for Fake {
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn live(&self) -> Live {
        Live { has_leader: self.has_leader, ..Live::default() }
    }

    fn status(&self) -> MemberStatus {
        self.status.clone()
    }

    fn alarms(&self) -> Result<Vec<&'static str>, String> {
        Ok(self.alarms.lock().clone())
    }

    fn read(&self, linearizable: bool) -> BoxFuture<'_, Result<(), String>> {
        let outcome = if linearizable && self.quorum_lost { Err("timed out".to_owned()) } else { Ok(()) };
        Box::pin(async { outcome })
    }
}

async fn get(pages: &Pages, uri: &'static str) -> (u16, String) {
    let response = pages.respond(&Method::GET, &Uri::from_static(uri), &HeaderMap::new()).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("infallible").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn a_healthy_member() {
    let pages = Pages::new(Arc::new(Fake { has_leader: true, ..Fake::default() }));
    assert_eq!(get(&pages, "/health").await, (200, r#"{"health":"true","reason":""}"#.to_owned()));
    assert_eq!(get(&pages, "/livez").await, (200, "ok\n".to_owned()));
    let (status, body) = get(&pages, "/readyz?verbose").await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n"
    );
    assert!(get(&pages, "/version").await.1.contains("\"etcdserver\":\"3.6"));
    assert!(get(&pages, "/version").await.1.contains("\"conclavecluster\":\"0.1\""));
    assert!(get(&pages, "/metrics").await.1.contains("etcd_server_has_leader 1"));
    assert_eq!(get(&pages, "/v3/nothing").await.0, 404);
    assert_eq!(pages.respond(&Method::POST, &Uri::from_static("/health"), &HeaderMap::new()).await.status(), 405);
    assert_eq!(pages.respond(&Method::POST, &Uri::from_static("/v3/kv/put"), &HeaderMap::new()).await.status(), 404);
}

#[tokio::test]
async fn without_a_quorum_only_the_local_checks_pass() {
    let pages = Pages::new(Arc::new(Fake { quorum_lost: true, ..Fake::default() }));
    let (status, body) = get(&pages, "/health").await;
    assert_eq!((status, body.contains("RAFT NO LEADER")), (503, true));
    assert_eq!(get(&pages, "/health?serializable=true").await.0, 200);
    assert_eq!(get(&pages, "/livez").await.0, 200);
    let (status, body) = get(&pages, "/readyz").await;
    assert_eq!((status, body.contains("[-]linearizable_read failed: timed out")), (503, true));
    assert_eq!(get(&pages, "/readyz?exclude=linearizable_read").await.0, 200);
    assert_eq!(get(&pages, "/readyz/serializable_read").await.0, 200);
    assert_eq!(get(&pages, "/readyz/linearizable_read").await.0, 503);
    assert_eq!(get(&pages, "/livez/linearizable_read").await.0, 404);
}

#[tokio::test]
async fn alarms_are_named() {
    let fake = Fake { has_leader: true, ..Fake::default() };
    fake.alarms.lock().push("NOSPACE");
    let pages = Pages::new(Arc::new(fake));
    let (status, body) = get(&pages, "/health").await;
    assert_eq!((status, body.contains("ALARM NOSPACE")), (503, true));
    assert_eq!(get(&pages, "/health?exclude=NOSPACE").await.0, 200);
    assert_eq!(get(&pages, "/readyz").await.0, 200);
}

#[tokio::test]
async fn the_status_tells_digests_as_text() {
    let now = ReplicaStatus { applied_index: 130, applied_term: 2, revision: 90, compacted: 5, digest: u64::MAX - 1 };
    let status =
        MemberStatus { member_id: 0xab, now, digests: vec![(64, 7), (128, 1 << 63)], ..MemberStatus::default() };
    let pages = Pages::new(Arc::new(Fake { status, ..Fake::default() }));
    let (status, body) = get(&pages, "/status").await;
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &body["member_id"], &body["applied_index"]), (200, &json!("ab"), &json!(130)));
    assert_eq!((&body["revision"], &body["digest"]), (&json!(90), &json!("fffffffffffffffe")));
    assert_eq!(body["digests"], json!([[64, "0000000000000007"], [128, "8000000000000000"]]));
}

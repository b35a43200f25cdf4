use super::*;
use http_body_util::BodyExt;
use parking_lot::Mutex;

#[derive(Default)]
struct Fake {
    metrics: Metrics,
    has_leader: bool,
    alarms: Mutex<Vec<&'static str>>,
    quorum_lost: bool,
}

impl Probe for Fake {
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn live(&self) -> Live {
        Live { has_leader: self.has_leader, ..Live::default() }
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
    let response = pages.respond(&Method::GET, &Uri::from_static(uri)).await;
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
    assert_eq!(body, "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n");
    assert!(get(&pages, "/version").await.1.contains("\"etcdserver\":\"3.6"));
    assert!(get(&pages, "/metrics").await.1.contains("etcd_server_has_leader 1"));
    assert_eq!(get(&pages, "/v3/nothing").await.0, 404);
    assert_eq!(pages.respond(&Method::POST, &Uri::from_static("/health")).await.status(), 405);
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

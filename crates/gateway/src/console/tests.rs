//! The console in front of a cluster of one, without sockets.

mod pages;
mod rights;

use super::*;
use conclave_node::bootstrap::Plan;
use conclave_node::config::Config;
use conclave_node::peer::memory::MemoryNetwork;
use conclave_node::running::RunningNode;
use conclave_state::{Command, Coord, CoordBody, LeaseGrant, Put};
use http_body_util::BodyExt;
use std::net::SocketAddr;
use tempfile::TempDir;

struct Solo {
    gateway: Arc<Gateway>,
    console: Console,
    _running: RunningNode,
    _dir: TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Solo {
    async fn start(adjust: impl FnOnce(&mut Config)) -> Solo {
        let dir = tempfile::tempdir().expect("a directory");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config::single("solo", dir.path(), any, any);
        config.bcrypt_cost = 4;
        adjust(&mut config);
        let network = MemoryNetwork::default();
        let plan = Plan::new(&config).expect("a plan");
        let transport = network.transport(plan.identity.member_id);
        let mut running = RunningNode::assemble(config, plan, transport).expect("its parts");
        let gateway = Arc::new(Gateway::new(running.node.clone()));
        running.follow(gateway.followers());
        running.serve_clients_on(&tokio::runtime::Handle::current());
        running.start_consensus().await.expect("consensus");
        running.ready().await;
        let console = Console::of(&gateway).expect("it is on");
        Solo { gateway, console, _running: running, _dir: dir }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(HeaderName, &str)]) -> Answer {
        let mut given = HeaderMap::new();
        for (name, value) in headers {
            given.insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        let uri = path.parse().expect("a path");
        let answer = self.console.respond(&method, &uri, &given, &Arc::default()).await;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("infallible").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[]).await
    }

    /// The body of a page that must be there.
    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!((answer.status, answer.header(CONTENT_TYPE)), (200, HTML), "{path}: {}", answer.body);
        answer.body
    }

    /// Follows the links to the next page, as a browser would. Returns all pages.
    async fn pages(&self, path: &str) -> Vec<String> {
        let mut pages = vec![self.page(path).await];
        while let Some(next) = next(pages.last().expect("one")) {
            pages.push(self.page(&format!("/ui/{next}")).await);
            assert!(pages.len() < 50, "the pages have no end");
        }
        pages
    }

    async fn propose(&self, command: Command) {
        let outcome = self.gateway.propose(command).await.expect("it is decided").outcome;
        outcome.result.expect("it is not refused");
    }

    async fn put(&self, key: &[u8], value: &[u8], lease: i64) {
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        self.propose(Command::Put(Put { key, value, lease, ..Put::default() })).await;
    }

    async fn lease(&self, id: i64) {
        self.propose(Command::LeaseGrant(LeaseGrant { id, ttl_ms: 600_000 })).await;
    }

    async fn coord(&self, session: i64, body: CoordBody) {
        let coord = Coord { session, dedupe: None, expect: None, body };
        self.propose(Command::Coord(Box::new(coord))).await;
    }
}

/// The address of the next page.
fn next(page: &str) -> Option<String> {
    let (before, _) = page.split_once("\" rel=\"next\"")?;
    let (_, address) = before.rsplit_once("href=\"")?;
    Some(address.replace("&amp;", "&"))
}

/// The rows of all tables.
fn rows(page: &str) -> usize {
    page.matches("<th scope=\"row\"").count()
}

#[tokio::test]
async fn every_answer_has_the_headers_that_protect() {
    let solo = Solo::start(|_| {}).await;
    let all = ["/ui", "/ui/", "/ui/keys", "/ui/nothing", "/ui/style.css", "/ui/live.js", "/ui/icon.svg", "/ui/../x"];
    for path in all {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS] {
            let answer = solo.ask(method.clone(), path, &[]).await;
            assert_eq!(answer.header(CONTENT_SECURITY_POLICY), assets::POLICY, "{method} {path}");
            assert_eq!(answer.header(X_CONTENT_TYPE_OPTIONS), "nosniff");
            assert_eq!(answer.header(REFERRER_POLICY), "no-referrer");
            assert_eq!(answer.header(CACHE_CONTROL), "no-store");
            assert_eq!(answer.header("access-control-allow-origin"), "");
            match method {
                Method::GET => {}
                Method::HEAD => assert_eq!(answer.body, ""),
                _ => assert_eq!((answer.status, answer.header(ALLOW)), (405, "GET, HEAD"), "{method} {path}"),
            }
        }
    }
    let told = async |path: &str| {
        let answer = solo.get(path).await;
        (answer.status, answer.header(CONTENT_TYPE).to_owned())
    };
    assert_eq!(told("/ui/style.css").await, (200, "text/css; charset=utf-8".to_owned()));
    assert_eq!(told("/ui/live.js").await, (200, "text/javascript; charset=utf-8".to_owned()));
    assert_eq!(told("/ui/icon.svg").await, (200, "image/svg+xml".to_owned()));
    assert_eq!(told("/ui/nothing").await, (404, HTML.to_owned()));
    assert_eq!(told("/ui/key?key=none").await, (404, HTML.to_owned()));
    assert_eq!(told("/ui/name?kind=lock&name=none").await, (404, HTML.to_owned()));
    assert_eq!(told("/ui/session?id=7").await, (404, HTML.to_owned()));
    for bad in ["name?name=x", "session?id=x", "key?key=a&revision=x", "name?kind=election&name=%FF"] {
        let (status, _) = told(&format!("/ui/{bad}")).await;
        assert!(status == 400 || status == 404, "{bad}: {status}");
    }
    assert_eq!(solo.get("/ui").await.header(LOCATION), "ui/");
}

#[tokio::test]
async fn another_name_than_those_of_the_server_is_refused() {
    let solo = Solo::start(|config| config.host_whitelist = vec!["good.example".into()]).await;
    for (host, status) in [("good.example:2379", 200), ("evil.example:2379", 421), ("", 421)] {
        let answer = solo.ask(Method::GET, "/ui/", &[(HOST, host)]).await;
        assert_eq!(answer.status, status, "{host}");
    }
    assert_eq!(solo.get("http://evil.example/ui/").await.status, 421);
}

#[tokio::test]
async fn switched_off_there_is_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { console: false, ..Config::single("solo", dir.path(), any, any) };
    let plan = Plan::new(&config).expect("a plan");
    let transport = MemoryNetwork::default().transport(plan.identity.member_id);
    let running = RunningNode::assemble(config, plan, transport).expect("its parts");
    let gateway = Arc::new(Gateway::new(running.node.clone()));
    assert!(gateway.console.is_none() && Console::of(&gateway).is_none());
    gateway.follow_times().await;
}

//! Who may see what, while users are on.

use super::{Answer, Solo};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use conclave_state::auth::{Permission, PermissionKind, prefix_range};
use conclave_state::{AuthChange, Command, CoordBody, Enter, KeyRange, Name};
use http::Method;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

async fn with_users() -> Solo {
    let solo = Solo::start(|_| {}).await;
    solo.lease(7).await;
    solo.put(b"a/x", b"v", 7).await;
    solo.put(b"b/x", b"v", 0).await;
    let election = |name: &str| Name { namespace: "default".into(), name: name.into() };
    for name in ["open", "other"] {
        let enter = Enter { election: election(name), candidate: "c".into(), ..Enter::default() };
        solo.coord(7, CoordBody::Enter(enter)).await;
    }
    let mut changes = Vec::new();
    for name in ["root", "alice", "reader"] {
        let hash = solo.gateway.access.hash(format!("{name}-secret"), "").await.expect("a hash");
        changes.push(AuthChange::UserAdd { name: name.into(), hash, no_password: false });
        changes.push(AuthChange::RoleAdd { name: name.into() });
        changes.push(AuthChange::UserGrant { user: name.into(), role: name.into() });
    }
    for prefix in ["a/", "/_conclave/e/default/open/"] {
        let permission = Permission { kind: PermissionKind::Read, range: prefix_range(prefix.as_bytes()) };
        changes.push(AuthChange::RoleGrant { role: "alice".into(), permission });
    }
    // As etcd's tools grant all keys.
    let all = KeyRange { key: "\0".into(), end: "\0".into() };
    let permission = Permission { kind: PermissionKind::Read, range: all };
    changes.push(AuthChange::RoleGrant { role: "reader".into(), permission });
    changes.push(AuthChange::Enable);
    for change in changes {
        solo.propose(Command::Auth(Box::new(change))).await;
    }
    solo
}

async fn by(solo: &Solo, user: &str, password: &str, path: &str) -> Answer {
    let field = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    solo.ask(Method::GET, path, &[(AUTHORIZATION, &field)]).await
}

#[tokio::test]
async fn each_page_asks_for_the_rights_of_the_same_calls() {
    let solo = with_users().await;
    let pages = [
        ("/ui/", 200),
        ("/ui/keys", 403),
        ("/ui/keys?prefix=a/", 200),
        ("/ui/keys?prefix=a", 403),
        ("/ui/keys?prefix=b/", 403),
        ("/ui/key?key=a/x", 200),
        ("/ui/key?key=b/x", 403),
        ("/ui/coordination", 403),
        ("/ui/coordination?kind=queue", 403),
        ("/ui/coordination?kind=queue&prefix=a/", 200),
        ("/ui/name?kind=election&namespace=default&name=open", 200),
        ("/ui/name?kind=election&namespace=default&name=other", 403),
        ("/ui/name?kind=queue&name=b", 403),
        ("/ui/sessions", 403),
        // The lease has keys that she may not read.
        ("/ui/session?id=7", 403),
        ("/ui/style.css", 200),
    ];
    for (path, hers) in pages {
        let (nobody, wrong) = (solo.get(path).await, by(&solo, "alice", "wrong", path).await);
        let asset = path.ends_with(".css");
        for answer in [nobody, wrong] {
            assert_eq!(answer.status, if asset { 200 } else { 401 }, "{path}");
            assert!(asset || answer.header(WWW_AUTHENTICATE).starts_with("Basic "), "{path}");
            assert!(asset || !answer.body.contains("solo"), "{path}: {}", answer.body);
        }
        let answer = by(&solo, "alice", "alice-secret", path).await;
        assert_eq!(answer.status, hers, "{path}: {}", answer.body);
        let expected = if path.contains("queue&name") { 404 } else { 200 };
        for user in ["root", "reader"] {
            let answer = by(&solo, user, &format!("{user}-secret"), path).await;
            assert_eq!(answer.status, expected, "{user} {path}: {}", answer.body);
        }
    }
    assert!(by(&solo, "alice", "alice-secret", "/ui/").await.body.contains("logged in as"));
    for (user, password) in [("", ""), ("nobody", "x"), ("alice", ""), ("alice", "root-secret")] {
        assert_eq!(by(&solo, user, password, "/ui/").await.status, 401, "{user}:{password}");
    }
}

#[tokio::test]
async fn a_password_that_was_changed_is_good_no_more() {
    let solo = with_users().await;
    assert_eq!(by(&solo, "alice", "alice-secret", "/ui/").await.status, 200);
    // By root, as a command of the server: users are on.
    let hash = solo.gateway.access.hash("new".into(), "").await.expect("a hash");
    let change = AuthChange::UserPassword { name: "alice".into(), hash };
    let command = Command::Auth(Box::new(change)).by(conclave_state::Caller::Server);
    solo.propose(command).await;
    assert_eq!(by(&solo, "alice", "alice-secret", "/ui/").await.status, 401);
    assert_eq!(by(&solo, "alice", "new", "/ui/").await.status, 200);
    // Without users nobody is asked.
    let off = Command::Auth(Box::new(AuthChange::Disable)).by(conclave_state::Caller::Server);
    solo.propose(off).await;
    assert_eq!(solo.get("/ui/").await.status, 200);
}

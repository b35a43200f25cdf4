//! Two ends on loopback, with certificates made for each test.

use super::*;
use crate::testing::{Authority, Wanted, put};
use crate::{Allowed, ClientFiles, Connector, KeyPair, Protocol};
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct World {
    directory: TempDir,
    authority: Authority,
    tls: Tls,
}

fn settings(directory: &Path, own: KeyPair) -> Settings {
    Settings {
        own,
        own_as_client: None,
        ca: Some(directory.join("ca.pem")),
        crl: None,
        allowed: Allowed::default(),
        protocol: Protocol::default(),
        alpn: vec![b"h2".to_vec(), b"log".to_vec()],
    }
}

/// A port that demands certificates.
fn world(change: impl FnOnce(&mut Settings)) -> World {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("first");
    put(directory.path(), "ca.pem", &authority.pem());
    put(directory.path(), "for-clients.pem", &authority.pem());
    put(directory.path(), "crl.pem", &authority.revoke(&[999]));
    let own = authority.issue(directory.path(), "server", &Wanted::default());
    let mut settings = settings(directory.path(), own);
    change(&mut settings);
    World { tls: Tls::new("test", settings).unwrap(), directory, authority }
}

impl World {
    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The server's end and the client's, or why the server refused.
    async fn meet(&self, own: Option<KeyPair>) -> io::Result<(Secured, crate::ClientStream<TcpStream>)> {
        let files = ClientFiles { ca: Some(self.path().join("for-clients.pem")), own, ..ClientFiles::default() };
        let connector = Connector::new(files).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = async { self.tls.accept(listener.accept().await.unwrap().0).await };
        let (accepted, connected) = tokio::join!(accepted, connector.connect("127.0.0.1", stream));
        Ok((accepted?, connected?))
    }
}

#[tokio::test]
async fn a_certificate_of_the_authority_is_let_in_and_known() {
    let world = world(|_| {});
    let wanted = Wanted { common_name: "alice", hosts: &["a.example"], uri: Some("spiffe://x/a"), ..Wanted::default() };
    let own = world.authority.issue(world.path(), "alice", &wanted);
    let (mut server, mut client) = world.meet(Some(own)).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let mut read = [0; 5];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!((&read, server.alpn()), (b"hello", Some(&b"h2"[..])));
    let identity = server.identity().unwrap();
    assert_eq!(identity.common_name.as_deref(), Some("alice"));
    assert_eq!((identity.dns, identity.uris), (vec!["a.example".to_owned()], vec!["spiffe://x/a".to_owned()]));
}

#[tokio::test]
async fn strangers_are_refused() {
    let world = world(|settings| settings.crl = Some(settings.own.cert.with_file_name("crl.pem")));
    let refused = |outcome: io::Result<_>| outcome.map(drop).unwrap_err().to_string();
    let none = refused(world.meet(None).await);
    assert!(none.contains("no certificates"), "{none}");
    let other = Authority::new("other").issue(world.path(), "other", &Wanted::default());
    let other = refused(world.meet(Some(other)).await);
    assert!(other.contains("UnknownIssuer"), "{other}");
    let expired = world.authority.issue(world.path(), "old", &Wanted { last_year: 2001, ..Wanted::default() });
    let expired = refused(world.meet(Some(expired)).await);
    assert!(expired.contains("xpired"), "{expired}");
    let revoked = world.authority.issue(world.path(), "revoked", &Wanted { serial: 999, ..Wanted::default() });
    let revoked = refused(world.meet(Some(revoked)).await);
    assert!(revoked.contains("evoked"), "{revoked}");
    assert_eq!(world.tls.figures().handshakes_failed, 4);
}

#[tokio::test]
async fn names_decide_among_certificates() {
    let wanted = Wanted {
        common_name: "alice",
        hosts: &["a.example", "10.0.0.1"],
        uri: Some("spiffe://x/a"),
        ..Wanted::default()
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (common_names, hostnames, passes) in [
        (names(&["bob", "alice"]), names(&[]), true),
        (names(&["bob"]), names(&[]), false),
        (names(&[]), names(&["b.example", "a.example"]), true),
        (names(&[]), names(&["10.0.0.1"]), true),
        (names(&[]), names(&["spiffe://x/a"]), true),
        (names(&[]), names(&["alice", "spiffe://x/"]), false),
    ] {
        let allowed = Allowed { common_names, hostnames };
        let world = world(|settings| settings.allowed = allowed.clone());
        let own = world.authority.issue(world.path(), "alice", &wanted);
        assert_eq!(world.meet(Some(own)).await.is_ok(), passes, "{allowed:?}");
    }
    let both = Allowed { common_names: names(&["a"]), hostnames: names(&["a"]) };
    assert!(both.check().unwrap_err().contains("exclude"));
    assert!(Allowed { hostnames: names(&["*.a b"]), ..Allowed::default() }.check().is_err());
}

#[tokio::test]
async fn a_reload_takes_a_new_certificate_and_ends_who_lost_theirs() {
    let world = world(|settings| settings.crl = Some(settings.own.cert.with_file_name("crl.pem")));
    let good = world.authority.issue(world.path(), "good", &Wanted { serial: 5, ..Wanted::default() });
    let bad = world.authority.issue(world.path(), "bad", &Wanted { serial: 6, ..Wanted::default() });
    let (mut kept, mut client) = world.meet(Some(good)).await.unwrap();
    let (mut ended, _silent) = world.meet(Some(bad.clone())).await.unwrap();
    let waiting = tokio::spawn(async move { ended.read_u8().await });
    tokio::task::yield_now().await;

    put(world.path(), "crl.pem", &world.authority.revoke(&[6]));
    world.tls.reload();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert!(world.meet(Some(bad)).await.is_err());
    client.write_u8(1).await.unwrap();
    assert_eq!(kept.read_u8().await.unwrap(), 1);
    let figures = world.tls.figures();
    assert_eq!((figures.reloads, figures.reload_failures, figures.cut, figures.rejected), (1, 0, 1, false));

    // Another authority instead of the first: everybody goes.
    put(world.path(), "ca.pem", &Authority::new("second").pem());
    world.tls.reload();
    assert_eq!(kept.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(kept.write_u8(1).await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn two_authorities_overlap() {
    let world = world(|_| {});
    let second = Authority::new("second");
    let old = world.authority.issue(world.path(), "old", &Wanted::default());
    let (mut kept, mut client) = world.meet(Some(old)).await.unwrap();
    put(world.path(), "ca.pem", &format!("{}{}", world.authority.pem(), second.pem()));
    world.tls.reload();
    let new = second.issue(world.path(), "new", &Wanted::default());
    assert!(world.meet(Some(new)).await.is_ok());
    client.write_u8(1).await.unwrap();
    assert_eq!(kept.read_u8().await.unwrap(), 1);
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing() {
    let world = world(|settings| settings.crl = Some(settings.own.cert.with_file_name("crl.pem")));
    let own = world.authority.issue(world.path(), "own", &Wanted::default());
    let stranger = Authority::new("other");
    let elsewhere = tempfile::tempdir().unwrap();
    let other = stranger.issue(elsewhere.path(), "other", &Wanted::default());
    let expired = world.authority.issue(elsewhere.path(), "old", &Wanted { last_year: 2001, ..Wanted::default() });
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let keys = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases = [
        ("server.pem", String::new(), "server.pem: it holds no certificate"),
        ("server.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(), "server.pem: "),
        ("server.pem", text(&other.cert), "server.pem: the key"),
        ("server.key", text(&own.cert), "server.key: it holds no private key"),
        ("server.key", keys.to_owned(), "server.key: the private key is encrypted"),
        ("ca.pem", "nothing".to_owned(), "ca.pem: it holds no certificate"),
        ("crl.pem", own_text(&own), "crl.pem: it holds no revocation list"),
        ("crl.pem", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".into(), "crl.pem: "),
    ];
    for (number, (file, content, says)) in (1..).zip(cases) {
        let before = text(&world.path().join(file));
        put(world.path(), file, &content);
        let error = Set::build(&world.tls.0.settings, &Contents::read(world.tls.0.settings.paths()).unwrap());
        let error = error.map(drop).unwrap_err().to_string();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
        world.tls.reload();
        assert!(world.meet(Some(own.clone())).await.is_ok(), "{file}");
        let figures = world.tls.figures();
        assert_eq!((figures.reload_failures, figures.rejected), (number, true), "{file}");
        put(world.path(), file, &before);
        world.tls.reload();
        assert!(!world.tls.figures().rejected);
    }

    let failures = world.tls.figures().reload_failures;
    std::fs::copy(&expired.key, world.path().join("server.key")).unwrap();
    std::fs::copy(&expired.cert, world.path().join("server.pem")).unwrap();
    world.tls.reload();
    std::fs::remove_file(world.path().join("crl.pem")).unwrap();
    world.tls.reload();
    world.tls.reload();
    assert_eq!(world.tls.figures().reload_failures, failures + 2, "the same fault counts once");
    assert!(world.meet(Some(own)).await.is_ok());
}

fn own_text(own: &KeyPair) -> String {
    std::fs::read_to_string(&own.cert).unwrap()
}

#[tokio::test]
async fn one_member_connects_to_another_and_chooses_the_protocol() {
    let world = world(|_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for (alpn, agreed) in [(&b"log"[..], true), (b"h2", true), (b"other", false)] {
        let stream = TcpStream::connect(address).await.unwrap();
        let accepted = async { world.tls.accept(listener.accept().await.unwrap().0).await };
        let (accepted, connected) = tokio::join!(accepted, world.tls.connect("127.0.0.1", alpn, stream));
        assert_eq!((accepted.is_ok(), connected.is_ok()), (agreed, agreed));
    }
    // A certificate for another host.
    let stream = TcpStream::connect(address).await.unwrap();
    let accepted = async { world.tls.accept(listener.accept().await.unwrap().0).await };
    let (accepted, connected) = tokio::join!(accepted, world.tls.connect("other.example", b"h2", stream));
    assert!(accepted.is_err() && connected.is_err());
}

#[tokio::test]
async fn a_clients_renewed_certificate_is_used_by_the_next_connection() {
    let world = world(|_| {});
    let own = world.authority.issue(world.path(), "own", &Wanted { common_name: "before", ..Wanted::default() });
    let files = ClientFiles { ca: Some(world.path().join("ca.pem")), own: Some(own), ..ClientFiles::default() };
    let connector = Connector::new(files).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for name in ["before", "after"] {
        world.authority.issue(world.path(), "own", &Wanted { common_name: name, ..Wanted::default() });
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = async { world.tls.accept(listener.accept().await.unwrap().0).await };
        let (accepted, connected) = tokio::join!(accepted, connector.connect("127.0.0.1", stream));
        connected.unwrap();
        assert_eq!(accepted.unwrap().identity().unwrap().common_name.as_deref(), Some(name));
        // Half a pair is no pair.
        std::fs::write(world.path().join("own.key"), "").unwrap();
    }
}

//! TLS from outside: stock programs, certificates made by openssl, rotation, a running cluster that
//! changes to TLS.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    conclavectl::Ctl,
    etcd_tools::USERS,
    etcdctl::Etcdctl,
    wait::{LONG, SOON, eventually, within},
};
use conclave_client::{Client, Tls};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::sleep,
};

/// Changed files are in force after this, on a busy machine too.
const RELOADED: Duration = Duration::from_secs(60);

/// Certificates in a directory, made as docs/security.md does.
struct Pki(PathBuf);

impl Pki {
    async fn new(directory: &Path) -> Result<Self> {
        let directory = directory.join("pki");
        fs::create_dir_all(&directory)?;
        let config = "[ca]\ndefault_ca = it\n[it]\ndatabase = index.txt\ncrlnumber = crlnumber\ndefault_md = sha256\n\
                      default_crl_days = 30\n";
        fs::write(directory.join("ca.conf"), config)?;
        fs::write(directory.join("index.txt"), "")?;
        fs::write(directory.join("crlnumber"), "01\n")?;
        let pki = Self(directory);
        pki.authority("ca").await?;
        pki.issue("ca", "member", "IP:127.0.0.1,DNS:localhost").await?;
        pki.issue("ca", "alice", "DNS:alice").await?;
        Ok(pki)
    }

    async fn sh(&self, script: &str) -> Result<()> {
        let mut command = Command::new("sh");
        let output = command.arg("-ec").arg(script).current_dir(&self.0).stdin(Stdio::null()).output().await?;
        ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    async fn authority(&self, name: &str) -> Result<()> {
        let new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650";
        self.sh(&format!("{new} -subj '/CN=Authority {name}' -keyout {name}.key -out {name}.crt")).await
    }

    async fn issue(&self, authority: &str, name: &str, names: &str) -> Result<()> {
        let request = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        self.sh(&format!(
            "{request} -subj /CN={name} -keyout new.key -out {name}.csr
             printf 'subjectAltName={names}\\nextendedKeyUsage=serverAuth,clientAuth\\n' >{name}.ext
             openssl x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial -days 365 \\
               -extfile {name}.ext -out new.crt
             mv new.key {name}.key
             mv new.crt {name}.crt"
        ))
        .await
    }

    /// Writes the list of what was revoked.
    async fn revoke(&self, name: Option<&str>) -> Result<()> {
        let ca = "openssl ca -config ca.conf -cert ca.crt -keyfile ca.key";
        let revoke = name.map(|name| format!("{ca} -revoke {name}.crt\n")).unwrap_or_default();
        self.sh(&format!("{revoke}{ca} -gencrl -out new.crl\nmv new.crl ca.crl")).await
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// etcd's flags, for clients or with `peer-` before them.
    fn flags(&self, prefix: &str) -> Vec<String> {
        let flag = |name: &str, file: &str| format!("--{prefix}{name}={}", self.path(file));
        vec![flag("cert-file", "member.crt"), flag("key-file", "member.key"), flag("trusted-ca-file", "trusted.crt")]
    }

    fn etcdctl_flags(&self, name: &str) -> Vec<String> {
        let flag = |flag: &str, file: String| format!("--{flag}={}", self.path(&file));
        vec![flag("cacert", "ca.crt".into()), flag("cert", format!("{name}.crt")), flag("key", format!("{name}.key"))]
    }

    fn tls(&self, name: &str, authorities: &str) -> Tls {
        let file = |end: &str| self.path(&format!("{name}.{end}"));
        Tls::new().ca_file(self.path(authorities)).identity_files(file("crt"), file("key"))
    }
}

/// The arguments with other schemes, and with further flags.
fn secure(args: &[String], cluster: &Cluster, clients: bool, peers: bool, more: &[String]) -> Vec<String> {
    let mut args = args.to_vec();
    for i in 0..cluster.size() {
        let address = cluster.address(i);
        for (url, wanted) in [(address.endpoint(), clients), (address.peer_url(), peers)] {
            if wanted {
                let secure = url.replace("http://", "https://");
                args.iter_mut().for_each(|arg| *arg = arg.replace(&url, &secure));
            }
        }
    }
    args.extend(more.iter().cloned());
    args
}

fn https(cluster: &Cluster) -> Vec<String> {
    cluster.endpoints().iter().map(|url| url.replace("http://", "https://")).collect()
}

/// Members with TLS on both kinds of ports, which demand certificates.
async fn cluster(size: usize, more: &[&str]) -> Result<(Cluster, Pki)> {
    let mut cluster = Cluster::plan(size, &[])?;
    let pki = Pki::new(cluster.dir()).await?;
    fs::copy(pki.path("ca.crt"), pki.path("trusted.crt"))?;
    pki.revoke(None).await?;
    let mut flags = [pki.flags(""), pki.flags("peer-")].concat();
    flags.push(format!("--client-crl-file={}", pki.path("ca.crl")));
    flags.extend(more.iter().map(ToString::to_string));
    for i in 0..size {
        let plain = cluster.node(i).args().to_vec();
        let args = secure(&plain, &cluster, true, true, &flags);
        cluster.node(i).set_args(args);
    }
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    Ok((cluster, pki))
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// What `openssl s_client` says, and whether it was let in. A port that lets it in waits for it to
/// speak.
async fn s_client(port: u16, args: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().context("stdin was piped")?;
    // With TLS 1.3 a refusal comes after the handshake.
    sleep(Duration::from_millis(700)).await;
    let _ = stdin.write_all(b"Q\n").await;
    drop(stdin);
    let output = within("openssl", SOON, child.wait_with_output()).await??;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// The value of a metric, by the beginning of its line.
async fn metric(client_port: u16, pki: &Pki, line: &str) -> Result<u64> {
    let mut command = Command::new("curl");
    let output = command
        .args(["-sS", "--cacert", &pki.path("ca.crt"), "--cert", &pki.path("member.crt")])
        .args(["--key", &pki.path("member.key"), &format!("https://127.0.0.1:{client_port}/metrics")])
        .output()
        .await?;
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = page.lines().find_map(|found| found.strip_prefix(line));
    let value = found.with_context(|| format!("{line} is not in {page}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(value.trim().parse()?)
}

#[tokio::test]
async fn stock_clients_with_certificates_are_served_and_strangers_are_not() -> Result<()> {
    let (cluster, pki) = cluster(3, &[]).await?;
    let etcdctl = Etcdctl::new(&https(&cluster));
    let alice = pki.etcdctl_flags("alice");
    let with = |args: &[&'static str]| [strs(&alice), args.to_vec()].concat();
    etcdctl.ok(&with(&["put", "greeting", "hello"])).await?;
    ensure!(etcdctl.ok(&with(&["get", "greeting"])).await? == "greeting\nhello");
    let health = etcdctl.ok(&with(&["endpoint", "health"])).await;
    ensure!(health.is_ok(), "{health:?}");

    // conclavectl, by flags and by etcdctl's variables.
    let ctl = Ctl::new(&https(&cluster));
    ensure!(ctl.ok(&with(&["get", "greeting"])).await? == "greeting\nhello");
    let by_variables = ctl
        .clone()
        .with("ETCDCTL_CACERT", pki.path("ca.crt"))
        .with("ETCDCTL_CERT", pki.path("alice.crt"))
        .with("ETCDCTL_KEY", pki.path("alice.key"));
    ensure!(by_variables.ok(&["status"]).await?.contains("3 of 3 members up"));
    let (cert, key) = (pki.path("alice.crt"), pki.path("alice.key"));
    let unverified = ctl.run(&["get", "greeting", "--cert", &cert, "--key", &key]).await?;
    ensure!(unverified.code != Some(0), "a member that the system does not vouch for was accepted: {unverified:?}");
    let missing = ctl.run(&["get", "greeting", "--cacert", "/no/such.crt"]).await?;
    ensure!(missing.stderr.contains("/no/such.crt: no such file"), "{missing:?}");

    // Without a certificate, with one of another authority, and without TLS.
    let nobody = ctl.run(&["get", "greeting", "--cacert", &pki.path("ca.crt"), "--dial-timeout", "5s"]).await?;
    ensure!(nobody.code != Some(0), "{nobody:?}");
    pki.authority("other").await?;
    pki.issue("other", "stranger", "IP:127.0.0.1").await?;
    let stranger = pki.etcdctl_flags("stranger");
    etcdctl.fails(&[strs(&stranger), vec!["get", "greeting"]].concat()).await?;
    Etcdctl::new(&cluster.endpoints()).fails(&["get", "greeting", "--command-timeout=2s"]).await?;

    // What openssl sees on the client port.
    let port = cluster.address(0).client;
    let own = [format!("-cert={}", pki.path("alice.crt")), format!("-key={}", pki.path("alice.key"))];
    let own: Vec<&str> = own.iter().flat_map(|arg| arg.split('=')).collect();
    let with = |args: &[&'static str]| [own.clone(), args.to_vec()].concat();
    let (accepted, said) = s_client(port, &with(&["-tls1_2", "-alpn", "h2"])).await?;
    ensure!(accepted && said.contains("ALPN protocol: h2") && said.contains("TLSv1.2"), "{said}");
    let (accepted, said) = s_client(port, &with(&["-tls1_3", "-alpn", "http/1.1"])).await?;
    ensure!(accepted && said.contains("ALPN protocol: http/1.1"), "{said}");
    let (accepted, said) = s_client(port, &with(&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"])).await?;
    ensure!(!accepted, "{said}");
    let (accepted, said) = s_client(port, &with(&["-tls1_2", "-cipher", "AES128-SHA"])).await?;
    ensure!(!accepted, "{said}");

    // A stranger on the peer port: without TLS, without a certificate, with one of another
    // authority.
    let peer = cluster.address(0).peer;
    for words in [&b"conclave log 1\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(("127.0.0.1", peer)).await?;
        stream.write_all(words).await?;
        let mut answer = Vec::new();
        let read = within("the end of a connection", SOON, stream.read_to_end(&mut answer)).await?;
        ensure!(read.is_err() || answer.is_empty(), "plain words were answered: {answer:?}");
    }
    let (accepted, said) = s_client(peer, &["-alpn", "conclave-log/1"]).await?;
    ensure!(!accepted || said.contains("alert"), "{said}");
    let other = [pki.path("stranger.crt"), pki.path("stranger.key")];
    let (accepted, said) = s_client(peer, &["-alpn", "h2", "-cert", &other[0], "-key", &other[1]]).await?;
    ensure!(!accepted || said.contains("alert"), "{said}");
    let (accepted, said) = s_client(peer, &with(&["-alpn", "something-else"])).await?;
    ensure!(!accepted || said.contains("alert"), "{said}");
    ensure!(metric(port, &pki, "conclave_tls_handshakes_failed_total{port=\"peer\"} ").await? >= 3);
    ensure!(metric(port, &pki, "conclave_tls_certificate_expiry_seconds{port=\"client\",file=\"cert\"} ").await? > 0);
    Ok(())
}

#[tokio::test]
async fn a_revoked_client_is_out_and_invalid_files_change_nothing() -> Result<()> {
    let (cluster, pki) = cluster(1, &[]).await?;
    let port = cluster.address(0).client;
    pki.issue("ca", "mallory", "DNS:mallory").await?;
    let etcdctl = Etcdctl::new(&https(&cluster));
    let args = |name: &str, args: &[&'static str]| {
        let flags = pki.etcdctl_flags(name);
        [flags, args.iter().map(ToString::to_string).collect()].concat()
    };
    let mut kept = etcdctl.start(&strs(&args("alice", &["watch", "k"])))?;
    let _ended = etcdctl.start(&strs(&args("mallory", &["watch", "k"])))?;
    etcdctl.ok(&strs(&args("mallory", &["put", "other", "1"]))).await?;

    // Half of a change: a list that cannot be read.
    fs::write(pki.path("ca.crl"), "nothing")?;
    let rejected = "conclave_tls_files_rejected{port=\"client\"} ";
    let value = async |line: &'static str, wanted: u64| {
        let now = metric(port, &pki, line).await?;
        ensure!(now >= wanted, "{line}{now}");
        Ok(())
    };
    eventually("the files are rejected", RELOADED, async || value(rejected, 1).await).await?;
    etcdctl.ok(&strs(&args("mallory", &["put", "other", "2"]))).await?;

    pki.revoke(Some("mallory")).await?;
    let ended = "conclave_tls_connections_ended_total{port=\"client\"} ";
    eventually("the revoked client is out", RELOADED, async || value(ended, 1).await).await?;
    ensure!(metric(port, &pki, rejected).await? == 0);
    etcdctl.fails(&strs(&args("mallory", &["put", "other", "3", "--command-timeout=3s"]))).await?;
    etcdctl.ok(&strs(&args("alice", &["put", "k", "v"]))).await?;
    ensure!(kept.line().await? == "PUT");
    Ok(())
}

/// Reads and writes, one after the other, until it is stopped; counts what failed.
struct Load {
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(client: Client, key: &'static str) -> Self {
        let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, written) = (stop.clone(), writes.clone());
        let task = tokio::spawn(async move {
            let mut failed = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let next = written.load(Ordering::Relaxed) + 1;
                match client.put(key, next.to_string()).await {
                    Ok(_) => written.store(next, Ordering::Relaxed),
                    Err(error) => failed.push(error.to_string()),
                }
                if let Err(error) = client.get(key).await {
                    failed.push(error.to_string());
                }
                sleep(Duration::from_millis(25)).await;
            }
            failed
        });
        Self { stop, writes, task }
    }

    async fn end(self) -> Result<(u64, Vec<String>)> {
        self.stop.store(true, Ordering::Relaxed);
        let failed = within("the end of the load", LONG, self.task).await??;
        Ok((self.writes.load(Ordering::Relaxed), failed))
    }
}

#[tokio::test]
async fn certificates_and_authorities_rotate_under_load() -> Result<()> {
    let (cluster, pki) = cluster(3, &[]).await?;
    let ports: Vec<u16> = (0..3).map(|i| cluster.address(i).client).collect();
    let reloads = async |wanted: u64| {
        for port in &ports {
            for side in ["client", "peer"] {
                let line = format!("conclave_tls_reloads_total{{port=\"{side}\"}} ");
                let now = metric(*port, &pki, &line).await?;
                ensure!(now >= wanted, "{line}{now}");
            }
        }
        Ok(())
    };
    let client = Client::builder().endpoints(https(&cluster)).tls(pki.tls("alice", "trusted.crt")).build()?;
    let load = Load::start(client, "rotation");

    // Another certificate, then another authority beside the first, then certificates of that one.
    pki.issue("ca", "member", "IP:127.0.0.1,DNS:localhost").await?;
    eventually("the new certificate is in force", RELOADED, async || reloads(1).await).await?;
    pki.authority("second").await?;
    pki.sh("cat ca.crt second.crt >both.crt; mv both.crt trusted.crt").await?;
    eventually("both authorities are trusted", RELOADED, async || reloads(2).await).await?;
    let (writes, failed) = load.end().await?;
    ensure!(writes > 50 && failed.is_empty(), "{writes} writes, failed: {failed:?}");

    pki.issue("ca", "laggard", "DNS:laggard").await?;
    pki.issue("second", "member", "IP:127.0.0.1,DNS:localhost").await?;
    pki.issue("second", "alice", "DNS:alice").await?;
    // As seen by who trusts the second authority.
    let second = async |line: &'static str, port: u16, wanted: u64| {
        let mut command = Command::new("curl");
        let url = format!("https://127.0.0.1:{port}/metrics");
        let files = [pki.path("second.crt"), pki.path("alice.crt"), pki.path("alice.key")];
        let output = command
            .args(["-sS", "--cacert", &files[0], "--cert", &files[1], "--key", &files[2], &url])
            .output()
            .await?;
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = page.lines().find_map(|found| found.strip_prefix(line)).with_context(|| page.clone())?;
        ensure!(found.trim().parse::<u64>()? >= wanted, "{line}{found}");
        Ok(())
    };
    for port in &ports {
        for line in ["conclave_tls_reloads_total{port=\"client\"} ", "conclave_tls_reloads_total{port=\"peer\"} "] {
            let what = "the second authority's certificate is in force";
            eventually(what, RELOADED, async || second(line, *port, 3).await).await?;
        }
    }
    let client = Client::builder().endpoints(https(&cluster)).tls(pki.tls("alice", "second.crt")).build()?;
    let laggard = Client::builder().endpoints([https(&cluster)[0].clone()]).tls(pki.tls("laggard", "second.crt"));
    let laggard = laggard.timeout(Duration::from_secs(2)).build()?;
    laggard.get("rotation").await?;
    let load = Load::start(client.clone(), "rotation");

    // The first authority is no longer trusted: clients with its certificates are disconnected.
    pki.sh("cp second.crt only.crt; mv only.crt trusted.crt").await?;
    let ended = "conclave_tls_connections_ended_total{port=\"client\"} ";
    eventually("the laggard is out", RELOADED, async || second(ended, ports[0], 1).await).await?;
    ensure!(laggard.get("rotation").await.is_err(), "a certificate of the old authority was accepted");
    sleep(Duration::from_secs(2)).await;
    let (writes, failed) = load.end().await?;
    // Connections between members end too. A write that was on its way over one of them has no
    // known outcome.
    ensure!(writes > 10 && failed.len() <= 6, "{writes} writes, failed: {failed:?}");
    let found = client.get("rotation").await?.context("it was written")?;
    let found: u64 = String::from_utf8_lossy(&found.value).parse()?;
    ensure!((writes..=writes + 1).contains(&found), "{found} after {writes} writes");
    Ok(())
}

#[tokio::test]
async fn a_running_cluster_changes_to_tls_member_by_member() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let pki = Pki::new(cluster.dir()).await?;
    fs::copy(pki.path("ca.crt"), pki.path("trusted.crt"))?;
    let mut plain = Vec::new();
    for i in 0..3 {
        plain.push(cluster.node(i).args().to_vec());
    }
    let client = Client::builder().endpoints(cluster.endpoints()).build()?;
    let mut last = 0;
    let allow = [pki.flags("peer-"), vec!["--peer-allow-plaintext".to_owned()]].concat();
    for step in 1..=3 {
        for (i, plain) in plain.iter().enumerate() {
            let args = match step {
                // TLS is accepted, and not used yet.
                1 => {
                    let listen = cluster.address(i).peer_url();
                    let mut args = plain.clone();
                    let at = args.iter().position(|arg| arg == "--listen-peer-urls").context("it is there")? + 1;
                    args[at] = listen.replace("http://", "https://");
                    [args, allow.clone()].concat()
                }
                // It is used, and members without are still accepted.
                2 => secure(plain, &cluster, false, true, &allow),
                // Nothing else is accepted.
                _ => secure(plain, &cluster, false, true, &pki.flags("peer-")),
            };
            last += 1;
            change(&mut cluster, i, args, last).await?;
        }
    }
    let found = client.get("step").await?.context("it was written")?;
    ensure!(String::from_utf8_lossy(&found.value) == last.to_string());
    let mut stream = TcpStream::connect(("127.0.0.1", cluster.address(0).peer)).await?;
    stream.write_all(b"conclave log 1\n").await?;
    let mut answer = Vec::new();
    let read = within("the end of a connection", SOON, stream.read_to_end(&mut answer)).await?;
    ensure!(read.is_err() || answer.is_empty(), "plain words are answered after the change: {answer:?}");
    Ok(())
}

/// Restarts a member with other arguments, and writes `step` through the next one, which may be of
/// the other kind.
async fn change(cluster: &mut Cluster, member: usize, args: Vec<String>, step: u32) -> Result<()> {
    cluster.node(member).terminate(LONG).await?;
    cluster.node(member).set_args(args);
    cluster.node(member).spawn()?;
    cluster.node(member).ready(LONG).await?;
    let through = cluster.client((member + 1) % 3)?;
    let put = async || cluster_tests::client::put(&through, "step", &step.to_string()).await;
    eventually("a write", SOON, put).await.map(drop)
}

#[tokio::test]
async fn a_running_cluster_gets_a_secret_member_by_member() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = cluster.dir().join(name);
        fs::write(&path, text)?;
        Ok(format!("--peer-secret-file={}", path.display()))
    };
    let secret = file("secret", "this is known to the three members alone\n")?;
    let wrong = file("wrong", "and this is known to nobody but one of them\n")?;
    let mut plain = Vec::new();
    for i in 0..3 {
        plain.push(cluster.node(i).args().to_vec());
    }
    let optional = vec![secret.clone(), "--peer-secret-optional".to_owned()];
    let mut last = 0;
    // Members without it are still heard, then not.
    for flags in [optional, vec![secret]] {
        for (i, plain) in plain.iter().enumerate() {
            last += 1;
            change(&mut cluster, i, [plain.clone(), flags.clone()].concat(), last).await?;
        }
    }
    let mut stream = TcpStream::connect(("127.0.0.1", cluster.address(0).peer)).await?;
    stream.write_all(b"conclave log 1\n").await?;
    let mut answer = Vec::new();
    let read = within("the end of a connection", SOON, stream.read_to_end(&mut answer)).await?;
    ensure!(read.is_err() || answer.is_empty(), "a stranger is answered: {answer:?}");
    // A member with another secret is left out, and both sides say why.
    cluster.node(2).terminate(LONG).await?;
    cluster.node(2).set_args([plain[2].clone(), vec![wrong]].concat());
    cluster.node(2).spawn()?;
    let (refused, unknown) =
        ("it does not accept the secret in --peer-secret-file", "it does not know the secret in --peer-secret-file");
    // Each side as the one that connects, and as the one that is connected to. Of the others, the
    // leader connects.
    for (some, text) in [(&[2][..], refused), (&[2], unknown), (&[0, 1], unknown), (&[0, 1], refused)] {
        eventually("the reason in a log", LONG, || {
            let lives: Result<Vec<_>> = some.iter().map(|i| cluster.node(*i).life()).collect();
            let said = lives.map(|lives| lives.iter().any(|log| log.contains(text)));
            async move {
                ensure!(said?, "none of {some:?} says {text:?}");
                Ok(())
            }
        })
        .await?;
    }
    cluster_tests::client::put(&cluster.client(0)?, "step", "without it").await?;
    Ok(())
}

#[tokio::test]
async fn half_open_handshakes_do_no_harm() -> Result<()> {
    let (cluster, pki) = cluster(3, &[]).await?;
    let etcdctl = Etcdctl::new(&https(&cluster));
    let alice = pki.etcdctl_flags("alice");
    let line = "etcd_server_leader_changes_seen_total ";
    let port = cluster.address(0).client;
    let before = metric(port, &pki, line).await?;
    let mut silent = Vec::new();
    for i in 0..3 {
        for port in [cluster.address(i).client, cluster.address(i).peer] {
            for words in 0..150 {
                let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                // Some say nothing, some begin a handshake and stop.
                if words % 2 == 0 {
                    let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1]).await;
                }
                silent.push(stream);
            }
        }
    }
    for n in 0..10 {
        let put = [alice.clone(), vec!["put".into(), "k".into(), n.to_string()]].concat();
        etcdctl.ok(&strs(&put)).await?;
    }
    ensure!(metric(port, &pki, line).await? == before, "the leader changed");
    // They are all let go in time.
    let mut ended = 0;
    for stream in &mut silent {
        let mut byte = [0];
        if within("the end of a silent connection", LONG, stream.read(&mut byte)).await.is_ok() {
            ended += 1;
        }
    }
    ensure!(ended == silent.len(), "{ended} of {} silent connections were closed", silent.len());
    Ok(())
}

#[tokio::test]
async fn certificates_of_their_own_encrypt_without_identity() -> Result<()> {
    let mut cluster = Cluster::plan(3, &["--auto-tls", "--peer-auto-tls"])?;
    for i in 0..3 {
        let plain = cluster.node(i).args().to_vec();
        let args = secure(&plain, &cluster, true, true, &[]);
        cluster.node(i).set_args(args);
    }
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    let ctl = Ctl::new(&https(&cluster));
    ctl.ok(&["put", "k", "v", "--insecure-skip-tls-verify"]).await?;
    ensure!(
        ctl.run(&["get", "k", "--dial-timeout", "5s"]).await?.code != Some(0),
        "nobody vouches for that certificate"
    );
    let kept = fs::read(cluster.data_dir(0).join("fixtures/client/cert.pem"))?;
    cluster.restart(0).await?;
    ensure!(fs::read(cluster.data_dir(0).join("fixtures/client/cert.pem"))? == kept, "it is kept");
    ctl.ok(&["get", "k", "--insecure-skip-tls-verify"]).await?;
    Ok(())
}

/// The name in a client's certificate is its user, if members are told to ask for certificates. A
/// token outranks it, as in etcd.
#[tokio::test]
async fn a_certificate_is_a_user() -> Result<()> {
    let (cluster, pki) = cluster(1, &["--client-cert-auth", "--bcrypt-cost=4"]).await?;
    for name in ["root", "al", "nobody"] {
        pki.issue("ca", name, &format!("DNS:{name}")).await?;
    }
    let etcdctl = Etcdctl::new(&https(&cluster));
    let by = |name: &str, command: &str| -> Vec<String> {
        let words = command.split(' ').map(str::to_owned).collect();
        [pki.etcdctl_flags(name), words].concat()
    };
    for command in USERS {
        etcdctl.ok(&strs(&by("root", command))).await?;
    }
    etcdctl.ok(&strs(&by("al", "put /a/1 x"))).await?;
    for (name, command, text) in [
        ("al", "put /b x", "permission denied"),
        ("al", "user list", "permission denied"),
        ("nobody", "put /a/1 x", "permission denied"),
        // The password's user counts, not the certificate's.
        ("root", "put /b x --user=al:a", "permission denied"),
    ] {
        let said = etcdctl.fails(&strs(&by(name, command))).await?;
        ensure!(said.contains(text), "{name} {command}: {said}");
    }
    etcdctl.ok(&strs(&by("al", "put /b x --user=root:r"))).await?;
    etcdctl.ok(&strs(&by("root", "user list"))).await?;
    Ok(())
}

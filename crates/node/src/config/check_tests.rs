use super::super::{Listen, tls};
use super::*;
use std::path::Path;

const THREE: &str = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380";

fn load(args: &[&str]) -> Result<Config, ConfigError> {
    Config::load(std::iter::once("conclave").chain(args.iter().copied()))
}

fn valid(args: &[&str]) -> Config {
    load(args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

/// The error's text, which must name the flag.
#[track_caller]
fn refused(args: &[&str], flag: &str, why: &str) {
    let error = load(args).expect_err("must be refused").to_string();
    assert!(error.contains(flag) && error.contains(why), "{error:?} should tell {why:?} of {flag}");
}

#[test]
fn defaults() {
    let config = valid(&[]);
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.conclave"));
    let listen = Listen { address: "127.0.0.1:2379".parse().expect("constant"), secure: false };
    assert_eq!(config.listen_client, [listen]);
    assert_eq!((&config.client_tls, &config.peer_tls, config.peer_allow_plaintext), (&None, &None, false));
    assert_eq!(config.advertise_client_urls[0].to_string(), "http://localhost:2379");
    assert_eq!(config.initial_cluster.len(), 1);
    assert_eq!(config.initial_cluster[0].peer_urls, config.initial_advertise_peer_urls);
    assert_eq!((config.heartbeat_interval_ms, config.election_timeout_ms), (50, 150));
    assert_eq!(config.election_timeout_max_ms(), 250);
    assert_eq!((config.snapshot_count, config.max_txn_ops, config.max_request_bytes), (100_000, 128, 1_572_864));
    assert_eq!((config.max_log_bytes, config.quota_backend_bytes), (1 << 30, Some(2 << 30)));
    assert_eq!(config.auto_compaction, AutoCompaction::Off);
    assert_eq!(config.watch_progress_notify_interval, Duration::from_secs(600));
    assert!(config.listen_metrics.is_empty() && !config.unsafe_no_fsync && config.worker_threads == 0);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn three_members() {
    let config = valid(&[
        "--name=b",
        "--listen-client-urls=http://0.0.0.0:2379",
        "--advertise-client-urls=http://10.0.0.2:2379",
        "--listen-peer-urls=http://0.0.0.0:2380",
        "--initial-advertise-peer-urls=http://10.0.0.2:2380/",
        "--initial-cluster",
        THREE,
        "--initial-cluster-state=existing",
        "--quota-backend-bytes=-1",
        "--unsafe-no-fsync",
    ]);
    let names: Vec<&str> = config.initial_cluster.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(config.initial_cluster_state, InitialClusterState::Existing);
    assert_eq!(config.quota_backend_bytes, None);
    assert!(config.unsafe_no_fsync);
}

#[test]
fn labels_of_a_member() {
    let labels = |args: &[&str]| {
        let labels = valid(args).member_labels;
        labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    assert!(labels(&[]).is_empty());
    assert_eq!(labels(&["--member-label", "zone=a, region=eu"]), ["region=eu", "zone=a"]);
    assert_eq!(labels(&["--member-label=zone=a", "--member-label=region=eu"]), ["region=eu", "zone=a"]);
    refused(&["--member-label=zone"], "--member-label", "no label such as zone=a");
    refused(&["--member-label=zone=a,zone=b"], "--member-label", "zone stands twice");
    refused(&["--member-label=zo ne=a"], "--member-label", "letters, digits");
}

#[test]
fn members_that_contradict_each_other() {
    let peer = "--initial-advertise-peer-urls=http://10.0.0.1:2380";
    refused(&["--name=a", "--initial-cluster=a=http://h:1,a=http://h:1"], "--initial-cluster", "http://h:1 twice");
    refused(&["--name=a", "--initial-cluster=a=http://h:1,b=http://h:1"], "--initial-cluster", "the same URL");
    refused(&["--name=x", peer, "--initial-cluster", THREE], "--initial-cluster", "\"x\" is missing");
    refused(&["--name=b", peer, "--initial-cluster", THREE], "--initial-advertise-peer-urls", "must be the same");
    refused(&["--name=a", "--initial-cluster=http://h:1"], "--initial-cluster", "not NAME=URL");
    refused(&["--name=a", "--initial-cluster=a=http://h:1,b=https://h:1"], "--initial-cluster", "the same URL");
    refused(&["--name=a,b"], "--name", "may not hold");
    let even = valid(&["--name=a", peer, "--initial-cluster=a=http://10.0.0.1:2380,b=http://10.0.0.2:2380"]);
    assert_eq!(even.warnings, ["2 members bear the loss of 0, as 1 would"]);
}

#[test]
fn urls() {
    refused(&["--listen-client-urls=http://127.0.0.1"], "--listen-client-urls", "no port");
    refused(&["--listen-peer-urls=http://example.org:1"], "--listen-peer-urls", "IP address");
    refused(&["--listen-client-urls=http://0.0.0.0:2379"], "--advertise-client-urls", "every interface");
    refused(&["--listen-client-urls=http://127.0.0.1:0"], "--advertise-client-urls", "port 0");
    refused(&["--listen-peer-urls=http://127.0.0.1:2379"], "--listen-peer-urls", "listened on already");
    refused(&["--advertise-client-urls=http://a:1,http://A:1/"], "--advertise-client-urls", "stands twice");
    refused(&["--listen-metrics-urls=127.0.0.1:1"], "--listen-metrics-urls", "not a URL");
}

#[test]
fn members_named_by_dns() {
    let found = valid(&["--discovery-srv=example.org", "--discovery-srv-name=blue"]).discovery;
    assert_eq!(found, Some(Discovery { domain: "example.org".into(), name: Some("blue".into()) }));
    assert_eq!(valid(&[]).discovery, None);
    let cluster = "--initial-cluster=default=http://localhost:2380";
    refused(&["--discovery-srv=example.org", cluster], "--discovery-srv", "one of them");
    refused(&["--discovery-srv-name=blue"], "--discovery-srv-name", "missing");
    refused(&["--discovery-srv=exa mple"], "--discovery-srv", "no domain name");
    let all = ["--discovery-srv=example.org", "--listen-peer-urls=http://0.0.0.0:2380"];
    refused(&all, "--initial-advertise-peer-urls", "every interface");
}

#[test]
fn members_with_several_urls() {
    let members = "--initial-cluster=a=http://a2:1,b=http://b:1,a=http://[::1]:1";
    let config = valid(&["--name=a", "--initial-advertise-peer-urls=http://[::1]:1,http://a2:1", members]);
    let urls: Vec<String> = config.initial_cluster[0].peer_urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["http://[::1]:1", "http://a2:1"]);
    let one = "--initial-advertise-peer-urls=http://a2:1";
    refused(&["--name=a", one, members], "--initial-advertise-peer-urls", "must be the same");
    let many: Vec<String> = (0..17).map(|i| format!("a=http://h{i}:1")).collect();
    refused(&["--name=a", &format!("--initial-cluster={}", many.join(","))], "--initial-cluster", "at most 16");
}

#[test]
fn numbers_and_choices() {
    refused(&["--heartbeat-interval=100", "--election-timeout=100"], "--election-timeout", "twice the heartbeat");
    refused(&["--heartbeat-interval=0"], "--heartbeat-interval", "at least 1");
    refused(&["--election-timeout=1"], "--election-timeout", "twice the heartbeat");
    let slow = valid(&["--heartbeat-interval=100"]);
    assert_eq!((slow.heartbeat_interval_ms, slow.election_timeout_ms), (100, 300));
    assert_eq!(slow.warnings, ["--election-timeout is 300 ms, because --heartbeat-interval is 100 ms"]);
    let fast = valid(&["--election-timeout=60"]);
    assert_eq!((fast.heartbeat_interval_ms, fast.election_timeout_ms, fast.warnings.len()), (20, 60, 1));
    assert_eq!(valid(&["--election-timeout=1000"]).heartbeat_interval_ms, 50);
    refused(&["--heartbeat-interval=50ms"], "--heartbeat-interval", "milliseconds");
    refused(&["--election-timeout=60000"], "--election-timeout", "at most");
    refused(&["--snapshot-count=-1"], "--snapshot-count", "entries");
    refused(&["--max-request-bytes=0"], "--max-request-bytes", "between");
    refused(&["--max-log-bytes=1"], "--max-log-bytes", "16 MiB");
    refused(&["--max-txn-ops=0"], "--max-txn-ops", "at least 1");
    refused(&["--quota-backend-bytes=2GiB"], "--quota-backend-bytes", "bytes");
    refused(&["--initial-cluster-state=old"], "--initial-cluster-state", "new, existing");
    refused(&["--log-level=loud"], "--log-level", "debug, info");
    refused(&["--log-format=xml"], "--log-format", "text, json, console");
    refused(&["--watch-progress-notify-interval=10ms"], "--watch-progress-notify-interval", "at least 100ms");
    assert_eq!(valid(&["--snapshot-count=0"]).snapshot_count, 100_000);
    assert_eq!(valid(&["--max-log-bytes=0"]).max_log_bytes, 1 << 30);
    assert_eq!(valid(&["--max-log-bytes=16777216"]).max_log_bytes, 16 << 20);
    assert_eq!(valid(&["--log-level=info,conclave_node=debug"]).log.filter, "info,conclave_node=debug");
    assert_eq!(valid(&["--log-level=fatal"]).log.filter, "error");
}

#[test]
fn backups_have_a_directory() {
    assert_eq!((valid(&[]).backups, valid(&[]).restore_from), (None, None));
    let backups = valid(&["--backup-dir=/b", "--backup-interval=90m", "--backup-retention=3"]).backups;
    assert_eq!(backups, Some(Backups { dir: "/b".into(), interval: Duration::from_secs(5400), retention: 3 }));
    let backups = valid(&["--backup-dir=file:///b/c", "--restore-from=file:///x.db"]);
    assert_eq!(backups.restore_from, Some("/x.db".into()));
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(backups.backups, Some(Backups { dir: "/b/c".into(), interval: day, retention: 7 }));
    refused(&["--backup-interval=1h"], "--backup-interval", "--backup-dir is missing");
    refused(&["--backup-dir=/b", "--backup-interval=10ms"], "--backup-interval", "at least 1s");
    refused(&["--backup-dir=s3://b"], "--backup-dir", "s3:// is not known");
    refused(&["--restore-from=file://x"], "--restore-from", "whole path");
}

#[test]
fn compaction_as_etcd_reads_it() {
    let policy = |mode: &str, retention: &str| {
        valid(&["--auto-compaction-mode", mode, "--auto-compaction-retention", retention]).auto_compaction
    };
    assert_eq!(policy("periodic", "0"), AutoCompaction::Off);
    assert_eq!(policy("periodic", "0s"), AutoCompaction::Off);
    assert_eq!(policy("periodic", "1"), AutoCompaction::Periodic(Duration::from_secs(3600)));
    assert_eq!(policy("periodic", "5m"), AutoCompaction::Periodic(Duration::from_secs(300)));
    assert_eq!(policy("revision", "1000"), AutoCompaction::Revision(1000));
    refused(&["--auto-compaction-mode=hourly"], "--auto-compaction-mode", "periodic, revision");
    refused(&["--auto-compaction-retention=-5m"], "--auto-compaction-retention", "not a duration");
    refused(
        &["--auto-compaction-mode=revision", "--auto-compaction-retention=5m"],
        "--auto-compaction-retention",
        "number of revisions",
    );
}

#[test]
fn all_problems_at_once() {
    let error =
        load(&["--heartbeat-interval=x", "--log-level=y", "--listen-peer-urls=z"]).expect_err("three").to_string();
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn unknown_flags() {
    let unknown = load(&["--nmae=a"]).expect_err("unknown");
    assert!(unknown.to_string().contains("--name") && !unknown.is_answer(), "{unknown}");
    let foreign = load(&["--discovery=x"]).expect_err("etcd's").to_string();
    assert!(foreign.contains("no discovery") && !foreign.contains("similar"), "{foreign}");
    let slip = load(&["-listen-peer-url"]).expect_err("a slip").to_string();
    assert!(slip.contains("--listen-peer-urls"), "{slip}");
    assert!(load(&["help"]).expect_err("help").is_answer());
    assert!(load(&["grpc-proxy", "start"]).expect_err("etcd's").to_string().contains("own binary"));
    let unsigned = load(&["--auth-token=jwt"]).expect_err("no keys").to_string();
    assert!(unsigned.contains("sign-method"), "{unsigned}");
    for answer in ["--help", "--version"] {
        assert!(load(&[answer]).expect_err("an answer").is_answer());
    }
}

#[test]
fn a_flag_wins_over_the_file() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("conclave.yml");
    std::fs::write(&path, "name: f\nelection-timeout: 1000\nheartbeat-interval: 100\nlog-level: debug\n")
        .expect("write");
    let file = format!("--config-file={}", path.display());
    let config = valid(&[&file, "--name=g"]);
    assert_eq!((config.name.as_str(), config.election_timeout_ms), ("g", 1000));
    assert_eq!(config.log.filter, "debug");

    std::fs::write(&path, "nmae: f\n").expect("write");
    refused(&[&file], "conclave.yml", "unknown key");
    refused(&["--config-file=/no/such.yml"], "/no/such.yml", "No such file");
}

#[test]
fn misspelt_variables_are_told() {
    let variables = ["CONCLAVE_NMAE", "CONCLAVE_NAME", "CONCLAVE_BIN", "CONCLAVE_CLUSTER_PORT", "OTHER"];
    let warnings = super::super::flags::unknown_variables(variables.map(str::to_owned).iter());
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("CONCLAVE_NMAE"));
}

#[test]
fn tls_for_clients() {
    const SECURE: &str = "--listen-client-urls=https://127.0.0.1:2379";
    let pair = ["--cert-file=/c", "--key-file=/k"];
    let with = |more: &[&'static str]| [&[SECURE, pair[0], pair[1]][..], more].concat();
    let tls = valid(&with(&["--trusted-ca-file=/ca", "--client-crl-file=/crl", "--client-cert-allowed-hostname=a,b"]));
    assert!(tls.listen_client[0].secure && tls.advertise_client_urls[0].to_string().starts_with("https://"));
    let tls = tls.client_tls.expect("https is listened on");
    assert_eq!((tls.ca, tls.crl), (Some("/ca".into()), Some("/crl".into())));
    assert_eq!(tls.allowed.hostnames, ["a", "b"]);
    refused(&[SECURE], "--listen-client-urls", "--cert-file, --key-file or --auto-tls");
    refused(&["--listen-metrics-urls=https://127.0.0.1:1"], "--listen-client-urls", "needs a certificate");
    refused(&[SECURE, pair[0]], "--key-file", "needed with the certificate");
    refused(&[SECURE, pair[1]], "--cert-file", "needed with the private key");
    refused(&with(&["--client-cert-auth"]), "--client-cert-auth", "--trusted-ca-file");
    refused(&with(&["--client-crl-file=/x"]), "--client-crl-file", "--trusted-ca-file");
    refused(&with(&["--cipher-suites=TLS_RSA_WITH_RC4_128_SHA"]), "--cipher-suites", "TLS_RSA_WITH_RC4_128_SHA");
    refused(&with(&["--tls-min-version=TLS1.1"]), "--tls-min-version", "TLS1.2");
    refused(&with(&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"]), "--tls-max-version", "below");
    refused(&with(&["--self-signed-cert-validity=0"]), "--self-signed-cert-validity", "from 1");
    let own = valid(&[SECURE, "--auto-tls", "--data-dir=/d"]).client_tls.expect("https is listened on").own;
    assert!(
        matches!(own, tls::Certificate::SelfSigned { directory, .. } if directory == Path::new("/d/fixtures/client"))
    );
    let idle = valid(&pair);
    assert!(idle.client_tls.is_none() && idle.warnings[0].contains("--cert-file"), "{:?}", idle.warnings);
    // etcd ignores it, too, and says so.
    let open = valid(&["--client-cert-auth", "--listen-client-urls=http://127.0.0.1:2379"]);
    assert!(open.warnings[0].contains("--client-cert-auth has no effect on the http://"), "{:?}", open.warnings);
}

#[test]
fn tls_for_peers() {
    const SECURE: &str = "--listen-peer-urls=https://127.0.0.1:2380";
    let pair = ["--peer-cert-file=/c", "--peer-key-file=/k"];
    refused(&[SECURE, pair[0], pair[1]], "--peer-trusted-ca-file", "verify each other");
    let both = ["--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=b", "--peer-trusted-ca-file=/ca"];
    refused(&[&[SECURE][..], &pair[..], &both[..]].concat(), "--peer-cert-allowed-hostname", "exclude");
    assert!(valid(&[SECURE, "--peer-auto-tls"]).peer_tls.is_some_and(|tls| tls.ca.is_none()));
    // The first step of a change to TLS: others still connect without.
    let first = [SECURE, pair[0], pair[1], "--peer-trusted-ca-file=/ca", "--peer-allow-plaintext", "--name=a"];
    let urls = ["--initial-advertise-peer-urls=http://127.0.0.1:2380", "--initial-cluster=a=http://127.0.0.1:2380"];
    let config = valid(&[&first[..], &urls[..]].concat());
    assert!(config.peer_tls.is_some() && config.peer_allow_plaintext);
}

#[test]
fn a_secret_for_peers() {
    let config = valid(&["--peer-secret-file=/s"]);
    let secret = config.peer_secret.as_ref().map(|it| (it.file.to_str(), it.optional));
    assert!(secret == Some((Some("/s"), false)) && config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(valid(&["--peer-secret-file=/s", "--peer-secret-optional"]).peer_secret.is_some_and(|it| it.optional));
    refused(&["--peer-secret-optional"], "--peer-secret-optional", "--peer-secret-file");
    let secure = ["--peer-secret-file=/s", "--peer-auto-tls", "--listen-peer-urls=https://127.0.0.1:2380"];
    let idle = valid(&secure);
    assert!(idle.warnings.iter().any(|it| it.contains("--peer-secret-file has no effect")), "{:?}", idle.warnings);
    // Members without TLS are let in beside those with: they prove it.
    assert!(valid(&[&secure[..], &["--peer-allow-plaintext"]].concat()).warnings.is_empty());
}

#[test]
fn sockets_of_the_machine_for_clients() {
    let config = valid(&["--listen-client-urls=http://127.0.0.1:2379,unix:///run/sock"]);
    assert_eq!((config.listen_client.len(), config.listen_local.len()), (1, 1));
    assert_eq!(config.advertise_local[0].to_string(), "unix:///run/sock");
    let alone = valid(&["--listen-client-urls=unix:///run/sock", "--advertise-client-urls=http://localhost:1"]);
    assert!(alone.listen_client.is_empty() && alone.advertise_local.is_empty());
    refused(&["--listen-client-urls=unix://a,unixs://a"], "--listen-client-urls", "twice");
    refused(&["--listen-client-urls=unix://"], "--listen-client-urls", "no path");
    refused(&["--listen-peer-urls=unix:///run/sock"], "--listen-peer-urls", "for clients alone");
    refused(&["--listen-client-urls=unixs:///run/sock"], "--listen-client-urls", "needs a certificate");
}

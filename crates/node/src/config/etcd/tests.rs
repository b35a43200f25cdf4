//! Every flag of etcd 3.4 to 3.8, and what its operators start members with: unit, configuration
//! file, containers, charts.

use super::super::{Config, ConfigError, LogFormat, LogOutput};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

fn read(program: &str, args: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let args = std::iter::once(program).chain(args.iter().copied()).map(Into::into).collect();
    let variables: BTreeMap<_, _> = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::read(args, &variables)
}

#[track_caller]
fn valid(args: &[&str], variables: &[(&str, &str)]) -> Config {
    read("/usr/bin/etcd", args, variables).unwrap_or_else(|error| panic!("{args:?} {variables:?}: {error}"))
}

#[track_caller]
fn refused(args: &[&str]) -> String {
    read("etcd", args, &[]).expect_err("must be refused").to_string()
}

/// Flag, default, another value, and what becomes of that: `=` it is honoured, `~` it has no effect
/// and a warning says so, `!` it is refused.
const FLAGS: &str = include_str!("flags.txt");

fn flags() -> impl Iterator<Item = (&'static str, &'static str, &'static str, &'static str)> {
    FLAGS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| {
        let mut words = line.split('\t');
        let mut next = || words.next().unwrap_or_else(|| panic!("four words: {line}"));
        (next(), next(), next(), next())
    })
}

/// What a value needs beside it to mean something.
fn company(flag: &str) -> Vec<&'static str> {
    const CLIENTS: [&str; 3] = ["--listen-client-urls=https://127.0.0.1:1", "--auto-tls", "--trusted-ca-file=/ca"];
    const PEERS: [&str; 3] =
        ["--listen-peer-urls=https://127.0.0.1:2", "--peer-auto-tls", "--peer-trusted-ca-file=/ca"];
    match flag {
        "cert-file" => vec![CLIENTS[0], "--key-file=/k"],
        "key-file" => vec![CLIENTS[0], "--cert-file=/c"],
        "auto-tls" => vec![CLIENTS[0]],
        "trusted-ca-file" => CLIENTS[..2].to_vec(),
        "client-crl-file" | "client-cert-allowed-hostname" | "client-cert-auth" => CLIENTS.to_vec(),
        "self-signed-cert-validity" | "cipher-suites" | "tls-min-version" | "tls-max-version" => CLIENTS.to_vec(),
        "peer-cert-file" => vec![PEERS[0], PEERS[2], "--peer-key-file=/k"],
        "peer-key-file" => vec![PEERS[0], PEERS[2], "--peer-cert-file=/c"],
        "peer-auto-tls" => vec![PEERS[0]],
        "peer-trusted-ca-file" => PEERS[..2].to_vec(),
        "peer-client-cert-file" => [&PEERS[..], &["--peer-client-key-file=/k"]].concat(),
        "peer-client-key-file" => [&PEERS[..], &["--peer-client-cert-file=/c"]].concat(),
        _ if flag.starts_with("peer-c") => PEERS.to_vec(),
        "initial-advertise-peer-urls" | "initial-cluster" => vec!["--name=x"],
        "discovery-srv-name" => vec!["--discovery-srv=x"],
        "auto-compaction-mode" => vec!["--auto-compaction-retention=5"],
        _ => vec![],
    }
}

/// The case anyway, in Conclave's own settings: with authorities, members must show certificates.
const ALWAYS: [&str; 1] = ["peer-client-cert-auth"];

#[test]
fn every_flag_of_etcds_with_its_default() {
    assert!(flags().count() > 150);
    for (flag, default, _, _) in flags() {
        let config = valid(&[&format!("--{flag}={default}")], &[]);
        // The one that follows the other says so.
        let surprising = |warning: &&String| !warning.contains("because --heartbeat-interval is 100 ms");
        assert_eq!(config.warnings.iter().filter(surprising).count(), 0, "--{flag}={default}: {:?}", config.warnings);
        // The same by variable.
        let variable = format!("ETCD_{}", flag.to_ascii_uppercase().replace('-', "_"));
        let by_variable = valid(&[], &[(&variable, default)]);
        assert_eq!(by_variable.warnings, config.warnings, "{variable}={default}");
        assert_eq!((by_variable.notes, by_variable.name), (config.notes, config.name), "{variable}={default}");
    }
}

#[test]
fn every_flag_of_etcds_with_another_value() {
    for (flag, default, other, end) in flags() {
        let with = |value: &str| {
            let given = format!("--{flag}={value}");
            let args: Vec<&str> = std::iter::once(given.as_str()).chain(company(flag)).collect();
            read("etcd", &args, &[])
        };
        let given = format!("--{flag}={other}");
        let plain = flag.strip_prefix("experimental-").unwrap_or(flag);
        let idle = |config: &Config| {
            config.warnings.iter().any(|warning| {
                warning.starts_with(&format!("--{plain} has no effect: ")) && warning.len() > plain.len() + 30
            })
        };
        match (with(other), end) {
            (Ok(config), "=") => {
                assert!(!idle(&config), "{given}: {:?}", config.warnings);
                let same = with(default).is_ok_and(|before| {
                    Config { notes: before.notes.clone(), warnings: before.warnings.clone(), ..config.clone() }
                        == before
                });
                assert!(!same || !config.notes.is_empty() || ALWAYS.contains(&flag), "{given} changes nothing");
            }
            (Ok(config), "~") => assert!(idle(&config), "{given}: {:?}", config.warnings),
            (Err(error), "!") => {
                let error = error.to_string();
                assert!(error.starts_with(&format!("--{plain}: ")) && !error.contains("unexpected"), "{error}");
                assert!(error.len() > plain.len() + other.len() + 20, "no reason: {error}");
            }
            (result, _) => panic!("{given} should be {end}: {:?}", result.map(|config| config.warnings)),
        }
    }
}

#[test]
fn the_forms_that_go_takes() {
    let config = valid(&["-name", "a", "--heartbeat-interval=200", "--name=b", "-election-timeout", "2000"], &[]);
    assert_eq!((config.name.as_str(), config.heartbeat_interval_ms, config.election_timeout_ms), ("b", 200, 2000));
    assert!(valid(&["--enable-grpc-gateway"], &[]).enable_grpc_gateway);
    assert!(!valid(&["-enable-grpc-gateway=F"], &[]).enable_grpc_gateway);
    assert!(!valid(&["--strict-reconfig-check=false", "--name", "a"], &[]).strict_reconfig_check);
    assert_eq!(valid(&["--quota-backend-bytes", "-1"], &[]).quota_backend_bytes, None);
    assert_eq!(valid(&["--debug"], &[]).log.filter, "debug");
    assert_eq!(valid(&["--debug=false", "--pre-vote", "--proxy", "off"], &[]).notes.len(), 2);
    // The last one counts, also of what is refused.
    assert!(valid(&["--force-new-cluster", "--force-new-cluster=false"], &[]).warnings.is_empty());
    assert!(valid(&["--force-new-cluster"], &[]).force_new_cluster);
    assert!(
        refused(&["--strict-reconfig-check", "false"]).contains("false"),
        "Go takes no blank before a switch's value"
    );
    assert!(refused(&["--wal-dir"]).contains("value is required"));
    assert!(refused(&["--enable-v2v3=/x"]).contains("v3"));
    let both = refused(&["--discovery=x", "--heartbeat-interval=x", "--discovery-proxy=x"]);
    assert_eq!(both.lines().count(), 3, "{both}");
    assert!(read("etcd", &["-version"], &[]).expect_err("an answer").is_answer());
}

#[test]
fn feature_gates() {
    let holds =
        "AllAlpha=false,AllBeta=true,CompactHashCheck=false,FastLeaseKeepAlive=true,TxnModeWriteWithSharedBuffer=t";
    assert!(valid(&["--feature-gates", holds], &[]).warnings.is_empty());
    let kubeadm = valid(&["--feature-gates=InitialCorruptCheck=true"], &[]);
    assert!(kubeadm.warnings[0].contains("/status"), "{:?}", kubeadm.warnings);
    assert!(refused(&["--feature-gates=LeaseCheckpoint=true"]).contains("whole TTL"));
    assert!(refused(&["--feature-gates=SetMemberLocalAddr=true"]).contains("address"));
    assert!(refused(&["--feature-gates=AllAlpha=true"]).contains("name the gates"));
    assert!(refused(&["--feature-gates=Unheard=true"]).contains("no gate"));
    assert!(refused(&["--feature-gates=AllBeta"]).contains("GATE=true"));
}

#[test]
fn variables() {
    let config = valid(
        &["--name=flag"],
        &[
            ("ETCD_NAME", "variable"),
            ("ETCD_HEARTBEAT_INTERVAL", "70"),
            ("ETCD_EXPERIMENTAL_MAX_LEARNERS", "3"),
            ("ETCD_MAX_TXN_OPS", ""),
            ("ETCD_ROOT_PASSWORD", "secret"),
            ("ETCD_PRE_VOTE", "1"),
            ("CONCLAVE_SNAPSHOT_COUNT", "7"),
            ("ETCD_SNAPSHOT_COUNT", "8"),
            ("CONCLAVE_MAX_LEARNERS", "3"),
            ("HOME", "/"),
        ],
    );
    assert_eq!((config.name.as_str(), config.heartbeat_interval_ms, config.max_learners), ("flag", 70, 3));
    assert_eq!(
        config.variables,
        ["CONCLAVE_MAX_LEARNERS", "CONCLAVE_SNAPSHOT_COUNT", "ETCD_HEARTBEAT_INTERVAL", "ETCD_PRE_VOTE"]
    );
    let said = |words: &[&str]| config.warnings.iter().any(|warning| words.iter().all(|word| warning.contains(word)));
    assert!(said(&["ETCD_NAME", "--name"]) && said(&["ETCD_SNAPSHOT_COUNT", "CONCLAVE_SNAPSHOT_COUNT"]));
    assert!(said(&["no settings", "ETCD_ROOT_PASSWORD"]) && !said(&["secret"]) && !said(&["MAX_LEARNERS"]));
    let wrong = read("etcd", &[], &[("ETCD_DISCOVERY", "http://d/x")]).expect_err("must be refused").to_string();
    assert!(wrong.contains("no discovery"), "{wrong}");
}

#[test]
fn under_etcds_name() {
    let config = valid(&[], &[]);
    assert!(config.as_etcd && config.data_dir == Path::new("default.etcd") && config.log.format == LogFormat::Etcd);
    assert_eq!(valid(&["--log-format=console"], &[]).log.format, LogFormat::Text);
    let own = read("conclave", &["--log-format=json"], &[]).expect("valid");
    assert!(!own.as_etcd && own.data_dir == Path::new("default.conclave") && own.log.format == LogFormat::Json);
}

#[test]
fn honoured() {
    let config = valid(
        &[
            "--log-outputs=stdout,/tmp/x.log,stderr,default",
            "--max-concurrent-streams=10",
            "--grpc-keepalive-interval=2h",
        ],
        &[("ETCD_GRPC_KEEPALIVE_TIMEOUT", "20s"), ("ETCD_WAL_DIR", "/wal"), ("ETCD_METRICS", "extensive")],
    );
    assert_eq!(config.log.outputs, [LogOutput::Stdout, LogOutput::File("/tmp/x.log".into()), LogOutput::Stderr]);
    assert_eq!((config.max_concurrent_streams, config.wal_dir.as_deref()), (10, Some(Path::new("/wal"))));
    assert_eq!(config.keep_alive.interval, Some(Duration::from_secs(7_200)));
    assert_eq!((config.keep_alive.timeout, config.extensive_metrics), (Duration::from_secs(20), true));
    assert_eq!(valid(&["--grpc-keepalive-interval=0s"], &[]).keep_alive.interval, None);
    assert!(refused(&["--log-outputs=systemd/journal"]).contains("stderr"));
}

/// etcd-io/etcd contrib/systemd/etcd.service, with the machine's id for `%m`.
#[test]
fn the_unit_of_etcd() {
    let config = valid(&[], &[("ETCD_DATA_DIR", "/var/lib/etcd"), ("ETCD_NAME", "8fd0"), ("NOTIFY_SOCKET", "/run/x")]);
    assert_eq!((config.name.as_str(), config.data_dir.as_path()), ("8fd0", Path::new("/var/lib/etcd")));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_sample_of_a_configuration_file() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("etcd.conf.yml");
    std::fs::write(&path, include_str!("etcd.conf.yml.sample")).expect("write");
    let path = path.display().to_string();
    for config in [valid(&["--config-file", &path], &[]), valid(&[], &[("ETCD_CONFIG_FILE", &path)])] {
        assert_eq!(
            (config.heartbeat_interval_ms, config.election_timeout_ms, config.snapshot_count),
            (100, 1000, 10_000)
        );
        assert_eq!((config.log.filter.as_str(), config.strict_reconfig_check), ("debug", false));
        assert_eq!(config.warnings, ["--enable-pprof has no effect: there are no profiles of Go"]);
    }
}

/// The variables of the images and of charts that configure by them.
#[test]
fn containers() {
    let bitnami = valid(
        &[],
        &[
            ("ETCD_NAME", "etcd-0"),
            ("ETCD_DATA_DIR", "/bitnami/etcd/data"),
            ("ETCD_LISTEN_CLIENT_URLS", "http://0.0.0.0:2379"),
            ("ETCD_ADVERTISE_CLIENT_URLS", "http://etcd-0.etcd-headless:2379,http://etcd:2379"),
            ("ETCD_LISTEN_PEER_URLS", "http://0.0.0.0:2380"),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", "http://etcd-0.etcd-headless:2380"),
            (
                "ETCD_INITIAL_CLUSTER",
                "etcd-0=http://etcd-0.etcd-headless:2380,etcd-1=http://etcd-1.etcd-headless:2380,etcd-2=http://etcd-2.etcd-headless:2380",
            ),
            ("ETCD_INITIAL_CLUSTER_STATE", "new"),
            ("ETCD_INITIAL_CLUSTER_TOKEN", "etcd-cluster-k8s"),
            ("ETCD_LOG_LEVEL", "info"),
            ("ETCD_AUTO_TLS", "false"),
            ("ETCD_ON_K8S", "yes"),
            ("ETCD_START_FROM_SNAPSHOT", "no"),
            ("ETCD_DISASTER_RECOVERY", "no"),
            ("ETCD_CLUSTER_DOMAIN", "etcd-headless.default.svc.cluster.local"),
            ("ETCDCTL_API", "3"),
            ("ALLOW_NONE_AUTHENTICATION", "yes"),
        ],
    );
    assert_eq!((bitnami.initial_cluster.len(), bitnami.initial_cluster_token.as_str()), (3, "etcd-cluster-k8s"));
    assert_eq!(bitnami.warnings.len(), 1, "{:?}", bitnami.warnings);
    assert!(bitnami.warnings[0].contains("ETCD_ON_K8S") && !bitnami.warnings[0].contains("ETCDCTL"));
    // APISIX's compose file.
    let alone = valid(
        &[],
        &[
            ("ETCD_ENABLE_V2", "true"),
            ("ETCD_ADVERTISE_CLIENT_URLS", "http://0.0.0.0:2379"),
            ("ETCD_LISTEN_CLIENT_URLS", "http://0.0.0.0:2379"),
        ],
    );
    assert!(alone.warnings.iter().any(|warning| warning.contains("every interface")), "{:?}", alone.warnings);
    assert!(alone.warnings.iter().any(|warning| warning.contains("etcd 2")), "{:?}", alone.warnings);
}

/// What the official image is started with: one member for a try.
#[test]
fn a_container_by_arguments() {
    let config = valid(
        &[
            "-advertise-client-urls=http://127.0.0.1:2379",
            "-listen-client-urls",
            "http://0.0.0.0:2379",
            "--listen-peer-urls=http://0.0.0.0:2380",
            "--data-dir",
            "/etcd",
        ],
        &[("ETCD_AUTO_COMPACTION_MODE", "revision"), ("ETCD_AUTO_COMPACTION_RETENTION", "1000")],
    );
    assert_eq!(config.initial_advertise_peer_urls[0].to_string(), "http://localhost:2380");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

/// kubeadm's manifest and a chart's arguments.
#[test]
fn clusters_of_kubernetes() {
    let config = valid(
        &[
            "--advertise-client-urls=https://10.0.0.1:2379",
            "--cert-file=/etc/kubernetes/pki/etcd/server.crt",
            "--client-cert-auth=true",
            "--data-dir=/var/lib/etcd",
            "--experimental-initial-corrupt-check=true",
            "--experimental-watch-progress-notify-interval=5s",
            "--initial-advertise-peer-urls=https://10.0.0.1:2380",
            "--initial-cluster=cp=https://10.0.0.1:2380",
            "--key-file=/etc/kubernetes/pki/etcd/server.key",
            "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379",
            "--listen-metrics-urls=http://127.0.0.1:2381",
            "--listen-peer-urls=https://10.0.0.1:2380",
            "--name=cp",
            "--peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt",
            "--peer-client-cert-auth=true",
            "--peer-key-file=/etc/kubernetes/pki/etcd/peer.key",
            "--peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
            "--snapshot-count=10000",
            "--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
        ],
        &[],
    );
    assert_eq!((config.watch_progress_notify_interval, config.warnings.len()), (Duration::from_secs(5), 1));
    let chart = valid(
        &[
            "--name=etcd-1",
            "--listen-peer-urls=http://0.0.0.0:2380",
            "--listen-client-urls=http://0.0.0.0:2379",
            "--advertise-client-urls=http://etcd-1.etcd:2379",
            "--initial-advertise-peer-urls=http://etcd-1.etcd:2380",
            "--initial-cluster-token=etcd-cluster",
            "--initial-cluster=etcd-0=http://etcd-0.etcd:2380,etcd-1=http://etcd-1.etcd:2380,etcd-2=http://etcd-2.etcd:2380",
            "--initial-cluster-state=new",
            "--data-dir=/var/run/etcd/default.etcd",
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=1h",
            "--max-wals=3",
            "--logger=zap",
            "--quota-backend-bytes=8589934592",
        ],
        &[],
    );
    assert_eq!(chart.warnings.len(), 1, "{:?}", chart.warnings);
}

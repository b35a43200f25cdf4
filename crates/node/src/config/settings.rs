//! Every setting once: its name as flag, environment variable and file key, and the help that
//! explains it.
//!
//! All values are text here. That makes merging one rule for all, and lets [`super::check`] give
//! one error for one mistake, wherever the value came from. Doc comments of the fields *are* the
//! help text.

use clap::Args;

macro_rules! settings {
    ($($(#[doc = $help:literal])+ $field:ident : $value:literal, $heading:ident $(, $extra:meta)*;)+) => {
        /// The settings as they were written, before any check.
        #[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
        pub(super) struct Settings {
            $(
                $(#[doc = $help])+
                #[arg(long, env = variable(stringify!($field)), value_name = $value, help_heading = $heading)]
                $(#[$extra])*
                pub(super) $field: Option<String>,
            )+
        }

        impl Settings {
            /// What is set here, else what is set there. Empty counts as unset.
            pub(super) fn or(self, other: Settings) -> Settings {
                let filled = |value: &String| !value.is_empty();
                Settings { $($field: self.$field.filter(filled).or(other.$field.filter(filled)),)+ }
            }

            /// Sets the setting of this key; `false` if there is none.
            pub(super) fn set(&mut self, key: &str, value: String) -> bool {
                let field = match key.replace('-', "_").as_str() {
                    _ if key.contains('_') => return false,
                    $(stringify!($field) => &mut self.$field,)+
                    _ => return false,
                };
                *field = Some(value);
                true
            }

            /// Whether there is a setting of this key.
            pub(super) fn is_key(key: &str) -> bool {
                Settings::default().set(key, String::new())
            }

            /// The keys of the configuration file, which are the flags without their dashes.
            pub(super) fn keys() -> Vec<String> {
                vec![$(stringify!($field).replace('_', "-"),)+]
            }
        }
    };
}

const MEMBER: &str = "This member";
const CLUSTER: &str = "The cluster at its first start";
const MEMBERSHIP: &str = "Changes of the membership";
const TLS: &str = "TLS, for clients and metrics";
const PEER_TLS: &str = "TLS, between members";
const ANY_TLS: &str = "TLS, for both";
const LOGIN: &str = "Users";
const TIMING: &str = "Timing";
const LIMITS: &str = "Limits";
const HISTORY: &str = "History";
const BACKUPS: &str = "Backups";
const SEEN: &str = "Seen from outside";
const AUDIT: &str = "Audit";

settings! {
    /// This member's name, one of those in --initial-cluster [default: default]
    name: "NAME", MEMBER;
    /// Where the member keeps its log and state; created if missing. Losing it is losing the member
    /// [default: NAME.conclave]
    data_dir: "PATH", MEMBER;
    /// Where to accept clients, comma-separated. The host is an IP address or localhost; 0.0.0.0 is
    /// every interface [default: http://localhost:2379]
    listen_client_urls: "URLS", MEMBER;
    /// Where the log is, if not below --data-dir: another disk, for one member alone. The data
    /// directory gets a link to it at its first start [default: DATA-DIR/log]
    wal_dir: "PATH", MEMBER;
    /// What member lists tell clients to connect to, comma-separated [default:
    /// --listen-client-urls, if others can connect to it]
    advertise_client_urls: "URLS", MEMBER;
    /// Where to accept the other members, comma-separated [default: http://localhost:2380]
    listen_peer_urls: "URLS", MEMBER;
    /// What the policy of placement tells members apart by, as NAME=VALUE, comma-separated or
    /// repeated: zone=a,region=eu [default: none]
    member_label: "LABELS", MEMBER;
    /// Threads that serve clients, beside the one for consensus: 0 is one thread, which costs the
    /// least CPU; a large machine that serves many clients wants more [default: 0]
    worker_threads: "COUNT", MEMBER;
    /// Answer before data is on disk. For measurements only: a crash loses acknowledged writes
    unsafe_no_fsync: "BOOL", MEMBER, arg(hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true");

    /// Where the other members reach this one; must be what --initial-cluster says for --name
    /// [default: --listen-peer-urls, if others can connect to it]
    initial_advertise_peer_urls: "URLS", CLUSTER;
    /// Every member as NAME=PEER_URL, comma-separated, the same text on each; for example
    /// a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380. A member with several
    /// URLs stands there once for each; they are tried in alphabetical order. Host names are
    /// resolved again for each connection [default: this member alone]
    initial_cluster: "MEMBERS", CLUSTER;
    /// new: this is the cluster's first start; existing: it runs already [default: new]
    initial_cluster_state: "STATE", CLUSTER;
    /// Instead of --initial-cluster: the domain whose SRV records _etcd-server-ssl._tcp and
    /// _etcd-server._tcp name the members
    discovery_srv: "DOMAIN", CLUSTER;
    /// Ends the names of these records, for several clusters in one domain: _etcd-server-NAME._tcp
    discovery_srv_name: "NAME", CLUSTER;
    /// Any text; clusters with different tokens never talk to each other, whatever their addresses
    /// [default: conclave-cluster]
    initial_cluster_token: "TEXT", CLUSTER;
    /// A snapshot to start from, if --data-dir is missing or empty; later starts ignore it. The
    /// same file on each member of a new cluster: a path, or file:// and a path. It is restored as
    /// `conclave snapshot restore` does with its defaults [default: none]
    restore_from: "PATH", CLUSTER;

    /// Refuse changes of the membership after which too few members would have started or could be
    /// reached [default: true]
    strict_reconfig_check: "BOOL", MEMBERSHIP, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");
    /// DANGEROUS, only when a majority of the members is lost for good: before it starts, this
    /// member becomes a new cluster of itself alone, of what its directory holds. What the others
    /// alone had is lost, and writes that were never acknowledged may count from now on. Revisions
    /// are raised, history is marked compacted; members of the old cluster can never join. Stop all
    /// of them first; `conclave recover` picks the best of several directories. The old data stays
    /// in DATA-DIR/OLD-CLUSTER. It is done once: leave the flag out again [default: false]
    force_new_cluster: "BOOL", MEMBERSHIP, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");
    /// The most learners at a time [default: 1]
    max_learners: "COUNT", MEMBERSHIP;

    /// This member's certificate for clients, with its chain (PEM); needed for https:// in
    /// --listen-client-urls and --listen-metrics-urls
    cert_file: "PATH", TLS;
    /// The private key of --cert-file (PEM)
    key_file: "PATH", TLS;
    /// The authorities that clients' certificates are verified by (PEM). With it, every client on
    /// https:// must show one
    trusted_ca_file: "PATH", TLS;
    /// Demand certificates of clients, and take their common names for users. --trusted-ca-file
    /// demands them by itself [default: false]
    client_cert_auth: "BOOL", TLS, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");
    /// Certificates of clients that were revoked: lists of their authorities (PEM or DER)
    client_crl_file: "PATH", TLS;
    /// Only clients whose certificate has one of these alternative names: host names, addresses,
    /// SPIFFE ids; comma-separated
    client_cert_allowed_hostname: "NAMES", TLS;
    /// Make a certificate, signed by itself, if --cert-file is not given: encryption without
    /// identity [default: false]
    auto_tls: "BOOL", TLS, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");

    /// This member's certificate for the other members, with its chain (PEM); for both sides of a
    /// connection, so for use as server and as client; needed for https:// in peer URLs
    peer_cert_file: "PATH", PEER_TLS;
    /// The private key of --peer-cert-file (PEM)
    peer_key_file: "PATH", PEER_TLS;
    /// The certificate to show where this member connects [default: --peer-cert-file]
    peer_client_cert_file: "PATH", PEER_TLS;
    /// The private key of --peer-client-cert-file (PEM) [default: --peer-key-file]
    peer_client_key_file: "PATH", PEER_TLS;
    /// The authorities that members are verified by (PEM); with it, each must show a certificate
    peer_trusted_ca_file: "PATH", PEER_TLS;
    /// Demand certificates of members. --peer-trusted-ca-file does so by itself [default: false]
    peer_client_cert_auth: "BOOL", PEER_TLS, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");
    /// Certificates of members that were revoked: lists of their authorities (PEM or DER)
    peer_crl_file: "PATH", PEER_TLS;
    /// Only members whose certificate has one of these common names; comma-separated
    peer_cert_allowed_cn: "NAMES", PEER_TLS;
    /// Only members whose certificate has one of these alternative names: host names, addresses,
    /// SPIFFE ids; comma-separated
    peer_cert_allowed_hostname: "NAMES", PEER_TLS;
    /// Make a certificate, signed by itself, if --peer-cert-file is not given: encryption without
    /// identity [default: false]
    peer_auto_tls: "BOOL", PEER_TLS, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");
    /// Accept members without TLS too on https:// addresses, while a running cluster changes to TLS
    /// [default: false]
    peer_allow_plaintext: "BOOL", PEER_TLS, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");

    /// Secrets of the cluster's members, one a line (at least 32 characters): members without TLS
    /// prove to each other that they know one, and mark all that they send by it. Read again when
    /// it changes
    peer_secret_file: "PATH", PEER_TLS;
    /// Accept members that know no secret too, and connect to them, while a running cluster gets
    /// one [default: false]
    peer_secret_optional: "BOOL", PEER_TLS, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");

    /// Years for which a certificate of --auto-tls or --peer-auto-tls is valid [default: 1]
    self_signed_cert_validity: "YEARS", ANY_TLS;
    /// Cipher suites by the names that Go gives them, comma-separated. Without one of TLS 1.3, all
    /// of TLS 1.3 stay [default: all]
    cipher_suites: "NAMES", ANY_TLS;
    /// TLS1.2 or TLS1.3 [default: TLS1.2]
    tls_min_version: "VERSION", ANY_TLS;
    /// TLS1.2 or TLS1.3 [default: TLS1.3]
    tls_max_version: "VERSION", ANY_TLS;

    /// Which tokens logins get: simple, or signed ones with
    /// jwt,pub-key=PATH,priv-key=PATH,sign-method=NAME,ttl=DURATION; the same on each member. Keys
    /// may stand several times: the first signs, all verify. Tokens of somebody else are good with
    /// jwt,jwks-file=PATH,issuer=NAME,audience=NAME,user-claim=NAME,user-prefix=TEXT,leeway=DURATION
    /// [default: simple]
    auth_token: "KIND", LOGIN;
    /// Seconds for which a simple token is good after its last use at a member [default: 300]
    auth_token_ttl: "SECONDS", LOGIN;
    /// The cost of bcrypt for new passwords, 4 to 31: each step doubles the time [default: 10]
    bcrypt_cost: "COST", LOGIN;

    /// Milliseconds between two heartbeats of the leader to its followers [default: 50]
    heartbeat_interval: "MS", TIMING;
    /// Milliseconds of silence after which a follower stands for election; at least twice the
    /// heartbeat, and well above the round trip between members [default: 150]
    election_timeout: "MS", TIMING;
    /// How often a watch that asked for progress notifications gets one while nothing happens, for
    /// example 30s; at least 100ms [default: 10m]
    watch_progress_notify_interval: "DURATION", TIMING;

    /// Interval after which the connection of a silent client is tried with a ping, for example
    /// 20s; 0 never [default: 20s]
    grpc_keepalive_interval: "DURATION", TIMING;
    /// After how long without an answer to that ping the connection ends; 0: it is not tried
    /// [default: 10s]
    grpc_keepalive_timeout: "DURATION", TIMING;

    /// Log entries between two snapshots; the log behind a snapshot is deleted. 0 is the default
    /// [default: 100000]
    snapshot_count: "ENTRIES", LIMITS;
    /// Bytes that the log's entries may take: beyond, the log is cut to half of that, with a
    /// snapshot before if it takes one. 0 is the default, the least is 16777216
    /// [default: 1073741824]
    max_log_bytes: "BYTES", LIMITS;
    /// Bytes the state may take on disk before writes that grow it are refused and the NOSPACE
    /// alarm is raised. 0 is the default, negative is no limit [default: 2147483648]
    quota_backend_bytes: "BYTES", LIMITS, arg(allow_negative_numbers = true);
    /// The largest request accepted from a client, in bytes [default: 1572864]
    max_request_bytes: "BYTES", LIMITS;
    /// The most calls that one connection of a client may have under way [default: 4294967295]
    max_concurrent_streams: "COUNT", LIMITS;
    /// The most operations in one branch of a transaction [default: 128]
    max_txn_ops: "COUNT", LIMITS;

    /// What one connection of a client may use of this member:
    /// requests=100,bytes=1048576,watchers=1000,leases=100,waiting=50; the first two are for each
    /// second. What is not named is not limited [default: nothing is limited]
    connection_limits: "LIMITS", LIMITS;
    /// The same for all connections of one user at this member [default: nothing is limited]
    user_limits: "LIMITS", LIMITS;

    /// What --auto-compaction-retention counts: periodic (time) or revision [default: periodic]
    auto_compaction_mode: "MODE", HISTORY;
    /// How much history to keep: with periodic a duration such as 30m, a bare number being hours;
    /// with revision a number of revisions; 0 never compacts [default: 0]
    auto_compaction_retention: "AMOUNT", HISTORY;

    /// Where to put backups that the cluster makes by itself: a directory, or file:// and a
    /// directory, which must exist; better on another disk. One member at a time makes one. Give it
    /// to each member, local or shared [default: none, no backups]
    backup_dir: "PATH", BACKUPS;
    /// How often a backup is made, for example 6h; at least 1s [default: 24h]
    backup_interval: "DURATION", BACKUPS;
    /// How many backups of this cluster stay in --backup-dir; 0 keeps all [default: 7]
    backup_retention: "COUNT", BACKUPS;

    /// Where to write who changed what, and who was denied what: a file, stdout or stderr; one JSON
    /// object a line [default: none, nothing is recorded]
    audit_log: "PATH", AUDIT;
    /// Bytes after which the file of --audit-log becomes PATH.1 and a new one begins; 0 never
    /// [default: 104857600]
    audit_log_max_bytes: "BYTES", AUDIT;
    /// How many older files stay: PATH.1, the latest of them, to PATH.COUNT; at least 1
    /// [default: 10]
    audit_log_files: "COUNT", AUDIT;
    /// Record values too, up to 1024 bytes of each; never passwords or tokens [default: false]
    audit_log_values: "BOOL", AUDIT, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");

    /// debug, info, warn, error, or a list such as info,conclave_node=debug [default: info]
    log_level: "LEVEL", SEEN;
    /// text (or console) or json, one record a line [default: text]
    log_format: "FORMAT", SEEN;
    /// Where the log goes, comma-separated: stderr, stdout, or files, which are added to; default
    /// is stderr [default: default]
    log_outputs: "OUTPUTS", SEEN;
    /// basic, or extensive: with histograms of how long each method took [default: basic]
    metrics: "DETAIL", SEEN;
    /// Origins whose web pages may read what plain HTTP answers, JSON among it; comma-separated; *
    /// is all [default: *]
    cors: "ORIGINS", SEEN;
    /// Names under which the server may be asked over plain HTTP, comma-separated; * is any
    /// [default: *]
    host_whitelist: "NAMES", SEEN;
    /// Whether the services are served as JSON over HTTP too [default: true]
    enable_grpc_gateway: "BOOL", SEEN, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");
    /// Whether the web console is served below /ui/: pages that show the cluster, and change nothing
    /// [default: true]
    console: "BOOL", SEEN, arg(num_args = 0..=1, require_equals = true, default_missing_value = "true");
    /// More addresses for /metrics, /health, /livez, /readyz, /version and the console,
    /// comma-separated, for example http://0.0.0.0:2381; the client addresses serve them in any case
    /// [default: none]
    listen_metrics_urls: "URLS", SEEN;
}

/// `initial_cluster` → `CONCLAVE_INITIAL_CLUSTER`.
pub(super) fn variable(field: &str) -> String {
    format!("CONCLAVE_{}", field.to_ascii_uppercase().replace('-', "_"))
}

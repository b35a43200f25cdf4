//! The paths of the gateway. Each is one method of the gRPC services, asked with POST.

use crate::schema::{Method, SCHEMA};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Where etcd's paths begin, and those of Conclave's own services.
const ETCD: &str = "/v3/";
/// What etcd 3.3 had, and later versions still take for `/v3/`.
const ETCD_BETA: &str = "/v3beta/";
const OWN: &str = "/conclave/v1/";

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Method(&'static Method),
    /// Below a prefix of the gateway, and unknown.
    Unknown,
}

/// What the gateway has under a path; `None`: the path is none of its.
#[must_use]
pub fn find(path: &str) -> Option<Found> {
    let etcd = path.strip_prefix(ETCD).or_else(|| path.strip_prefix(ETCD_BETA));
    let method = match etcd {
        Some(rest) => TABLE.etcd.get(rest),
        None => TABLE.own.get(path.strip_prefix(OWN)?),
    };
    Some(method.map_or(Found::Unknown, |method| Found::Method(method)))
}

/// Every path with its method, sorted.
pub(crate) fn all() -> impl Iterator<Item = (String, &'static Method)> {
    let under = |prefix: &'static str, table: &'static HashMap<String, &'static Method>| {
        table.iter().map(move |(path, method)| (format!("{prefix}{path}"), *method))
    };
    let mut all: Vec<_> = under(ETCD, &TABLE.etcd).chain(under(OWN, &TABLE.own)).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all.into_iter()
}

struct Table {
    /// Behind [`ETCD`].
    etcd: HashMap<String, &'static Method>,
    /// Behind [`OWN`].
    own: HashMap<String, &'static Method>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let method = |path: &str| SCHEMA.methods.get(path).expect("a test looks for each of them");
    let etcd = ETCD_PATHS.iter().map(|(path, of)| ((*path).to_owned(), method(of)));
    let own = SCHEMA.methods.iter().filter_map(|(path, method)| Some((own_path(path)?, method)));
    Table { etcd: etcd.collect(), own: own.collect() }
});

/// `/conclave.v1.Elections/GetTerm` is `elections/get-term`.
fn own_path(path: &str) -> Option<String> {
    let (service, method) = path.strip_prefix("/conclave.v1.")?.split_once('/')?;
    let mut own = service.to_ascii_lowercase();
    own.push('/');
    for (place, letter) in method.char_indices() {
        if letter.is_ascii_uppercase() && place > 0 {
            own.push('-');
        }
        own.push(letter.to_ascii_lowercase());
    }
    Some(own)
}

/// The annotations of etcd 3.7's `.proto` files, aliases among them.
const ETCD_PATHS: [(&str, &str); 51] = [
    ("auth/authenticate", "/etcdserverpb.Auth/Authenticate"),
    ("auth/disable", "/etcdserverpb.Auth/AuthDisable"),
    ("auth/enable", "/etcdserverpb.Auth/AuthEnable"),
    ("auth/role/add", "/etcdserverpb.Auth/RoleAdd"),
    ("auth/role/delete", "/etcdserverpb.Auth/RoleDelete"),
    ("auth/role/get", "/etcdserverpb.Auth/RoleGet"),
    ("auth/role/grant", "/etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/list", "/etcdserverpb.Auth/RoleList"),
    ("auth/role/revoke", "/etcdserverpb.Auth/RoleRevokePermission"),
    ("auth/status", "/etcdserverpb.Auth/AuthStatus"),
    ("auth/user/add", "/etcdserverpb.Auth/UserAdd"),
    ("auth/user/changepw", "/etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/delete", "/etcdserverpb.Auth/UserDelete"),
    ("auth/user/get", "/etcdserverpb.Auth/UserGet"),
    ("auth/user/grant", "/etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/list", "/etcdserverpb.Auth/UserList"),
    ("auth/user/revoke", "/etcdserverpb.Auth/UserRevokeRole"),
    ("cluster/member/add", "/etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/list", "/etcdserverpb.Cluster/MemberList"),
    ("cluster/member/promote", "/etcdserverpb.Cluster/MemberPromote"),
    ("cluster/member/remove", "/etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update", "/etcdserverpb.Cluster/MemberUpdate"),
    ("election/campaign", "/v3electionpb.Election/Campaign"),
    ("election/leader", "/v3electionpb.Election/Leader"),
    ("election/observe", "/v3electionpb.Election/Observe"),
    ("election/proclaim", "/v3electionpb.Election/Proclaim"),
    ("election/resign", "/v3electionpb.Election/Resign"),
    ("kv/compaction", "/etcdserverpb.KV/Compact"),
    ("kv/deleterange", "/etcdserverpb.KV/DeleteRange"),
    ("kv/lease/leases", "/etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/put", "/etcdserverpb.KV/Put"),
    ("kv/range", "/etcdserverpb.KV/Range"),
    ("kv/txn", "/etcdserverpb.KV/Txn"),
    ("lease/grant", "/etcdserverpb.Lease/LeaseGrant"),
    ("lease/keepalive", "/etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/leases", "/etcdserverpb.Lease/LeaseLeases"),
    ("lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"),
    ("lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("lock/lock", "/v3lockpb.Lock/Lock"),
    ("lock/unlock", "/v3lockpb.Lock/Unlock"),
    ("maintenance/alarm", "/etcdserverpb.Maintenance/Alarm"),
    ("maintenance/defragment", "/etcdserverpb.Maintenance/Defragment"),
    ("maintenance/downgrade", "/etcdserverpb.Maintenance/Downgrade"),
    ("maintenance/hash", "/etcdserverpb.Maintenance/Hash"),
    ("maintenance/hashkv", "/etcdserverpb.Maintenance/HashKV"),
    ("maintenance/snapshot", "/etcdserverpb.Maintenance/Snapshot"),
    ("maintenance/status", "/etcdserverpb.Maintenance/Status"),
    ("maintenance/transfer-leadership", "/etcdserverpb.Maintenance/MoveLeader"),
    ("watch", "/etcdserverpb.Watch/Watch"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn grpc(path: &str) -> Option<&'static str> {
        match find(path) {
            Some(Found::Method(method)) => Some(&method.path),
            _ => None,
        }
    }

    #[test]
    fn every_path_of_etcd_is_a_method() {
        for (path, method) in ETCD_PATHS {
            assert_eq!(grpc(&format!("/v3/{path}")), Some(method));
            assert_eq!(grpc(&format!("/v3beta/{path}")), Some(method));
        }
        // All methods of etcd but one, which etcd's gateway has not either.
        let of_etcd = SCHEMA.methods.keys().filter(|path| !path.starts_with("/conclave"));
        let missing: Vec<_> = of_etcd.filter(|path| ETCD_PATHS.iter().all(|(_, known)| known != path)).collect();
        assert_eq!(missing, ["/etcdserverpb.KV/RangeStream"]);
    }

    #[test]
    fn own_services_have_their_names() {
        assert_eq!(grpc("/conclave/v1/elections/get-term"), Some("/conclave.v1.Elections/GetTerm"));
        assert_eq!(grpc("/conclave/v1/locks/acquire"), Some("/conclave.v1.Locks/Acquire"));
        assert_eq!(grpc("/conclave/v1/sessions/keep-alive"), Some("/conclave.v1.Sessions/KeepAlive"));
        let own = SCHEMA.methods.keys().filter(|path| path.starts_with("/conclave.v1.")).count();
        assert_eq!(all().count(), own + 51);
    }

    #[test]
    fn what_is_unknown() {
        for path in
            ["/v3/nosuch", "/v3/", "/v3/kv/put/", "/v3beta/x", "/conclave/v1/elections/GetTerm", "/conclave/v1/"]
        {
            assert_eq!(find(path), Some(Found::Unknown), "{path}");
        }
        for path in ["/v3alpha/kv/put", "/", "/health", "/v3", "/etcdserverpb.KV/Put", "//v3/kv/put"] {
            assert_eq!(find(path), None, "{path}");
        }
    }
}

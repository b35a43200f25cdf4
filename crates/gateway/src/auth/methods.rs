//! What each method needs before its service sees the call.
//!
//! A method that is not named needs a login: a new one cannot be forgotten. What it needs beyond is
//! checked where it is decided.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// Checked by the service itself, inside of the stream: so a denial travels there, as in etcd.
    Inside,
    Login,
    /// The role `root`.
    Admin,
}

pub(super) fn need(path: &str) -> Need {
    match path {
        "/etcdserverpb.Auth/Authenticate" | "/etcdserverpb.Auth/AuthStatus" => Need::Nothing,
        "/etcdserverpb.Watch/Watch" => Need::Inside,
        "/etcdserverpb.KV/Compact"
        | "/etcdserverpb.Maintenance/Defragment"
        | "/etcdserverpb.Maintenance/Hash"
        | "/etcdserverpb.Maintenance/HashKV"
        | "/etcdserverpb.Maintenance/Snapshot"
        | "/etcdserverpb.Maintenance/MoveLeader"
        | "/etcdserverpb.Maintenance/Downgrade"
        | "/etcdserverpb.Cluster/MemberAdd"
        | "/etcdserverpb.Cluster/MemberRemove"
        | "/etcdserverpb.Cluster/MemberUpdate"
        | "/etcdserverpb.Cluster/MemberPromote" => Need::Admin,
        // These say nothing about the data.
        _ if path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.") => Need::Nothing,
        _ => Need::Login,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_needs_a_login() {
        assert_eq!(need("/etcdserverpb.Cluster/MemberList"), Need::Login);
        assert_eq!(need("/etcdserverpb.Lease/LeaseLeases"), Need::Login);
        assert_eq!(need("/conclave.v1.Elections/Anything"), Need::Login);
        assert_eq!(need("/etcdserverpb.Maintenance/Snapshot"), Need::Admin);
        assert_eq!(need("/etcdserverpb.Auth/UserAdd"), Need::Login);
        assert_eq!(need("/grpc.health.v1.Health/Check"), Need::Nothing);
    }
}

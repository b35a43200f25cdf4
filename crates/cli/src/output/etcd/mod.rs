//! Answers of the etcd v3 wire, shown as etcdctl 3.4 shows them in every format.
//!
//! Where etcdctl has no table, the rows are Conclave's own.

mod auth;
mod cluster;
mod kv;
mod lease;
mod snapshot;
mod txn;
mod watch;

pub(crate) use {
    auth::{AuthChanged, AuthStatus, Names, RoleOf, UserOf},
    cluster::{Alarms, HashOf, Hashes, Health, HealthOf, MemberChange, Members, StatusOf, Statuses},
    kv::{Deleted, Got, Put},
    lease::{Granted, KeptAlive, Leases, Revoked, TimeToLive},
    snapshot::{SnapshotDiff, SnapshotSaved, SnapshotStatus, SnapshotVerified},
    txn::Txn,
    watch::{Watched, kind},
};

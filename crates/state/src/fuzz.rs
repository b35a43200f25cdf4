//! Fuzz targets of the rows: decoding bytes from disk gives a value or a fault.

use crate::attempt::Attempts;
use crate::coord::fuzz::coordination_row;
use crate::lease::LeaseRow;
use crate::record::{Record, Version};
use crate::{cluster_version, keys, member, meta, placement};
use bytes::Bytes;

/// The first byte says which row it is; the rest is the row.
#[test]
fn fuzz_coordination_row() {
    let seeds =
        (0..16).flat_map(|kind| [vec![kind, 1], vec![kind, 1, 1, 1, 1], [[kind, 1].as_slice(), &[3; 60]].concat()]);
    conclave_fuzz::target!("coordination_row").seeds(seeds).run(|bytes| match bytes.split_first() {
        Some((kind, row)) => coordination_row(*kind, row),
        None => String::new(),
    });
}

#[test]
fn fuzz_kv_row() {
    let record = Record { create_revision: 7, version: 3, lease: -9, flags: 1, value: b"value" }.encode();
    conclave_fuzz::target!("kv_row").seed(record).run(|row| {
        let version = Version::decode(Bytes::copy_from_slice(row), 11);
        if let Ok(version) = &version {
            assert_eq!(version.head().record(&version.value).encode(), row);
        }
        format!("{version:?}")
    });
}

#[test]
fn fuzz_row_key() {
    let seeds = [
        keys::version_row(b"a\0key", 7),
        keys::attached_row(-5, b"key"),
        keys::lease_row(9).to_vec(),
        keys::change_row(7, 1, keys::Before::Version(3)),
    ];
    conclave_fuzz::target!("row_key").seeds(seeds).run(|row| {
        let version = keys::split_row(row).map(|(prefix, revision)| (keys::user_key(prefix), revision));
        let change = keys::split_change_row(row);
        let lease = (keys::split_lease_row(row), keys::split_attached_row(row));
        format!("{version:?} {change:?} {lease:?} {:?}", keys::shared_part(row))
    });
}

/// Of the tables lease and meta.
#[test]
fn fuzz_small_row() {
    let seeds = [
        vec![0; 16],
        vec![0xff; 24],
        [keys::ALARMS, &[1, 0, 0, 0, 0, 0, 0, 0, 7]].concat(),
        [keys::MEMBERS, &[0, 0, 0, 0, 0, 0, 0, 7]].concat(),
        [&2u64.to_be_bytes()[..], b"ab"].concat(),
        crate::auth::encode_user(&crate::auth::User::default()),
        crate::auth::encode_role(&crate::auth::Role::default()),
    ];
    conclave_fuzz::target!("small_row").seeds(seeds).run(|row| {
        let numbers = (LeaseRow::decode(row), Attempts::decode(row), meta::decode_meta(row));
        let member_key = [keys::MEMBERS, &[0; 8]].concat();
        let member = (member::decode_member(row, b""), member::decode_member(&member_key, row));
        let auth = (crate::auth::decode_user(row).is_ok(), crate::auth::decode_role(row).is_ok());
        let placement = (placement::decode_policy(row), placement::decode_labels(row));
        if let Ok(policy) = &placement.0 {
            assert_eq!(placement::encode_policy(policy), row);
        }
        let versions = (cluster_version::decode_version(row), cluster_version::decode_supports(row));
        format!("{numbers:?} {:?} {member:?} {auth:?} {versions:?}", meta::decode_alarm(row))
    });
}

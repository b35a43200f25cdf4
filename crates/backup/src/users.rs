//! Users and roles as etcd stores them: `authpb.User` and `authpb.Role`, and the bucket `auth`.
//!
//! What is read here can be a user or role of the state: each name is text and that of its key,
//! each hash is bcrypt's, each permission has a kind that is known and a range that contains a key.

use crate::read::SnapshotError;
use bytes::Bytes;
use conclave_state::KeyRange;
use conclave_state::auth::{Permission, PermissionKind, Role, User};
use prost::Message;

/// `authpb.UserAddOptions`.
#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(bool, tag = "1")]
    no_password: bool,
}

/// `authpb.User`, without a `Debug` that shows the hash.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredUser {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    password: Vec<u8>,
    #[prost(string, repeated, tag = "3")]
    roles: Vec<String>,
    #[prost(message, optional, tag = "4")]
    options: Option<Options>,
}

/// `authpb.Permission`.
#[derive(Clone, PartialEq, Message)]
struct StoredPermission {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    end: Bytes,
}

/// `authpb.Role`.
#[derive(Clone, PartialEq, Message)]
struct StoredRole {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    permissions: Vec<StoredPermission>,
}

fn wrong<T>(text: impl Into<String>) -> Result<T, SnapshotError> {
    Err(SnapshotError::Contents(text.into()))
}

pub(crate) fn encode_user(name: &str, user: &User) -> Vec<u8> {
    let User { hash, no_password, roles } = user;
    let stored = StoredUser {
        name: name.into(),
        password: hash.clone().into(),
        // etcd searches them: they must be sorted.
        roles: roles.iter().cloned().collect(),
        options: Some(Options { no_password: *no_password }),
    };
    stored.encode_to_vec()
}

pub(crate) fn encode_role(name: &str, role: &Role) -> Vec<u8> {
    let stored = |Permission { kind, range }| {
        let kind = match kind {
            PermissionKind::Read => 0,
            PermissionKind::Write => 1,
            PermissionKind::ReadWrite => 2,
        };
        StoredPermission { kind, key: range.key, end: range.end }
    };
    StoredRole { name: name.into(), permissions: role.permissions().map(stored).collect() }.encode_to_vec()
}

pub(crate) fn encode_enabled(enabled: bool) -> [u8; 1] {
    [u8::from(enabled)]
}

pub(crate) fn decode_enabled(value: &[u8]) -> Result<bool, SnapshotError> {
    match value {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => wrong(format!("authEnabled has the value {value:02x?}")),
    }
}

pub(crate) fn decode_revision(value: &[u8]) -> Result<u64, SnapshotError> {
    match value.try_into() {
        Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
        Err(_) => wrong(format!("authRevision has the value {value:02x?}")),
    }
}

/// The name under which something is stored, which the value repeats.
fn name(what: &str, key: &[u8], inside: &[u8]) -> Result<String, SnapshotError> {
    let shown = String::from_utf8_lossy(key);
    if key != inside {
        return wrong(format!("the {what} under {shown:?} has another name inside"));
    }
    match std::str::from_utf8(key) {
        Ok(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => wrong(format!("{shown:?} is not the name of a {what}")),
    }
}

/// A pair of the bucket `authUsers`.
pub(crate) fn decode_user(key: &[u8], value: &[u8]) -> Result<(String, User), SnapshotError> {
    // The error of the decoder could show parts of the value.
    let Ok(StoredUser { name: inside, password, roles, options }) = StoredUser::decode(value) else {
        return wrong(format!("the user under {:?} cannot be read", String::from_utf8_lossy(key)));
    };
    let name = name("user", key, &inside)?;
    let no_password = options.is_some_and(|options| options.no_password);
    let hash = match String::from_utf8(password) {
        Ok(hash) if hash.is_empty() || is_bcrypt(hash.as_bytes()) => hash,
        _ => return wrong(format!("the password of user {name:?} is not a hash of bcrypt")),
    };
    let hash = if no_password { String::new() } else { hash };
    Ok((name, User { hash, no_password, roles: roles.into_iter().collect() }))
}

/// A pair of the bucket `authRoles`.
pub(crate) fn decode_role(key: &[u8], value: &[u8]) -> Result<(String, Role), SnapshotError> {
    let Ok(StoredRole { name: inside, permissions }) = StoredRole::decode(value) else {
        return wrong(format!("the role under {:?} cannot be read", String::from_utf8_lossy(key)));
    };
    let name = name("role", key, &inside)?;
    let permission = |StoredPermission { kind, key, end }| {
        let kind = match kind {
            0 => PermissionKind::Read,
            1 => PermissionKind::Write,
            2 => PermissionKind::ReadWrite,
            _ => return wrong(format!("role {name:?} has a permission of the unknown type {kind}")),
        };
        let permission = Permission { kind, range: KeyRange { key, end } };
        if permission.is_valid() {
            return Ok(permission);
        }
        let KeyRange { key, end } = permission.range;
        wrong(format!("role {name:?} has a permission from {key:?} to {end:?}, where no key is"))
    };
    let role = permissions.into_iter().map(permission).collect::<Result<Role, _>>()?;
    Ok((name, role))
}

/// `$2b$10$` and 53 letters of its own base64: 22 of the salt and 31 of the hash.
fn is_bcrypt(hash: &[u8]) -> bool {
    let [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', tens, ones, b'$', rest @ ..] = hash else { return false };
    let cost = match (tens, ones) {
        (b'0'..=b'3', b'0'..=b'9') => (tens - b'0') * 10 + (ones - b'0'),
        _ => return false,
    };
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    (4..=31).contains(&cost) && rest.len() == 53 && rest.iter().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

    fn user(name: &str, password: &[u8]) -> Vec<u8> {
        StoredUser { name: name.into(), password: password.into(), ..StoredUser::default() }.encode_to_vec()
    }

    fn role(permissions: &[(i32, &'static [u8], &'static [u8])]) -> Vec<u8> {
        let one = |&(kind, key, end): &(i32, &'static [u8], &'static [u8])| StoredPermission {
            kind,
            key: Bytes::from_static(key),
            end: Bytes::from_static(end),
        };
        StoredRole { name: b"r".to_vec(), permissions: permissions.iter().map(one).collect() }.encode_to_vec()
    }

    /// Written by hand as etcd's code would: field by field.
    #[test]
    fn the_bytes_are_those_of_etcd() {
        let user = User { hash: HASH.into(), no_password: false, roles: ["b".into(), "a".into()].into() };
        let expected = [b"\x0a\x02al\x12\x3c", HASH.as_bytes(), b"\x1a\x01a\x1a\x01b\x22\x00"].concat();
        assert_eq!(encode_user("al", &user), expected);
        let role = Role::from_iter([Permission {
            kind: PermissionKind::ReadWrite,
            range: KeyRange { key: "k".into(), end: "l".into() },
        }]);
        assert_eq!(encode_role("r", &role), b"\x0a\x01r\x12\x08\x08\x02\x12\x01k\x1a\x01l");
    }

    #[test]
    fn only_hashes_of_bcrypt_are_passwords() {
        assert!(decode_user(b"al", &user("al", HASH.as_bytes())).is_ok_and(|(_, user)| user.hash == HASH));
        assert!(decode_user(b"al", &user("al", b"")).is_ok());
        let longer = format!("{HASH}a");
        for bad in ["secret", &HASH[1..], &HASH[..59], &longer, &HASH.replace("10", "03"), &HASH.replace("10", "32")] {
            let refused = decode_user(b"al", &user("al", bad.as_bytes())).expect_err(bad).to_string();
            assert!(refused.contains("\"al\"") && !refused.contains(bad), "{refused}");
        }
    }

    #[test]
    fn names_are_text_and_stand_in_key_and_value() {
        assert!(decode_user(b"al", &user("bo", b"")).is_err());
        assert!(decode_user(b"", &user("", b"")).is_err());
        let bytes = StoredRole { name: vec![0xff], ..StoredRole::default() }.encode_to_vec();
        assert!(decode_role(&[0xff], &bytes).is_err());
        assert!(decode_user(b"al", b"\xff").is_err() && decode_role(b"r", b"\xff").is_err());
    }

    #[test]
    fn permissions_are_known_and_have_a_key() {
        let kinds = |bytes: &[u8]| -> Vec<PermissionKind> {
            decode_role(b"r", bytes).expect("sound").1.permissions().map(|own| own.kind).collect()
        };
        assert_eq!(kinds(&role(&[(0, b"a", b""), (1, b"a", b"\0"), (2, b"b", b"c")])).len(), 3);
        // etcd can store one range twice, and then both count.
        assert_eq!(kinds(&role(&[(0, b"a", b"b"), (1, b"a", b"b")])), [PermissionKind::ReadWrite]);
        assert_eq!(kinds(&role(&[(0, b"a", b"b"), (0, b"a", b"b")])), [PermissionKind::Read]);
        for bad in [(3, &b"a"[..], &b""[..]), (-1, b"a", b""), (0, b"", b""), (0, b"", b"\0"), (0, b"b", b"a")] {
            assert!(decode_role(b"r", &role(&[bad])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_bucket_auth_has_one_byte_and_eight() {
        assert!(decode_enabled(&encode_enabled(true)).is_ok_and(|on| on));
        assert!(decode_enabled(&encode_enabled(false)).is_ok_and(|on| !on));
        for bad in [&b""[..], b"\x02", b"\x01\x01"] {
            assert!(decode_enabled(bad).is_err() && decode_revision(bad).is_err());
        }
    }
}

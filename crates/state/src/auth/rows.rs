//! The rows of users and roles.

use super::model::{Auth, Entry, PermissionKind, Role, User};
use crate::keys;
use crate::view::{Fault, Step, Table, View};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const META: &[u8] = b"auth/meta";
pub(crate) const USERS: &[u8] = b"auth/user/";
pub(crate) const ROLES: &[u8] = b"auth/role/";

pub(crate) fn user_row(name: &str) -> Vec<u8> {
    [USERS, name.as_bytes()].concat()
}

pub(crate) fn role_row(name: &str) -> Vec<u8> {
    [ROLES, name.as_bytes()].concat()
}

/// The users and roles of a view.
pub fn load<V: View>(view: &V) -> Result<Auth, Fault> {
    let mut auth = Auth::default();
    (auth.enabled, auth.revision) = meta(view)?;
    each(view, USERS, |name, row| {
        auth.users.insert(name, Entry::new(decode_user(row)?));
        Ok(())
    })?;
    each(view, ROLES, |name, row| {
        auth.roles.insert(name, Arc::new(decode_role(row)?));
        Ok(())
    })?;
    Ok(auth)
}

/// Whether checks are on, and the auth revision.
pub(crate) fn meta<V: View>(view: &V) -> Result<(bool, u64), Fault> {
    Ok(view.decoded(Table::Meta, META, |row| decode_meta(row))?.unwrap_or((false, 1)))
}

fn each<V: View>(
    view: &V,
    prefix: &[u8],
    mut visit: impl FnMut(String, &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let below = keys::successor(prefix).expect("the prefixes of the meta table are text");
    view.scan(Table::Meta, prefix, &below, &mut |key, row| {
        let name = String::from_utf8(key[prefix.len()..].to_vec()).map_err(|_| unreadable())?;
        visit(name, row).map(|()| Step::Next)
    })
}

fn unreadable() -> Fault {
    Fault::Corrupt("a row of users and roles cannot be read".into())
}

pub(super) fn encode_meta(auth: &Auth) -> Vec<u8> {
    meta_row(auth.enabled, auth.revision).1
}

/// The row of whether checks are on and of the auth revision: its key and its value.
pub(crate) fn meta_row(enabled: bool, revision: u64) -> (Vec<u8>, Vec<u8>) {
    let mut row = vec![u8::from(enabled)];
    row.extend_from_slice(&revision.to_be_bytes());
    (META.to_vec(), row)
}

fn decode_meta(row: &[u8]) -> Result<(bool, u64), Fault> {
    match row.split_first() {
        Some((enabled @ (0 | 1), revision)) => {
            let revision = revision.try_into().map_err(|_| unreadable())?;
            Ok((*enabled == 1, u64::from_be_bytes(revision)))
        }
        _ => Err(unreadable()),
    }
}

fn push(row: &mut Vec<u8>, part: &[u8]) {
    row.extend_from_slice(&(part.len() as u64).to_be_bytes());
    row.extend_from_slice(part);
}

fn take<'a>(row: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let (length, rest) = row.split_first_chunk::<8>().ok_or_else(unreadable)?;
    let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| unreadable())?;
    let (part, rest) = rest.split_at_checked(length).ok_or_else(unreadable)?;
    *row = rest;
    Ok(part)
}

fn take_text(row: &mut &[u8]) -> Result<String, Fault> {
    String::from_utf8(take(row)?.to_vec()).map_err(|_| unreadable())
}

pub(crate) fn encode_user(user: &User) -> Vec<u8> {
    let mut row = vec![u8::from(user.no_password)];
    push(&mut row, user.hash.as_bytes());
    for role in &user.roles {
        push(&mut row, role.as_bytes());
    }
    row
}

pub(crate) fn decode_user(row: &[u8]) -> Result<User, Fault> {
    let Some((no_password @ (0 | 1), mut row)) = row.split_first() else { return Err(unreadable()) };
    let hash = take_text(&mut row)?;
    let mut roles = BTreeSet::new();
    while !row.is_empty() {
        roles.insert(take_text(&mut row)?);
    }
    Ok(User { hash, no_password: *no_password == 1, roles })
}

pub(crate) fn encode_role(role: &Role) -> Vec<u8> {
    let mut row = Vec::new();
    for ((key, end), kind) in &role.permissions {
        row.push(match kind {
            PermissionKind::Read => 0,
            PermissionKind::Write => 1,
            PermissionKind::ReadWrite => 2,
        });
        push(&mut row, key);
        push(&mut row, end);
    }
    row
}

pub(crate) fn decode_role(mut row: &[u8]) -> Result<Role, Fault> {
    let mut permissions = BTreeMap::new();
    while let Some((kind, rest)) = row.split_first() {
        let kind = match kind {
            0 => PermissionKind::Read,
            1 => PermissionKind::Write,
            2 => PermissionKind::ReadWrite,
            _ => return Err(unreadable()),
        };
        row = rest;
        let key = Bytes::copy_from_slice(take(&mut row)?);
        permissions.insert((key, Bytes::copy_from_slice(take(&mut row)?)), kind);
    }
    Ok(Role { permissions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_as_written() {
        let user = User { hash: "$2b$10$x".into(), no_password: false, roles: ["a".into(), String::new()].into() };
        assert!(decode_user(&encode_user(&user)).is_ok_and(|back| back == user));
        let permissions =
            [(("k".into(), "\0".into()), PermissionKind::Write), (("k".into(), Bytes::new()), PermissionKind::Read)];
        let role = Role { permissions: permissions.into() };
        assert!(decode_role(&encode_role(&role)).is_ok_and(|back| back == role));
        for row in [&b""[..], b"\x02", b"\x01\0\0\0\0\0\0\0", b"\0\0"] {
            assert!(decode_user(row).is_err() && decode_meta(row).is_err(), "{row:?}");
        }
        assert!(decode_role(b"\x03").is_err() && decode_role(b"\0\0").is_err());
    }
}

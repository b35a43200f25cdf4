//! Applies changes of users and roles, by etcd's rules.
//!
//! 1. Every reason to refuse is checked before the first write.
//! 2. A change increases the auth revision by one; what changes nothing does not.

use super::command::{AuthChange, AuthEvent, AuthRefusal};
use super::model::{Auth, Entry, ROOT, Role, User};
use super::{Permission, rows};
use crate::machine::{Batch, Position, Stop};
use crate::view::{Table, View};
use crate::{KeyRange, Response};
use std::sync::Arc;

type Done = Result<Response, Stop>;

fn refused<T>(refusal: AuthRefusal) -> Result<T, Stop> {
    Err(Stop::Rejected(refusal.into()))
}

impl<V: View> Batch<'_, V> {
    pub(crate) fn auth_change(&mut self, at: Position, change: &AuthChange) -> Done {
        match change {
            AuthChange::Enable => self.enable(),
            AuthChange::Disable => self.disable(),
            AuthChange::UserAdd { name, hash, no_password } => self.user_add(name, hash, *no_password),
            AuthChange::UserDelete { name } => self.user_delete(name),
            AuthChange::UserPassword { name, hash } => self.user_password(name, hash),
            AuthChange::UserGrant { user, role } => self.user_grant(user, role),
            AuthChange::UserRevoke { user, role } => self.user_revoke(user, role),
            AuthChange::RoleAdd { name } => self.role_add(name),
            AuthChange::RoleDelete { name } => self.role_delete(name),
            AuthChange::RoleGrant { role, permission } => self.role_grant(role, permission),
            AuthChange::RoleRevoke { role, range } => self.role_revoke(role, range),
            AuthChange::SignIn { user, revision, token } => self.sign_in(at, user, *revision, *token),
        }
    }

    fn enable(&mut self) -> Done {
        if self.machine.auth.enabled {
            return Ok(Response::Auth);
        }
        match self.machine.auth.user(ROOT) {
            None => return refused(AuthRefusal::RootUserNotExist),
            Some(root) if !root.roles.contains(ROOT) => return refused(AuthRefusal::RootRoleNotExist),
            Some(_) => {}
        }
        self.auth_mut().enabled = true;
        self.store_auth_meta();
        self.auth.push(AuthEvent::Changed);
        Ok(Response::Auth)
    }

    fn disable(&mut self) -> Done {
        if !self.machine.auth.enabled {
            return Ok(Response::Auth);
        }
        self.auth_mut().enabled = false;
        self.auth.push(AuthEvent::AllSignedOut);
        self.auth_changed()
    }

    fn user_add(&mut self, name: &str, hash: &str, no_password: bool) -> Done {
        if name.is_empty() {
            return refused(AuthRefusal::UserEmpty);
        }
        if self.machine.auth.users.contains_key(name) {
            return refused(AuthRefusal::UserAlreadyExist);
        }
        let hash = if no_password { String::new() } else { hash.to_owned() };
        self.put_user(name, User { hash, no_password, ..User::default() });
        self.auth_changed()
    }

    fn user_delete(&mut self, name: &str) -> Done {
        if self.machine.auth.enabled && name == ROOT {
            return refused(AuthRefusal::InvalidManagement);
        }
        self.known_user(name)?;
        self.auth_mut().users.remove(name);
        self.delete_auth_row(rows::user_row(name));
        self.auth.push(AuthEvent::SignedOut { user: name.to_owned() });
        self.auth_changed()
    }

    /// A user without a password keeps none.
    fn user_password(&mut self, name: &str, hash: &str) -> Done {
        let mut user = self.known_user(name)?;
        if !user.no_password {
            hash.clone_into(&mut user.hash);
        }
        self.put_user(name, user);
        self.auth.push(AuthEvent::SignedOut { user: name.to_owned() });
        self.auth_changed()
    }

    /// The role `root` need not exist, as in etcd.
    fn user_grant(&mut self, name: &str, role: &str) -> Done {
        let mut user = self.known_user(name)?;
        if role != ROOT && !self.machine.auth.roles.contains_key(role) {
            return refused(AuthRefusal::RoleNotFound);
        }
        if !user.roles.insert(role.to_owned()) {
            return Ok(Response::Auth);
        }
        self.put_user(name, user);
        self.auth_changed()
    }

    fn user_revoke(&mut self, name: &str, role: &str) -> Done {
        if self.machine.auth.enabled && name == ROOT && role == ROOT {
            return refused(AuthRefusal::InvalidManagement);
        }
        let mut user = self.known_user(name)?;
        if !user.roles.remove(role) {
            return refused(AuthRefusal::RoleNotGranted);
        }
        self.put_user(name, user);
        self.auth_changed()
    }

    fn role_add(&mut self, name: &str) -> Done {
        if name.is_empty() {
            return refused(AuthRefusal::RoleEmpty);
        }
        if self.machine.auth.roles.contains_key(name) {
            return refused(AuthRefusal::RoleAlreadyExist);
        }
        self.put_role(name, Role::default());
        self.auth_changed()
    }

    fn role_delete(&mut self, name: &str) -> Done {
        if self.machine.auth.enabled && name == ROOT {
            return refused(AuthRefusal::InvalidManagement);
        }
        self.known_role(name)?;
        let auth = &self.machine.auth;
        let holders: Vec<(String, User)> = auth
            .users()
            .filter(|(_, user)| user.roles.contains(name))
            .map(|(holder, user)| (holder.to_owned(), user.clone()))
            .collect();
        self.auth_mut().roles.remove(name);
        self.delete_auth_row(rows::role_row(name));
        for (holder, mut user) in holders {
            user.roles.remove(name);
            self.put_user(&holder, user);
        }
        self.auth_changed()
    }

    fn role_grant(&mut self, name: &str, permission: &Permission) -> Done {
        if !permission.is_valid() {
            return refused(AuthRefusal::InvalidManagement);
        }
        let mut role = self.known_role(name)?;
        let KeyRange { key, end } = &permission.range;
        // Copies, because the command's bytes are slices of a whole log entry.
        let range = (bytes::Bytes::copy_from_slice(key), bytes::Bytes::copy_from_slice(end));
        role.permissions.insert(range, permission.kind);
        self.put_role(name, role);
        self.auth_changed()
    }

    fn role_revoke(&mut self, name: &str, range: &KeyRange) -> Done {
        let mut role = self.known_role(name)?;
        if role.permissions.remove(&(range.key.clone(), range.end.clone())).is_none() {
            return refused(AuthRefusal::PermissionNotGranted);
        }
        self.put_role(name, role);
        self.auth_changed()
    }

    /// The password was checked against the users of `revision`, so nothing may have changed since.
    fn sign_in(&mut self, at: Position, user: &str, revision: u64, token: [u8; 32]) -> Done {
        if !self.machine.auth.enabled {
            return refused(AuthRefusal::NotEnabled);
        }
        if revision != self.machine.auth.revision {
            return refused(AuthRefusal::OldRevision);
        }
        if self.machine.auth.user(user).is_none() {
            return refused(AuthRefusal::Failed);
        }
        self.auth.push(AuthEvent::SignedIn { user: user.to_owned(), token, index: at.index });
        Ok(Response::SignIn { index: at.index })
    }

    fn known_user(&self, name: &str) -> Result<User, Stop> {
        self.machine.auth.user(name).cloned().map_or_else(|| refused(AuthRefusal::UserNotFound), Ok)
    }

    fn known_role(&self, name: &str) -> Result<Role, Stop> {
        self.machine.auth.role(name).cloned().map_or_else(|| refused(AuthRefusal::RoleNotFound), Ok)
    }

    fn auth_mut(&mut self) -> &mut Auth {
        Arc::make_mut(&mut self.machine.auth)
    }

    fn put_user(&mut self, name: &str, user: User) {
        self.put_auth_row(rows::user_row(name), rows::encode_user(&user));
        self.auth_mut().users.insert(name.to_owned(), Entry::new(user));
    }

    fn put_role(&mut self, name: &str, role: Role) {
        self.put_auth_row(rows::role_row(name), rows::encode_role(&role));
        self.auth_mut().roles.insert(name.to_owned(), Arc::new(role));
    }

    /// Counts a change.
    fn auth_changed(&mut self) -> Done {
        let auth = self.auth_mut();
        auth.revision += 1;
        for entry in auth.users.values_mut() {
            entry.rights.take();
        }
        self.store_auth_meta();
        self.auth.push(AuthEvent::Changed);
        Ok(Response::Auth)
    }

    fn store_auth_meta(&mut self) {
        let row = rows::encode_meta(&self.machine.auth);
        self.put_auth_row(rows::META.to_vec(), row);
    }

    fn put_auth_row(&mut self, key: Vec<u8>, row: Vec<u8>) {
        self.machine.digest.other(23, &key);
        self.machine.digest.bytes(&row);
        self.rows.put(Table::Meta, key, row);
    }

    fn delete_auth_row(&mut self, key: Vec<u8>) {
        self.machine.digest.other(24, &key);
        self.rows.delete(Table::Meta, key);
    }
}

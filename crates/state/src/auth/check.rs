//! Whether a caller may do something.
//!
//! The roles of a user give it *rights*: the keys that it may read and write, as intervals. What it
//! wants to do is a list of [`Needs`], and its rights must contain each of them.

use super::command::{AuthRefusal, Caller};
use super::model::{Auth, Entry, ROOT};
use super::ranges::Interval;
use crate::view::{Fault, Step, Table, View};
use crate::{KeyRange, LeaseId, keys};

/// One right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// The role `root`.
    Admin,
    Read(KeyRange),
    Write(KeyRange),
    WritePrefix(Vec<u8>),
    /// To write all keys that end with the lease.
    Lease(LeaseId),
}

/// A caller whose login is good.
pub(super) enum Who<'a> {
    /// The server, or a user with the role `root`.
    Root,
    User(&'a Entry),
}

impl Auth {
    /// Who the caller is.
    pub(super) fn who(&self, caller: Option<&Caller>) -> Result<Who<'_>, AuthRefusal> {
        let login = match caller {
            Some(Caller::Server) => return Ok(Who::Root),
            Some(Caller::User(login)) if login.revision != 0 && !login.user.is_empty() => login,
            Some(Caller::User(_)) | None => return Err(AuthRefusal::UserEmpty),
        };
        if login.revision < self.revision {
            return Err(AuthRefusal::OldRevision);
        }
        match self.users.get(&login.user) {
            None => Err(AuthRefusal::PermissionDenied),
            Some(entry) if entry.user.roles.contains(ROOT) => Ok(Who::Root),
            Some(entry) => Ok(Who::User(entry)),
        }
    }

    /// Whether the caller has logged in.
    pub fn check_login(&self, caller: Option<&Caller>) -> Result<(), AuthRefusal> {
        if self.enabled { self.who(caller).map(|_| ()) } else { Ok(()) }
    }

    pub fn check_admin(&self, caller: Option<&Caller>) -> Result<(), AuthRefusal> {
        if !self.enabled {
            return Ok(());
        }
        match self.who(caller)? {
            Who::Root => Ok(()),
            Who::User(_) => Err(AuthRefusal::PermissionDenied),
        }
    }

    /// Whether the caller may see a user: an admin, or the user itself.
    pub fn check_sees_user(&self, caller: Option<&Caller>, name: &str) -> Result<(), AuthRefusal> {
        match caller {
            Some(Caller::User(login)) if login.user == name => self.check_login(caller),
            _ => self.check_admin(caller),
        }
    }

    /// Whether the caller may see a role: an admin, or a user that has it.
    pub fn check_sees_role(&self, caller: Option<&Caller>, name: &str) -> Result<(), AuthRefusal> {
        match caller {
            Some(Caller::User(login)) if self.user(&login.user).is_some_and(|user| user.roles.contains(name)) => {
                self.check_login(caller)
            }
            _ => self.check_admin(caller),
        }
    }

    pub fn check_read(&self, caller: Option<&Caller>, range: &KeyRange) -> Result<(), AuthRefusal> {
        if !self.enabled {
            return Ok(());
        }
        self.allow(&self.who(caller)?, &Needs::Read(range.clone()))
    }

    /// Whether the caller may read all keys with a prefix.
    pub fn check_reads_prefix(&self, caller: Option<&Caller>, prefix: &[u8]) -> Result<(), AuthRefusal> {
        self.check_read(caller, &keys::prefix_range(prefix))
    }

    /// Whether the caller may write all keys that end with a lease.
    pub fn check_lease_write<V: View>(
        &self,
        caller: Option<&Caller>,
        view: &V,
        lease: LeaseId,
    ) -> Result<Result<(), AuthRefusal>, Fault> {
        self.check_lease(caller, view, lease, true)
    }

    /// Whether the caller may read all keys that end with a lease.
    pub fn check_lease_read<V: View>(
        &self,
        caller: Option<&Caller>,
        view: &V,
        lease: LeaseId,
    ) -> Result<Result<(), AuthRefusal>, Fault> {
        self.check_lease(caller, view, lease, false)
    }

    fn check_lease<V: View>(
        &self,
        caller: Option<&Caller>,
        view: &V,
        lease: LeaseId,
        write: bool,
    ) -> Result<Result<(), AuthRefusal>, Fault> {
        if !self.enabled {
            return Ok(Ok(()));
        }
        match self.who(caller) {
            Ok(who) => self.allow_lease(&who, view, lease, write),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Looks for a key of the lease in the gaps between the user's keys, so the work does not grow
    /// with the keys of the lease.
    pub(super) fn allow_lease<V: View>(
        &self,
        who: &Who<'_>,
        view: &V,
        lease: LeaseId,
        write: bool,
    ) -> Result<Result<(), AuthRefusal>, Fault> {
        let Who::User(entry) = who else { return Ok(Ok(())) };
        let rights = self.rights(entry);
        let (_, end) = keys::attached_rows(lease);
        for gap in (if write { &rights.write } else { &rights.read }).gaps() {
            let from = keys::attached_row(lease, &gap.from);
            let below = gap.below.map_or_else(|| end.clone(), |below| keys::attached_row(lease, &below));
            let mut found = false;
            view.scan(Table::Lease, &from, &below, &mut |_, _| {
                found = true;
                Ok(Step::Stop)
            })?;
            if found {
                return Ok(Err(AuthRefusal::PermissionDenied));
            }
        }
        Ok(Ok(()))
    }

    /// Whether the caller has what something needs, except [`Needs::Lease`].
    pub(super) fn allow(&self, who: &Who<'_>, needs: &Needs) -> Result<(), AuthRefusal> {
        let Who::User(entry) = who else { return Ok(()) };
        let rights = self.rights(entry);
        let has = match needs {
            Needs::Admin | Needs::Lease(_) => false,
            Needs::Read(range) => rights.read.contain(&Interval::of(range)),
            Needs::Write(range) => rights.write.contain(&Interval::of(range)),
            Needs::WritePrefix(prefix) => rights.write.contain(&Interval::prefix(prefix)),
        };
        if has { Ok(()) } else { Err(AuthRefusal::PermissionDenied) }
    }
}

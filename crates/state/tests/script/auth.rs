//! Users and roles in the transcripts.
//!
//! `by=name` on any command is the user who sends it, with a login that is never old;
//! `by=name@revision` has one that may be. `by=server` is the member itself.

use super::parse::Words;
use bytes::Bytes;
use conclave_state::auth::{Login, Permission, PermissionKind};
use conclave_state::*;
use std::fmt::Write;
use std::sync::Arc;

pub(crate) fn caller(words: &mut Words<'_>) -> Result<Option<Caller>, String> {
    let Some(by) = words.option::<String>("by")? else { return Ok(None) };
    if by == "server" {
        return Ok(Some(Caller::Server));
    }
    let (user, revision) = match by.split_once('@') {
        Some((user, revision)) => (user, revision.parse().map_err(|_| "no revision")?),
        None => (by.as_str(), u64::MAX),
    };
    Ok(Some(Caller::User(Arc::new(Login { user: user.into(), revision }))))
}

/// The change of a line, if it is one.
pub(crate) fn command(verb: &str, words: &mut Words<'_>) -> Result<Option<Command>, String> {
    let change = match verb {
        "auth" => match words.next("enable or disable")? {
            "enable" => AuthChange::Enable,
            "disable" => AuthChange::Disable,
            other => return Err(format!("{other} is neither enable nor disable")),
        },
        "user" => user(words)?,
        "role" => role(words)?,
        "signin" => {
            AuthChange::SignIn { user: name(words)?, revision: words.number("an auth revision")?, token: [7; 32] }
        }
        _ => return Ok(None),
    };
    Ok(Some(Command::Auth(Box::new(change))))
}

fn name(words: &mut Words<'_>) -> Result<String, String> {
    Ok(words.next("a name")?.replace("\"\"", ""))
}

fn user(words: &mut Words<'_>) -> Result<AuthChange, String> {
    Ok(match words.next("what to do")? {
        "add" => {
            let no_password = words.flag("no_password");
            let name = name(words)?;
            let hash = if words.end().is_ok() { String::new() } else { words.next("a hash")?.into() };
            AuthChange::UserAdd { name, hash, no_password }
        }
        "delete" => AuthChange::UserDelete { name: name(words)? },
        "passwd" => AuthChange::UserPassword { name: name(words)?, hash: words.next("a hash")?.into() },
        "grant" => AuthChange::UserGrant { user: name(words)?, role: name(words)? },
        "revoke" => AuthChange::UserRevoke { user: name(words)?, role: name(words)? },
        other => return Err(format!("users know no {other}")),
    })
}

fn role(words: &mut Words<'_>) -> Result<AuthChange, String> {
    Ok(match words.next("what to do")? {
        "add" => AuthChange::RoleAdd { name: name(words)? },
        "delete" => AuthChange::RoleDelete { name: name(words)? },
        "grant" => {
            let role = name(words)?;
            let kind = match words.next("a kind")? {
                "read" => PermissionKind::Read,
                "write" => PermissionKind::Write,
                "readwrite" => PermissionKind::ReadWrite,
                other => return Err(format!("unknown kind {other}")),
            };
            AuthChange::RoleGrant { role, permission: Permission { kind, range: words.range()? } }
        }
        "revoke" => AuthChange::RoleRevoke { role: name(words)?, range: words.range()? },
        other => return Err(format!("roles know no {other}")),
    })
}

/// The answer to a question about users and rights, if it is one.
pub(crate) fn ask(view: &MemoryView, verb: &str, words: &mut Words<'_>) -> Result<Option<String>, String> {
    let auth = conclave_state::auth::load(view).expect("memory can be read");
    let mut out = String::new();
    match verb {
        "users" => {
            let _ = writeln!(out, "auth: enabled={} revision={}", auth.enabled(), auth.revision());
            for (name, user) in auth.users() {
                let _ = writeln!(
                    out,
                    "  user {name} {}roles={:?}",
                    if user.no_password { "no_password " } else { "" },
                    user.roles
                );
            }
            for (name, role) in auth.roles() {
                let ranges = role.permissions().map(|own| {
                    let end =
                        if own.range.end.is_empty() { String::new() } else { format!("..{}", print(&own.range.end)) };
                    format!("{:?} {}{end}", own.kind, print(&own.range.key))
                });
                let _ = writeln!(out, "  role {name} [{}]", ranges.collect::<Vec<_>>().join(", "));
            }
        }
        "may" => {
            let caller = caller(words)?;
            let result = match words.next("what")? {
                "get" => auth.check_read(caller.as_ref(), &words.range()?),
                "renew" => {
                    auth.check_lease_write(caller.as_ref(), view, words.number("a lease")?).expect("memory can be read")
                }
                "keys" => {
                    auth.check_lease_read(caller.as_ref(), view, words.number("a lease")?).expect("memory can be read")
                }
                "login" => auth.check_login(caller.as_ref()),
                "admin" => auth.check_admin(caller.as_ref()),
                "see" => match words.next("user or role")? {
                    "user" => auth.check_sees_user(caller.as_ref(), words.next("a name")?),
                    _ => auth.check_sees_role(caller.as_ref(), words.next("a name")?),
                },
                other => return Err(format!("who knows what {other} needs?")),
            };
            let _ = match result {
                Ok(()) => writeln!(out, "may: yes"),
                Err(refusal) => writeln!(out, "may: {refusal}"),
            };
        }
        _ => return Ok(None),
    }
    Ok(Some(out))
}

fn print(key: &Bytes) -> String {
    super::print::bytes(key)
}

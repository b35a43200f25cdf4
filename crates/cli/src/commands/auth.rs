//! `auth`, `user`, `role`: etcdctl's, with its output.

use super::{Context, wire};
use crate::{
    failure::{Failure, Result},
    output::etcd::{AuthChanged, AuthStatus, Names, RoleOf, UserOf},
    parse::Keys,
    password,
};
use clap::{Args, Subcommand, ValueEnum};
use conclave_client::api::{
    authpb::{Permission, UserAddOptions, permission::Type},
    etcdserverpb as pb,
};

/// Users and roles: switch their checks on and off
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Check users from now on; needs the user root with the role root
    #[command(after_long_help = "Example:\n  conclavectl user add root\n  conclavectl user grant-role root root\n  \
                                 conclavectl auth enable")]
    Enable,
    /// Check users no more
    #[command(after_long_help = "Example:\n  conclavectl auth disable")]
    Disable,
    /// Whether users are checked, and the revision of users and roles
    #[command(after_long_help = "Example:\n  conclavectl auth status")]
    Status,
}

impl AuthCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Enable => {
                let answer = context.link.write(|channel| wire::auth_enable(channel, pb::AuthEnableRequest {})).await?;
                context.out.show(&AuthChanged("Authentication Enabled".to_owned(), answer.header.as_ref()))
            }
            Self::Disable => {
                let answer =
                    context.link.write(|channel| wire::auth_disable(channel, pb::AuthDisableRequest {})).await?;
                context.out.show(&AuthChanged("Authentication Disabled".to_owned(), answer.header.as_ref()))
            }
            Self::Status => {
                let answer = context.link.read(|channel| wire::auth_status(channel, pb::AuthStatusRequest {})).await?;
                context.out.show(&AuthStatus(&answer))
            }
        }
    }
}

/// Users: who may log in, and in which roles
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user; asks for the password unless it is given
    #[command(after_long_help = "Examples:\n  conclavectl user add alice\n  conclavectl user add bot --no-password")]
    Add(UserAddArgs),
    /// Delete a user
    #[command(after_long_help = "Example:\n  conclavectl user delete alice")]
    Delete {
        /// Its name
        user: String,
    },
    /// The roles of a user
    #[command(after_long_help = "Example:\n  conclavectl user get alice --detail")]
    Get {
        /// Its name
        user: String,
        /// Also what the roles may do
        #[arg(long)]
        detail: bool,
    },
    /// All users
    #[command(after_long_help = "Example:\n  conclavectl user list")]
    List,
    /// Change the password of a user; asks for it
    #[command(after_long_help = "Example:\n  conclavectl user passwd alice")]
    Passwd {
        /// Its name
        user: String,
        /// Ask on the terminal, twice; otherwise the first line of standard input
        #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
        interactive: bool,
    },
    /// Give a role to a user
    #[command(after_long_help = "Example:\n  conclavectl user grant-role alice app")]
    GrantRole {
        /// The user
        user: String,
        /// The role
        role: String,
    },
    /// Take a role from a user
    #[command(after_long_help = "Example:\n  conclavectl user revoke-role alice app")]
    RevokeRole {
        /// The user
        user: String,
        /// The role
        role: String,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct UserAddArgs {
    /// Its name, or name:password
    user: String,
    /// The user has no password: only a certificate proves it
    #[arg(long)]
    no_password: bool,
    /// The password
    #[arg(long, value_name = "PASSWORD")]
    new_user_password: Option<String>,
    /// Ask on the terminal, twice; otherwise the first line of standard input
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    interactive: bool,
}

fn new_password(user: &str, interactive: bool) -> Result<String> {
    let password = password::ask(&format!("Password of {user}: "))?;
    if interactive && password::ask(&format!("Type password of {user} again for confirmation: "))? != password {
        return Err(Failure::usage("given passwords are different".to_owned()));
    }
    Ok(password)
}

impl UserAddArgs {
    async fn run(self, context: &Context) -> Result<()> {
        let (name, given) = match (self.user.split_once(':'), self.new_user_password) {
            _ if self.no_password => (self.user.clone(), Some(String::new())),
            (_, Some(password)) => (self.user.clone(), Some(password)),
            (Some((name, password)), None) => (name.to_owned(), Some(password.to_owned())),
            (None, None) => (self.user.clone(), None),
        };
        if name.is_empty() {
            return Err(Failure::usage("empty user name is not allowed".to_owned()));
        }
        let password = match given {
            Some(password) => password,
            None => new_password(&name, self.interactive)?,
        };
        let options = Some(UserAddOptions { no_password: self.no_password });
        let request = pb::AuthUserAddRequest { name: name.clone(), password, options, hashed_password: String::new() };
        let answer = context.link.write(|channel| wire::user_add(channel, request.clone())).await?;
        context.out.show(&AuthChanged(format!("User {name} created"), answer.header.as_ref()))
    }
}

impl UserCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let link = &context.link;
        let (line, header) = match self {
            Self::Add(args) => return args.run(context).await,
            Self::Delete { user } => {
                let request = pb::AuthUserDeleteRequest { name: user.clone() };
                let answer = link.write(|channel| wire::user_delete(channel, request.clone())).await?;
                (format!("User {user} deleted"), answer.header)
            }
            Self::Get { user, detail } => {
                let request = pb::AuthUserGetRequest { name: user.clone() };
                let answer = link.read(|channel| wire::user_get(channel, request.clone())).await?;
                let mut roles = Vec::new();
                for role in answer.roles.iter().filter(|_| detail) {
                    let request = pb::AuthRoleGetRequest { role: role.clone() };
                    let got = link.read(|channel| wire::role_get(channel, request.clone())).await?;
                    roles.push((role.clone(), got));
                }
                return context.out.show(&UserOf { user: &user, answer: &answer, detail: detail.then_some(&roles) });
            }
            Self::List => {
                let answer = link.read(|channel| wire::user_list(channel, pb::AuthUserListRequest {})).await?;
                return context.out.show(&Names("users", &answer.users, answer.header.as_ref()));
            }
            Self::Passwd { user, interactive } => {
                let password = new_password(&user, interactive)?;
                let request =
                    pb::AuthUserChangePasswordRequest { name: user, password, hashed_password: String::new() };
                let answer = link.write(|channel| wire::user_passwd(channel, request.clone())).await?;
                ("Password updated".to_owned(), answer.header)
            }
            Self::GrantRole { user, role } => {
                let request = pb::AuthUserGrantRoleRequest { user: user.clone(), role: role.clone() };
                let answer = link.write(|channel| wire::user_grant(channel, request.clone())).await?;
                (format!("Role {role} is granted to user {user}"), answer.header)
            }
            Self::RevokeRole { user, role } => {
                let request = pb::AuthUserRevokeRoleRequest { name: user.clone(), role: role.clone() };
                let answer = link.write(|channel| wire::user_revoke(channel, request.clone())).await?;
                (format!("Role {role} is revoked from user {user}"), answer.header)
            }
        };
        context.out.show(&AuthChanged(line, header.as_ref()))
    }
}

/// Roles: which keys may be read and written
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// Add a role
    #[command(after_long_help = "Example:\n  conclavectl role add app")]
    Add {
        /// Its name
        role: String,
    },
    /// Delete a role, also from its users
    #[command(after_long_help = "Example:\n  conclavectl role delete app")]
    Delete {
        /// Its name
        role: String,
    },
    /// What a role may do
    #[command(after_long_help = "Example:\n  conclavectl role get app")]
    Get {
        /// Its name
        role: String,
    },
    /// All roles
    #[command(after_long_help = "Example:\n  conclavectl role list")]
    List,
    /// Let a role read, write, or do both, with keys
    #[command(after_long_help = "Examples:\n  conclavectl role grant-permission app readwrite /app/ --prefix\n  \
                                 conclavectl role grant-permission app read /shared/a /shared/c")]
    GrantPermission {
        /// The role
        role: String,
        /// What it may do
        #[arg(ignore_case = true)]
        permission: Kind,
        #[command(flatten)]
        keys: Range,
    },
    /// Take a permission from a role: the same keys as when it was given
    #[command(after_long_help = "Example:\n  conclavectl role revoke-permission app /app/ --prefix")]
    RevokePermission {
        /// The role
        role: String,
        #[command(flatten)]
        keys: Range,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    Read,
    Write,
    Readwrite,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Range {
    /// The key, or the first one
    key: String,
    /// The first key that is not meant
    end: Option<String>,
    /// All keys that begin so
    #[arg(long)]
    prefix: bool,
    /// All keys from this one on
    #[arg(long)]
    from_key: bool,
}

impl Range {
    fn keys(&self) -> Result<Keys> {
        Keys::new(&self.key, self.end.as_deref(), self.prefix, self.from_key).map_err(Failure::usage)
    }
}

impl RoleCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let link = &context.link;
        let (line, header) = match self {
            Self::Add { role } => {
                let request = pb::AuthRoleAddRequest { name: role.clone() };
                let answer = link.write(|channel| wire::role_add(channel, request.clone())).await?;
                (format!("Role {role} created"), answer.header)
            }
            Self::Delete { role } => {
                let request = pb::AuthRoleDeleteRequest { role: role.clone() };
                let answer = link.write(|channel| wire::role_delete(channel, request.clone())).await?;
                (format!("Role {role} deleted"), answer.header)
            }
            Self::Get { role } => {
                let request = pb::AuthRoleGetRequest { role: role.clone() };
                let answer = link.read(|channel| wire::role_get(channel, request.clone())).await?;
                return context.out.show(&RoleOf { role: &role, answer: &answer });
            }
            Self::List => {
                let answer = link.read(|channel| wire::role_list(channel, pb::AuthRoleListRequest {})).await?;
                return context.out.show(&Names("roles", &answer.roles, answer.header.as_ref()));
            }
            Self::GrantPermission { role, permission, keys } => {
                let Keys { key, end } = keys.keys()?;
                let kind = match permission {
                    Kind::Read => Type::Read,
                    Kind::Write => Type::Write,
                    Kind::Readwrite => Type::Readwrite,
                };
                let perm = Permission { perm_type: kind.into(), key: key.into(), range_end: end.into() };
                let request = pb::AuthRoleGrantPermissionRequest { name: role.clone(), perm: Some(perm) };
                let answer = link.write(|channel| wire::role_grant(channel, request.clone())).await?;
                (format!("Role {role} updated"), answer.header)
            }
            Self::RevokePermission { role, keys } => {
                let Keys { key, end } = keys.keys()?;
                let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let what = match end.as_slice() {
                    [] => format!("Permission of key {} is revoked from role {role}", shown(&key)),
                    b"\0" => format!("Permission of range [{}, <open ended> is revoked from role {role}", shown(&key)),
                    end => {
                        format!("Permission of range [{}, {}) is revoked from role {role}", shown(&key), shown(end))
                    }
                };
                let request =
                    pb::AuthRoleRevokePermissionRequest { role: role.clone(), key: key.into(), range_end: end.into() };
                let answer = link.write(|channel| wire::role_revoke(channel, request.clone())).await?;
                (what, answer.header)
            }
        };
        context.out.show(&AuthChanged(line, header.as_ref()))
    }
}

//! `etcdserverpb.Auth`: users, roles, and logging in. What changes is a command; what is read is of
//! what is applied here.

use crate::audit::{self, Subject};
use crate::auth::{Access, current};
use crate::gateway::Gateway;
use crate::service::{admit, response, unexpected};
use crate::status::{not_proposed, not_read, rejected, text};
use conclave_api::authpb as pb_auth;
use conclave_api::etcdserverpb as pb;
use conclave_api::etcdserverpb::auth_server::Auth;
use conclave_state::auth::{self, AuthRefusal, Permission, PermissionKind, ROOT};
use conclave_state::{AuthChange, Command, KeyRange, Rejection, Response as Answered};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct AuthService(pub Arc<Gateway>);

type Answer<T> = Result<Response<T>, Status>;
type Header = Option<pb::ResponseHeader>;

/// How often a login is tried again because users or roles changed meanwhile.
const TRIES: usize = 10;

fn allowed(checked: Result<(), AuthRefusal>) -> Result<(), Status> {
    checked.map_err(|refusal| rejected(Rejection::Auth(refusal)))
}

fn refused<T>(refusal: AuthRefusal) -> Result<T, Status> {
    Err(rejected(Rejection::Auth(refusal)))
}

impl AuthService {
    fn header(&self) -> Header {
        Some(self.0.header(self.0.node.state.revision()))
    }

    async fn change(&self, change: AuthChange) -> Result<Header, Status> {
        let command = Command::Auth(Box::new(change));
        let outcome = self.0.propose(command).await.map_err(not_proposed)?.outcome;
        let header = self.0.header(outcome.revision);
        match response(outcome)? {
            Answered::Auth => Ok(Some(header)),
            other => Err(unexpected(&other)),
        }
    }

    /// The users and roles, with everything that was committed before.
    async fn present(&self) -> Result<Arc<auth::Auth>, Status> {
        self.0.node.reader.barrier().await.map_err(not_read)?;
        Ok(self.0.access.auth())
    }

    /// Checks the password, and has a token made for exactly those users that it was checked with.
    async fn log_in(&self, user: &str, password: String) -> Result<String, Status> {
        for _ in 0..TRIES {
            let auth = self.present().await?;
            if !auth.enabled() {
                return Err(text::AUTH_NOT_ENABLED.into());
            }
            let revision = self.0.access.check_password(&auth, user, password.clone()).await?;
            if let Some(signed) = self.0.access.signed(user, revision) {
                return signed;
            }
            let fresh = Access::fresh();
            let change = AuthChange::SignIn { user: user.to_owned(), revision, token: fresh.fingerprint() };
            let command = Command::Auth(Box::new(change));
            let outcome = self.0.propose(command).await.map_err(not_proposed)?.outcome;
            match outcome.result {
                Ok(Answered::SignIn { index }) => return Ok(fresh.at(index)),
                Ok(other) => return Err(unexpected(&other)),
                Err(Rejection::Auth(AuthRefusal::OldRevision)) => {}
                Err(rejection) => return Err(rejected(rejection)),
            }
        }
        refused(AuthRefusal::OldRevision)
    }
}

fn permission(permission: pb_auth::Permission) -> Permission {
    let kind = match permission.perm_type() {
        pb_auth::permission::Type::Read => PermissionKind::Read,
        pb_auth::permission::Type::Write => PermissionKind::Write,
        pb_auth::permission::Type::Readwrite => PermissionKind::ReadWrite,
    };
    Permission { kind, range: KeyRange { key: permission.key, end: permission.range_end } }
}

fn shown(permission: Permission) -> pb_auth::Permission {
    let kind = match permission.kind {
        PermissionKind::Read => pb_auth::permission::Type::Read,
        PermissionKind::Write => pb_auth::permission::Type::Write,
        PermissionKind::ReadWrite => pb_auth::permission::Type::Readwrite,
    };
    pb_auth::Permission { perm_type: kind.into(), key: permission.range.key, range_end: permission.range.end }
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(&self, request: Request<pb::AuthEnableRequest>) -> Answer<pb::AuthEnableResponse> {
        admit(&self.0, request)?;
        Ok(Response::new(pb::AuthEnableResponse { header: self.change(AuthChange::Enable).await? }))
    }

    async fn auth_disable(&self, request: Request<pb::AuthDisableRequest>) -> Answer<pb::AuthDisableResponse> {
        admit(&self.0, request)?;
        Ok(Response::new(pb::AuthDisableResponse { header: self.change(AuthChange::Disable).await? }))
    }

    async fn auth_status(&self, request: Request<pb::AuthStatusRequest>) -> Answer<pb::AuthStatusResponse> {
        admit(&self.0, request)?;
        let auth = self.present().await?;
        let (enabled, auth_revision) = (auth.enabled(), auth.revision());
        Ok(Response::new(pb::AuthStatusResponse { header: self.header(), enabled, auth_revision }))
    }

    async fn authenticate(&self, request: Request<pb::AuthenticateRequest>) -> Answer<pb::AuthenticateResponse> {
        let request = admit(&self.0, request)?;
        audit::about(|| Subject::target(&request.name));
        let token = self.log_in(&request.name, request.password).await?;
        Ok(Response::new(pb::AuthenticateResponse { header: self.header(), token }))
    }

    async fn user_add(&self, request: Request<pb::AuthUserAddRequest>) -> Answer<pb::AuthUserAddResponse> {
        let request = admit(&self.0, request)?;
        let no_password = request.options.is_some_and(|options| options.no_password);
        if request.name.is_empty() {
            return refused(AuthRefusal::UserEmpty);
        }
        // Before the costly hash, and again when it is decided.
        let command =
            |hash| Command::Auth(Box::new(AuthChange::UserAdd { name: request.name.clone(), hash, no_password }));
        self.0.require(|| command(String::new()))?;
        let hash = match no_password {
            true => String::new(),
            false => self.0.access.hash(request.password, &request.hashed_password).await?,
        };
        let change = AuthChange::UserAdd { name: request.name, hash, no_password };
        Ok(Response::new(pb::AuthUserAddResponse { header: self.change(change).await? }))
    }

    async fn user_get(&self, request: Request<pb::AuthUserGetRequest>) -> Answer<pb::AuthUserGetResponse> {
        let name = admit(&self.0, request)?.name;
        let auth = self.present().await?;
        allowed(auth.check_sees_user(current().as_ref(), &name))?;
        let Some(user) = auth.user(&name) else { return refused(AuthRefusal::UserNotFound) };
        let roles = user.roles.iter().cloned().collect();
        Ok(Response::new(pb::AuthUserGetResponse { header: self.header(), roles }))
    }

    async fn user_list(&self, request: Request<pb::AuthUserListRequest>) -> Answer<pb::AuthUserListResponse> {
        admit(&self.0, request)?;
        let auth = self.present().await?;
        allowed(auth.check_admin(current().as_ref()))?;
        let users = auth.users().map(|(name, _)| name.to_owned()).collect();
        Ok(Response::new(pb::AuthUserListResponse { header: self.header(), users }))
    }

    async fn user_delete(&self, request: Request<pb::AuthUserDeleteRequest>) -> Answer<pb::AuthUserDeleteResponse> {
        let name = admit(&self.0, request)?.name;
        let header = self.change(AuthChange::UserDelete { name }).await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Answer<pb::AuthUserChangePasswordResponse> {
        let request = admit(&self.0, request)?;
        let command =
            || Command::Auth(Box::new(AuthChange::UserPassword { name: request.name.clone(), hash: String::new() }));
        self.0.require(command)?;
        let hash = self.0.access.hash(request.password, &request.hashed_password).await?;
        let header = self.change(AuthChange::UserPassword { name: request.name, hash }).await?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Answer<pb::AuthUserGrantRoleResponse> {
        let pb::AuthUserGrantRoleRequest { user, role } = admit(&self.0, request)?;
        let header = self.change(AuthChange::UserGrant { user, role }).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Answer<pb::AuthUserRevokeRoleResponse> {
        let pb::AuthUserRevokeRoleRequest { name: user, role } = admit(&self.0, request)?;
        let header = self.change(AuthChange::UserRevoke { user, role }).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(&self, request: Request<pb::AuthRoleAddRequest>) -> Answer<pb::AuthRoleAddResponse> {
        let name = admit(&self.0, request)?.name;
        Ok(Response::new(pb::AuthRoleAddResponse { header: self.change(AuthChange::RoleAdd { name }).await? }))
    }

    /// What the role root may do is written nowhere: it is shown as what it means.
    async fn role_get(&self, request: Request<pb::AuthRoleGetRequest>) -> Answer<pb::AuthRoleGetResponse> {
        let name = admit(&self.0, request)?.role;
        let auth = self.present().await?;
        allowed(auth.check_sees_role(current().as_ref(), &name))?;
        let Some(role) = auth.role(&name) else { return refused(AuthRefusal::RoleNotFound) };
        let everything =
            || Permission { kind: PermissionKind::ReadWrite, range: KeyRange { key: "".into(), end: "\0".into() } };
        let perm = match name == ROOT {
            true => vec![shown(everything())],
            false => role.permissions().map(shown).collect(),
        };
        Ok(Response::new(pb::AuthRoleGetResponse { header: self.header(), perm }))
    }

    async fn role_list(&self, request: Request<pb::AuthRoleListRequest>) -> Answer<pb::AuthRoleListResponse> {
        admit(&self.0, request)?;
        let auth = self.present().await?;
        allowed(auth.check_admin(current().as_ref()))?;
        let roles = auth.roles().map(|(name, _)| name.to_owned()).collect();
        Ok(Response::new(pb::AuthRoleListResponse { header: self.header(), roles }))
    }

    async fn role_delete(&self, request: Request<pb::AuthRoleDeleteRequest>) -> Answer<pb::AuthRoleDeleteResponse> {
        let name = admit(&self.0, request)?.role;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header: self.change(AuthChange::RoleDelete { name }).await? }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Answer<pb::AuthRoleGrantPermissionResponse> {
        let pb::AuthRoleGrantPermissionRequest { name: role, perm } = admit(&self.0, request)?;
        let permission = permission(perm.ok_or(text::PERMISSION_NOT_GIVEN)?);
        let header = self.change(AuthChange::RoleGrant { role, permission }).await?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Answer<pb::AuthRoleRevokePermissionResponse> {
        let pb::AuthRoleRevokePermissionRequest { role, key, range_end } = admit(&self.0, request)?;
        let range = KeyRange { key, end: range_end };
        let header = self.change(AuthChange::RoleRevoke { role, range }).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse { header }))
    }
}

//! `etcdserverpb.Auth`: not enabled, and it cannot be enabled yet. There are no users and roles: lists are empty, and to make or
//! change one is not available.
//!
//! Clients given a user name call Authenticate first and go on without a token on exactly this answer.

use crate::gateway::Gateway;
use crate::status::text::{AUTH_NOT_ENABLED, NO_AUTH, NO_USERS};
use conclave_api::etcdserverpb as pb;
use conclave_api::etcdserverpb::auth_server::Auth;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct AuthService(pub Arc<Gateway>);

/// The revision etcd's auth store has before anything was configured.
const PRISTINE: u64 = 1;

type Answer<T> = Result<Response<T>, Status>;

impl AuthService {
    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(self.0.header(self.0.node.state.revision()))
    }
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(&self, _: Request<pb::AuthEnableRequest>) -> Answer<pb::AuthEnableResponse> {
        Err(NO_AUTH.into())
    }

    /// Disabled it is already.
    async fn auth_disable(&self, _: Request<pb::AuthDisableRequest>) -> Answer<pb::AuthDisableResponse> {
        Ok(Response::new(pb::AuthDisableResponse { header: self.header() }))
    }

    async fn auth_status(&self, _: Request<pb::AuthStatusRequest>) -> Answer<pb::AuthStatusResponse> {
        Ok(Response::new(pb::AuthStatusResponse { header: self.header(), enabled: false, auth_revision: PRISTINE }))
    }

    async fn authenticate(&self, _: Request<pb::AuthenticateRequest>) -> Answer<pb::AuthenticateResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn user_add(&self, _: Request<pb::AuthUserAddRequest>) -> Answer<pb::AuthUserAddResponse> {
        Err(NO_USERS.into())
    }

    async fn user_get(&self, _: Request<pb::AuthUserGetRequest>) -> Answer<pb::AuthUserGetResponse> {
        Err(NO_USERS.into())
    }

    async fn user_list(&self, _: Request<pb::AuthUserListRequest>) -> Answer<pb::AuthUserListResponse> {
        Ok(Response::new(pb::AuthUserListResponse { header: self.header(), users: vec![] }))
    }

    async fn user_delete(&self, _: Request<pb::AuthUserDeleteRequest>) -> Answer<pb::AuthUserDeleteResponse> {
        Err(NO_USERS.into())
    }

    async fn user_change_password(
        &self,
        _: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Answer<pb::AuthUserChangePasswordResponse> {
        Err(NO_USERS.into())
    }

    async fn user_grant_role(&self, _: Request<pb::AuthUserGrantRoleRequest>) -> Answer<pb::AuthUserGrantRoleResponse> {
        Err(NO_USERS.into())
    }

    async fn user_revoke_role(
        &self,
        _: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Answer<pb::AuthUserRevokeRoleResponse> {
        Err(NO_USERS.into())
    }

    async fn role_add(&self, _: Request<pb::AuthRoleAddRequest>) -> Answer<pb::AuthRoleAddResponse> {
        Err(NO_USERS.into())
    }

    async fn role_get(&self, _: Request<pb::AuthRoleGetRequest>) -> Answer<pb::AuthRoleGetResponse> {
        Err(NO_USERS.into())
    }

    async fn role_list(&self, _: Request<pb::AuthRoleListRequest>) -> Answer<pb::AuthRoleListResponse> {
        Ok(Response::new(pb::AuthRoleListResponse { header: self.header(), roles: vec![] }))
    }

    async fn role_delete(&self, _: Request<pb::AuthRoleDeleteRequest>) -> Answer<pb::AuthRoleDeleteResponse> {
        Err(NO_USERS.into())
    }

    async fn role_grant_permission(
        &self,
        _: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Answer<pb::AuthRoleGrantPermissionResponse> {
        Err(NO_USERS.into())
    }

    async fn role_revoke_permission(
        &self,
        _: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Answer<pb::AuthRoleRevokePermissionResponse> {
        Err(NO_USERS.into())
    }
}

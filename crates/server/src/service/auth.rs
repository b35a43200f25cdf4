//! `etcdserverpb.Auth`: not enabled, and it cannot be enabled yet.
//!
//! Clients given a user name call Authenticate first and go on without a token on exactly this answer.

use crate::node::Node;
use crate::status::text::{AUTH_NOT_ENABLED, NO_AUTH};
use conclave_api::etcdserverpb as pb;
use conclave_api::etcdserverpb::auth_server::Auth;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct AuthService(pub Arc<Node>);

/// The revision etcd's auth store has before anything was configured.
const PRISTINE: u64 = 1;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(&self, _: Request<pb::AuthEnableRequest>) -> Answer<pb::AuthEnableResponse> {
        Err(NO_AUTH.into())
    }

    async fn auth_disable(&self, _: Request<pb::AuthDisableRequest>) -> Answer<pb::AuthDisableResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn auth_status(&self, _: Request<pb::AuthStatusRequest>) -> Answer<pb::AuthStatusResponse> {
        let header = Some(self.0.header(self.0.state.revision()));
        Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision: PRISTINE }))
    }

    async fn authenticate(&self, _: Request<pb::AuthenticateRequest>) -> Answer<pb::AuthenticateResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn user_add(&self, _: Request<pb::AuthUserAddRequest>) -> Answer<pb::AuthUserAddResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn user_get(&self, _: Request<pb::AuthUserGetRequest>) -> Answer<pb::AuthUserGetResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn user_list(&self, _: Request<pb::AuthUserListRequest>) -> Answer<pb::AuthUserListResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn user_delete(&self, _: Request<pb::AuthUserDeleteRequest>) -> Answer<pb::AuthUserDeleteResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn user_change_password(
        &self,
        _: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Answer<pb::AuthUserChangePasswordResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn user_grant_role(&self, _: Request<pb::AuthUserGrantRoleRequest>) -> Answer<pb::AuthUserGrantRoleResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn user_revoke_role(
        &self,
        _: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Answer<pb::AuthUserRevokeRoleResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn role_add(&self, _: Request<pb::AuthRoleAddRequest>) -> Answer<pb::AuthRoleAddResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn role_get(&self, _: Request<pb::AuthRoleGetRequest>) -> Answer<pb::AuthRoleGetResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn role_list(&self, _: Request<pb::AuthRoleListRequest>) -> Answer<pb::AuthRoleListResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn role_delete(&self, _: Request<pb::AuthRoleDeleteRequest>) -> Answer<pb::AuthRoleDeleteResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn role_grant_permission(
        &self,
        _: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Answer<pb::AuthRoleGrantPermissionResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }

    async fn role_revoke_permission(
        &self,
        _: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Answer<pb::AuthRoleRevokePermissionResponse> {
        Err(AUTH_NOT_ENABLED.into())
    }
}

//! The calls of the wire, message in, answer out.
//!
//! Generated clients keep a channel; one is made for each call, which costs nothing beside the
//! call.

use conclave_client::Channel;
use conclave_client::api::{
    conclave::v1::{
        self, claims_client::ClaimsClient, cluster_client::ClusterClient as MembersClient,
        elections_client::ElectionsClient, locks_client::LocksClient, sessions_client::SessionsClient,
    },
    etcdserverpb::{
        self as pb, auth_client::AuthClient, cluster_client::ClusterClient, kv_client::KvClient,
        lease_client::LeaseClient, maintenance_client::MaintenanceClient,
    },
};
use tonic::{Response, Status};

macro_rules! calls {
    ($($client:ident { $($name:ident = $method:ident($request:ty) -> $response:ty;)* })*) => {
        $($(
            pub(crate) async fn $name(channel: Channel, request: $request) -> Result<Response<$response>, Status> {
                // Answers may be as large as the member likes; the member bounds what it takes.
                $client::new(channel)
                    .max_decoding_message_size(usize::MAX)
                    .max_encoding_message_size(usize::MAX)
                    .$method(request)
                    .await
            }
        )*)*
    };
}

calls! {
    AuthClient {
        auth_enable = auth_enable(pb::AuthEnableRequest) -> pb::AuthEnableResponse;
        auth_disable = auth_disable(pb::AuthDisableRequest) -> pb::AuthDisableResponse;
        auth_status = auth_status(pb::AuthStatusRequest) -> pb::AuthStatusResponse;
        user_add = user_add(pb::AuthUserAddRequest) -> pb::AuthUserAddResponse;
        user_get = user_get(pb::AuthUserGetRequest) -> pb::AuthUserGetResponse;
        user_list = user_list(pb::AuthUserListRequest) -> pb::AuthUserListResponse;
        user_delete = user_delete(pb::AuthUserDeleteRequest) -> pb::AuthUserDeleteResponse;
        user_passwd = user_change_password(pb::AuthUserChangePasswordRequest) -> pb::AuthUserChangePasswordResponse;
        user_grant = user_grant_role(pb::AuthUserGrantRoleRequest) -> pb::AuthUserGrantRoleResponse;
        user_revoke = user_revoke_role(pb::AuthUserRevokeRoleRequest) -> pb::AuthUserRevokeRoleResponse;
        role_add = role_add(pb::AuthRoleAddRequest) -> pb::AuthRoleAddResponse;
        role_get = role_get(pb::AuthRoleGetRequest) -> pb::AuthRoleGetResponse;
        role_list = role_list(pb::AuthRoleListRequest) -> pb::AuthRoleListResponse;
        role_delete = role_delete(pb::AuthRoleDeleteRequest) -> pb::AuthRoleDeleteResponse;
        role_grant = role_grant_permission(pb::AuthRoleGrantPermissionRequest) -> pb::AuthRoleGrantPermissionResponse;
        role_revoke = role_revoke_permission(pb::AuthRoleRevokePermissionRequest) -> pb::AuthRoleRevokePermissionResponse;
    }
    KvClient {
        range = range(pb::RangeRequest) -> pb::RangeResponse;
        put = put(pb::PutRequest) -> pb::PutResponse;
        delete = delete_range(pb::DeleteRangeRequest) -> pb::DeleteRangeResponse;
        txn = txn(pb::TxnRequest) -> pb::TxnResponse;
        compact = compact(pb::CompactionRequest) -> pb::CompactionResponse;
    }
    LeaseClient {
        grant = lease_grant(pb::LeaseGrantRequest) -> pb::LeaseGrantResponse;
        revoke = lease_revoke(pb::LeaseRevokeRequest) -> pb::LeaseRevokeResponse;
        time_to_live = lease_time_to_live(pb::LeaseTimeToLiveRequest) -> pb::LeaseTimeToLiveResponse;
        leases = lease_leases(pb::LeaseLeasesRequest) -> pb::LeaseLeasesResponse;
    }
    ClusterClient {
        members = member_list(pb::MemberListRequest) -> pb::MemberListResponse;
        add_member = member_add(pb::MemberAddRequest) -> pb::MemberAddResponse;
        remove_member = member_remove(pb::MemberRemoveRequest) -> pb::MemberRemoveResponse;
        update_member = member_update(pb::MemberUpdateRequest) -> pb::MemberUpdateResponse;
        promote_member = member_promote(pb::MemberPromoteRequest) -> pb::MemberPromoteResponse;
    }
    MaintenanceClient {
        status = status(pb::StatusRequest) -> pb::StatusResponse;
        hash_kv = hash_kv(pb::HashKvRequest) -> pb::HashKvResponse;
        alarm = alarm(pb::AlarmRequest) -> pb::AlarmResponse;
        downgrade = downgrade(pb::DowngradeRequest) -> pb::DowngradeResponse;
        move_leader = move_leader(pb::MoveLeaderRequest) -> pb::MoveLeaderResponse;
    }
    MembersClient {
        list_members = list_members(v1::ListMembersRequest) -> v1::ListMembersResponse;
        set_maintenance = set_maintenance(v1::SetMaintenanceRequest) -> v1::SetMaintenanceResponse;
        get_placement = get_placement(v1::GetPlacementRequest) -> v1::GetPlacementResponse;
        set_placement = set_placement(v1::SetPlacementRequest) -> v1::SetPlacementResponse;
    }
    SessionsClient {
        open_session = open(v1::OpenSessionRequest) -> v1::OpenSessionResponse;
    }
    ElectionsClient {
        enter = enter(v1::EnterRequest) -> v1::ElectionResponse;
        leave = leave(v1::LeaveRequest) -> v1::ElectionResponse;
        anoint = anoint(v1::AnointRequest) -> v1::ElectionResponse;
        promote = promote(v1::PromoteRequest) -> v1::ElectionResponse;
        demote = demote(v1::DemoteRequest) -> v1::ElectionResponse;
        evict = evict(v1::EvictRequest) -> v1::ElectionResponse;
        evict_everywhere = evict_everywhere(v1::EvictEverywhereRequest) -> v1::EvictEverywhereResponse;
        get_term = get_term(v1::GetTermRequest) -> v1::GetTermResponse;
        request_transfer = request_transfer(v1::RequestTransferRequest) -> v1::ElectionResponse;
        transfer = transfer(v1::TransferRequest) -> v1::ElectionResponse;
        delete_election = delete(v1::DeleteElectionRequest) -> v1::DeleteElectionResponse;
        list_elections = list(v1::ListRequest) -> v1::ListElectionsResponse;
    }
    LocksClient {
        release = release(v1::ReleaseRequest) -> v1::ReleaseResponse;
        get_lock = get(v1::GetLockRequest) -> v1::GetLockResponse;
        list_locks = list(v1::ListRequest) -> v1::ListLocksResponse;
    }
    ClaimsClient {
        claim = claim(v1::ClaimRequest) -> v1::ClaimResponse;
        check = check(v1::CheckRequest) -> v1::CheckResponse;
        await_vacant = await_vacant(v1::AwaitVacantRequest) -> v1::AwaitVacantResponse;
        unclaim = unclaim(v1::UnclaimRequest) -> v1::UnclaimResponse;
        revoke_claim = revoke(v1::RevokeRequest) -> v1::RevokeResponse;
        pin = pin(v1::PinRequest) -> v1::PinResponse;
        unpin = unpin(v1::UnpinRequest) -> v1::UnpinResponse;
        set_limits = set_limits(v1::SetLimitsRequest) -> v1::SetLimitsResponse;
        get_claim = get(v1::GetClaimRequest) -> v1::GetClaimResponse;
        list_claims = list(v1::ListRequest) -> v1::ListClaimsResponse;
    }
}

//! The calls about members that several commands make.

use super::{Context, wire};
use crate::{
    failure::{Failure, Result},
    output::etcd::MemberChange,
    parse,
};
use conclave_client::api::etcdserverpb::{
    MemberAddRequest, MemberListRequest, MemberListResponse, MemberPromoteRequest, MemberRemoveRequest,
    cluster_client::ClusterClient,
};
use tonic::{Request, metadata::MetadataValue};

pub(super) async fn list(context: &Context, linearizable: bool) -> Result<MemberListResponse> {
    context.link.read(|channel| wire::members(channel, MemberListRequest { linearizable })).await
}

pub(super) async fn add(context: &Context, peer_urls: Vec<String>, learner: bool) -> Result<MemberChange> {
    let request = MemberAddRequest { peer_ur_ls: peer_urls, is_learner: learner };
    let done = context.link.write(|channel| wire::add_member(channel, request.clone())).await?;
    let member = done.member.ok_or_else(|| Failure::odd_answer("an addition without a member"))?;
    let what = if learner { "added as learner to" } else { "added to" };
    Ok(MemberChange { id: member.id, what, header: done.header, member: Some(member), members: done.members })
}

pub(super) async fn remove(context: &Context, id: u64) -> Result<MemberChange> {
    let done = context.link.write(|channel| wire::remove_member(channel, MemberRemoveRequest { id })).await?;
    Ok(MemberChange { id, what: "removed from", header: done.header, member: None, members: done.members })
}

pub(super) async fn promote(context: &Context, id: u64) -> Result<MemberChange> {
    let done = context.link.write(|channel| wire::promote_member(channel, MemberPromoteRequest { id })).await?;
    Ok(MemberChange { id, what: "promoted in", header: done.header, member: None, members: done.members })
}

/// Has the cluster promote a learner once it is in sync.
pub(super) async fn promote_when_ready_of(context: &Context, id: u64) -> Result<MemberChange> {
    let ask = |channel| {
        let mut request = Request::new(MemberPromoteRequest { id });
        request.metadata_mut().insert("conclave-when-ready", MetadataValue::from_static("true"));
        async move { ClusterClient::new(channel).member_promote(request).await }
    };
    let done = context.link.write(ask).await?;
    Ok(MemberChange { id, what: "will be promoted in", header: done.header, member: None, members: done.members })
}

/// The member of that name; else it is an id.
pub(super) async fn named(context: &Context, given: &str) -> Result<u64> {
    let members = list(context, false).await?.members;
    let mut named = members.iter().filter(|member| member.name == given).map(|member| member.id);
    match (named.next(), named.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(Failure::usage(format!("several members are named {given:?}; give an id"))),
        (None, _) => parse::member(given).map_err(|_| {
            let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            names.sort_unstable();
            Failure::usage(format!("there is no member {given:?}"))
                .hint(format!("the members are {}; an id in hexadecimal will do as well", names.join(", ")))
        }),
    }
}

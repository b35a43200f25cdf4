//! The header that every answer has.

use super::{Fields, Json};
use conclave_client::api::etcdserverpb::ResponseHeader;

/// A header; `{}` has nothing in it.
pub(crate) fn header_json(header: Option<&ResponseHeader>) -> Json {
    let Some(header) = header else { return Json::Null };
    Json::object()
        .some("cluster_id", header.cluster_id)
        .some("member_id", header.member_id)
        .some("revision", header.revision)
        .some("raft_term", header.raft_term)
        .done()
}

pub(crate) fn header_fields(fields: &mut Fields, header: Option<&ResponseHeader>) {
    let header = header.copied().unwrap_or_default();
    fields.plain("ClusterID", header.cluster_id);
    fields.plain("MemberID", header.member_id);
    fields.plain("Revision", header.revision);
    fields.plain("RaftTerm", header.raft_term);
}

//! What many answers have: a header, and names.

use super::{Fields, Json};
use conclave_client::api::{conclave::v1::Name, etcdserverpb::ResponseHeader};

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

/// A name as it is given on the command line: `name`, or `namespace:name` outside of the default one.
pub(crate) fn name_text(name: Option<&Name>) -> String {
    match name {
        None => String::new(),
        Some(name) if name.namespace.is_empty() || name.namespace == "default" => name.name.clone(),
        Some(name) => format!("{} (in {})", name.name, name.namespace),
    }
}

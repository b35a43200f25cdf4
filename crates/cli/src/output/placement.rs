//! The labels of members.

use super::Json;
use conclave_client::api::conclave::v1::MemberPlacement;

/// The labels of a member, in the order of their names.
pub(crate) fn labels(member: &MemberPlacement) -> Vec<String> {
    let mut labels: Vec<String> = member.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.sort_unstable();
    labels
}

/// The labels of a member as an object.
pub(crate) fn labels_json(member: &MemberPlacement) -> Json {
    let mut pairs: Vec<(String, Json)> =
        member.labels.iter().map(|(name, value)| (name.clone(), Json::from(value))).collect();
    pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Json::Map(pairs)
}

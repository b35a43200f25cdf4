//! Which member should lead: labels of the members, the policy, and maintenance.
//!
//! 1. Nothing here decides who leads. The leader reads it and moves leadership by a planned
//!    transfer (`node::placement`).
//! 2. A policy names members by their names and labels, not by their ids: it outlives a member that
//!    is replaced, and a restore.
//! 3. Labels and maintenance belong to an id, and go with it in the entry that removes the member.
//!
//! | Row of the table meta | Value |
//! |---|---|
//! | `state/labels/`, member | name and value of each label, in the order of the names |
//! | `state/maintenance/`, member | nothing |
//! | `state/placement` | milliseconds of calm (8 bytes); each rule: its kind, its weight (4 bytes, all ones: never), its texts |
//!
//! A text has its length (4 bytes) before it. Numbers are big-endian.

mod apply;
mod policy;
mod row;

pub use apply::{in_maintenance, labels, placement};
pub use policy::{
    Labels, MAX_CALM_MS, MAX_LABELS, MAX_RULES, MAX_WEIGHT, MIN_CALM_MS, PlacementPolicy, PlacementRule, Preference,
    Whom, check_labels, is_label_name, is_label_value, parse_label,
};
#[cfg(test)]
pub(crate) use row::decode_labels;
pub(crate) use row::{decode_policy, encode_policy};

//! What these tests share.

use anyhow::Result;
use cluster_tests::{cluster::Cluster, conclavectl::Ctl};

pub(crate) async fn three() -> Result<(Cluster, Ctl)> {
    let cluster = Cluster::start(3).await?;
    let ctl = Ctl::new(&cluster.endpoints());
    Ok((cluster, ctl))
}

/// The formats of answers that are compared.
pub(crate) const FORMATS: [&str; 3] = ["simple", "json", "fields"];

/// What differs from call to call: who answered, in which term, how long it took.
pub(crate) fn comparable(text: &str) -> String {
    let mut text = text.to_owned();
    for (before, keep) in [
        ("\"member_id\":", "M"),
        ("\"MemberID\" : ", "M"),
        // A busy machine may have another leader in between.
        ("\"raft_term\":", "N"),
        ("\"RaftTerm\" : ", "N"),
        ("took = ", "T"),
        ("\"took\":", "T"),
        ("\"Took\" : ", "T"),
    ] {
        let mut rest = text.as_str();
        let mut cleaned = String::new();
        while let Some(at) = rest.find(before) {
            cleaned += &rest[..at + before.len()];
            cleaned += keep;
            rest = &rest[at + before.len()..];
            rest = &rest[rest.find([',', '\n', '}']).unwrap_or(rest.len())..];
        }
        cleaned += rest;
        text = cleaned;
    }
    text
}

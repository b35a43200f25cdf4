//! `migrate`: how far it is, a line each time, and its end.

use super::{Json, Show, Text};

/// How far it is.
pub(crate) struct MigrationStatus {
    /// What of the source is at the destination; 0 while both sides are compared for the first
    /// time.
    pub(crate) revision: i64,
    /// 0: the source does not answer.
    pub(crate) source_revision: i64,
    pub(crate) written: u64,
    pub(crate) deleted: u64,
    pub(crate) skipped: u64,
    pub(crate) leases: usize,
    pub(crate) comparisons: u64,
}

/// Clients can be switched over.
pub(crate) struct MigrationDone {
    pub(crate) revision: i64,
    pub(crate) keys: u64,
    pub(crate) leases: usize,
    pub(crate) skipped: u64,
}

impl MigrationStatus {
    fn lag(&self) -> Option<i64> {
        (self.revision > 0 && self.source_revision > 0).then(|| (self.source_revision - self.revision).max(0))
    }
}

impl Show for MigrationStatus {
    fn simple(&self, text: &mut Text) {
        let Self { revision, source_revision, written, deleted, leases, .. } = self;
        let wrote = format!("{written} keys written, {deleted} deleted, {leases} leases");
        text.line(match self.lag() {
            Some(lag) => format!("revision {revision} of {source_revision}, lag {lag}; {wrote}"),
            None if *source_revision == 0 => format!("revision {revision}; the source does not answer; {wrote}"),
            None => format!("comparing both sides; {wrote}"),
        });
    }

    fn json(&self) -> Json {
        Json::object()
            .with("revision", self.revision)
            .with("sourceRevision", self.source_revision)
            .with("lag", self.lag().map_or(Json::Null, Json::Int))
            .with("written", self.written)
            .with("deleted", self.deleted)
            .with("skipped", self.skipped)
            .with("leases", self.leases as u64)
            .with("comparisons", self.comparisons)
            .done()
    }
}

impl Show for MigrationDone {
    fn simple(&self, text: &mut Text) {
        let Self { revision, keys, leases, skipped } = self;
        text.line(format!("Switch now: both sides are the same at revision {revision} of the source, and nothing was written there since"));
        text.line(format!("{keys} keys and {leases} leases are at the destination; {skipped} keys were not carried"));
        text.line("leases run from now on: start the clients with the destination's endpoints before they end");
    }

    fn json(&self) -> Json {
        Json::object()
            .with("switch", true)
            .with("revision", self.revision)
            .with("keys", self.keys)
            .with("leases", self.leases as u64)
            .with("skipped", self.skipped)
            .done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Output};

    #[test]
    fn the_lag_is_known_once_both_sides_were_compared_and_answer() {
        let shown = |revision, source_revision, format| {
            let status = MigrationStatus {
                revision,
                source_revision,
                written: 3,
                deleted: 1,
                skipped: 0,
                leases: 2,
                comparisons: 1,
            };
            String::from_utf8(Output { format, ..Output::default() }.render(&status)).expect("text")
        };
        let line = "revision 7 of 9, lag 2; 3 keys written, 1 deleted, 2 leases\n";
        assert_eq!(shown(7, 9, Format::Simple), line);
        assert!(shown(0, 9, Format::Simple).starts_with("comparing"));
        assert!(shown(7, 0, Format::Simple).contains("does not answer"));
        assert!(
            shown(7, 9, Format::Json).contains(r#""lag":2,"#) && shown(0, 9, Format::Json).contains(r#""lag":null"#)
        );
    }
}

//! `snapshot`.

use crate::output::{Fields, Json, Show, Table, Text, human};
use conclave_backup::{Counts, Difference, Kind, Status, TITLES};

/// The answer to `snapshot save`.
pub(crate) struct SnapshotSaved {
    pub(crate) file: String,
    pub(crate) size: u64,
    pub(crate) version: String,
}

/// The answer to `snapshot status`, as etcdutl has it.
pub(crate) struct SnapshotStatus<'a>(pub(crate) &'a Status);

/// The answer to `snapshot verify`.
pub(crate) struct SnapshotVerified<'a>(pub(crate) &'a Counts);

/// The answer to `snapshot diff`.
pub(crate) struct SnapshotDiff<'a> {
    /// Name and revision.
    pub(crate) a: (&'a str, i64),
    pub(crate) b: (&'a str, i64),
    pub(crate) differences: &'a [Difference],
}

impl SnapshotDiff<'_> {
    fn rows(&self) -> Table {
        let mut table = Table::new(TITLES);
        self.differences.iter().for_each(|difference| table.row(difference.row()));
        table
    }
}

impl Show for SnapshotDiff<'_> {
    fn simple(&self, text: &mut Text) {
        let named = |(name, revision): (&str, i64)| format!("{name} (revision {revision})");
        text.line(format!("A {}, B {}: {} differences", named(self.a), named(self.b), self.differences.len()));
        if !self.differences.is_empty() {
            text.table(&self.rows());
        }
    }

    fn json(&self) -> Json {
        let side = |(name, revision): (&str, i64)| Json::object().with("name", name).with("revision", revision).done();
        let one = |difference: &Difference| {
            let lease = difference.kind == Kind::Lease;
            let name = match difference.kind {
                Kind::Key => Json::bytes(&difference.name),
                _ => difference.shown().into(),
            };
            let (a, b) = if lease { ("ttlMsA", "ttlMsB") } else { ("revisionA", "revisionB") };
            Json::object()
                .with("change", difference.change())
                .with("kind", difference.kind.word())
                .with(if difference.kind == Kind::Key { "key" } else { "name" }, name)
                .with("what", Json::list(difference.parts(), |part| part.into()))
                .some(a, difference.a.map_or(0, |known| known.number))
                .some(b, difference.b.map_or(0, |known| known.number))
                .done()
        };
        Json::object()
            .with("equal", self.differences.is_empty())
            .with("a", side(self.a))
            .with("b", side(self.b))
            .with("differences", Json::list(self.differences, one))
            .done()
    }

    fn table(&self) -> Option<Table> {
        Some(self.rows())
    }
}

impl Show for SnapshotSaved {
    fn simple(&self, text: &mut Text) {
        text.line(format!("Snapshot saved at {}", self.file));
        text.line(format!("Server version {}", self.version));
    }

    fn json(&self) -> Json {
        Json::object()
            .with("file", self.file.as_str())
            .with("size", self.size)
            .with("version", self.version.as_str())
            .done()
    }
}

impl SnapshotStatus<'_> {
    fn row(&self) -> [String; 5] {
        let Status { hash, revision, total_key, total_size, version } = self.0;
        [format!("{hash:x}"), revision.to_string(), total_key.to_string(), human::size(*total_size), version.clone()]
    }
}

impl Show for SnapshotStatus<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(self.row().join(", "));
    }

    fn json(&self) -> Json {
        let Status { hash, revision, total_key, total_size, version } = self.0;
        Json::object()
            .with("hash", u64::from(*hash))
            .with("revision", *revision)
            .with("totalKey", *total_key as u64)
            .with("totalSize", *total_size)
            .with("version", version.as_str())
            .done()
    }

    fn fields(&self, fields: &mut Fields) {
        let Status { hash, revision, total_key, total_size, version } = self.0;
        fields.plain("Hash", hash);
        fields.plain("Revision", revision);
        fields.plain("Keys", total_key);
        fields.plain("Size", total_size);
        fields.plain("Version", version);
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"]);
        table.row(self.row());
        Some(table)
    }
}

impl Show for SnapshotVerified<'_> {
    fn simple(&self, text: &mut Text) {
        let Counts { revision, compacted, living_keys, versions, leases, coordination, conclave, .. } = self.0;
        let Counts { users, roles, auth_enabled, .. } = self.0;
        let history = if *compacted < 0 { "nothing compacted".to_owned() } else { format!("compacted at {compacted}") };
        text.line(format!("revision {revision}, {history}"));
        text.line(format!("{living_keys} keys, {versions} versions, {leases} leases"));
        if *conclave {
            text.line(format!("{coordination} rows of elections, locks and claims"));
        } else {
            text.line("made by etcd: no elections, locks and claims of Conclave");
        }
        let state = if *auth_enabled { "on" } else { "off" };
        text.line(format!("{users} users, {roles} roles, authentication {state}"));
    }

    fn json(&self) -> Json {
        let Counts { revision, compacted, living_keys, versions, leases, coordination, conclave, .. } = self.0;
        let Counts { users, roles, auth_enabled, .. } = self.0;
        Json::object()
            .with("revision", *revision)
            .with("compactRevision", *compacted)
            .with("keys", *living_keys as u64)
            .with("versions", *versions)
            .with("leases", *leases as u64)
            .with("coordinationRows", *coordination)
            .with("conclave", *conclave)
            .with("users", *users)
            .with("roles", *roles)
            .with("authEnabled", *auth_enabled)
            .done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Output};

    #[test]
    fn a_status_looks_as_etcdutls() {
        let status =
            Status { hash: 0xdc48_5a33, revision: 1002, total_key: 999, total_size: 217_088, version: "3.6.0".into() };
        let shown = |format| {
            let out = Output { format, ..Output::default() };
            String::from_utf8(out.render(&SnapshotStatus(&status))).expect("text")
        };
        assert_eq!(shown(Format::Simple), "dc485a33, 1002, 999, 217 kB, 3.6.0\n");
        let json = r#"{"hash":3695729203,"revision":1002,"totalKey":999,"totalSize":217088,"version":"3.6.0"}"#;
        assert_eq!(shown(Format::Json), format!("{json}\n"));
        assert!(shown(Format::Fields).starts_with("\"Hash\" : 3695729203\n\"Revision\" : 1002\n\"Keys\" : 999\n"));
        assert!(shown(Format::Table).contains("| dc485a33 |     1002 |        999 |     217 kB |   3.6.0 |"));
    }
}

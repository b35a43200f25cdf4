//! What became of each.

use crate::output::{Json, Show, Table, Text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Only with `--dry-run`.
    Would,
    Moved,
    Evicted,
    Stayed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Would => "would move",
            Outcome::Moved => "moved",
            Outcome::Evicted => "evicted",
            Outcome::Stayed => "stayed",
        }
    }
}

/// One leadership, claim or lock.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) from: String,
    /// Empty: nobody.
    pub(super) to: String,
    pub(super) outcome: Outcome,
    pub(super) why: String,
}

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
}

impl Show for Report {
    fn simple(&self, text: &mut Text) {
        if self.rows.is_empty() {
            return text.line("nothing leads or is held there");
        }
        if let Some(table) = self.table() {
            text.table(&table);
        }
    }

    fn json(&self) -> Json {
        let row = |row: &Row| {
            Json::object()
                .with("kind", row.kind)
                .with("namespace", &row.namespace)
                .with("name", &row.name)
                .with("from", &row.from)
                .with("to", &row.to)
                .with("outcome", row.outcome.word())
                .some("reason", &row.why)
                .done()
        };
        Json::object().with("drained", Json::list(&self.rows, row)).done()
    }

    fn table(&self) -> Option<Table> {
        let mut table = Table::new(["WHAT", "NAME", "FROM", "TO", "OUTCOME", "REASON"]);
        let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        for row in &self.rows {
            let name = match row.namespace.as_str() {
                "default" => row.name.clone(),
                namespace => format!("{} (in {namespace})", row.name),
            };
            let outcome = row.outcome.word().to_owned();
            table.row([row.kind.to_owned(), name, row.from.clone(), dash(&row.to), outcome, dash(&row.why)]);
            if row.outcome == Outcome::Stayed {
                table.alarm(4);
            }
        }
        Some(table)
    }
}

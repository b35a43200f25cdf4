//! Rows and columns: bordered as etcdctl draws them, or plain for reading.

use super::style;
use std::collections::BTreeSet;

/// What stands in a table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// The cells, by row and column, that need somebody's attention.
    alarms: BTreeSet<(usize, usize)>,
}

impl Table {
    pub fn new(columns: impl IntoIterator<Item = &'static str>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new(), alarms: BTreeSet::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<String> = cells.into_iter().map(|cell| one_line(&cell)).collect();
        debug_assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        self.rows.push(row);
    }

    /// The cell of this column in the last row needs somebody's attention.
    pub(crate) fn alarm(&mut self, column: usize) {
        self.alarms.insert((self.rows.len().saturating_sub(1), column));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let of = |i: usize, title: &str| {
            let cells = self.rows.iter().map(|row| width(&row[i])).max().unwrap_or(0);
            cells.max(width(title))
        };
        self.columns.iter().enumerate().map(|(i, title)| of(i, title)).collect()
    }

    /// With lines around every cell; titles in the middle, cells to the right.
    pub(crate) fn bordered(&self) -> String {
        let widths = self.widths();
        let rule = widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("+");
        let rule = format!("+{rule}+\n");
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let titles = self.columns.iter().zip(&widths).map(|(title, width)| centred(title, *width)).collect();
        let mut text = format!("{rule}{}{rule}", line(titles));
        for row in &self.rows {
            text += &line(row.iter().zip(&widths).map(|(cell, width)| right(cell, *width)).collect());
        }
        if !self.rows.is_empty() {
            text += &rule;
        }
        text
    }

    /// Columns beside each other, left-aligned, without lines.
    #[must_use]
    pub fn plain(&self, color: bool) -> String {
        let widths = self.widths();
        let titles: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
        let mut text = plain_line(&titles, &widths, |_| false);
        for (i, row) in self.rows.iter().enumerate() {
            text += &plain_line(row, &widths, |column| color && self.alarms.contains(&(i, column)));
        }
        text
    }
}

fn plain_line(cells: &[String], widths: &[usize], alarm: impl Fn(usize) -> bool) -> String {
    let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
    let mut line = String::new();
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate().take(last + 1) {
        // Nothing follows the last one that has to stand below something.
        let gap = if i == last { 0 } else { width.saturating_sub(self::width(cell)) + 2 };
        line += &style::paint(alarm(i), style::ALARM, cell);
        line += &" ".repeat(gap);
    }
    line.trim_end().to_owned() + "\n"
}

/// Characters, as nearly as a terminal's columns are to be had without tables of their widths.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn right(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(self::width(text))))
}

fn centred(text: &str, width: usize) -> String {
    let gap = width.saturating_sub(self::width(text));
    format!("{}{text}{}", " ".repeat(gap / 2), " ".repeat(gap - gap / 2))
}

/// A cell is one line and holds nothing that moves the cursor.
fn one_line(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["ENDPOINT", "HEALTH"]);
        table.row(["127.0.0.1:24172".into(), "true".into()]);
        table
    }

    #[test]
    fn bordered_as_etcdctl_does() {
        let expected = "\
+-----------------+--------+
|    ENDPOINT     | HEALTH |
+-----------------+--------+
| 127.0.0.1:24172 |   true |
+-----------------+--------+
";
        assert_eq!(table().bordered(), expected);
    }

    #[test]
    fn plain_has_no_blanks_at_the_end() {
        assert_eq!(table().plain(false), "ENDPOINT         HEALTH\n127.0.0.1:24172  true\n");
        let mut table = table();
        table.alarm(0);
        assert!(
            table.plain(true).contains("\u{1b}[1m\u{1b}[31m127.0.0.1:24172\u{1b}[0m  true"),
            "{}",
            table.plain(true)
        );
    }

    #[test]
    fn a_table_without_rows_is_closed() {
        assert_eq!(Table::new(["A"]).bordered(), "+---+\n| A |\n+---+\n");
    }

    #[test]
    fn a_cell_cannot_break_the_table() {
        let mut table = Table::new(["A"]);
        table.row(["x\ny\u{1b}[2J".into()]);
        assert_eq!(table.plain(false).lines().count(), 2);
        assert!(!table.plain(false).contains('\u{1b}'));
    }
}

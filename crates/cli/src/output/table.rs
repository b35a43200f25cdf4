//! Rows and columns: bordered as etcdctl draws them, or plain for reading.

/// What stands in a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = &'static str>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<String> = cells.into_iter().map(|cell| one_line(&cell)).collect();
        debug_assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        self.rows.push(row);
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
    pub(crate) fn plain(&self) -> String {
        let widths = self.widths();
        let titles: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
        let mut text = String::new();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| left(cell, *width)).collect();
            text += cells.join("  ").trim_end();
            text.push('\n');
        }
        text
    }
}

/// Characters, as nearly as a terminal's columns are to be had without tables of their widths.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn left(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(self::width(text))))
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
        assert_eq!(table().plain(), "ENDPOINT         HEALTH\n127.0.0.1:24172  true\n");
    }

    #[test]
    fn a_cell_cannot_break_the_table() {
        let mut table = Table::new(["A"]);
        table.row(["x\ny\u{1b}[2J".into()]);
        assert_eq!(table.plain().lines().count(), 2);
        assert!(!table.plain().contains('\u{1b}'));
    }
}

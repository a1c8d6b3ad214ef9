//! Tables.

use unicode_width::UnicodeWidthStr;

use super::screen::{bold, is_coloured, line, safe};
use crate::Result;

/// A table whose columns are as wide as their widest cells.
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns. Columns whose names begin with `>` are aligned to the right.
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. The cells can be any texts.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| safe(&cell)).collect());
    }

    /// Prints it; a table without rows is the sentence `empty`.
    pub fn print(&self, empty: &str) -> Result<()> {
        if self.rows.is_empty() {
            return line(empty);
        }
        self.lines(is_coloured()).iter().try_for_each(|text| line(text))
    }

    fn lines(&self, is_coloured: bool) -> Vec<String> {
        let names: Vec<String> = self.head.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        let widths: Vec<usize> = (0..names.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.chain(names.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        let head = bold(&self.joined(&names, &widths), is_coloured);
        std::iter::once(head).chain(self.rows.iter().map(|row| self.joined(row, &widths))).collect()
    }

    fn joined(&self, cells: &[String], widths: &[usize]) -> String {
        let padded = cells.iter().zip(widths).zip(&self.head).map(|((cell, width), head)| {
            let space = " ".repeat(width.saturating_sub(cell.width()));
            if head.starts_with('>') { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_their_cells_are() {
        let mut table = Table::new(&["queue", ">jobs", "note"]);
        table.row(["mail", "7", ""].map(String::from));
        table.row(["日本\u{1b}[2J", "1000", "x"].map(String::from));
        assert_eq!(
            table.lines(false),
            ["queue          jobs  note", "mail              7", "日本\\u{1b}[2J  1000  x",]
        );
        assert!(table.lines(true)[0].starts_with("\u{1b}[1m"));
    }
}

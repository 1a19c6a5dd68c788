//! Tables as kubectl prints them: upper-case heads, columns three spaces apart, no lines.

use std::io::{self, Write};

/// Rows under heads. Every row has as many cells as there are heads.
pub(crate) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.heads.len(), "a cell for each head");
        self.rows.push(cells);
    }

    /// Prints heads and rows, or `nothing` if there are no rows.
    pub(crate) fn print(&self, out: &mut dyn Write, nothing: &str) -> io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(out, "{nothing}");
        }
        let widths: Vec<usize> = (0..self.heads.len()).map(|i| self.width(i)).collect();
        let heads: Vec<String> = self.heads.iter().map(ToString::to_string).collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + 3 - cell.chars().count()));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells
            .max()
            .unwrap_or(0)
            .max(self.heads[column].chars().count())
    }
}

/// Bytes for people: `412Mi`, `1.5Gi`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 10.0 {
        format!("{value:.0}{}", UNITS[unit])
    } else {
        format!("{value:.1}{}", UNITS[unit])
    }
}

/// A count for people: `27,004`.
pub(crate) fn human_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "PARTITIONS"]);
        table.row(vec!["flights-of-2013".into(), "3".into()]);
        let mut out = Vec::new();
        table.print(&mut out, "none").expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "NAME              PARTITIONS\nflights-of-2013   3\n"
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        let mut out = Vec::new();
        Table::new(&["NAME"])
            .print(&mut out, "no topics")
            .expect("memory");
        assert_eq!(out, b"no topics\n");
    }

    #[test]
    fn bytes_and_counts_are_readable() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1536, "1.5Ki"),
            (412 << 20, "412Mi"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
        for (count, text) in [(4, "4"), (27_004, "27,004"), (1_000_000, "1,000,000")] {
            assert_eq!(human_count(count), text);
        }
    }
}

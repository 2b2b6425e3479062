//! A table, for the terminal and for a page of Markdown: pure.

/// A heading and rows of as many cells. The first column is a name, the others are figures.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Table {
    pub title: String,
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    pub notes: Vec<String>,
}

impl Table {
    /// With the columns in line, for a terminal.
    pub(super) fn to_terminal(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for row in self.lines() {
            text.push_str("  ");
            text.push_str(row.join("  ").trim_end());
            text.push('\n');
        }
        for note in &self.notes {
            text.push_str(&format!("  {note}\n"));
        }
        text
    }

    pub(super) fn to_markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        for (number, row) in self.lines().iter().enumerate() {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
            if number == 0 {
                text.push_str("| --- |");
                text.push_str(&" ---: |".repeat(row.len().saturating_sub(1)));
                text.push('\n');
            }
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}\n"));
        }
        text
    }

    /// The heading and the rows, each cell as wide as the widest of its column.
    fn lines(&self) -> Vec<Vec<String>> {
        let heading = self.columns.iter().map(|&column| column.to_owned());
        let mut lines = vec![heading.collect::<Vec<_>>()];
        lines.extend(self.rows.iter().cloned());
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for line in &mut lines {
            for (column, (cell, width)) in line.iter_mut().zip(&widths).enumerate() {
                *cell = match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                };
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            title: "Speed".to_owned(),
            columns: vec!["who", "a second"],
            rows: vec![
                vec!["a snail".to_owned(), "1".to_owned()],
                vec!["a hare".to_owned(), "15,000".to_owned()],
            ],
            notes: vec!["On grass.".to_owned()],
        }
    }

    #[test]
    fn columns_are_in_line_on_the_terminal() {
        insta::assert_snapshot!(table().to_terminal(), @"
        Speed
          who      a second
          a snail         1
          a hare     15,000
          On grass.
        ");
    }

    #[test]
    fn a_page_has_the_same_cells() {
        insta::assert_snapshot!(table().to_markdown(), @"
        ## Speed

        | who     | a second |
        | --- | ---: |
        | a snail |        1 |
        | a hare  |   15,000 |

        On grass.
        ");
    }
}

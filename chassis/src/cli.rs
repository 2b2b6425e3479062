//! What commands print: a table, or one thing with a line for each field. For people; programs take `--json`.

/// The rows below their heads, each column as wide as its widest cell.
#[must_use]
pub fn table<const COLUMNS: usize>(heads: [&str; COLUMNS], rows: Vec<[String; COLUMNS]>) -> String {
    let mut all = vec![heads.map(str::to_owned)];
    all.extend(rows.into_iter().map(|row| row.map(|cell| plain(&cell))));
    let mut widths = [0; COLUMNS];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// A line for each name and value.
#[must_use]
pub fn page(lines: &[(&str, String)]) -> String {
    let line = |(name, value): &(&str, String)| format!("{name:16} {}\n", plain(value));
    lines.iter().map(line).collect()
}

/// On one line, and without what a terminal would obey.
#[must_use]
pub fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

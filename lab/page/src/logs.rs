//! The end of each process's log.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path as FilePath;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Json;
use axum::extract::State;
use chassis::Problem;
use chassis::http::{Path, Query};
use serde::Deserialize;
use serde_json::{Value, json};

use super::lab::Lab;
use super::problems::away;

/// Bytes of a log that are looked through.
const BYTES_MAX: u64 = 1024 * 1024;

/// Lines that are shown, by default and at most.
const LINES_DEFAULT: usize = 200;
const LINES_MAX: usize = 2_000;

/// `?contains=&lines=`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    #[serde(default)]
    contains: String,
    lines: Option<usize>,
}

/// `GET /api/logs`: which there are.
pub(super) async fn list(State(lab): State<Arc<Lab>>) -> Json<Value> {
    let parts = lab.processes.parts().await;
    let names: Vec<String> = parts
        .into_iter()
        .filter(|part| lab.home.log(&part.name).exists())
        .map(|part| part.name)
        .collect();
    Json(json!({ "parts": names }))
}

/// `GET /api/logs/{part}`: its last lines, of those that contain the text; upper and lower case are the same.
pub(super) async fn show(
    State(lab): State<Arc<Lab>>,
    Path(name): Path<String>,
    Query(wanted): Query<LogQuery>,
) -> Result<Json<Value>, Problem> {
    // Only known names: the path is made of the name.
    if lab.processes.part(&name).await.is_none() {
        return Err(Problem::not_found("part", &name));
    }
    let lines = selected(&lab, &name, wanted).await?;
    Ok(Json(json!({ "lines": lines })))
}

/// The last lines of a part's log that contain the text.
pub(super) async fn about(lab: &Lab, name: &str, text: &str) -> Result<Vec<String>, Problem> {
    let wanted = LogQuery {
        contains: text.to_owned(),
        lines: None,
    };
    selected(lab, name, wanted).await
}

async fn selected(lab: &Lab, name: &str, wanted: LogQuery) -> Result<Vec<String>, Problem> {
    let path = lab.home.log(name);
    let read = tokio::task::spawn_blocking(move || last_lines(&path, &wanted));
    let lines = read.await.map_err(|error| Problem::internal(&error))?;
    lines.map_err(|error| away(&error))
}

fn last_lines(path: &FilePath, wanted: &LogQuery) -> anyhow::Result<Vec<String>> {
    let reading = || format!("reading {}", path.display());
    let mut file = std::fs::File::open(path).with_context(reading)?;
    let length = file.metadata().with_context(reading)?.len();
    let skipped = length.saturating_sub(BYTES_MAX);
    file.seek(SeekFrom::Start(skipped)).with_context(reading)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX)
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(select(&text, skipped > 0, wanted))
}

/// `is_cut`: the first line is only the end of one.
fn select(text: &str, is_cut: bool, wanted: &LogQuery) -> Vec<String> {
    let contains = wanted.contains.to_lowercase();
    let lines = wanted.lines.unwrap_or(LINES_DEFAULT).min(LINES_MAX);
    let mut selected: Vec<String> = text
        .lines()
        .skip(usize::from(is_cut))
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .filter(|line| contains.is_empty() || line.to_lowercase().contains(&contains))
        .take(lines)
        .map(without_colours)
        .collect();
    selected.reverse();
    selected
}

/// Without the escape sequences by which a terminal is told its colours.
fn without_colours(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| c.is_ascii_alphabetic());
        text.push_str(end.and_then(|end| piece.get(end + 1..)).unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_that_contain_the_text_are_shown_without_colours() {
        let text = "alf of a line\n\u{1b}[32mINFO\u{1b}[0m one\nWARN two\ninfo three\n";
        let wanted = |contains: &str, lines| LogQuery {
            contains: contains.to_owned(),
            lines,
        };
        assert_eq!(
            select(text, true, &wanted("info", None)),
            ["INFO one", "info three"]
        );
        assert_eq!(select(text, true, &wanted("", Some(1))), ["info three"]);
        assert_eq!(select(text, false, &wanted("alf", None)), ["alf of a line"]);
    }
}

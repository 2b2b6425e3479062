//! What the person at the terminal reads: one line for each thing that happens.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Url;

/// Prints a line. A terminal that has gone away is no reason to stop.
pub fn line(text: impl Display) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Prints a line about a part, the names in one column.
pub fn part(name: &str, text: impl Display) {
    line(format_args!("  {name:<16} {text}"));
}

/// Prints why the command failed, with all causes.
pub fn error(error: &anyhow::Error) {
    drop(writeln!(std::io::stderr(), "\nerror: {error:#}"));
}

/// A time for people: "85 ms", "3.2 s", "12 min 5 s".
pub fn human(time: Duration) -> String {
    let (ms, s) = (time.as_millis(), time.as_secs());
    match s {
        0 => format!("{ms} ms"),
        1..=99 => format!("{s}.{} s", ms % 1_000 / 100),
        100..=5_999 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h", s / 3_600),
    }
}

/// What to say of a text that should be the URL of a database.
pub const NOT_A_URL: &str = "DATABASE_URL is not a URL such as postgres://user:password@host:5432";

pub fn without_password(url: &str) -> anyhow::Result<String> {
    let mut url = Url::parse(url).context(NOT_A_URL)?;
    if url.password().is_some() {
        url.set_password(None)
            .map_err(|()| anyhow::anyhow!("DATABASE_URL has no host"))?;
    }
    url.set_query(None);
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let human = |ms| human(Duration::from_millis(ms));
        assert_eq!(
            [human(7), human(3_250), human(150_000), human(7_200_000)],
            ["7 ms", "3.2 s", "2 min 30 s", "2 h"]
        );
    }
}

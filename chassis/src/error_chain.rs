//! The text of an error with its causes. A leaf: what tells of an error needs no settings.

/// An error with all its causes, on one line: what a log line shows.
#[must_use]
pub fn chain<'a>(error: &'a (dyn std::error::Error + 'a)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

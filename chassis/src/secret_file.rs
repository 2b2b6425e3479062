//! Secrets that stand in files.

use std::path::Path;

use secrecy::SecretString;

/// The secret in `file`, without the end of its line.
pub(crate) fn read(file: &Path) -> std::io::Result<SecretString> {
    let text = std::fs::read_to_string(file)?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

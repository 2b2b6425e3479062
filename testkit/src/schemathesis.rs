//! Requests that Schemathesis generates from an OpenAPI document, valid and invalid, alone and in a row.

use tokio::process::Command;

use crate::setting;

/// Before the settings of a test.
const SETTINGS: &str = r#"
# The same requests each time, and nothing is remembered from run to run.
generation.deterministic = true
generation.database = "none"

[checks]
# A 422 says what no schema can, too: the wallet holds less, the bill in `before` was deleted.
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]
"#;

/// Sends them to the service at `url` with the header `header`, such as `X-Operator: test`, by the settings `config` besides those of all tests.
///
/// What it says is printed: how many requests there were, and each that fails.
///
/// # Panics
/// A response is a 5xx, or the document does not have it.
#[expect(
    clippy::print_stdout,
    reason = "a test shows it when it fails, or with --nocapture"
)]
pub async fn schemathesis(url: &str, header: &str, config: &str) {
    // It reads the settings from the folder where it is called, and leaves a folder there.
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let settings = folder.path().join("schemathesis.toml");
    std::fs::write(settings, format!("{SETTINGS}\n{config}")).expect("the folder is ours");
    let run = Command::new(setting("SCHEMATHESIS"))
        .current_dir(folder.path())
        .args(["run", &format!("{url}/openapi.json"), "--header", header])
        .args(["--max-examples", &setting("SCHEMATHESIS_EXAMPLES")])
        .kill_on_drop(true)
        .output()
        .await
        .expect("Schemathesis starts: ./dev test installs it, and names it by SCHEMATHESIS");
    println!("{}", String::from_utf8_lossy(&run.stdout));
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
}

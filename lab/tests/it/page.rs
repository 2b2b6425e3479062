//! The lab's page in a real browser, on a system of its own: the tests are `lab/web/tests/*.test.mjs`.

use std::path::Path;

use tokio::process::Command;

use crate::running::Up;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_does_in_a_browser_what_it_says() -> Result<(), String> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    assert!(
        web.join("node_modules").exists(),
        "the browser tests need what npm installs: ./dev test does it"
    );
    let up = Up::whole().await;
    let page = up.client.get(&up.lab).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(
        page.contains("The dual-write lab"),
        "the page was not built before the lab was: ./dev test does it"
    );
    let url = std::fs::read_to_string(up.folder.join("database-url")).unwrap();
    let url = reqwest::Url::parse(url.trim()).unwrap();
    let tested = Command::new("npm")
        .args(["run", "--silent", "test:browser"])
        .current_dir(web)
        .env("LAB_URL", &up.lab)
        // For psql, by which the tests look into the databases.
        .env("PGPASSWORD", url.password().unwrap_or_default())
        .kill_on_drop(true)
        .status()
        .await
        .unwrap();
    // As an error, not as a panic: a stack trace would hide what the browser tests said last.
    tested
        .success()
        .then_some(())
        .ok_or_else(|| "see above which of the browser tests failed, and why".to_owned())
}

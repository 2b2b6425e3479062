//! Puts the page that `npm run build` made in `lab/web/` where the program takes it in.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// What is served when nobody has built the page: the rest of the program works without it.
const NOT_BUILT: &str = "<!doctype html><title>The lab</title>\
    <p>The page was not built into this program. <code>./dev up</code> does it.</p>";

fn main() {
    let page = Path::new("../web/dist/index.html");
    println!("cargo:rerun-if-changed=../web/dist/index.html");
    let folder = env::var_os("OUT_DIR").map(PathBuf::from);
    let folder = folder.expect("cargo tells a build script where its output goes");
    let html = fs::read_to_string(page).unwrap_or_else(|_| {
        println!(
            "cargo:warning=lab/web/dist is not there, so the lab has no page: ./dev up builds it"
        );
        NOT_BUILT.to_owned()
    });
    fs::write(folder.join("page.html"), html).expect("the output folder can be written to");
}

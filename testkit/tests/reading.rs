//! `./dev reading` counts what one payment's way takes to read, and holds it below an evening's worth.

#![expect(
    clippy::unwrap_used,
    reason = "clippy allows these in tests, but not in their helpers"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[test]
fn one_payment_s_way_is_read_in_an_evening() {
    let output = reading(None);
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
}

#[test]
fn modules_of_tests_do_not_count() {
    let code =
        "//! Doc.\nuse a;\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n\nfn f() {\n}\n";
    let output = reading(Some(&guide("counted", &[("a.rs", code)])));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("     6  "), "{text}");
    assert!(text.ends_with("     6  lines in 1 files\n"), "{text}");
}

#[test]
fn a_guide_that_is_wrong_or_too_long_fails() {
    let long = "\n".repeat(4_001);
    let lost = guide("lost", &[("a.rs", "")]);
    std::fs::remove_file(lost.with_file_name("a.rs")).unwrap();
    let empty = guide("empty", &[]);
    for (guide, error) in [
        (lost, "which does not exist"),
        (guide("long", &[("a.rs", &long)]), "above 4000 lines"),
        (empty, "no section"),
    ] {
        let output = reading(Some(&guide));
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(error), "{said}");
    }
}

fn reading(guide: Option<&Path>) -> Output {
    let dev = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dev");
    let mut command = Command::new(dev);
    command.arg("reading").args(guide).output().unwrap()
}

/// A guide to files with these texts, in a folder of its own.
fn guide(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("reading-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    let mut text = "# A guide\n\n## A reading tour\n\n| file | why |\n| --- | --- |\n".to_owned();
    for (file, code) in files {
        std::fs::write(folder.join(file), code).unwrap();
        text += &format!("| `{}` | {file} |\n", folder.join(file).display());
    }
    text += "\n## Another section\n\n| `missing.rs` | not of the tour |\n";
    let guide = folder.join("guide.md");
    std::fs::write(&guide, text).unwrap();
    guide
}

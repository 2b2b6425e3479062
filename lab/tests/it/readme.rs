//! Each row of README's "What happens if" names tests that exist.

use std::fs;
use std::path::Path;

#[test]
fn every_row_of_what_happens_if_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let (_, table) = readme.split_once("## What happens if").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    // Below the heading and its line.
    let rows: Vec<&str> = rows.skip(2).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let proof = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        // `crate` `module::test`, `module::test`
        let mut names = proof.split('`').skip(1).step_by(2);
        let mut package = names.next().unwrap();
        let mut tests = 0;
        for name in names {
            let Some((module, test)) = name.split_once("::") else {
                // Further tests of the row are another crate's.
                package = name;
                continue;
            };
            let read = |folder: &str| {
                let file = root.join(format!("{package}/{folder}/{module}.rs"));
                fs::read_to_string(file).unwrap_or_default()
            };
            let source = read("tests/it") + &read("src");
            assert!(
                source.contains(&format!("fn {test}()")),
                "{package} {name}: {row}"
            );
            tests += 1;
        }
        assert!(tests > 0, "no test is named: {row}");
    }
}

//! The documents name what exists: tests as the proof of each promise, and files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Each document with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("README.md"), root().join("ARCHITECTURE.md")];
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    paths.extend(docs.filter(|path| path.extension().is_some_and(|it| it == "md")));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// The tests that the rows of the tables in `text` name, each as package and function. Panics where a row names none, or
/// one that does not exist.
fn proofs(text: &str) -> BTreeSet<String> {
    let mut proofs = BTreeSet::new();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    // A table begins with its heading and the line under it.
    let rows = rows.filter(|row| !row.starts_with("| what ") && !row.starts_with("| ---"));
    for row in rows {
        let proof = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        // `crate` `module::test`, `module::test`
        let mut names = proof.split('`').skip(1).step_by(2);
        let mut package = names.next().unwrap();
        let mut tests = 0;
        for name in names {
            let Some((module, test)) = name.split_once("::") else {
                // The next tests of the row belong to another crate.
                package = name;
                continue;
            };
            let read = |folder: &str| {
                let file = root().join(format!("{package}/{folder}/{module}.rs"));
                fs::read_to_string(file).unwrap_or_default()
            };
            let source = read("tests/it") + &read("src");
            assert!(
                source.contains(&format!("fn {test}()")),
                "{package} {name}: {row}"
            );
            proofs.insert(format!("{package} {name}"));
            tests += 1;
        }
        assert!(tests > 0, "no test is named: {row}");
    }
    proofs
}

#[test]
fn every_row_of_what_happens_if_names_a_test_that_exists() {
    let guarantees = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let all = proofs(&guarantees);
    assert!(all.len() > 50, "{all:?}");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, table) = readme.split_once("## What happens if").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let some = proofs(table);
    assert!(some.len() >= 8, "{some:?}");
    assert!(some.is_subset(&all), "{some:?}");
}

#[test]
fn every_file_that_a_document_links_or_names_exists() {
    for (path, text) in documents() {
        let folder = path.parent().unwrap();
        let links = text
            .split("](")
            .skip(1)
            .map(|rest| rest.split_once(')').unwrap().0);
        let links = links.filter_map(|link| link.split('#').next());
        let links = links.filter(|link| !link.is_empty() && !link.contains("://"));
        for link in links {
            assert!(folder.join(link).exists(), "{}: {link}", path.display());
        }
        let names = text.split('`').skip(1).step_by(2);
        for name in names.filter(|name| name.contains('/') && name.ends_with(".rs")) {
            assert!(root().join(name).exists(), "{}: {name}", path.display());
        }
    }
}

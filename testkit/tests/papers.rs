//! What is written down once and for all: the migrations that have landed, and the proofs of SECURITY.md.

#![expect(
    clippy::unwrap_used,
    reason = "clippy allows these in tests, but not in their helpers"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use openssl::sha::sha256;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Each file of a migration, `migrations/FOLDER/MIGRATION/up.sql` or `down.sql`, with its checksum.
fn migrations() -> BTreeMap<String, String> {
    let folders = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let groups = folders(root().join("migrations")).filter(|it| it.is_dir());
    let files = groups.flat_map(folders).flat_map(folders);
    let summed = files.map(|path| {
        let sum = sha256(&fs::read(&path).unwrap());
        let hex = sum.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        let name = path.strip_prefix(root()).unwrap();
        (name.to_str().unwrap().to_owned(), hex)
    });
    summed.collect()
}

/// What differs between the files and `CHECKSUMS`, which has the lines of `sha256sum`.
fn differences(files: &BTreeMap<String, String>, checksums: &str) -> Vec<String> {
    let lines = checksums.lines().map(|line| line.split_once("  ").unwrap());
    let mut landed: BTreeMap<&str, &str> = lines.map(|(sum, name)| (name, sum)).collect();
    let mut differences = Vec::new();
    for (name, sum) in files {
        match landed.remove(name.as_str()) {
            Some(expected) if expected == sum => {}
            Some(_) => differences.push(format!(
                "{name} has changed. Databases have it already and will not run it again: undo the change, and add \
                 another migration that does what you want"
            )),
            None => differences.push(format!(
                "{name} is new. When it is as you want it: sha256sum {name} >>migrations/CHECKSUMS"
            )),
        }
    }
    let lost = landed.into_keys();
    differences
        .extend(lost.map(|name| format!("{name} is missing. Databases have it: bring it back")));
    differences
}

#[test]
fn no_migration_that_has_landed_changes() {
    let checksums = fs::read_to_string(root().join("migrations/CHECKSUMS")).unwrap();
    let files = migrations();
    assert!(files.len() > 10, "{files:?}");
    let differences = differences(&files, &checksums);
    assert!(differences.is_empty(), "\n{}\n", differences.join("\n"));
}

#[test]
fn a_migration_that_changes_or_is_new_or_missing_is_told_apart() {
    let files = [("a/up.sql", "1"), ("b/up.sql", "2"), ("c/up.sql", "3")];
    let files = files.map(|(name, sum)| (name.to_owned(), sum.to_owned()));
    let told = differences(&files.into(), "1  a/up.sql\n1  b/up.sql\n4  d/up.sql\n");
    let beginnings: Vec<&str> = told
        .iter()
        .map(|it| it.split('.').next().unwrap())
        .collect();
    assert_eq!(beginnings, ["b/up", "c/up", "d/up"], "{told:?}");
    assert!(
        told.iter()
            .zip(["has changed", "is new", "is missing"])
            .all(|(it, how)| it.contains(how))
    );
}

/// The table of protections names files, and after each file the tests or functions in it.
#[test]
fn what_security_md_names_exists() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let (_, table) = text.split_once("| held by |").unwrap();
    let mut named = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let proof = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let mut source = String::new();
        for name in proof.split('`').skip(1).step_by(2) {
            if name.contains('/') {
                let read = fs::read_to_string(root().join(name));
                source = read.unwrap_or_else(|error| format!("{name}: {error}"));
                assert!(!source.starts_with(name), "{source}");
            } else {
                let mut words = source.split(|it: char| !(it.is_alphanumeric() || it == '_'));
                assert!(words.any(|word| word == name), "{name} is not there: {row}");
            }
            named += 1;
        }
    }
    assert!(named > 10, "{named}");
}

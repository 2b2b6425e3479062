//! The journal as a file: whole lines, torn lines, and files of others. A unit test: it is compiled as a module of `src/journal.rs`.

use super::*;

/// A path of its own; the file is deleted at the end.
struct TestFile(PathBuf);

impl TestFile {
    fn new(content: &str) -> Self {
        let name = format!("mock-provider-{}.journal", uuid::Uuid::now_v7());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn open(&self) -> Result<(Journal, Vec<u32>), OpenError> {
        let mut entries = Vec::new();
        let journal = Journal::open(&self.0, |entry| entries.push(entry))?;
        Ok((journal, entries))
    }

    fn content(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn what_was_appended_is_replayed_in_order() {
    let file = TestFile::new("");
    let (mut journal, entries) = file.open().unwrap();
    assert_eq!(entries, Vec::<u32>::new());
    journal.append(&1).unwrap();
    journal.append(&2).unwrap();
    drop(journal);
    let (mut journal, entries) = file.open().unwrap();
    assert_eq!(entries, [1, 2]);
    journal.truncate().unwrap();
    journal.append(&3).unwrap();
    drop(journal);
    assert_eq!(file.open().unwrap().1, [3]);
}

#[test]
fn a_torn_last_line_is_dropped_and_the_next_one_is_whole() {
    let file = TestFile::new("1\n2\n{\"payments\":{\"acc");
    let (mut journal, entries) = file.open().unwrap();
    assert_eq!(entries, [1, 2]);
    journal.append(&3).unwrap();
    assert_eq!(file.content(), "1\n2\n3\n");
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_kept() {
    for (content, line) in [
        ("1\nnonsense\n3\n", 2),
        ("1\n\n3\n", 2),
        ("a text without an end", 1),
    ] {
        let file = TestFile::new(content);
        let error = file.open().unwrap_err();
        assert!(
            matches!(error, OpenError::Malformed { line: found, .. } if found == line),
            "{content:?}: {error:?}"
        );
        assert_eq!(file.content(), content);
    }
    let endless = format!("{{{}", " ".repeat(usize::try_from(LINE_BYTES_MAX).unwrap()));
    let file = TestFile::new(&endless);
    assert!(matches!(
        file.open(),
        Err(OpenError::Malformed { line: 1, .. })
    ));
    assert_eq!(file.content(), endless);
}

#[test]
fn only_one_has_the_journal() {
    let file = TestFile::new("");
    let (first, _) = file.open().unwrap();
    assert!(matches!(file.open(), Err(OpenError::InUse { .. })));
    drop(first);
    file.open().unwrap();
}

#[test]
fn devices_and_missing_folders_are_refused() {
    let open = |path: &str| Journal::open(Path::new(path), |_: u32| {}).unwrap_err();
    assert!(matches!(open("/dev/full"), OpenError::NotAFile { .. }));
    assert!(matches!(open("/nowhere/journal"), OpenError::Read { .. }));
}

//! Programs on the JVM: the `java` to run them with, their jars, which Maven fetches once, their log.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use lab_terminal as terminal;

use crate::home::{self, Home};
use crate::program::{LogFile, command, run_to_end};

const LOG4J: &str = include_str!("../log4j2.properties");

/// What Kafka 4 needs.
const JAVA_MAJOR_MIN: u32 = 17;

/// The copy of the list, in the folder of what was fetched.
const LIST: &str = "pom.xml";
/// The names of all files in that folder.
const FILES: &str = "files.txt";

pub struct Jars {
    /// The program, which is the name of its folder too.
    pub name: &'static str,
    /// The list, which puts everything under the property `fetched`.
    pub pom: &'static str,
    pub goals: &'static [&'static str],
    pub size: &'static str,
}

impl Jars {
    /// The folder with all of it, complete: the copy of the list is put into it last, after the names of all files.
    pub async fn fetch(&self, home: &Home) -> anyhow::Result<PathBuf> {
        let folder = home.root().join(self.name).join("fetched");
        if self.is_complete(&folder) {
            return Ok(folder);
        }
        terminal::part(
            self.name,
            format_args!("fetching {} from Maven, this time only", self.size),
        );
        home::remove(&folder)?;
        let work = home.root().join(self.name).join("maven");
        // Maven's marks of what it has unpacked once: it would not unpack that again.
        home::remove(&work)?;
        std::fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
        std::fs::write(work.join("pom.xml"), self.pom).context("writing pom.xml")?;
        let mut maven = command("mvn", None);
        maven
            .current_dir(&work)
            .args(["--batch-mode", "--quiet"])
            .args(self.goals)
            .arg(format!("-Dfetched={}", folder.display()));
        let log = LogFile::new(home.log(&format!("{}-maven", self.name)));
        run_to_end("Maven", maven, &log)
            .await
            .with_context(|| format!("fetching the jars of {}", self.name))?;
        let noting = "noting that the jars are complete";
        let files = files(&folder, Path::new("")).context(noting)?;
        std::fs::write(folder.join(FILES), files.join("\n")).context(noting)?;
        std::fs::write(folder.join(LIST), self.pom).context(noting)?;
        Ok(folder)
    }

    fn is_complete(&self, folder: &Path) -> bool {
        let read = |name| std::fs::read_to_string(folder.join(name));
        read(LIST).is_ok_and(|list| list == self.pom)
            && read(FILES).is_ok_and(|files| files.lines().all(|file| folder.join(file).exists()))
    }
}

/// The names of all files below `folder`, each after `prefix`.
fn files(folder: &Path, prefix: &Path) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = prefix.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path(), &name)?);
        } else {
            found.push(name.display().to_string());
        }
    }
    Ok(found)
}

/// The `java` to use.
pub fn java() -> anyhow::Result<PathBuf> {
    find_java().with_context(|| {
        format!("there is no Java {JAVA_MAJOR_MIN} or newer: apt-get install default-jre-headless")
    })
}

/// The one on the path, or Debian's newest.
pub fn find_java() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten();
    let mut debian: Vec<PathBuf> = debian
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/java")))
        .collect();
    debian.sort();
    let mut candidates = std::iter::once(PathBuf::from("java")).chain(debian.into_iter().rev());
    candidates.find(|java| {
        let answer = Command::new(java).arg("-version").output();
        let text = answer.map(|answer| answer.stderr).unwrap_or_default();
        java_major(&String::from_utf8_lossy(&text)).is_some_and(|major| major >= JAVA_MAJOR_MIN)
    })
}

/// The arguments before those of the program itself, which keeps its files in `folder`.
pub fn arguments(
    folder: &Path,
    fetched: &Path,
    heap: &str,
    main: &str,
) -> anyhow::Result<Vec<String>> {
    let log4j = folder.join("log4j2.properties");
    home::write_atomically(&log4j, LOG4J)?;
    // Libraries that the JVM unpacks, and leaves behind when it is killed.
    let unpacked = folder.join("tmp");
    home::remove(&unpacked)?;
    std::fs::create_dir(&unpacked).with_context(|| format!("making {}", unpacked.display()))?;
    Ok(vec![
        format!("-Xmx{heap}"),
        format!("-Djava.io.tmpdir={}", unpacked.display()),
        "-XX:-UsePerfData".to_owned(),
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        format!("-Dlog4j2.configurationFile={}", log4j.display()),
        "-cp".to_owned(),
        format!("{}/libs/*", fetched.display()),
        main.to_owned(),
    ])
}

/// Reads `openjdk version "17.0.15" 2025-04-15` (before Java 9: `"1.8.0_392"`).
fn java_major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once(" version \"")?;
    version.split(['.', '-', '_', '"']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jars_of_which_one_is_missing_are_not_complete() {
        let folder = std::env::temp_dir().join(format!("lab-jars-{}", std::process::id()));
        let jars = Jars {
            name: "any",
            pom: "<project/>",
            goals: &[],
            size: "",
        };
        std::fs::create_dir_all(folder.join("libs")).unwrap();
        std::fs::write(folder.join("libs/a.jar"), "").unwrap();
        std::fs::write(folder.join("libs/b.jar"), "").unwrap();
        let mut files = files(&folder, Path::new("")).unwrap();
        files.sort();
        assert_eq!(files, ["libs/a.jar", "libs/b.jar"]);
        std::fs::write(folder.join(FILES), files.join("\n")).unwrap();
        assert!(!jars.is_complete(&folder), "its list is missing");
        std::fs::write(folder.join(LIST), jars.pom).unwrap();
        assert!(jars.is_complete(&folder));
        std::fs::remove_file(folder.join("libs/b.jar")).unwrap();
        assert!(!jars.is_complete(&folder));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_version_of_java_is_read() {
        assert_eq!(
            java_major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"),
            Some(17)
        );
        assert_eq!(java_major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(java_major("openjdk version \"26-ea\" 2026-03-17"), Some(26));
        assert_eq!(java_major("java version \"1.8.0_392\""), Some(1));
        assert_eq!(
            java_major("Picked up JAVA_TOOL_OPTIONS: \"\"\nopenjdk version \"17\""),
            Some(17)
        );
        assert_eq!(java_major("no such file"), None);
    }
}

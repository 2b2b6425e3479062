//! What a benchmark found, with what has to be known to judge it: printed, and written as a page.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use lab_stack::kafka;
use lab_stack::servers::Servers;
use lab_terminal as terminal;
use serde_json::{Map, Value, json};

use super::database::{self, Session};
use super::plot::Plot;
use super::table::Table;
use super::targets::{self, Target};

#[derive(Debug)]
pub(super) struct Report {
    pub title: &'static str,
    pub about: &'static str,
    /// How large and how long a measurement is.
    pub size: String,
    pub plot: Plot,
    pub tables: Vec<Table>,
    pub targets: Vec<Target>,
    /// Each case with every number of every round.
    pub series: Vec<Value>,
}

/// Machine, versions and settings, each a name and a value.
pub(super) type Facts = Vec<(&'static str, String)>;

impl Report {
    /// Prints the tables and, if there is a folder to put it in, writes the page `name`, its plot and its data.
    pub(super) fn publish(
        &self,
        name: &str,
        facts: &Facts,
        folder: Option<&Path>,
    ) -> anyhow::Result<()> {
        for table in self.tables() {
            terminal::line(format_args!("\n{}", table.to_terminal().trim_end()));
        }
        let Some(folder) = folder else {
            return Ok(());
        };
        let data = serde_json::to_string_pretty(&self.to_json(name, facts))?;
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for (kind, content) in [
            ("md", self.to_markdown(name, facts)),
            ("json", format!("{data}\n")),
            ("svg", self.plot.to_svg()?),
        ] {
            let file = folder.join(format!("{name}.{kind}"));
            std::fs::write(&file, content)
                .with_context(|| format!("writing {}", file.display()))?;
        }
        let page = folder.join(format!("{name}.md"));
        terminal::line(format_args!("\nWritten to {}.", page.display()));
        Ok(())
    }

    fn tables(&self) -> Vec<Table> {
        let ratios = (!self.targets.is_empty()).then(|| targets::table("Ratios", &self.targets));
        let tables = self.tables.iter().filter(|table| !table.rows.is_empty());
        tables.cloned().chain(ratios).collect()
    }

    fn to_markdown(&self, name: &str, facts: &Facts) -> String {
        let mut text = format!(
            "# {}\n\nWritten by the command below; not to be edited. Every number is in [{name}.json]({name}.json).\n\n\
             ![{}: a bar is the median, its whisker reaches from the minimum to the maximum]({name}.svg)\n\n{}\n\n",
            self.title, self.title, self.about
        );
        for (name, value) in facts {
            text.push_str(&format!("- {name}: {value}\n"));
        }
        for table in self.tables() {
            text.push_str(&format!("\n{}", table.to_markdown()));
        }
        text
    }

    fn to_json(&self, name: &str, facts: &Facts) -> Value {
        let facts = facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)));
        let ratios = self.targets.iter().map(Target::to_json);
        json!({
            "name": name,
            "title": self.title,
            "facts": facts.collect::<Map<_, _>>(),
            "series": self.series,
            "tables": self.tables,
            "ratios": ratios.collect::<Vec<_>>(),
        })
    }
}

/// What there is to know of the machine, the versions and the database's settings.
pub(super) async fn facts(servers: &Servers) -> anyhow::Result<Facts> {
    let mut conn = database::connect(&servers.database_url).await?;
    let date = "to_char(now() at time zone 'utc', 'YYYY-MM-DD HH24:MI') || ' UTC'";
    let settings = "(select string_agg(name || ' = ' || current_setting(name), ', ') from unnest(array[\
        'fsync', 'synchronous_commit', 'full_page_writes', 'wal_level', 'shared_buffers', 'max_wal_size'\
        ]) as name)";
    Ok(vec![
        ("command", format!("`{}`", command())),
        ("date", text(&mut conn, date).await?),
        ("commit", commit()),
        ("build", build()),
        ("machine", machine()),
        ("load average before", first_line("/proc/loadavg", "")),
        (
            "PostgreSQL",
            text(&mut conn, "current_setting('server_version')").await?,
        ),
        ("PostgreSQL's settings", text(&mut conn, settings).await?),
        ("Kafka", kafka::version().unwrap_or("unknown").to_owned()),
        ("log level of the services", "`warn`".to_owned()),
    ])
}

async fn text(conn: &mut Session, expression: &str) -> anyhow::Result<String> {
    database::text(conn, &format!("select {expression} as text")).await
}

fn command() -> String {
    let words = std::env::args().skip(1);
    format!("./dev {}", words.collect::<Vec<_>>().join(" "))
}

fn build() -> String {
    let profile = if cfg!(debug_assertions) {
        "debug, so the figures mean nothing"
    } else {
        "release"
    };
    format!("{profile}, {}", answer("rustc", &["--version"]))
}

fn commit() -> String {
    let commit = answer("git", &["rev-parse", "--short", "HEAD"]);
    let is_clean = answer("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    let remark = if is_clean { "" } else { ", with changes" };
    format!("{commit}{remark}")
}

/// What a command prints, nothing if it does not.
fn answer(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kib: u64 = first_line("/proc/meminfo", "MemTotal:")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    format!(
        "{cores} cores of {}, {} GB of memory, Linux {}",
        first_line("/proc/cpuinfo", "model name").trim_start_matches([':', ' ']),
        memory_kib.div_ceil(1_000_000),
        first_line("/proc/sys/kernel/osrelease", ""),
    )
}

/// The rest of the first line that starts with `start`.
fn first_line(path: &str, start: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    line.unwrap_or("unknown").trim().to_owned()
}

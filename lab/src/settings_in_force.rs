//! The settings of `up` and of the services, by environment variable: those a system was started with, and those that
//! another `up` asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use clap::ArgMatches;
use clap::parser::ValueSource;
use lab_stack::system;
use lab_terminal as terminal;
use tokio::process::Command;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    variable: String,
    value: Option<String>,
    /// By a flag or in the environment: the value is not the default.
    is_asked: bool,
}

/// The settings of `up` itself, whose command line `command` has read as `matches`.
pub(crate) fn of_up(command: &clap::Command, matches: &ArgMatches) -> Vec<Setting> {
    let read = |argument: &clap::Arg| {
        let id = argument.get_id().as_str();
        let values = matches.get_raw(id);
        let values = values.map(|values| values.map(|value| value.to_string_lossy()));
        Some(Setting {
            variable: argument.get_env()?.to_str()?.to_owned(),
            value: values.map(|values| values.collect::<Vec<_>>().join(",")),
            is_asked: matches
                .value_source(id)
                .is_some_and(|source| source != ValueSource::DefaultValue),
        })
    };
    command.get_arguments().filter_map(read).collect()
}

/// The settings that the services inherit, as the help of each program in the folder `programs` says.
pub(crate) async fn of_services(programs: &Path) -> anyhow::Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for program in system::PROGRAMS {
        let mut help = Command::new(programs.join(program));
        let help = help.arg("-h").output().await;
        let help = help.with_context(|| format!("asking {program} for its settings"))?;
        let lines = String::from_utf8_lossy(&help.stdout);
        settings.extend(lines.lines().filter_map(read_help));
    }
    settings.retain(|setting| !system::OWN_VARIABLES.contains(&setting.variable.as_str()));
    Ok(settings)
}

/// Reads an option's line: `... [env: NAME=value] [default: other value]`.
fn read_help(line: &str) -> Option<Setting> {
    let (_, rest) = line.rsplit_once("[env: ")?;
    let (variable, rest) = rest.split_once('=')?;
    let (asked, rest) = rest.split_once(']')?;
    let default = rest.trim_start().strip_prefix("[default: ");
    let default = default.and_then(|rest| rest.split_once(']'));
    let default = default.map(|(default, _)| default.trim_matches('"'));
    let is_asked = !asked.is_empty();
    let value = if is_asked { Some(asked) } else { default };
    Some(Setting {
        variable: variable.to_owned(),
        value: value.map(str::to_owned),
        is_asked,
    })
}

/// What is in force, to be remembered; a setting of `up` goes before the one of a service with the same variable.
pub(crate) fn in_force(of_up: &[Setting], of_services: &[Setting]) -> BTreeMap<String, String> {
    let mut in_force = BTreeMap::new();
    for setting in of_services.iter().chain(of_up) {
        match &setting.value {
            Some(value) => in_force.insert(setting.variable.clone(), value.clone()),
            None => in_force.remove(&setting.variable),
        };
    }
    in_force
}

/// One line for each setting that was asked for and is not `running`; several programs may have the same setting.
pub(crate) fn differences(asked: &[Setting], running: &BTreeMap<String, String>) -> Vec<String> {
    let mut named = BTreeSet::new();
    let differ = asked.iter().filter(|setting| {
        setting.is_asked
            && setting.value.as_ref() != running.get(&setting.variable)
            && named.insert(&setting.variable)
    });
    let describe = |setting: &Setting| {
        let variable = &setting.variable;
        let show = |value: Option<&String>| match value {
            Some(value) if variable.ends_with("_URL") => {
                terminal::without_password(value).unwrap_or_else(|_| "another one".to_owned())
            }
            Some(value) => value.clone(),
            None => "not set".to_owned(),
        };
        let runs = show(running.get(variable));
        let asked = show(setting.value.as_ref());
        let hint = match variable.as_str() {
            "RELAY_MODE" => format!(": ./dev relay {asked} switches it now"),
            _ => String::new(),
        };
        format!("{variable} is {runs}, and {asked} was asked for{hint}")
    };
    differ.map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_help_tells_what_is_set_and_what_is_the_default() {
        let set = |line| read_help(line).map(|setting| (setting.value, setting.is_asked));
        let some = |value: &str| Some(value.to_owned());
        let line = "How it is written [env: PAY_PATTERN=dual-write] [default: outbox] [possible values: outbox]";
        assert_eq!(set(line), Some((some("dual-write"), true)));
        let line = "Which log lines [env: LOG=] [default: info]";
        assert_eq!(set(line), Some((some("info"), false)));
        assert_eq!(
            set("A name [env: NAME=] [default: \"\"]"),
            Some((some(""), false))
        );
        assert_eq!(set("A flag [env: LAB=]"), Some((None, false)));
        assert_eq!(set("A secret [env: DATABASE_URL]"), None);
        assert_eq!(set("Usage: wallet-api [OPTIONS]"), None);
    }

    #[test]
    fn only_what_was_asked_for_and_does_not_run_is_a_difference() {
        let setting = |variable: &str, value: Option<&str>, is_asked| Setting {
            variable: variable.to_owned(),
            value: value.map(str::to_owned),
            is_asked,
        };
        let running = in_force(
            &[
                setting("LAB_PORT", Some("8090"), false),
                setting("RELAY_MODE", Some("poller"), false),
            ],
            &[
                setting("PAY_PATTERN", Some("outbox"), false),
                setting("LAB_PORT", None, false),
            ],
        );
        let asked = [
            setting("LAB_PORT", Some("9000"), false),
            setting("PAY_PATTERN", Some("outbox"), true),
            setting("LOG", Some("debug"), true),
            setting("DATABASE_URL", Some("postgres://me:secret@db/x"), true),
            setting("RELAY_MODE", Some("cdc"), true),
            // Of a service: the same variable.
            setting("RELAY_MODE", Some("cdc"), true),
        ];
        let differences = differences(&asked, &running);
        assert_eq!(
            differences,
            [
                "LOG is not set, and debug was asked for",
                "DATABASE_URL is not set, and postgres://me@db/x was asked for",
                "RELAY_MODE is poller, and cdc was asked for: ./dev relay cdc switches it now",
            ]
        );
    }
}

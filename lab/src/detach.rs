//! `lab up --detach`: the process that stays, and the one that watches it until the system is ready.

use std::process::Stdio;

use anyhow::Context as _;
use lab_stack::home::Home;
use lab_stack::pid_file::PidFile;
use lab_stack::process::Identity;
use lab_stack::program::LogFile;
use lab_stack::stop_signal::StopSignal;
use lab_terminal as terminal;
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::Command;

/// Starts this command again as a process that stays, shows what it says until it lets go of the terminal,
/// and returns: success if the system is then running. Ctrl-C before stops it.
pub(crate) async fn run(home: &Home) -> anyhow::Result<bool> {
    // The same command once more, with its output in a pipe.
    let mut stop = StopSignal::catch()?;
    let (said, say) = std::io::pipe().context("making a pipe")?;
    let mut child = {
        // The command holds the pipe's other end: only when it is dropped can the end of the output be seen.
        let mut command =
            Command::new(std::env::current_exe().context("finding the lab's own program")?);
        command
            .args(std::env::args_os().skip(1))
            .arg("--detached")
            .stdin(Stdio::null())
            .stdout(say.try_clone().context("sharing a pipe")?)
            .stderr(say);
        command.spawn().context("starting the process that stays")?
    };
    let process = child
        .id()
        .and_then(|pid| Identity::of(pid.try_into().ok()?));

    // Show its output until it lets go of the pipe.
    let said = pipe::Receiver::from_owned_fd(said.into()).context("reading from a pipe")?;
    let mut said = BufReader::new(said).lines();
    loop {
        tokio::select! {
            line = said.next_line() => match line.context("reading from the process that stays")? {
                Some(line) => terminal::line(line),
                None => break,
            },
            _signal = stop.recv() => if let Some(process) = process {
                process.signal(Signal::SIGTERM);
            },
        }
    }

    // It is the running lab now, or it has failed.
    let running = PidFile::load(home)?.map(|pid_file| pid_file.supervisor);
    if process.is_some() && running == process && home.stack().exists() {
        return Ok(true);
    }
    let exit = child
        .wait()
        .await
        .context("waiting for the process that stays")?;
    Ok(exit.success())
}

/// Makes this process independent of the terminal: closing it, or Ctrl-C in it, no longer reaches it.
pub(crate) fn leave_terminal() -> anyhow::Result<()> {
    nix::unistd::setsid().context("leaving the terminal's session")?;
    Ok(())
}

/// Redirects the output of this process to a log; the command that watches sees the end of the pipe.
pub(crate) fn release_terminal(home: &Home) -> anyhow::Result<()> {
    let log = LogFile::new(home.log("lab")).open()?;
    nix::unistd::dup2_stdout(&log).context("redirecting the output")?;
    nix::unistd::dup2_stderr(&log).context("redirecting the errors")
}

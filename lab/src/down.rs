//! `lab down`: stops the lab of this home, and what a killed lab has left.

use std::time::Duration;

use lab_stack::home::{self, Home};
use lab_stack::pid_file::PidFile;
use lab_stack::process::{Identity, Termination};
use lab_stack::servers;
use lab_terminal as terminal;
use nix::sys::signal::Signal;

use crate::status;

/// How long a lab has to stop all its processes: more than all steps of the shutdown together may take.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Stops everything; that nothing runs is a success too.
pub(crate) async fn run(home: &Home) -> anyhow::Result<bool> {
    let noted = PidFile::load(home)?.map(|pid_file| pid_file.supervisor);
    // Without its note, the lab is known by its lock.
    let lab = match noted {
        None if home.lock()?.is_none() => home.locked_by().and_then(Identity::of),
        noted => noted,
    };
    let mut stopped = false;
    if let Some(lab) = lab.filter(|lab| lab.is_alive()) {
        terminal::line(format_args!("Stopping the lab (pid {}).", lab.pid));
        stopped = true;
        match lab.end(Signal::SIGTERM, STOP_WITHIN).await {
            Termination::Asked => {}
            Termination::Killed => terminal::line("It did not stop when asked, and was killed."),
        }
    }
    let Some(_lock) = home.lock()? else {
        anyhow::bail!("{}", status::busy(home));
    };
    // Still there only if the lab was killed.
    if let Some(left) = PidFile::load(home)? {
        left.stop_leftovers().await;
        stopped = true;
    }
    home::remove(&home.stack())?;
    home::remove(&home.processes())?;
    servers::clean_up(home).await?;
    terminal::line(if stopped {
        "Stopped."
    } else {
        "Nothing was running."
    });
    Ok(true)
}

//! `lab down`: stops the lab of this home, and whatever one that was killed has left.

use std::time::Duration;

use lab_stack::home::{self, Home};
use lab_stack::pid_file::PidFile;
use lab_stack::process::Ended;
use lab_stack::servers;
use lab_terminal as terminal;
use nix::sys::signal::Signal;

/// How long a lab has to stop all its parts: more than all tiers together may take.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Stops everything; that nothing runs is a success too.
pub(crate) async fn run(home: &Home) -> anyhow::Result<bool> {
    let pid_file = PidFile::load(home)?;
    let mut stopped = false;
    if let Some(lab) = pid_file
        .as_ref()
        .map(|pid_file| pid_file.supervisor)
        .filter(|lab| lab.is_alive())
    {
        terminal::line(format_args!("Stopping the lab (pid {}).", lab.pid));
        stopped = true;
        match lab.end(Signal::SIGTERM, STOP_WITHIN).await {
            Ended::Asked => {}
            Ended::Killed => terminal::line("It did not stop when asked, and was killed."),
        }
    }
    let Some(_lock) = home.lock()? else {
        anyhow::bail!("another command is starting or stopping the system here; try again");
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

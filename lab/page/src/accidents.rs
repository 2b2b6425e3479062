//! Accidents that run by themselves: payments flow, something breaks, and when everything is at rest the money is counted.
//!
//! The faults are those of [`super::parts`], and the payments are a run of [`super::traffic`]: nothing is simulated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use chassis::Problem;
use chassis::http::Path;
use chassis::problem::StatusCode;
use lab_stack::commands::Command;
use lab_stack::process_table::Action;
use lab_stack::relay_mode::RelayMode;
use rust_decimal::Decimal;
use tokio_util::sync::CancellationToken;

use super::lab::Lab;
use super::parts;
use super::snapshot::{Accident, AccidentView, Load, Outcome, Pattern, Plan, Run, RunState};
use super::traffic::{self, problem_error};

const KAFKA_AWAY: Duration = Duration::from_secs(20);

/// How often the run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Accident {
    fn plan(self) -> Plan {
        let (pattern, requests, rate_per_s) = match self {
            Self::KillWalletApi => (Pattern::DualWrite, 10_000, 400),
            Self::KillRelay | Self::DropSlot => (Pattern::Outbox, 2_000, 100),
            Self::KafkaAway => (Pattern::Outbox, 3_500, 100),
        };
        Plan {
            pattern,
            relay_mode: (self == Self::DropSlot).then_some(RelayMode::Cdc),
            load: Load {
                requests,
                rate_per_s,
                wallets: 50,
                amount: Decimal::ONE,
                crash_share: 0.0,
                provider_fault_share: 0.0,
                seed: 1,
            },
        }
    }
}

/// `POST /api/accidents/{name}`: begins it; `DELETE /api/traffic` ends it early.
pub(super) async fn begin(
    State(lab): State<Arc<Lab>>,
    Path(accident): Path<Accident>,
) -> Result<StatusCode, Problem> {
    let mode = lab.stack().await?.relay_mode;
    let work = lab.begin_work()?;
    show(&lab, accident, |shown| {
        shown.doing = Some("sending payments".to_owned());
        shown.verdict = None;
        shown.outcome = None;
    });
    let tasks = lab.tasks.clone();
    tasks.spawn(async move {
        let told = run(&lab, accident, work.token()).await;
        let present = lab.processes.stack().await.map(|stack| stack.relay_mode);
        if present != Some(mode) {
            // As it was before. If it can't be, the page shows the mode.
            drop(lab.carry_out(Command::RelayMode(mode)).await);
        }
        show(&lab, accident, |shown| {
            shown.doing = None;
            (shown.verdict, shown.outcome) = match told {
                Ok((verdict, outcome)) => (Some(verdict), Some(outcome)),
                Err(error) => (Some(format!("There is no verdict: {error:#}.")), None),
            };
        });
        drop(work);
    });
    Ok(StatusCode::ACCEPTED)
}

/// Returns one sentence, and how the money came out.
async fn run(
    lab: &Lab,
    accident: Accident,
    stop: &CancellationToken,
) -> anyhow::Result<(String, Outcome)> {
    let plan = accident.plan();
    let run = Run::new(&plan);
    let flowing = Flowing {
        lab,
        accident,
        run: run.id.clone(),
        stop,
    };
    let duplicates = lab.shown().flow.duplicates();
    let sending = stop.child_token();
    let cause = async {
        let caused = flowing.cause().await;
        if caused.is_err() {
            sending.cancel();
        }
        caused
    };
    let (ended, caused) = tokio::join!(traffic::run(lab, &plan, run, &sending), cause);
    let (mut caused, ended) = (caused?, ended?);
    let duplicates = lab.shown().flow.duplicates().saturating_sub(duplicates);
    if duplicates > 0 {
        caused.push_str(&format!(", and {duplicates} messages came twice"));
    }
    let (verdict, outcome) = ended.verdict();
    Ok((format!("{caused}; of {verdict}"), outcome))
}

/// The run of an accident, while it is caused.
struct Flowing<'a> {
    lab: &'a Lab,
    accident: Accident,
    run: String,
    stop: &'a CancellationToken,
}

impl Flowing<'_> {
    /// Breaks something under way; returns what, as the beginning of a sentence.
    async fn cause(&self) -> anyhow::Result<String> {
        let caused = match self.accident {
            Accident::KillWalletApi => {
                let times = self.kill(&["wallet-api"], 8).await?;
                format!("wallet-api was killed {times} times")
            }
            Accident::KillRelay => {
                let relays = ["relay-wallet-1", "relay-wallet-2"];
                let times = self.kill(&relays, 3).await?;
                format!("Both relays of the wallet were killed {times} times")
            }
            Accident::KafkaAway => {
                let before = self.accepted(200).await?;
                self.say("stopping Kafka");
                self.carry_out(Command::Stop("kafka".to_owned())).await?;
                self.say("Kafka is away for 20 s");
                let begun = Instant::now();
                let away = tokio::time::sleep(KAFKA_AWAY);
                self.stop.run_until_cancelled(away).await;
                let away_s = begun.elapsed().as_secs();
                let accepted = self.lab.shown().run.as_ref().map(|run| run.accepted);
                let meanwhile = accepted.unwrap_or(before).saturating_sub(before);
                self.say("starting Kafka");
                self.carry_out(Command::Start("kafka".to_owned())).await?;
                format!(
                    "Kafka was away for {away_s} s, and {meanwhile} payments were accepted meanwhile"
                )
            }
            Accident::DropSlot => {
                self.accepted(300).await?;
                let dropped = parts::drop_slot(self.lab).await;
                dropped.map_err(|problem| problem_error(&problem))?;
                "The replication slot was dropped under way".to_owned()
            }
        };
        self.say("waiting until each payment has ended");
        Ok(caused)
    }

    /// Kills them all, each time that 300 more payments were accepted, up to `times`; returns how many times.
    async fn kill(&self, names: &[&str], times: u32) -> anyhow::Result<u32> {
        let mut accepted = 0;
        for nth in 1..=times {
            let killed = async {
                accepted = self.accepted(accepted + 300).await?;
                for name in names {
                    // It may have to become ready first.
                    while self.lab.processes.signal(name, Action::Kill).await.is_err() {
                        self.accepted(0).await?;
                    }
                }
                anyhow::Ok(())
            };
            match killed.await {
                Ok(()) => self.say(&format!("killed {nth} of {times} times")),
                // A slow machine does not get up as often before the payments end.
                Err(_) if nth > 1 => return Ok(nth - 1),
                Err(error) => return Err(error),
            }
        }
        Ok(times)
    }

    /// Waits until so many payments were accepted; returns how many were.
    async fn accepted(&self, at_least: u32) -> anyhow::Result<u32> {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.now_accepted() {
                Some(accepted) if accepted >= at_least => return Ok(accepted),
                Some(_) => {}
                None => anyhow::bail!("the payments ended before anything was broken"),
            }
        }
    }

    /// None when no more are sent.
    fn now_accepted(&self) -> Option<u32> {
        let shown = self.lab.shown();
        let run = shown.run.as_ref()?;
        let is_sending = run.id == self.run && run.state == RunState::Running;
        is_sending.then_some(run.accepted)
    }

    async fn carry_out(&self, command: Command) -> anyhow::Result<()> {
        let done = self.lab.carry_out(command).await;
        done.map_err(|problem| problem_error(&problem))
    }

    fn say(&self, doing: &str) {
        show(self.lab, self.accident, |shown| {
            shown.doing = Some(doing.to_owned());
        });
    }
}

fn show(lab: &Lab, accident: Accident, change: impl FnOnce(&mut AccidentView)) {
    let mut shown = lab.shown();
    let known = shown.accidents.iter().position(|it| it.name == accident);
    let view = AccidentView {
        name: accident,
        doing: None,
        verdict: None,
        outcome: None,
    };
    let at = known.unwrap_or_else(|| {
        shown.accidents.push(view);
        shown.accidents.len() - 1
    });
    if let Some(view) = shown.accidents.get_mut(at) {
        change(view);
    }
}

//! One payment, step by step: between two steps all that would go on by itself stands still.
//!
//! | what stands still | by what |
//! | --- | --- |
//! | relays and bill-payer | their processes are paused (SIGSTOP) until their step comes |
//! | a request between its two writes | `x-lab-hold`: the request waits for an advisory lock that the lab holds |
//! | wallet-api before it takes a record | a row lock of the lab's, until the record is seen in Kafka; then its process is paused |
//!
//! A crash is a `kill -9` of the process that would do the next step. The session is the lab's one piece of work, so no
//! traffic meets paused processes. It ends when it is told to, when nobody has stepped for a while, or with the lab: the
//! locks are those of a connection, and `down` resumes what it stops.

mod facts;
mod script;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::{Extension, Json};
use chassis::Problem;
use chassis::http::JsonBody;
use chassis::problem::StatusCode;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use lab_stack::http;
use lab_stack::process::Identity;
use lab_stack::process_table::Action;
use lab_stack::relay_mode::RelayMode;
use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::facts::{BillRows, Facts, WalletRows, is_empty, receipt, records};
use self::script::{PAUSED, Script, Step};
use super::lab::{Lab, Work};
use super::problems::{away, conflict};
use super::snapshot::{MoneyScope, Outcome, Pattern};
use super::{logs, parts};

/// How long a session may wait for its next step.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);

/// How long a step may take. The partitions of a killed consumer are another one's after 6 s, and the bill of a killed
/// bill-payer after 10 s.
const STEP_WITHIN: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// How long the provider keeps its response to itself: time to pause bill-payer before it gets it, and less than
/// bill-payer waits.
const RESPONSE_AFTER_MS: u64 = 1_500;

/// What the wallet has at the beginning, and what the payment is about.
const BALANCE: &str = "10.00";
const AMOUNT: &str = "1.00";

pub(super) struct Session {
    id: Uuid,
    pattern: Pattern,
    script: Script,
    work: Work,
    scope: MoneyScope,
    /// Told of each step.
    stepped: watch::Sender<()>,
    wallet_id: String,
    /// The client's `Idempotency-Key`.
    key: String,
    request: Option<JoinHandle<Response>>,
    response: Option<Response>,
    /// Holds locks for as long as it is open.
    hold: Option<AsyncPgConnection>,
    paused: BTreeSet<&'static str>,
    /// How the provider behaved before.
    behaviour: Value,
    killed: Vec<&'static str>,
    facts: Option<Facts>,
    log_lines: Option<Vec<String>>,
    verdict: Option<Verdict>,
}

/// The session that is open, if there is one.
pub(super) type OpenSession = Arc<tokio::sync::Mutex<Option<Session>>>;

/// What the client got.
#[derive(Debug, Clone, Serialize)]
struct Response {
    /// None: the connection broke.
    status: Option<u16>,
    body: Value,
    /// wallet-api says that it knew the key.
    replayed: bool,
}

/// What the audit says of this payment.
#[derive(Debug, Clone, Serialize)]
struct Verdict {
    /// Titles of its findings; none when all is well.
    findings: Vec<&'static str>,
    outcome: Outcome,
    status: Option<String>,
}

/// Where the session is, as the page gets it.
#[derive(Debug, Serialize)]
pub(super) struct SessionView {
    id: Uuid,
    pattern: Pattern,
    wallet_id: String,
    key: String,
    step: Step,
    next: Option<Step>,
    steps_left: usize,
    /// Whom a crash here kills.
    victims: &'static [&'static str],
    crashed: Option<Step>,
    killed: Vec<&'static str>,
    waiting: bool,
    response: Option<Response>,
    facts: Option<Facts>,
    log_lines: Option<Vec<String>>,
    verdict: Option<Verdict>,
}

/// The body of `POST /api/slow-motion`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BeginRequest {
    pattern: Pattern,
}

/// The body of the other requests: which session is meant. Another page may have begun another one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionRequest {
    id: Uuid,
}

/// `POST /api/slow-motion`: begins a session. One that is open ends: its page may be gone.
pub(super) async fn begin(
    State(lab): State<Arc<Lab>>,
    Extension(open_session): Extension<OpenSession>,
    JsonBody(BeginRequest { pattern }): JsonBody<BeginRequest>,
) -> Result<Json<SessionView>, Problem> {
    let mut place = open_session.lock().await;
    if let Some(open) = place.take() {
        open.end(&lab).await;
    }
    let mut session = Session::begin(&lab, pattern).await?;
    if let Err(problem) = session.stand_still(&lab).await {
        session.end(&lab).await;
        return Err(problem);
    }
    let view = session.view();
    let token = session.work.token().clone();
    let steps = session.stepped.subscribe();
    let id = session.id;
    *place = Some(session);
    drop(place);
    // It ends when nobody steps any more.
    let (tasks, lab) = (lab.tasks.clone(), Arc::clone(&lab));
    let open_session = Arc::clone(&open_session);
    tasks.spawn(async move {
        abandoned(steps, token, IDLE_MAX).await;
        end_session(&open_session, id, &lab).await;
    });
    Ok(Json(view))
}

/// `POST /api/slow-motion/next`: does the next step; returns when it is done.
pub(super) async fn next(
    State(lab): State<Arc<Lab>>,
    Extension(open_session): Extension<OpenSession>,
    JsonBody(SessionRequest { id }): JsonBody<SessionRequest>,
) -> Result<Json<SessionView>, Problem> {
    let mut place = open_session.lock().await;
    let session = of(place.as_mut(), id)?;
    let step = session.script.next();
    let step = step.ok_or_else(|| conflict("this was the last step"))?;
    session.carry_out(&lab, step).await?;
    session.script.advance();
    session.look(&lab).await?;
    Ok(Json(session.view()))
}

/// `POST /api/slow-motion/crash`: kills whoever would do the next step.
pub(super) async fn crash(
    State(lab): State<Arc<Lab>>,
    Extension(open_session): Extension<OpenSession>,
    JsonBody(SessionRequest { id }): JsonBody<SessionRequest>,
) -> Result<Json<SessionView>, Problem> {
    let mut place = open_session.lock().await;
    let session = of(place.as_mut(), id)?;
    session.crash(&lab).await?;
    session.look(&lab).await?;
    Ok(Json(session.view()))
}

/// `POST /api/slow-motion/end`: everything runs on.
pub(super) async fn end(
    State(lab): State<Arc<Lab>>,
    Extension(open_session): Extension<OpenSession>,
    JsonBody(SessionRequest { id }): JsonBody<SessionRequest>,
) -> StatusCode {
    end_session(&open_session, id, &lab).await;
    StatusCode::NO_CONTENT
}

/// Ends the session with that id, if it is open.
async fn end_session(open_session: &OpenSession, id: Uuid, lab: &Lab) {
    let ended = open_session.lock().await.take_if(|open| open.id == id);
    if let Some(ended) = ended {
        ended.end(lab).await;
    }
}

/// Returns when nobody has stepped for `idle_max`, when `token` is cancelled, or when the session is gone.
async fn abandoned(mut steps: watch::Receiver<()>, token: CancellationToken, idle_max: Duration) {
    let mut is_used = true;
    while is_used {
        let step = tokio::time::timeout(idle_max, steps.changed());
        let step = token.run_until_cancelled(step).await;
        is_used = matches!(step, Some(Ok(Ok(()))));
    }
}

fn of(session: Option<&mut Session>, id: Uuid) -> Result<&mut Session, Problem> {
    let session = session.filter(|session| session.id == id);
    let session = session.ok_or_else(|| {
        conflict("this payment has ended: nobody has stepped for five minutes, or another page has begun one")
    })?;
    session.stepped.send_replace(());
    Ok(session)
}

impl Session {
    /// A wallet, and nothing stands still yet.
    async fn begin(lab: &Arc<Lab>, pattern: Pattern) -> Result<Self, Problem> {
        let stack = lab.stack().await?;
        if stack.relay_mode == RelayMode::Debezium {
            return Err(conflict(
                "in mode debezium Kafka Connect publishes, and it can't be stepped: switch the relays to poller or cdc",
            ));
        }
        for part in lab.processes.parts().await {
            if !["ready", "not ours"].contains(&part.state.as_str()) {
                return Err(conflict(format!(
                    "{} is {}: slow motion needs every part at work",
                    part.name, part.state
                )));
            }
        }
        let work = lab.begin_slow_motion()?;
        let scope = lab.new_scope(false).await?;
        let set_up = async || -> anyhow::Result<(String, Value)> {
            let wallet = json!({ "currency": "INR", "opening_balance": BALANCE });
            let wallets = format!("{}/wallets", stack.wallet_api);
            let wallet = http::client().post(wallets).json(&wallet).send().await?;
            let wallet: Value = wallet.error_for_status()?.json().await?;
            let id = wallet.get("id").and_then(Value::as_str);
            let behaviour = parts::get_behaviour(&stack.mock_provider).await?;
            Ok((id.unwrap_or_default().to_owned(), behaviour))
        };
        let (wallet_id, behaviour) = set_up().await.map_err(|error| away(&error))?;
        // The money and the drawing on the page are about this payment from now on.
        lab.show_scope(scope);
        lab.shown().run = None;
        Ok(Self {
            id: Uuid::now_v7(),
            pattern,
            script: Script::new(pattern),
            work,
            scope,
            stepped: watch::Sender::new(()),
            wallet_id,
            key: Uuid::now_v7().to_string(),
            request: None,
            response: None,
            hold: None,
            paused: BTreeSet::new(),
            behaviour,
            killed: Vec::new(),
            facts: None,
            log_lines: None,
            verdict: None,
        })
    }

    async fn stand_still(&mut self, lab: &Lab) -> Result<(), Problem> {
        for name in PAUSED {
            self.pause(lab, name).await?;
        }
        self.look(lab).await
    }

    /// Everything runs on.
    async fn end(mut self, lab: &Lab) {
        self.hold = None;
        if let Some(request) = self.request.take() {
            request.abort();
        }
        self.resume_all(lab).await;
        drop(self.work);
    }

    fn view(&self) -> SessionView {
        SessionView {
            id: self.id,
            pattern: self.pattern,
            wallet_id: self.wallet_id.clone(),
            key: self.key.clone(),
            step: self.script.done,
            next: self.script.next(),
            steps_left: self.script.steps_left(),
            victims: self.script.victims(),
            crashed: self.script.crashed,
            killed: self.killed.clone(),
            waiting: self.request.is_some(),
            response: self.response.clone(),
            facts: self.facts.clone(),
            log_lines: self.log_lines.clone(),
            verdict: self.verdict.clone(),
        }
    }

    async fn look(&mut self, lab: &Lab) -> Result<(), Problem> {
        self.facts = Some(Facts::read(lab, &self.wallet_id).await?);
        Ok(())
    }

    async fn carry_out(&mut self, lab: &Lab, step: Step) -> Result<(), Problem> {
        match step {
            Step::Begin => Ok(()),
            Step::FirstWrite => self.write_first(lab).await,
            Step::Rest => {
                self.hold = None;
                self.await_response().await
            }
            Step::Debit => {
                self.resume(lab, "wallet-api").await?;
                self.wait_for(lab, step).await
            }
            Step::Relay => {
                for name in step.processes() {
                    self.resume(lab, name).await?;
                }
                self.wait_for(lab, step).await
            }
            Step::Pay => {
                self.delay_provider(lab).await?;
                self.resume(lab, "bill-payer").await?;
                self.wait_for(lab, step).await?;
                self.pause(lab, "bill-payer").await?;
                self.restore_provider(lab).await
            }
            Step::Record => {
                self.resume(lab, "bill-payer").await?;
                self.wait_for(lab, step).await
            }
            Step::Report => {
                let payment = format!(
                    "select from payments where wallet_id = '{}' for update",
                    self.wallet_id
                );
                self.hold_rows(lab, &payment).await?;
                self.resume(lab, "relay-bill").await?;
                self.wait_for(lab, step).await?;
                self.pause(lab, "wallet-api").await?;
                self.hold = None;
                Ok(())
            }
            Step::Settle => {
                self.resume(lab, "wallet-api").await?;
                self.wait_for(lab, step).await
            }
            Step::Restart => self.restart(lab).await,
            Step::Again => {
                self.request = Some(self.ask(lab, None).await?);
                self.await_response().await
            }
            Step::Audit => self.audit(lab).await,
        }
    }

    /// Sends the request, and stops it after its first write.
    async fn write_first(&mut self, lab: &Lab) -> Result<(), Problem> {
        let listens = self.pattern == Pattern::ListenToYourself;
        if self.request.is_none() && self.response.is_none() {
            let number = if listens {
                // The consumer of commands can't take the command.
                let wallet = format!(
                    "select from wallets where id = '{}' for update",
                    self.wallet_id
                );
                self.hold_rows(lab, &wallet).await?;
                None
            } else {
                let number = i64::from_be_bytes(
                    *self
                        .id
                        .as_bytes()
                        .last_chunk()
                        .expect("16 bytes end with 8"),
                );
                self.hold_rows(lab, &format!("select pg_advisory_lock({number})"))
                    .await?;
                Some(number)
            };
            self.request = Some(self.ask(lab, number).await?);
        }
        if listens {
            self.await_response().await?;
        }
        self.wait_for(lab, Step::FirstWrite).await?;
        if listens {
            self.pause(lab, "wallet-api").await?;
            self.hold = None;
        }
        Ok(())
    }

    /// The client's request, on its way.
    async fn ask(&self, lab: &Lab, hold: Option<i64>) -> Result<JoinHandle<Response>, Problem> {
        let url = format!(
            "{}/wallets/{}/pay-bill",
            lab.stack().await?.wallet_api,
            self.wallet_id
        );
        // As patient as a person who steps, and with a connection of its own.
        let client = Client::builder().no_proxy().timeout(2 * IDLE_MAX).build();
        let client = client.map_err(|error| Problem::internal(&error))?;
        let mut request = client
            .post(url)
            .header("idempotency-key", &self.key)
            .header("x-pay-pattern", self.pattern.as_str())
            .json(&json!({ "amount": AMOUNT, "account_number": "WIFI-42" }));
        if let Some(number) = hold {
            request = request.header("x-lab-hold", number.to_string());
        }
        Ok(lab.tasks.spawn(async move {
            let broken = Response {
                status: None,
                body: Value::Null,
                replayed: false,
            };
            let Ok(response) = request.send().await else {
                return broken;
            };
            Response {
                status: Some(response.status().as_u16()),
                replayed: response.headers().contains_key("idempotency-replayed"),
                body: response.json().await.unwrap_or_default(),
            }
        }))
    }

    async fn await_response(&mut self) -> Result<(), Problem> {
        let Some(request) = &mut self.request else {
            return Ok(());
        };
        let response = tokio::time::timeout(STEP_WITHIN, request).await;
        let response = response.map_err(|_| late("wallet-api has responded"))?;
        self.request = None;
        self.response = response.ok();
        Ok(())
    }

    /// A connection that executes `lock` and keeps what it locks until it is closed.
    async fn hold_rows(&mut self, lab: &Lab, lock: &str) -> Result<(), Problem> {
        let stack = lab.stack().await?;
        let take = async || -> anyhow::Result<AsyncPgConnection> {
            let mut conn = chassis::database::connect(&stack.wallet_database_url, "lab").await?;
            conn.batch_execute("set idle_in_transaction_session_timeout = 0; begin")
                .await?;
            conn.batch_execute(lock).await?;
            Ok(conn)
        };
        self.hold = Some(take().await.map_err(|error| away(&error))?);
        Ok(())
    }

    /// Kills the processes of the next step.
    async fn crash(&mut self, lab: &Lab) -> Result<(), Problem> {
        let victims = self.script.victims();
        if victims.is_empty() {
            return Err(conflict("nobody is at work here"));
        }
        for name in victims {
            let before = pid(lab, name).await;
            let killed = lab.processes.signal(name, Action::Kill).await;
            killed.map_err(|error| conflict(format!("{error:#}")))?;
            self.paused.remove(name);
            let deadline = Instant::now() + STEP_WITHIN;
            while pid(lab, name).await == before {
                look_again(deadline, "the process has ended").await?;
            }
        }
        self.killed = victims.to_vec();
        self.script.crash();
        // What waited for the lock has died, so nothing happens when it is released.
        self.hold = None;
        self.await_response().await
    }

    /// The lab starts what has died. It takes up its work, as far as that is in a database or in Kafka.
    async fn restart(&mut self, lab: &Lab) -> Result<(), Problem> {
        for name in &self.killed {
            let deadline = Instant::now() + STEP_WITHIN;
            while !is_in_state(lab, name, "ready").await {
                look_again(deadline, "the process is ready again").await?;
            }
        }
        match self.script.crashed {
            // A request that was in memory is gone.
            Some(Step::Rest) | None => {}
            // bill-payer does both before it is paused again.
            Some(Step::Pay) => self.wait_for(lab, Step::Record).await?,
            // Nothing keeps wallet-api from taking the result.
            Some(Step::Report) => self.wait_for(lab, Step::Settle).await?,
            Some(prevented) => self.wait_for(lab, prevented).await?,
        }
        self.log_lines = Some(self.logged(lab).await?);
        Ok(())
    }

    /// Lines of all services' logs about the payment.
    async fn logged(&self, lab: &Lab) -> Result<Vec<String>, Problem> {
        let facts = Facts::read(lab, &self.wallet_id).await?;
        let Some(payment_id) = facts.payment_id else {
            return Ok(Vec::new());
        };
        let mut lines = Vec::new();
        for part in lab.processes.parts().await {
            if part.kind == "service" {
                let found = logs::about(lab, &part.name, &payment_id).await?;
                lines.extend(
                    found
                        .into_iter()
                        .map(|line| format!("{}: {line}", part.name)),
                );
            }
        }
        Ok(lines)
    }

    /// Lets everything run until the payment has ended or is lost.
    async fn audit(&mut self, lab: &Lab) -> Result<(), Problem> {
        self.hold = None;
        self.resume_all(lab).await;
        let deadline = Instant::now() + STEP_WITHIN;
        loop {
            // Before the audit, so that what has ended by then is in it.
            let facts = Facts::read(lab, &self.wallet_id).await?;
            let report = lab
                .audit(&self.scope)
                .await?
                .map_err(|error| away(&error))?;
            let (rows, id) = (facts.wallet, facts.payment_id.unwrap_or_default());
            let of_it = |finding: &&audit::Finding| finding.examples.contains(&id);
            let findings = report.findings.iter().filter(of_it);
            let kinds: Vec<audit::Kind> = findings.map(|finding| finding.kind).collect();
            if rows.have_ended() || kinds.contains(&audit::Kind::Lost) || Instant::now() > deadline
            {
                let outcomes = kinds.iter().map(|&kind| kind.into());
                self.verdict = Some(Verdict {
                    findings: kinds.iter().map(|kind| kind.title()).collect(),
                    outcome: outcomes.max().unwrap_or(Outcome::Right),
                    status: rows.status().map(str::to_owned),
                });
                return Ok(());
            }
            tokio::time::sleep(10 * LOOK_EVERY).await;
        }
    }

    /// Waits for what a step is to bring about.
    async fn wait_for(&self, lab: &Lab, step: Step) -> Result<(), Problem> {
        let deadline = Instant::now() + STEP_WITHIN;
        while !self.has_happened(lab, step).await? {
            look_again(deadline, step.promise()).await?;
        }
        Ok(())
    }

    async fn has_happened(&self, lab: &Lab, step: Step) -> Result<bool, Problem> {
        let wallet = &self.wallet_id;
        let payment_id = self
            .facts
            .as_ref()
            .and_then(|facts| facts.payment_id.as_deref());
        let payment_id = payment_id.unwrap_or_default();
        match (step, self.pattern) {
            (Step::FirstWrite, Pattern::Outbox | Pattern::DualWrite) => {
                Ok(WalletRows::read(lab, wallet).await?.status().is_some())
            }
            (Step::FirstWrite, Pattern::ListenToYourself) => {
                has_record(lab, "wallet.commands", wallet).await
            }
            (Step::FirstWrite, Pattern::PublishFirst) | (Step::Debit, _) => {
                has_record(lab, "wallet.events", wallet).await
            }
            (Step::Relay, _) => {
                let rows = WalletRows::read(lab, wallet).await?;
                Ok(is_empty(&rows.outbox) && has_record(lab, "wallet.events", wallet).await?)
            }
            (Step::Pay, _) => Ok(receipt(lab, payment_id).await?.is_some()),
            (Step::Record, _) => {
                let rows = BillRows::read(lab, payment_id).await?;
                Ok(!is_empty(&rows.bill_outbox))
            }
            (Step::Report, _) => has_record(lab, "bill.events", wallet).await,
            (Step::Settle, _) => Ok(WalletRows::read(lab, wallet).await?.have_ended()),
            (Step::Begin | Step::Rest | Step::Restart | Step::Again | Step::Audit, _) => Ok(true),
        }
    }

    /// The provider decides at once and responds late.
    async fn delay_provider(&self, lab: &Lab) -> Result<(), Problem> {
        put_behaviour(lab, &json!({ "latency_ms": RESPONSE_AFTER_MS })).await
    }

    async fn restore_provider(&self, lab: &Lab) -> Result<(), Problem> {
        put_behaviour(lab, &self.behaviour).await
    }

    async fn pause(&mut self, lab: &Lab, name: &'static str) -> Result<(), Problem> {
        if !is_in_state(lab, name, "paused").await {
            let paused = lab.processes.signal(name, Action::Pause).await;
            paused.map_err(|error| conflict(format!("{error:#}")))?;
        }
        self.paused.insert(name);
        let Some(process) = pid(lab, name).await.and_then(Identity::of) else {
            return Ok(());
        };
        let deadline = Instant::now() + STEP_WITHIN;
        while !process.is_paused() {
            look_again(deadline, "the process stands still").await?;
        }
        Ok(())
    }

    async fn resume(&mut self, lab: &Lab, name: &'static str) -> Result<(), Problem> {
        if is_in_state(lab, name, "paused").await {
            let resumed = lab.processes.signal(name, Action::Resume).await;
            resumed.map_err(|error| conflict(format!("{error:#}")))?;
        }
        self.paused.remove(name);
        Ok(())
    }

    /// What somebody else has stopped or resumed in the meantime stays so.
    async fn resume_all(&mut self, lab: &Lab) {
        for name in self.paused.clone() {
            drop(self.resume(lab, name).await);
        }
        drop(self.restore_provider(lab).await);
    }
}

async fn put_behaviour(lab: &Lab, behaviour: &Value) -> Result<(), Problem> {
    let provider = lab.stack().await?.mock_provider;
    let put = parts::put_behaviour(&provider, behaviour).await;
    put.map_err(|error| away(&error))
}

async fn pid(lab: &Lab, name: &str) -> Option<i32> {
    lab.processes.part(name).await?.pid
}

async fn is_in_state(lab: &Lab, name: &str, state: &str) -> bool {
    let part = lab.processes.part(name).await;
    part.is_some_and(|part| part.state == state)
}

async fn has_record(lab: &Lab, topic: &str, wallet_id: &str) -> Result<bool, Problem> {
    Ok(!records(lab, topic, wallet_id).await?.is_empty())
}

/// Waits a moment, or fails at the deadline.
async fn look_again(deadline: Instant, what: &str) -> Result<(), Problem> {
    if Instant::now() > deadline {
        return Err(late(what));
    }
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(())
}

fn late(what: &str) -> Problem {
    Problem::unavailable(format!(
        "it took longer than {} s until {what}: try again, or end this payment",
        STEP_WITHIN.as_secs()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_payment_that_nobody_steps_ends_and_a_step_gives_it_the_whole_time_again() {
        let (step, steps) = watch::channel(());
        let idle_max = Duration::from_millis(200);
        let begun = Instant::now();
        let wait = abandoned(steps, CancellationToken::new(), idle_max);
        let stepping = async {
            while begun.elapsed() <= 2 * idle_max {
                step.send_replace(());
                tokio::task::yield_now().await;
            }
            begun.elapsed()
        };
        let ((), last_step) = tokio::join!(wait, stepping);
        assert!(begun.elapsed() >= last_step + idle_max);
    }

    #[tokio::test]
    async fn a_payment_ends_at_once_when_it_is_stopped_or_gone() {
        let (step, steps) = watch::channel(());
        let token = CancellationToken::new();
        token.cancel();
        abandoned(steps.clone(), token, Duration::MAX).await;
        drop(step);
        abandoned(steps, CancellationToken::new(), Duration::MAX).await;
    }
}

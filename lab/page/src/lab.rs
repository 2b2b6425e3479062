//! What the page's routes and tasks share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit::{self, ProviderAccess, Report, Scope, Sources};
use chassis::Problem;
use chassis::database::Pool;
use chrono::{DateTime, Utc};
use diesel::sql_types::Timestamptz;
use diesel_async::RunQueryDsl as _;
use lab_stack::commands::{Command, CommandRequest};
use lab_stack::home::Home;
use lab_stack::process_table::ProcessTable;
use lab_stack::stack::Stack;
use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::problems::{away, conflict};
use super::snapshot::{
    AccidentView, Behaviour, Comparison, Flow, Lag, Money, MoneyScope, Run, Statistics,
};

/// Connections to each database: for the figures, and for whoever looks inside.
const CONNECTIONS: u32 = 4;

/// How long an audit may take: one that waits for a paused server would never end.
const AUDIT_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Lab {
    pub(super) home: Home,
    pub(super) processes: ProcessTable,
    pub(super) tasks: TaskTracker,
    commands: mpsc::Sender<CommandRequest>,
    databases: OnceCell<Databases>,
    shown: Mutex<PageState>,
    /// The last snapshot, as JSON; whoever listens gets each.
    pub(super) live: watch::Sender<Arc<str>>,
}

/// Both databases.
pub(super) struct Databases {
    pub(super) wallet: Pool,
    pub(super) bills: Pool,
}

/// What was found out last, each by its own task.
#[derive(Default)]
pub(super) struct PageState {
    pub(super) flow: Flow,
    pub(super) lag: Lag,
    pub(super) statistics: Statistics,
    pub(super) behaviour: Option<Behaviour>,
    pub(super) run: Option<Run>,
    pub(super) accidents: Vec<AccidentView>,
    pub(super) money: Option<Money>,
    /// What [`Self::money`] is about.
    pub(super) scope: Option<MoneyScope>,
    pub(super) comparison: Option<Comparison>,
    work: Option<(WorkKind, CancellationToken)>,
}

impl PageState {
    pub(super) fn is_idle(&self) -> Result<(), Problem> {
        match self.work {
            None => Ok(()),
            Some((WorkKind::Traffic, _)) => Err(conflict(
                "traffic is being sent or audited: stop it, or wait until it has ended",
            )),
            Some((WorkKind::SlowMotion, _)) => Err(conflict(
                "one payment is shown in slow motion, and processes stand still for it: end it first",
            )),
        }
    }

    pub(super) const fn is_slow_motion(&self) -> bool {
        matches!(self.work, Some((WorkKind::SlowMotion, _)))
    }
}

#[derive(Debug, Clone, Copy)]
enum WorkKind {
    /// A run, or a comparison.
    Traffic,
    SlowMotion,
}

/// Work that goes on; ended by being dropped.
pub(super) struct Work {
    lab: Arc<Lab>,
    token: CancellationToken,
}

impl Work {
    /// Cancelled when it is to stop.
    pub(super) const fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.lab.shown().work = None;
    }
}

impl Lab {
    /// Nothing is known yet.
    pub(super) fn new(
        home: Home,
        processes: ProcessTable,
        commands: mpsc::Sender<CommandRequest>,
    ) -> Self {
        Self {
            home,
            processes,
            tasks: TaskTracker::new(),
            commands,
            databases: OnceCell::new(),
            shown: Mutex::default(),
            live: watch::Sender::new(Arc::from("{}")),
        }
    }

    /// Begins a run of traffic or a comparison: one at a time.
    pub(super) fn begin_work(self: &Arc<Self>) -> Result<Work, Problem> {
        self.begin(WorkKind::Traffic)
    }

    /// Begins to show one payment in slow motion: no traffic meanwhile.
    pub(super) fn begin_slow_motion(self: &Arc<Self>) -> Result<Work, Problem> {
        self.begin(WorkKind::SlowMotion)
    }

    fn begin(self: &Arc<Self>, kind: WorkKind) -> Result<Work, Problem> {
        let token = CancellationToken::new();
        let mut shown = self.shown();
        shown.is_idle()?;
        shown.work = Some((kind, token.clone()));
        drop(shown);
        Ok(Work {
            lab: Arc::clone(self),
            token,
        })
    }

    /// Stops it, if there is any; it ends a little later.
    pub(super) fn stop_work(&self) {
        if let Some((_, work)) = &self.shown().work {
            work.cancel();
        }
    }

    pub(super) fn is_at_work(&self) -> bool {
        self.shown().work.is_some()
    }

    /// What is shown. Never held across an await.
    pub(super) fn shown(&self) -> MutexGuard<'_, PageState> {
        // Each change of it is one assignment: a panic elsewhere leaves nothing half done.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn stack(&self) -> Result<Stack, Problem> {
        self.processes.stack().await.ok_or_else(|| {
            Problem::unavailable(
                "the system is starting; its addresses are known when all is ready",
            )
        })
    }

    /// Both databases.
    pub(super) async fn databases(&self) -> Result<&Databases, Problem> {
        let stack = self.stack().await?;
        let open = async || {
            let pool = |url: &str| {
                let config = chassis::config::DatabaseConfig::new(url, CONNECTIONS);
                chassis::database::pool(&config, "lab")
            };
            anyhow::Ok(Databases {
                wallet: pool(&stack.wallet_database_url)?,
                bills: pool(&stack.bill_payer_database_url)?,
            })
        };
        let databases = self.databases.get_or_try_init(open).await;
        databases.map_err(|error| away(&error))
    }

    /// Has a command carried out.
    pub(super) async fn carry_out(&self, command: Command) -> Result<(), Problem> {
        self.stack().await?;
        if let Some(busy) = self.processes.busy().await {
            return Err(conflict(format!(
                "the lab is {busy}: try again in a moment"
            )));
        }
        let (sender, outcome) = oneshot::channel();
        self.commands.try_send((command, sender)).map_err(|_| {
            conflict("the lab is starting, or carries out another command: try again in a moment")
        })?;
        let why = match outcome.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "the lab is stopping".to_owned(),
        };
        Err(Problem::new(
            chassis::problem::StatusCode::INTERNAL_SERVER_ERROR,
            "not-done",
            "It could not be done",
            why,
        ))
    }

    /// The money that is shown is that of `scope` from now on.
    pub(super) fn show_scope(&self, scope: MoneyScope) {
        let mut shown = self.shown();
        shown.scope = Some(scope);
        shown.money = None;
    }

    /// From now on. It is not shown yet.
    pub(super) async fn new_scope(&self, is_run: bool) -> Result<MoneyScope, Problem> {
        let sources = self.sources().await?;
        Ok(MoneyScope {
            since: self.now().await?,
            is_run,
            at_provider_before: audit::payments_at_provider(&sources).await.ok(),
        })
    }

    /// Audits the payments of `scope`; inside, why the audit could not be made.
    pub(super) async fn audit(
        &self,
        scope: &MoneyScope,
    ) -> Result<anyhow::Result<Report>, Problem> {
        let scope = Scope {
            since: Some(scope.since),
            at_provider_before: scope.at_provider_before,
            ..Scope::default()
        };
        let sources = self.sources().await?;
        let audited = audit::audit(&sources, scope, &|_, _, _| {});
        Ok(match tokio::time::timeout(AUDIT_WITHIN, audited).await {
            Ok(audited) => audited,
            Err(_) => Err(anyhow::anyhow!(
                "a server does not answer within {AUDIT_WITHIN:?}"
            )),
        })
    }

    pub(super) async fn sources(&self) -> Result<Sources, Problem> {
        let stack = self.stack().await?;
        Ok(Sources {
            wallet_database_url: stack.wallet_database_url,
            bill_payer_database_url: stack.bill_payer_database_url,
            kafka_brokers: stack.kafka_brokers,
            topic_prefix: stack.topic_prefix,
            provider_url: stack.mock_provider,
            provider_access: ProviderAccess::default(),
        })
    }

    pub(super) async fn now(&self) -> Result<DateTime<Utc>, Problem> {
        let mut conn = self.databases().await?.wallet.get().await?;
        let now = diesel::select(diesel::dsl::sql::<Timestamptz>("clock_timestamp()"));
        Ok(now.get_result(&mut conn).await?)
    }
}

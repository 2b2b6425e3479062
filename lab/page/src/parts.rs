//! Breaking the system: commands to its processes. Only processes that the lab has started can be named.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use chassis::Problem;
use chassis::http::{JsonBody, Path};
use chassis::problem::StatusCode;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl as _;
use lab_stack::commands::Command;
use lab_stack::http;
use lab_stack::process_table::Action;
use lab_stack::relay_mode::RelayMode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::lab::Lab;
use super::problems::{away, conflict};
use super::snapshot::Behaviour;

/// The body of `POST /api/parts/{name}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActionRequest {
    action: Action,
}

/// `POST /api/parts/{name}`: returns when it is done.
pub(super) async fn act(
    State(lab): State<Arc<Lab>>,
    Path(name): Path<String>,
    JsonBody(ActionRequest { action }): JsonBody<ActionRequest>,
) -> Result<StatusCode, Problem> {
    let part = lab.processes.part(&name).await;
    let part = part.ok_or_else(|| Problem::not_found("part", &name))?;
    if !part.actions.contains(&action) {
        return Err(conflict(format!("{name} is {}", part.state)));
    }
    match action {
        Action::Kill | Action::Pause | Action::Resume => {
            let signalled = lab.processes.signal(&name, action).await;
            signalled.map_err(|error| conflict(format!("{error:#}")))?;
        }
        Action::Stop => lab.carry_out(Command::Stop(name)).await?,
        Action::Start => lab.carry_out(Command::Start(name)).await?,
        Action::Restart => lab.carry_out(Command::Restart(name)).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The body of `PUT /api/relay-mode`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelayModeRequest {
    mode: RelayMode,
}

/// `PUT /api/relay-mode`: returns when the relays are ready in that mode.
pub(super) async fn switch_relays(
    State(lab): State<Arc<Lab>>,
    JsonBody(RelayModeRequest { mode }): JsonBody<RelayModeRequest>,
) -> Result<StatusCode, Problem> {
    lab.carry_out(Command::RelayMode(mode)).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Behaviour {
    /// Nothing unusual.
    pub(super) const GOOD: Self = Self {
        timeout_share: 0.0,
        server_error_share: 0.0,
        decline_share: 0.0,
        seed: None,
    };

    pub(super) async fn get(provider: &str) -> anyhow::Result<Self> {
        get_behaviour(provider).await
    }

    pub(super) async fn put(self, provider: &str) -> anyhow::Result<()> {
        put_behaviour(provider, &self).await
    }
}

/// How the provider behaves, as far as `B` tells.
pub(super) async fn get_behaviour<B: DeserializeOwned>(provider: &str) -> anyhow::Result<B> {
    let answer = http::client().get(format!("{provider}/behaviour"));
    Ok(answer.send().await?.error_for_status()?.json().await?)
}

/// Has the provider behave so. What `behaviour` does not tell is usual.
pub(super) async fn put_behaviour(
    provider: &str,
    behaviour: &impl Serialize,
) -> anyhow::Result<()> {
    let order = http::client().put(format!("{provider}/behaviour"));
    let answer = order.json(behaviour).send().await?;
    let status = answer.status();
    anyhow::ensure!(status.is_success(), "{}", answer.text().await?);
    Ok(())
}

/// `PUT /api/behaviour`.
pub(super) async fn behave(
    State(lab): State<Arc<Lab>>,
    JsonBody(behaviour): JsonBody<Behaviour>,
) -> Result<StatusCode, Problem> {
    let provider = lab.stack().await?.mock_provider;
    behaviour
        .put(&provider)
        .await
        .map_err(|error| Problem::invalid(format!("{error:#}")))?;
    Ok(StatusCode::NO_CONTENT)
}

/// A slot that is read can't be dropped, and whoever reads it comes back within moments.
const TRIES_MAX: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

// Those of our relays only: the server may be somebody's.
const END_READERS: &str = "select pg_terminate_backend(active_pid) from pg_replication_slots \
     where database = current_database() and active and slot_name ~ '^outbox_(relay|debezium)_'";
const DROP: &str = "select slot_name::text, pg_drop_replication_slot(slot_name) from pg_replication_slots \
     where database = current_database() and slot_name ~ '^outbox_(relay|debezium)_'";

#[derive(diesel::QueryableByName)]
struct Dropped {
    #[diesel(sql_type = Text)]
    slot_name: String,
}

/// `POST /api/slot/drop`.
pub(super) async fn slot(State(lab): State<Arc<Lab>>) -> Result<StatusCode, Problem> {
    drop_slot(&lab).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends whoever reads the replication slot of the wallet's database, and drops it.
pub(super) async fn drop_slot(lab: &Lab) -> Result<(), Problem> {
    let mut conn = lab.databases().await?.wallet.get().await?;
    for _ in 0..TRIES_MAX {
        diesel::sql_query(END_READERS).execute(&mut conn).await?;
        tokio::time::sleep(BETWEEN_TRIES).await;
        match diesel::sql_query(DROP).load::<Dropped>(&mut conn).await {
            Ok(slots) if slots.is_empty() => {
                return Err(conflict(
                    "there is no replication slot: the poller needs none",
                ));
            }
            Ok(slots) => {
                let names: Vec<String> = slots.into_iter().map(|slot| slot.slot_name).collect();
                tracing::warn!(?names, "dropped by order");
                return Ok(());
            }
            Err(error) => tracing::debug!("the slot is in use again: {error}"),
        }
    }
    Err(away(&anyhow::anyhow!("the slot was in use each time")))
}

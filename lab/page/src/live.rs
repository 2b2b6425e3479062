//! The live picture: tasks that look at one thing each, and one that puts what they saw together and sends it to every
//! page that is open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use chassis::Problem;
use futures_util::Stream;
use futures_util::stream::unfold;
use lab_stack::commands::Command;
use tracing::debug;

use super::flow::Sampler;
use super::lab::Lab;
use super::snapshot::{Amounts, Behaviour, Live, now_ms};
use super::{lag, money};

/// How often the pages get a new picture: more would only be work for the browser.
const SEND_EVERY: Duration = Duration::from_millis(250);
const FLOW_EVERY: Duration = Duration::from_millis(500);
const LAG_EVERY: Duration = Duration::from_secs(1);
const MONEY_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    /// [`Flow`] and [`Statistics`].
    Flow,
    /// [`Lag`], and how the provider behaves.
    Lag,
    Money,
    /// Sends the rest.
    Live,
}

/// Looks again and again, for as long as the lab runs. While no page is open and nothing was asked for, only counters
/// are read.
pub(super) async fn keep(lab: Arc<Lab>, task: Task) -> anyhow::Result<()> {
    let every = match task {
        Task::Flow => FLOW_EVERY,
        Task::Lag => LAG_EVERY,
        Task::Money => MONEY_EVERY,
        Task::Live => SEND_EVERY,
    };
    let mut sampler = Sampler::default();
    let mut groups = None;
    loop {
        tokio::time::sleep(every).await;
        let is_watched = lab.live.receiver_count() > 0 || lab.is_at_work();
        let looked = match task {
            Task::Flow => sampler.run_once(&lab, is_watched).await,
            _ if !is_watched => Ok(()),
            Task::Lag => look_around(&lab, &mut groups).await,
            Task::Money => money::run_once(&lab).await,
            Task::Live => {
                let live = picture(&lab).await;
                let json = serde_json::to_string(&live).expect("figures and names are JSON");
                lab.live.send_replace(Arc::from(json));
                Ok(())
            }
        };
        if let Err(problem) = looked {
            debug!(?task, ?problem, "looking");
        }
    }
}

type Groups = Arc<[lag::Group; 3]>;

async fn look_around(lab: &Lab, groups: &mut Option<Groups>) -> Result<(), Problem> {
    let stack = lab.stack().await?;
    let groups = match groups {
        Some(groups) => groups,
        None => groups.insert(lag::groups(&stack).map_err(|error| super::problems::away(&error))?),
    };
    let lag = lag::look(groups).await.unwrap_or_default();
    let behaviour = Behaviour::get(&stack.mock_provider).await.ok();
    let mut shown = lab.shown();
    shown.lag = lag;
    shown.behaviour = behaviour;
    Ok(())
}

async fn picture(lab: &Lab) -> Live {
    let stack = lab.processes.stack().await;
    let busy = lab.processes.busy().await;
    let parts = lab.processes.parts().await;
    let shown = lab.shown();
    Live {
        at: now_ms(),
        ready: stack.is_some(),
        relay_mode: stack
            .as_ref()
            .map_or_else(String::new, |stack| stack.relay_mode.to_string()),
        wallet_api_admin: stack.map(|stack| stack.wallet_api_admin),
        switching_to: match busy {
            Some(Command::RelayMode(mode)) => Some(mode),
            _ => None,
        },
        busy: busy.map(|command| command.to_string()),
        parts,
        flow: Amounts {
            flow: shown.flow.clone(),
            lag: shown.lag,
        },
        statistics: shown.statistics.clone(),
        slow_motion: shown.is_slow_motion(),
        behaviour: shown.behaviour,
        run: shown.run.clone(),
        accidents: shown.accidents.clone(),
        money: shown.money.clone(),
        comparison: shown.comparison.clone(),
    }
}

/// `GET /api/live`: a picture at once, then each new one. A page that is slow misses some, and gets the last.
pub(super) async fn stream(
    State(lab): State<Arc<Lab>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut pictures = lab.live.subscribe();
    // What lies there may be old: nobody was listening.
    pictures.mark_unchanged();
    let events = unfold(pictures, async |mut pictures| {
        pictures.changed().await.ok()?;
        let json = Arc::clone(&pictures.borrow_and_update());
        let event = Event::default().event("live").data(json);
        Some((Ok(event), pictures))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

//! What the lab itself serves: the page, its live figures, the commands that people give on it, and for programs
//! `GET /status` (the parts, as text) and `GET /stack` (`stack.json` without passwords).
//!
//! Promises: only this machine reaches it unless `LAB_ADDRESS` says otherwise, under a name of this machine or of `HTTP_HOSTS`; whatever changes something needs the token that
//! is in the page and in `processes.json`, so another page in the same browser can give no commands.

mod accidents;
mod compare;
mod flow;
mod guard;
mod lab;
mod lag;
mod live;
mod logs;
mod messages;
mod money;
mod page;
mod parts;
mod problems;
mod repair;
mod slow_motion;
mod snapshot;
mod tables;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router, middleware};
use chassis::config::HttpConfig;
use chassis::health::Readiness;
use chassis::{Problem, Service};
use lab_stack::commands::CommandRequest;
use lab_stack::config::Settings;
use lab_stack::home::Home;
use lab_stack::process_table::ProcessTable;
use tokio::sync::mpsc;

use self::lab::Lab;

/// Serves on the lab's port, and takes commands; `/readyz` succeeds while every part works.
pub async fn serve(
    service: &Service,
    settings: &Settings,
    home: &Home,
    processes: &ProcessTable,
    commands: mpsc::Sender<CommandRequest>,
) -> anyhow::Result<()> {
    let checked = processes.clone();
    let readiness = Readiness::new().require("parts", move || {
        let processes = checked.clone();
        async move { processes.check().await }
    });
    let lab = Arc::new(Lab::new(home.clone(), processes.clone(), commands));
    for (name, task) in [
        ("flow", live::Task::Flow),
        ("lag", live::Task::Lag),
        ("money", live::Task::Money),
        ("live", live::Task::Live),
    ] {
        service.spawn(name, live::keep(Arc::clone(&lab), task));
    }
    let guard = guard::Guard::new(processes.token().await);
    let routes = routes(lab).layer(middleware::from_fn_with_state(
        Arc::new(guard),
        guard::check,
    ));
    let listen = SocketAddr::new(settings.lab_address, settings.ports.lab_port).to_string();
    let config = HttpConfig {
        hosts: settings.hosts.clone(),
        ..HttpConfig::default()
    };
    service
        .serve_operators(&listen, &config, readiness, routes)
        .await
}

fn routes(lab: Arc<Lab>) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/status", get(status))
        .route("/stack", get(stack))
        .route("/api/live", get(live::stream))
        .route("/api/traffic", post(traffic::begin).delete(traffic::stop))
        .route("/api/reset", post(money::reset))
        .route("/api/relay-mode", put(parts::switch_relays))
        .route("/api/behaviour", put(parts::behave))
        .route("/api/parts/{name}", post(parts::act))
        .route("/api/slot/drop", post(parts::slot))
        .route("/api/accidents/{name}", post(accidents::begin))
        .route("/api/redrive", post(repair::all))
        .route("/api/redrive/{payment_id}", post(repair::one))
        .route("/api/compare", post(compare::begin).delete(compare::stop))
        .route("/api/slow-motion", post(slow_motion::begin))
        .route("/api/slow-motion/next", post(slow_motion::next))
        .route("/api/slow-motion/crash", post(slow_motion::crash))
        .route("/api/slow-motion/end", post(slow_motion::end))
        .layer(Extension(slow_motion::OpenSession::default()))
        .route("/api/tables", get(tables::list))
        .route("/api/tables/{name}", get(tables::show))
        .route("/api/trace/{payment_id}", get(money::trace))
        .route("/api/logs", get(logs::list))
        .route("/api/logs/{part}", get(logs::show))
        .with_state(lab)
}

async fn status(State(lab): State<Arc<Lab>>) -> String {
    lab.processes.page().await
}

/// Without passwords: every user of this machine can ask.
async fn stack(State(lab): State<Arc<Lab>>) -> Result<Response, Problem> {
    let mut stack = lab.stack().await?;
    for url in [
        &mut stack.wallet_database_url,
        &mut stack.bill_payer_database_url,
    ] {
        *url = lab_terminal::without_password(url).map_err(|error| Problem::internal(&*error))?;
    }
    Ok(Json(stack).into_response())
}

//! What the lab itself answers: `GET /`, the parts and their state for people, and `GET /stack`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use chassis::config::HttpConfig;
use chassis::health::Readiness;
use chassis::{Problem, Service};

use crate::board::Board;

/// Serves the board on `port`; `/readyz` succeeds while every part works.
///
/// # Errors
/// The port can't be listened on.
pub(crate) async fn serve(service: &Service, port: u16, board: &Board) -> anyhow::Result<()> {
    let checked = board.clone();
    let readiness = Readiness::new().require("parts", move || {
        let board = checked.clone();
        async move { board.check().await }
    });
    let routes = Router::new()
        .route("/", get(page))
        .route("/stack", get(stack))
        .with_state(board.clone());
    let listen = format!("127.0.0.1:{port}");
    service
        .serve(&listen, &HttpConfig::default(), readiness, routes)
        .await
}

async fn page(State(board): State<Board>) -> String {
    board.page().await
}

async fn stack(State(board): State<Board>) -> Response {
    match board.stack().await {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        None => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "starting",
            "The system is starting",
            "the addresses are known when all parts are ready",
        )
        .retry_after(1)
        .into_response(),
    }
}

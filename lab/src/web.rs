//! What the lab itself answers: `GET /`, the parts and their state for people, `GET /stack`, and `POST /orders` to
//! whoever knows the token.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use chassis::config::HttpConfig;
use chassis::health::Readiness;
use chassis::http::JsonBody;
use chassis::{Problem, Service};
use tokio::sync::{mpsc, oneshot};

use crate::board::Board;
use crate::orders::{Order, Ordered, TOKEN_HEADER};

/// Serves the board on `port`, and takes orders; `/readyz` succeeds while every part works.
///
/// # Errors
/// The port can't be listened on.
pub(crate) async fn serve(
    service: &Service,
    port: u16,
    board: &Board,
    orders: mpsc::Sender<Ordered>,
) -> anyhow::Result<()> {
    let checked = board.clone();
    let readiness = Readiness::new().require("parts", move || {
        let board = checked.clone();
        async move { board.check().await }
    });
    let routes = Router::new()
        .route("/", get(page))
        .route("/stack", get(stack))
        .with_state(board.clone())
        .merge(Router::new().route("/orders", post(order)).with_state(App {
            token: board.token().await,
            orders,
        }));
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

#[derive(Clone)]
struct App {
    token: String,
    orders: mpsc::Sender<Ordered>,
}

/// Answers when it is carried out.
async fn order(
    State(app): State<App>,
    headers: HeaderMap,
    JsonBody(order): JsonBody<Order>,
) -> Result<StatusCode, Problem> {
    let token = headers
        .get(TOKEN_HEADER)
        .map(axum::http::HeaderValue::as_bytes);
    if token != Some(app.token.as_bytes()) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "token-required",
            "Orders need the token",
            format!("the header {TOKEN_HEADER} has to be the token in processes.json"),
        ));
    }
    let (sender, outcome) = oneshot::channel();
    app.orders.try_send((order, sender)).map_err(|_| {
        Problem::new(
            StatusCode::CONFLICT,
            "busy",
            "The lab is busy",
            "it is starting, or carries out another order",
        )
    })?;
    match outcome.await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        outcome => {
            let why = match outcome {
                Ok(Err(error)) => format!("{error:#}"),
                _ => "the lab is stopping".to_owned(),
            };
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "not-done",
                "It could not be done",
                why,
            ))
        }
    }
}

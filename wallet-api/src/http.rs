//! The HTTP API: its routes. Each handler checks what a request must look like and says how it is answered.

mod app;
mod lab;
mod pay_bill;
mod redrive;
mod wallets;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub use self::app::App;
use crate::dead_letters::DeadLetterHandler;
use crate::settlement::Settlement;

/// The routes of the API.
///
/// A route that changes something takes an `Idempotency-Key`, or is an operator's and idempotent by
/// state: a dead letter is taken or discarded once, whoever asks and however often.
pub fn routes(app: App) -> Router {
    let pay_bill = post(pay_bill::pay_bill);
    let choose = from_fn_with_state(app.clone(), lab::choose);
    Router::new()
        .route(
            "/wallets",
            post(wallets::create_wallet).get(wallets::list_wallets),
        )
        .route("/wallets/{id}", get(wallets::show_wallet))
        .route("/wallets/{id}/top-ups", post(wallets::top_up))
        .route("/wallets/{id}/pay-bill", pay_bill.route_layer(choose))
        .route("/wallets/{id}/payments", get(wallets::list_payments))
        .route("/wallets/{id}/transfers", get(wallets::list_transfers))
        .route("/payments/{id}", get(wallets::show_payment))
        .with_state(app.clone())
        .merge(redrive::routes(app.pool.clone()))
        .merge(operations::dead_letters::routes(
            app.pool.clone(),
            DeadLetterHandler::new(Settlement::new(app.pool)),
        ))
}

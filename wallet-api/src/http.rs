//! The HTTP API: its routes. Each handler checks what a request must look like and says how it is answered.

mod app;
mod lab;
mod ownership;
mod pay_bill;
mod redrive;
mod schemas;
mod wallets;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use chassis::access::{Access, Audience};
use chassis::database::Pool;
use chassis::openapi;
use utoipa::OpenApi;

pub use self::app::App;
use crate::dead_letters::DeadLetterHandler;
use crate::settlement::Settlement;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "wallet-api",
        description = "Wallets, and bills that are paid from them."
    ),
    paths(
        wallets::create_wallet,
        wallets::list_wallets,
        wallets::show_wallet,
        wallets::top_up,
        pay_bill::pay_bill,
        wallets::list_payments,
        wallets::list_transfers,
        wallets::show_payment,
    )
)]
struct Customers;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "wallet-api, for operators",
        description = "Dead letters, and payments that were lost."
    ),
    paths(redrive::redrive_one, redrive::redrive_pending)
)]
struct Operators;

/// The document of [`routes`].
#[must_use]
pub fn customers_document() -> utoipa::openapi::OpenApi {
    let own = [
        ("403", "`owner-adds-no-money`: callers with an owner can't."),
        (
            "404",
            "`unknown-wallet`: there is no such wallet, or it is not the caller's.",
        ),
        (
            "503",
            "`queue-full`: too many payments wait. Send the same `Idempotency-Key` again, too. `event-lost`: only in the pattern \
             dual-write, which loses events.",
        ),
    ];
    openapi::complete(Customers::openapi(), Audience::Customers, &own)
}

/// The document of [`operators_routes`].
#[must_use]
pub fn operators_document() -> utoipa::openapi::OpenApi {
    let document = Operators::openapi().merge_from(operations::dead_letters::Document::openapi());
    openapi::complete(document, Audience::Operators, &[])
}

/// Customers' routes, for those who have access. One that changes something takes an `Idempotency-Key`.
pub fn routes(app: App, access: &Access) -> Router {
    let pay_bill = post(pay_bill::pay_bill);
    let choose = from_fn_with_state(app.clone(), lab::choose);
    let routes = Router::new()
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
        .with_state(app.clone());
    if !access.asks_who_calls() {
        return routes;
    }
    let own = from_fn_with_state(app, ownership::check);
    access.guard(Audience::Customers, routes.route_layer(own))
}

/// Operators' routes. One that changes something is idempotent by state: a dead letter is taken or discarded once,
/// whoever asks and however often.
pub fn operators_routes(pool: &Pool) -> Router {
    let letters = DeadLetterHandler::new(Settlement::new(pool.clone()));
    redrive::routes(pool.clone()).merge(operations::dead_letters::routes(pool.clone(), letters))
}

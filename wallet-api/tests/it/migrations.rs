//! Each migration of this service can be taken back; those that it shares have tests of their own.

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_made_taken_back_and_made_again() {
    let shared = vec![outbox::MIGRATIONS, operations::MIGRATIONS];
    testkit::up_down_up(shared, wallet_api::MIGRATIONS).await;
}

//! What one part says of a payment and another part says otherwise, field by field.

use anyhow::Context as _;

use super::report::Difference;
use super::session::Session;
use super::topic::{BILL_EVENTS, WALLET_COMMANDS, WALLET_EVENTS};

/// What is compared. The status is `paid` or `not paid`, and nobody's before the payment has ended there.
const COMPARED: [&str; 9] = [
    "wallet_id",
    "amount",
    "currency",
    "provider",
    "account_number",
    "status",
    "receipt",
    "reason",
    "idempotency_key",
];

/// Payments whose differences are shown: as many as a finding has examples.
const SHOWN_MAX: usize = 10;

/// Finds the payments of which two parts, or two messages, tell different values.
pub(super) async fn find(session: &Session) -> anyhow::Result<()> {
    session.run(&told()).await?;
    // One pass over all that is told; a null, which is a field that a part does not have, counts for nothing.
    let differ = COMPARED.map(|field| {
        format!("min({field} collate \"C\") is distinct from max({field} collate \"C\")")
    });
    let differ = differ.join(" or ");
    session
        .run(&format!(
            "insert into found select 'differs', payment_id::text from told group by payment_id having {differ}"
        ))
        .await
}

/// The view `told`: what each part says of each payment, as text, a null for what it has no field for.
///
/// A message counts, also as a dead letter, until an operator has discarded that. The key of a message is a wallet's id, and
/// stands in a row of its own where it is another than the message's. A command may leave the currency to the wallet.
fn told() -> String {
    let request_or_command = "provider, account_number";
    format!(
        "create function pg_temp.plain(amount text) returns text language sql immutable as $$ \
             select case when amount ~ '^[0-9]{{1,30}}([.][0-9]{{1,30}})?$' \
                 then trim_scale(amount::numeric)::text else amount end $$; \
         create temp view message as \
             select event.*, case topic when {commands} then '{command_name}' when {requests} then '{request_name}' \
                 else '{result_name}' end as place, partition || ':' || position as at \
             from event where not exists ( \
                 select from letter where is_discarded and letter.payment_id = event.payment_id \
                     and (letter.topic, letter.partition, letter.position) \
                         = (event.topic, event.partition, event.position)); \
         create temp view told as \
             select id as payment_id, 'wallet database' as place, null as at, wallet_id::text, \
                 trim_scale(amount)::text as amount, currency, {request_or_command}, \
                 case status when 'paid' then 'paid' when 'refunded' then 'not paid' when 'declined' then 'not paid' end \
                     as status, \
                 receipt, case when status = 'refunded' then reason end as reason, idempotency_key \
             from audited \
             union all select payment_id, place, at, wallet_id, pg_temp.plain(amount), \
                 case when topic = {commands} then nullif(currency, '') else currency end, {request_or_command}, \
                 {result}, receipt, reason, idempotency_key from message \
             union all select payment_id, 'key of ' || place, at, key, null, null, null, null, null, null, null, null \
                 from message where key <> wallet_id \
             union all select payment_id, 'wallet outbox', null, wallet_id, pg_temp.plain(amount), currency, \
                 {request_or_command}, null, null, null, null from unpublished \
             union all select payment_id, 'bill-payer outbox', null, wallet_id, pg_temp.plain(amount), currency, \
                 null, null, {result}, receipt, reason, null from unpublished_result \
             union all select payment_id, 'key of ' || place, null, key, null, null, null, null, null, null, null, null \
                 from (select 'wallet outbox' as place, * from unpublished \
                     union all select 'bill-payer outbox', * from unpublished_result) as waiting \
                 where key <> wallet_id \
             union all select payment_id, 'bill-payer database', null, wallet_id::text, trim_scale(amount)::text, \
                 currency, {request_or_command}, case status when 'paid' then 'paid' when 'failed' then 'not paid' end, \
                 receipt, case when status = 'failed' then last_error end, null from bill \
             union all select payment_id, 'provider', reference, null, pg_temp.plain(amount), currency, \
                 {request_or_command}, \
                 case status when 'accepted' then 'paid' when 'declined' then 'not paid' when 'cancelled' then 'not paid' end, \
                 case when status = 'accepted' then coalesce(receipt, '') end, null, null \
             from at_provider where payment_id is not null",
        commands = WALLET_COMMANDS.number,
        command_name = WALLET_COMMANDS.name,
        requests = WALLET_EVENTS.number,
        request_name = WALLET_EVENTS.name,
        result_name = BILL_EVENTS.name,
        result =
            "case type when 'BillPaid' then 'paid' when 'BillPaymentFailed' then 'not paid' end",
    )
}

/// The differences of the payments that are the first examples of the finding. Of a forger's thousand values some are shown.
pub(super) async fn shown(session: &Session) -> anyhow::Result<Vec<Difference>> {
    let shown = format!(
        "with shown as ( \
             select distinct id::uuid as payment_id from found where kind = 'differs' order by 1 limit {SHOWN_MAX}), \
         placed as ( \
             select payment_id, field, value, place || coalesce(' ' || min(at), '') as place \
             from told join shown using (payment_id) \
             cross join lateral jsonb_each_text(to_jsonb(told) - array['payment_id', 'place', 'at']) \
                 as said (field, value) \
             where value is not null group by payment_id, field, value, told.place), \
         valued as ( \
             select payment_id, field, jsonb_build_object( \
                 'value', left(value, 200), 'where', array_agg(place order by place)) as value \
             from placed group by payment_id, field, placed.value) \
         select jsonb_build_object('id', payment_id, 'field', field, \
             'values', to_jsonb((array_agg(value order by value))[1:5]))::text \
         from valued group by payment_id, field having count(*) > 1 order by payment_id, field"
    );
    let rows = session.json(&shown).await?.into_iter();
    rows.map(|row| serde_json::from_value(row).context("reading PostgreSQL's answer"))
        .collect()
}

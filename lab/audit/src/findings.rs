//! Comparing what was gathered: where each payment is, and what is wrong.

use super::differences;
use super::report::{Finding, Kind, Latency, PatternCount, Report, Whereabouts};
use super::scope::Scope;
use super::session::Session;

/// Where a payment can be, in the order of the way; the same words as in [`place`].
const PLACES: [&str; 13] = [
    "command",
    "not published yet",
    "outbox",
    "parked",
    "Kafka",
    "dead letter",
    "bill paying",
    "bill cancelling",
    "bill parked",
    "result in outbox",
    "result parked",
    "result in Kafka",
    "result dead letter",
];

/// Ended between the first look at the wallet database and the last.
const ENDED_SINCE: &str = "ended since";

/// Fills the table `found` and the table `place`. The moments are those of the beginning, before the commands were
/// read, and of the first look at the wallet database.
pub(super) async fn find(
    session: &Session,
    scope: &Scope,
    begun_ms: i64,
    now_ms: i64,
) -> anyhow::Result<()> {
    // An outbox was read whole.
    let first = scope.first_id();
    session
        .run(&format!(
            "create index on at_provider (payment_id); create index on bill (payment_id); \
             delete from unpublished where payment_id < '{first}'; \
             delete from unpublished_result where payment_id < '{first}'; \
             analyze event; analyze bill; analyze at_provider"
        ))
        .await?;
    // A payment that was made since the beginning may be of a command that was not read.
    let lost_before_ms = begun_ms.min(now_ms - ms(scope.lost_after));
    session.run(&place(lost_before_ms)).await?;
    session.run(&stuck(scope, now_ms)).await?;
    session.run(AT_PROVIDER).await?;
    differences::find(session).await?;
    session.run(NOT_IN_WALLET).await?;
    session.run(OUT_OF_ORDER).await?;
    session.run(UNBALANCED).await
}

/// Each pending payment gets the last place on the way where it was seen. It is lost where something says that it has
/// left a place, and it is in no later place; the head of [`crate`] has the reasons.
///
/// The table `payments` is that of now, not of the first look.
fn place(lost_before_ms: i64) -> String {
    format!(
        "create temp table place as \
         with pending as ( \
             select id, created_at, true as is_payment from audited where status = 'pending' \
             union all select distinct payment_id, null::timestamptz, false from event where topic = 0 \
                 and not exists (select from audited where audited.id = payment_id)), \
         seen as ( \
             select event.payment_id, event.topic, bool_or(is_taken) as is_taken, \
                 bool_or(letter.position is not null) as is_dead \
             from event left join letter using (topic, partition, position) \
             where event.payment_id in (select id from pending) group by 1, 2), \
         waiting as (select payment_id, bool_or(parked) as parked from unpublished group by 1), \
         waiting_result as (select payment_id, bool_or(parked) as parked from unpublished_result group by 1), \
         dead as (select distinct topic, payment_id from letter where payment_id is not null) \
         select pending.id, pending.created_at, is_payment, case \
             when payments.status <> 'pending' then '{ENDED_SINCE}' \
             when result.is_dead or dead_result.payment_id is not null then 'result dead letter' \
             when result.is_taken then 'lost' \
             when result.payment_id is not null then 'result in Kafka' \
             when waiting_result.parked then 'result parked' \
             when waiting_result.payment_id is not null then 'result in outbox' \
             when bill.status in ('paid', 'failed') then 'lost' \
             when bill.payment_id is not null then 'bill ' || bill.status \
             when request.is_dead or dead_request.payment_id is not null then 'dead letter' \
             when request.is_taken then 'lost' \
             when request.payment_id is not null then 'Kafka' \
             when waiting.parked then 'parked' \
             when waiting.payment_id is not null then 'outbox' \
             when command.is_dead or dead_command.payment_id is not null then 'dead letter' \
             when not command.is_taken then 'command' \
             when extract(epoch from pending.created_at) * 1000 > {lost_before_ms} then 'not published yet' \
             else 'lost' end as place \
         from pending left join payments on payments.id = pending.id \
         left join seen as command on command.payment_id = pending.id and command.topic = 0 \
         left join seen as request on request.payment_id = pending.id and request.topic = 1 \
         left join seen as result on result.payment_id = pending.id and result.topic = 2 \
         left join dead as dead_command on dead_command.payment_id = pending.id and dead_command.topic = 0 \
         left join dead as dead_request on dead_request.payment_id = pending.id and dead_request.topic = 1 \
         left join dead as dead_result on dead_result.payment_id = pending.id and dead_result.topic = 2 \
         left join waiting on waiting.payment_id = pending.id \
         left join waiting_result on waiting_result.payment_id = pending.id \
         left join bill on bill.payment_id = pending.id"
    )
}

fn stuck(scope: &Scope, now_ms: i64) -> String {
    let stuck_before_ms = now_ms - ms(scope.stuck_after);
    format!(
        "insert into found select 'lost', id::text from place where place = 'lost'; \
         insert into found select 'stuck', id::text from place \
             where place not in ('lost', '{ENDED_SINCE}') \
                 and extract(epoch from created_at) * 1000 < {stuck_before_ms}"
    )
}

/// What the provider's list says, compared with what the wallet says. `payments` is that of now: the provider may know of
/// payments that were accepted since the first look.
const AT_PROVIDER: &str = "\
    insert into found select 'paid_twice', payment_id::text from at_provider \
         where status = 'accepted' and payment_id is not null group by payment_id having count(*) > 1; \
     insert into found select 'paid_twice', id::text from audited where settlements > 1; \
     insert into found select 'refunded_though_paid', audited.id::text \
         from audited join at_provider on payment_id = audited.id and at_provider.status = 'accepted' \
         left join bill on bill.payment_id = audited.id \
         where audited.status = 'refunded' or refunds > 0 or bill.status = 'failed'; \
     insert into found select 'paid_not_at_provider', id::text from audited \
         where status = 'paid' and not exists ( \
             select from at_provider where payment_id = audited.id and at_provider.status = 'accepted'); \
     insert into found select 'at_provider_not_here', reference from at_provider \
         where at_provider.status = 'accepted' and not exists ( \
             select from payments where payments.id = payment_id and payments.status <> 'declined')";

/// What has left the wallet database, or is about to, and is not there now. What the provider has, too, is another finding.
const NOT_IN_WALLET: &str = "\
    insert into found select distinct 'not_in_wallet', payment_id::text \
    from (select payment_id from message where topic > 0 \
        union all select payment_id from bill \
        union all select payment_id from unpublished) as known \
    where not exists ( \
            select from payments where payments.id = payment_id and payments.status <> 'declined') \
        and not exists ( \
            select from at_provider \
            where at_provider.payment_id = known.payment_id and at_provider.status = 'accepted')";

/// Of each event its first message counts: what comes again after a crash comes late by nature. Numbers of two epochs have
/// no order.
const OUT_OF_ORDER: &str = "\
    insert into found \
    with first_seen as ( \
        select distinct on (topic, partition, event_id) * from event \
        where event_id is not null and outbox_seq is not null \
        order by topic, partition, event_id, position), \
    placed as ( \
        select payment_id, outbox_seq, max(outbox_seq) over ( \
            partition by topic, partition, key, outbox_epoch order by position \
            rows between unbounded preceding and 1 preceding) as highest_before \
        from first_seen where is_whole) \
    select 'out_of_order', payment_id::text from placed where outbox_seq < highest_before";

/// Payment by payment.
const UNBALANCED: &str = "\
    insert into found select 'unbalanced', audited.id::text from audited \
    left join accounts on accounts.id = debited_from \
    where debited_from <> wallet_id or refunded_to <> wallet_id or accounts.currency <> audited.currency \
        or not case status \
        when 'pending' then (debits, settlements, refunds) = (1, 0, 0) and debited = amount \
        when 'paid' then (debits, settlements, refunds) = (1, 1, 0) and debited = amount and settled = amount \
        when 'refunded' then (debits, settlements, refunds) = (1, 0, 1) and debited = amount and refunded = amount \
        else (debits, settlements, refunds) = (0, 0, 0) end";

/// Sums the tables up; what was read and how long it took is the caller's to fill in.
pub(super) async fn report(session: &Session, scope: &Scope) -> anyhow::Result<Report> {
    let counts = "select status, count(*) from audited group by status";
    let counts = session.pairs::<String, i64>(counts).await?;
    let with_status = |wanted: &str| {
        let found = counts.iter().find(|(status, _)| status == wanted);
        found.map_or(0, |(_, count)| unsigned(*count))
    };
    let undecided: i64 = session
        .one("select count(*) from place where not is_payment")
        .await?;
    let places = "select place, count(*) from place where place <> 'lost' group by place";
    let mut places = session.pairs::<String, i64>(places).await?;
    places.sort_by_key(|(place, _)| PLACES.iter().position(|known| known == place));
    let in_flight_where: Vec<Whereabouts> = places
        .into_iter()
        .map(|(place, count)| Whereabouts {
            place,
            count: unsigned(count),
        })
        .collect();
    Ok(Report {
        scope: *scope,
        accepted: counts
            .iter()
            .map(|(_, count)| unsigned(*count))
            .sum::<u64>()
            + unsigned(undecided),
        in_flight: in_flight_where.iter().map(|it| it.count).sum(),
        in_flight_where,
        paid: with_status("paid"),
        refunded: with_status("refunded"),
        declined: with_status("declined"),
        paid_after: latency(session).await?,
        findings: findings(session).await?,
        read: super::report::Read::default(),
        took_ms: 0,
    })
}

/// Of each kind.
const EXAMPLES_MAX: u32 = 100;

async fn findings(session: &Session) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for kind in Kind::ALL {
        let name = serde_json::to_value(kind)?;
        let name = name.as_str().unwrap_or_default();
        let found = format!(
            "with of_kind as (select distinct id from found where kind = '{name}') \
             select (select count(*) from of_kind), array(select id from of_kind order by id limit {EXAMPLES_MAX})"
        );
        for (count, examples) in session.pairs::<i64, Vec<String>>(&found).await? {
            let mut finding = Finding {
                kind,
                count: unsigned(count),
                examples,
                by_pattern: Vec::new(),
                differences: Vec::new(),
                repair: None,
            };
            if kind == Kind::Differs && count > 0 {
                finding.differences = differences::shown(session).await?;
            }
            if count > 0 {
                finding.by_pattern = by_pattern(session, kind).await?;
            }
            finding.repair = repair(session, &finding).await?;
            findings.push(finding);
        }
    }
    Ok(findings)
}

/// How many of a kind were written by which pattern, as far as that is known.
async fn by_pattern(session: &Session, kind: Kind) -> anyhow::Result<Vec<PatternCount>> {
    let counts = match kind {
        // A command of which nothing became has no payment.
        Kind::Lost => {
            "with lost as materialized (select distinct id::uuid as id from found where kind = 'lost') \
             select case when payments.id is null then 'listen-to-yourself' else coalesce(pattern, 'outbox') end, \
                 count(*) from lost left join payments using (id) group by 1 order by 1"
        }
        // wallet-api published the event itself, and debited nobody: there is no payment to ask.
        Kind::AtProviderNotHere => {
            "select 'publish-first', count(distinct found.id) from found join event on payment_id::text = found.id \
             where kind = 'at_provider_not_here' and topic = 1 and outbox_seq is null having count(*) > 0"
        }
        _ => return Ok(Vec::new()),
    };
    let counts = session.pairs::<String, i64>(counts).await?;
    let counts = counts.into_iter().map(|(pattern, count)| PatternCount {
        pattern,
        count: unsigned(count),
    });
    Ok(counts.collect())
}

/// The line to type, for the payments among the examples; where the steps are, for what no single command repairs.
async fn repair(session: &Session, finding: &Finding) -> anyhow::Result<Option<String>> {
    if finding.count == 0 {
        return Ok(None);
    }
    let steps = "docs/recovery.md".to_owned();
    match finding.kind {
        Kind::Lost | Kind::Stuck => {
            let ids: Vec<&str> = finding.printed().map(String::as_str).collect();
            let ids = ids.join(",");
            let ids = format!(
                "select coalesce(string_agg(id::text, ' ' order by id), '') from payments \
                 where id = any('{{{ids}}}'::uuid[])"
            );
            let ids: String = session.one(&ids).await?;
            // A command that made no payment has none to publish again.
            Ok(Some(if ids.is_empty() {
                steps
            } else {
                format!("wallet-api payments redrive {ids} --operator YOU")
            }))
        }
        Kind::PaidNotAtProvider | Kind::AtProviderNotHere | Kind::NotInWallet => Ok(Some(steps)),
        Kind::PaidTwice
        | Kind::RefundedThoughPaid
        | Kind::Differs
        | Kind::OutOfOrder
        | Kind::Unbalanced
        | Kind::BalanceDiffers => Ok(None),
    }
}

async fn latency(session: &Session) -> anyhow::Result<Option<Latency>> {
    let of = |share| {
        format!(
            "(extract(epoch from percentile_disc({share}) within group (order by updated_at - created_at)) \
              * 1000)::bigint"
        )
    };
    let latency = format!(
        "select {}, {} from audited where status = 'paid'",
        of("0.5"),
        of("0.99")
    );
    let latency = session.pairs::<Option<i64>, Option<i64>>(&latency).await?;
    Ok(latency.into_iter().find_map(|(p50, p99)| {
        Some(Latency {
            p50_ms: unsigned(p50?),
            p99_ms: unsigned(p99?),
        })
    }))
}

/// Counts and times are never negative, but for a clock that was put back.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn ms(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}

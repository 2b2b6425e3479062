//! How many events flow between the processes: sampled from the services' metrics and the two databases.

use std::time::{Duration, Instant};

use chassis::Problem;
use chassis::database::Pool;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use futures_util::future::{join, join5};

use super::lab::Lab;
use super::scrape::Scrape;
use super::snapshot::{Flow, Statistics};

/// A counter of a process that may be restarted: it begins at zero then.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    seen: Option<u64>,
    total: u64,
    per_second: Option<u64>,
}

impl Count {
    /// Takes what the process says now, after `elapsed`; returns how much more that is.
    fn update(&mut self, now: Option<u64>, elapsed: Duration) -> u64 {
        let Some(now) = now else {
            self.per_second = None;
            return 0;
        };
        // Nothing is known of what was counted before the first look.
        let before = self.seen.replace(now).unwrap_or(now);
        let more = now.checked_sub(before).unwrap_or(now);
        self.total += more;
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.per_second = Some((more * 1_000).checked_div(elapsed_ms).unwrap_or(0));
        more
    }
}

/// What is remembered from one sample to the next.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    at: Option<Instant>,
    requests: Count,
    written: Count,
    unwritten: Count,
    /// Of the wallet's two relays, and of the bill payer's.
    published: [Count; 3],
    failed: [Count; 3],
    own_publishes: [Count; 2],
    consumed: Count,
    provider_calls: Count,
    results: Count,
    decided: Count,
    again: [Count; 2],
}

#[derive(Debug, Default, diesel::QueryableByName)]
struct OutboxFigures {
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = BigInt)]
    oldest_ms: i64,
    #[diesel(sql_type = BigInt)]
    dead_letters: i64,
}

const WAITING: &str = "select count(*) as rows, \
     coalesce((extract(epoch from clock_timestamp() - min(created_at)) * 1000)::bigint, 0) as oldest_ms, \
     (select count(*) from dead_letters where status = 'open') as dead_letters from outbox";

/// How long a database may take to answer: one that is paused never does.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

async fn waiting(pool: &Pool) -> Option<OutboxFigures> {
    let asked = async {
        let mut conn = pool.get().await.ok()?;
        diesel::sql_query(WAITING).get_result(&mut conn).await.ok()
    };
    tokio::time::timeout(ANSWER_WITHIN, asked).await.ok()?
}

struct ServiceMetrics {
    wallet_api: Scrape,
    bill_payer: Scrape,
    wallet_relays: [Scrape; 2],
    bill_relay: Scrape,
    wallet: Option<OutboxFigures>,
    bills: Option<OutboxFigures>,
}

async fn ask(lab: &Lab, is_watched: bool) -> Result<ServiceMetrics, Problem> {
    let stack = lab.stack().await?;
    let databases = lab.databases().await?;
    let [first, second, of_bills] = stack.relays.as_slice() else {
        return Err(Problem::unavailable("there are not three relays"));
    };
    let (wallet_api, bill_payer, first, second, bill_relay) = join5(
        Scrape::of(&stack.wallet_api),
        Scrape::of(&stack.bill_payer),
        Scrape::of(first),
        Scrape::of(second),
        Scrape::of(of_bills),
    )
    .await;
    let (wallet, bills) = if is_watched {
        join(waiting(&databases.wallet), waiting(&databases.bills)).await
    } else {
        (None, None)
    };
    Ok(ServiceMetrics {
        wallet_api,
        bill_payer,
        wallet_relays: [first, second],
        bill_relay,
        wallet,
        bills,
    })
}

impl Sampler {
    /// Looks at everything once; at the databases only if somebody watches.
    pub(super) async fn run_once(&mut self, lab: &Lab, is_watched: bool) -> Result<(), Problem> {
        let metrics = ask(lab, is_watched).await?;
        let elapsed = self.at.map_or(Duration::ZERO, |at| at.elapsed());
        self.at = Some(Instant::now());
        let mut shown = lab.shown();
        self.count(&metrics, elapsed, &mut shown.statistics);
        shown.flow = self.flow(&metrics);
        Ok(())
    }

    fn count(&mut self, metrics: &ServiceMetrics, elapsed: Duration, statistics: &mut Statistics) {
        let ServiceMetrics {
            wallet_api,
            bill_payer,
            ..
        } = metrics;
        // wallet-api: requests and writes.
        let payments = |outcome| wallet_api.sum("payment_requests_total", &[outcome]);
        let pay_bill = ["route=\"/wallets/{id}/pay-bill\""];
        let requests = wallet_api.sum("http_request_duration_seconds_count", &pay_bill);
        statistics.requests += self.requests.update(requests, elapsed);
        let accepted = payments("outcome=\"accepted\"");
        let written = self.written.update(accepted, elapsed);
        statistics.writes_ok += written;
        let unwritten = payments("outcome=\"unavailable\"");
        statistics.writes_failed += self.unwritten.update(unwritten, elapsed);
        // Events that came into the outboxes.
        let decided = ["status=\"paid\"", "status=\"failed\""]
            .map(|status| bill_payer.sum("bills_recorded_total", &[status]));
        let decided = decided.into_iter().sum();
        statistics.outbox_queued += written + self.decided.update(decided, elapsed);

        // The relays.
        let relays = metrics.wallet_relays.iter().chain([&metrics.bill_relay]);
        for ((published, failed), relay) in
            self.published.iter_mut().zip(&mut self.failed).zip(relays)
        {
            let sum = |name| relay.sum(name, &[]);
            statistics.publishes_ok += published.update(sum("relay_published_total"), elapsed);
            statistics.publishes_failed +=
                failed.update(sum("relay_delivery_errors_total"), elapsed);
        }

        // By wallet-api itself, in the patterns that have no relay.
        let own = |outcome| wallet_api.sum("wallet_publishes_total", &[outcome]);
        let [published, failed] = &mut self.own_publishes;
        statistics.publishes_ok += published.update(own("outcome=\"ok\""), elapsed);
        statistics.publishes_failed += failed.update(own("outcome=\"failed\""), elapsed);

        // Consumers and the provider.
        let records = |service: &Scrape| service.sum("kafka_consumer_records_total", &[]);
        statistics.consumed += self.consumed.update(records(bill_payer), elapsed);
        statistics.consumed += self.results.update(records(wallet_api), elapsed);
        let calls = bill_payer.sum("provider_calls_total", &[]);
        self.provider_calls.update(calls, elapsed);
        let again = ["outcome=\"again\""];
        let again = [
            bill_payer.sum("bill_requests_total", &again),
            wallet_api.sum("bill_results_total", &again),
        ];
        for (count, again) in self.again.iter_mut().zip(again) {
            count.update(again, elapsed);
        }
        let rows =
            [&metrics.wallet, &metrics.bills].map(|waiting| figure(waiting.as_ref(), |it| it.rows));
        statistics.pending = rows.iter().flatten().sum();
    }

    fn flow(&self, metrics: &ServiceMetrics) -> Flow {
        let (wallet, bills) = (metrics.wallet.as_ref(), metrics.bills.as_ref());
        let [first, second, of_bills] = self.published.map(|count| count.per_second);
        let of_status = |status| metrics.bill_payer.sum("bills", &[status]);
        let open = ["status=\"paying\"", "status=\"cancelling\""].map(of_status);
        let dead_letters = [wallet, bills].map(|waiting| figure(waiting, |it| it.dead_letters));
        Flow {
            requests: self.requests.per_second,
            committed: self.written.per_second,
            // One of the two may be down, and the other does its work.
            published: [first, second].into_iter().flatten().reduce(|a, b| a + b),
            consumed: self.consumed.per_second,
            provider_calls: self.provider_calls.per_second,
            results_published: of_bills,
            settled: self.results.per_second,
            outbox_wallet: figure(wallet, |it| it.rows),
            outbox_bill: figure(bills, |it| it.rows),
            oldest_wallet_ms: figure(wallet, |it| it.oldest_ms),
            oldest_bill_ms: figure(bills, |it| it.oldest_ms),
            duplicates: Some(self.again.iter().map(|count| count.total).sum()),
            bills_open: open.into_iter().sum(),
            bills_parked: of_status("status=\"parked\""),
            dead_letters: dead_letters.into_iter().sum(),
        }
    }
}

fn figure(waiting: Option<&OutboxFigures>, of: impl Fn(&OutboxFigures) -> i64) -> Option<u64> {
    waiting.map(|waiting| u64::try_from(of(waiting)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_goes_on_over_a_restart_of_its_process() {
        let second = Duration::from_secs(1);
        let mut count = Count::default();
        // Counted before the lab started.
        assert_eq!(count.update(Some(1_000), second), 0);
        assert_eq!(count.update(Some(1_010), second * 2), 10);
        assert_eq!(count.per_second, Some(5));
        assert_eq!(count.update(None, second), 0);
        assert_eq!(count.per_second, None);
        // Restarted: it has counted three since.
        assert_eq!(count.update(Some(3), second), 3);
        assert_eq!(count.total, 13);
    }
}

//! How many events flow between the processes: sampled from the services' metrics and the two databases.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chassis::Problem;
use chassis::database::Pool;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use futures_util::future::{join, join5};
use lab_stack::scrape::Scrape;

use super::lab::Lab;
use super::snapshot::{Flow, Passage, Statistics};

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
    /// One count for each process that counts it.
    passages: BTreeMap<Passage, Vec<Count>>,
    unwritten: Count,
    /// Of the wallet's two relays, and of the bill payer's.
    failed: [Count; 3],
    own_failed: Count,
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

/// A service that does not answer soon is down, as far as a figure on a page goes.
const SERVICE_WITHIN: Duration = Duration::from_millis(400);

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
        Scrape::of(&stack.wallet_api_admin, SERVICE_WITHIN),
        Scrape::of(&stack.bill_payer, SERVICE_WITHIN),
        Scrape::of(first, SERVICE_WITHIN),
        Scrape::of(second, SERVICE_WITHIN),
        Scrape::of(of_bills, SERVICE_WITHIN),
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

impl Passage {
    const ALL: [Self; 12] = [
        Self::Requests,
        Self::Committed,
        Self::Queued,
        Self::Relayed,
        Self::PublishedItself,
        Self::Commands,
        Self::CommandsTaken,
        Self::Consumed,
        Self::ProviderCalls,
        Self::BillsEnded,
        Self::ResultsPublished,
        Self::Settled,
    ];

    /// What the processes say, one by one: one that is restarted begins at zero.
    fn read(self, metrics: &ServiceMetrics) -> Vec<Option<u64>> {
        let wallet_api = |name, labels: &[&str]| metrics.wallet_api.sum(name, labels);
        let bill_payer = |name, labels: &[&str]| metrics.bill_payer.sum(name, labels);
        let accepted =
            |pattern| wallet_api("payment_requests_total", &[pattern, "outcome=\"accepted\""]);
        let published = |topic| {
            let labels = [topic, "outcome=\"ok\""];
            wallet_api("wallet_publishes_total", &labels)
        };
        let taken = |topic| wallet_api("kafka_consumer_records_total", &[topic]);
        let relayed = |relay: &Scrape| relay.sum("relay_published_total", &[]);
        match self {
            Self::Requests => {
                let pay_bill = ["route=\"/wallets/{id}/pay-bill\""];
                vec![wallet_api("http_request_duration_seconds_count", &pay_bill)]
            }
            Self::Committed => {
                let event_lost = ["outcome=\"event_lost\""];
                let committed = [
                    accepted("pattern=\"outbox\""),
                    accepted("pattern=\"dual-write\""),
                    accepted("pattern=\"publish-first\""),
                    // Debited, and then not published: dual-write.
                    wallet_api("payment_requests_total", &event_lost),
                    // In listen-to-yourself an accepted request is a command, which is debited later.
                    wallet_api("payment_commands_total", &["outcome=\"debited\""]),
                ];
                vec![committed.into_iter().sum()]
            }
            Self::Queued => vec![accepted("pattern=\"outbox\"")],
            Self::Relayed => metrics.wallet_relays.iter().map(relayed).collect(),
            Self::PublishedItself => vec![published("topic=\"wallet.events\"")],
            Self::Commands => vec![published("topic=\"wallet.commands\"")],
            // Topics may have a prefix.
            Self::CommandsTaken => vec![taken("wallet.commands\"")],
            Self::Consumed => vec![bill_payer("kafka_consumer_records_total", &[])],
            Self::ProviderCalls => vec![bill_payer("provider_calls_total", &[])],
            Self::BillsEnded => {
                let ended = ["status=\"paid\"", "status=\"failed\""]
                    .map(|status| bill_payer("bills_recorded_total", &[status]));
                vec![ended.into_iter().sum()]
            }
            Self::ResultsPublished => vec![relayed(&metrics.bill_relay)],
            Self::Settled => vec![taken("bill.events\"")],
        }
    }
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
        // What passed, and the sums of it that the statistics have.
        for passage in Passage::ALL {
            let now = passage.read(metrics);
            let counts = self.passages.entry(passage).or_default();
            counts.resize_with(now.len(), Count::default);
            let more = counts.iter_mut().zip(now);
            let more: u64 = more.map(|(count, now)| count.update(now, elapsed)).sum();
            *statistics.passed.entry(passage).or_default() += more;
            let sum = match passage {
                Passage::Requests => &mut statistics.requests,
                Passage::Committed => &mut statistics.writes_ok,
                Passage::Queued | Passage::BillsEnded => &mut statistics.outbox_queued,
                Passage::Relayed
                | Passage::PublishedItself
                | Passage::Commands
                | Passage::ResultsPublished => &mut statistics.publishes_ok,
                Passage::CommandsTaken | Passage::Consumed | Passage::Settled => {
                    &mut statistics.consumed
                }
                Passage::ProviderCalls => continue,
            };
            *sum += more;
        }
        // What failed.
        let wallet_api = |name, labels: &[&str]| metrics.wallet_api.sum(name, labels);
        let unavailable = wallet_api("payment_requests_total", &["outcome=\"unavailable\""]);
        statistics.writes_failed += self.unwritten.update(unavailable, elapsed);
        let relays = metrics.wallet_relays.iter().chain([&metrics.bill_relay]);
        for (failed, relay) in self.failed.iter_mut().zip(relays) {
            let errors = relay.sum("relay_delivery_errors_total", &[]);
            statistics.publishes_failed += failed.update(errors, elapsed);
        }
        let own = wallet_api("wallet_publishes_total", &["outcome=\"failed\""]);
        statistics.publishes_failed += self.own_failed.update(own, elapsed);
        // What came again.
        let again = ["outcome=\"again\""];
        let again = [
            metrics.bill_payer.sum("bill_requests_total", &again),
            wallet_api("bill_results_total", &again),
        ];
        for (count, again) in self.again.iter_mut().zip(again) {
            count.update(again, elapsed);
        }
        let rows =
            [&metrics.wallet, &metrics.bills].map(|waiting| figure(waiting.as_ref(), |it| it.rows));
        statistics.pending = rows.iter().flatten().sum();
    }

    /// Of a passage; one of two relays may be down, and the other does its work.
    fn per_second(&self, passage: Passage) -> Option<u64> {
        let counts = self.passages.get(&passage)?;
        let known = counts.iter().filter_map(|count| count.per_second);
        known.reduce(|a, b| a + b)
    }

    fn flow(&self, metrics: &ServiceMetrics) -> Flow {
        let (wallet, bills) = (metrics.wallet.as_ref(), metrics.bills.as_ref());
        let of_status = |status| metrics.bill_payer.sum("bills", &[status]);
        let open = ["status=\"paying\"", "status=\"cancelling\""].map(of_status);
        let dead_letters = [wallet, bills].map(|waiting| figure(waiting, |it| it.dead_letters));
        let publishing = [Passage::Relayed, Passage::PublishedItself];
        let publishing = publishing.into_iter().filter_map(|it| self.per_second(it));
        Flow {
            rates: Passage::ALL
                .map(|passage| (passage, self.per_second(passage)))
                .into(),
            published: publishing.reduce(|a, b| a + b),
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

    #[test]
    fn what_wallet_api_publishes_itself_counts_where_it_belongs() {
        let mut sampler = Sampler::default();
        let mut statistics = Statistics::default();
        let metrics = |accepted, debited, events, commands, results| ServiceMetrics {
            wallet_api: Scrape::from_text(&format!(
                "payment_requests_total{{pattern=\"listen-to-yourself\",outcome=\"accepted\"}} {accepted}\n\
                 payment_commands_total{{outcome=\"debited\"}} {debited}\n\
                 wallet_publishes_total{{topic=\"wallet.events\",outcome=\"ok\"}} {events}\n\
                 wallet_publishes_total{{topic=\"wallet.commands\",outcome=\"ok\"}} {commands}\n\
                 kafka_consumer_records_total{{topic=\"x.wallet.commands\"}} {commands}\n\
                 kafka_consumer_records_total{{topic=\"x.bill.events\"}} {results}\n"
            )),
            bill_payer: Scrape::default(),
            wallet_relays: [
                Scrape::default(),
                Scrape::from_text("relay_published_total 0\n"),
            ],
            bill_relay: Scrape::default(),
            wallet: None,
            bills: None,
        };
        let second = Duration::from_secs(1);
        sampler.count(&metrics(0, 0, 0, 0, 0), second, &mut statistics);
        let later = metrics(10, 8, 9, 10, 5);
        sampler.count(&later, second, &mut statistics);
        let passed = |passage| statistics.passed.get(&passage).copied();
        assert_eq!(passed(Passage::Committed), Some(8));
        assert_eq!(passed(Passage::Queued), Some(0));
        assert_eq!(passed(Passage::PublishedItself), Some(9));
        assert_eq!(passed(Passage::Commands), Some(10));
        assert_eq!(passed(Passage::Settled), Some(5));
        assert_eq!(statistics.outbox_queued, 0);
        assert_eq!(statistics.publishes_ok, 19);
        assert_eq!(sampler.flow(&later).published, Some(9));
    }
}

//! Clients of wallet-api: so many connections, each with one payment after the other, or all together on a schedule.
//!
//! On a machine that runs the servers too, what the clients use is missing there. So they are one
//! thread that writes ready-made requests and looks at no more of an answer than it must.

use std::cell::Cell;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const BODY: &str = r#"{"amount":"1.00","account_number":"WIFI-42"}"#;

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Which clients.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub connections: u32,
    /// How many wallets they pay from, each as likely as the others.
    pub wallets: u32,
    /// How long they pay before that counts.
    pub warm_up: Duration,
    /// How long they pay after that.
    pub time: Duration,
    /// Payments a second, on a schedule that waits for nothing. None: each connection sends its next payment after the answer.
    pub per_second: Option<u32>,
    /// The number of the first payment; a payment's idempotency key is made of its number.
    pub first: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            connections: 1,
            wallets: 1,
            warm_up: Duration::ZERO,
            time: Duration::ZERO,
            per_second: None,
            first: 0,
        }
    }
}

/// An accepted payment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub number: u32,
    /// When the schedule wanted it to be sent.
    pub due: Instant,
    pub sent: Instant,
    /// From the beginning of the request to the end of its answer.
    pub latency: Duration,
}

#[derive(Debug)]
pub(crate) struct Answers {
    /// How many payments were accepted, with those of the warm-up.
    pub accepted: u64,
    /// Those after the warm-up.
    pub counted: Vec<Answer>,
    /// When the warm-up ended.
    pub begun: Instant,
    /// From the end of the warm-up to the last answer.
    pub elapsed: Duration,
}

/// Pays at wallet-api, which listens at `address`, host:port. Dropped before, it goes on until a connection breaks or the time
/// is over.
pub(crate) async fn run(address: String, load: Load) -> anyhow::Result<Answers> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the clients")?;
        runtime.block_on(pay(&address, &load))
    };
    tokio::task::spawn_blocking(run).await?
}

async fn pay(address: &str, load: &Load) -> anyhow::Result<Answers> {
    let connecting = (0..load.connections).map(|_| TcpStream::connect(address));
    let connections = try_join_all(connecting).await.context("connecting")?;
    let schedule = Schedule {
        begun: Instant::now(),
        next: Cell::new(0),
    };
    let clients = connections.into_iter().map(|connection| {
        let client = Client {
            connection,
            answer: Vec::with_capacity(ANSWER_BYTES_MAX),
        };
        client.run(address, load, &schedule)
    });
    let answers = try_join_all(clients).await?;
    let begun = schedule.begun + load.warm_up;
    let mut counted: Vec<Answer> = answers.into_iter().flatten().collect();
    let accepted = u64::try_from(counted.len())?;
    counted.retain(|answer| answer.due >= begun);
    Ok(Answers {
        accepted,
        counted,
        begun,
        elapsed: begun.elapsed(),
    })
}

/// Which payment is sent next, and when.
struct Schedule {
    begun: Instant,
    next: Cell<u32>,
}

impl Schedule {
    /// The number of the next payment, and its time; none if the time is over.
    fn next(&self, load: &Load) -> Option<(u32, Instant)> {
        let nth = self.next.get();
        let due = match load.per_second {
            Some(rate) => self.begun + Duration::from_secs(1) * nth / rate,
            None => Instant::now(),
        };
        if due >= self.begun + load.warm_up + load.time {
            return None;
        }
        self.next.set(nth + 1);
        Some((load.first + nth, due))
    }
}

struct Client {
    connection: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    async fn run(
        mut self,
        host: &str,
        load: &Load,
        schedule: &Schedule,
    ) -> anyhow::Result<Vec<Answer>> {
        self.connection.set_nodelay(true)?;
        let mut answers = Vec::new();
        let mut request = Vec::new();
        while let Some((number, due)) = schedule.next(load) {
            if load.per_second.is_some() {
                tokio::time::sleep_until(due.into()).await;
            }
            request.clear();
            write_request(&mut request, number, host, load.wallets)?;
            let sent = Instant::now();
            self.connection.write_all(&request).await?;
            let status = self.read_answer().await.context("reading an answer")?;
            let latency = sent.elapsed();
            anyhow::ensure!(
                status == 202,
                "the measurement is void: a payment was answered {status}: {}",
                String::from_utf8_lossy(&self.answer)
            );
            answers.push(Answer {
                number,
                due,
                sent,
                latency,
            });
        }
        Ok(answers)
    }

    /// Reads one answer to its end and returns its status.
    async fn read_answer(&mut self) -> anyhow::Result<u16> {
        self.answer.clear();
        loop {
            let read = self.connection.read_buf(&mut self.answer).await?;
            anyhow::ensure!(read > 0, "the connection was closed");
            if let Some((status, end)) = head(&self.answer)?
                && self.answer.len() >= end
            {
                anyhow::ensure!(self.answer.len() == end, "there is more than an answer");
                return Ok(status);
            }
            anyhow::ensure!(self.answer.len() < ANSWER_BYTES_MAX, "it is too long");
        }
    }
}

/// What stands before the number in the idempotency key of a payment.
pub(crate) const KEY: &str = "bench-";

/// The payment with this number: its own key, and a wallet by chance, the same in each run.
fn write_request(
    request: &mut Vec<u8>,
    number: u32,
    host: &str,
    wallets: u32,
) -> std::io::Result<()> {
    let wallet = wallet_id(scattered(number.into()) % u64::from(wallets.max(1)) + 1);
    write!(
        request,
        "POST /wallets/{wallet}/pay-bill HTTP/1.1\r\n\
         host: {host}\r\n\
         content-type: application/json\r\n\
         idempotency-key: {KEY}{number}\r\n\
         content-length: {}\r\n\r\n\
         {BODY}",
        BODY.len()
    )
}

/// The id of the wallet with this number, from 1. The script of pgbench makes the same.
fn wallet_id(number: u64) -> String {
    format!("00000000-0000-7000-8000-{number:012}")
}

/// The number-th of a sequence that looks like chance (`SplitMix64`, Steele, Lea and Flood 2014).
const fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The status of an answer and how many bytes it has with its body; none while its head is not complete.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes)? else {
        return Ok(None);
    };
    let status = response.code.context("it has no status")?;
    let mut headers = response.headers.iter();
    let length = headers.find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("it does not say how long it is")?;
    let body: usize = std::str::from_utf8(length.value)?.parse()?;
    Ok(Some((status, head + body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_the_last_byte_of_its_body() {
        let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(head(answer).unwrap(), Some((202, answer.len())));
        assert_eq!(head(&answer[..30]).unwrap(), None);
        assert!(head(b"HTTP/1.1 202 Accepted\r\n\r\n").is_err());
    }

    #[test]
    fn a_schedule_ends_with_the_time() {
        let load = Load {
            warm_up: Duration::from_secs(1),
            time: Duration::from_secs(2),
            per_second: Some(10),
            first: 5,
            ..Load::default()
        };
        let schedule = Schedule {
            begun: Instant::now(),
            next: Cell::new(0),
        };
        let all: Vec<_> = std::iter::from_fn(|| schedule.next(&load)).collect();
        assert_eq!(all.len(), 30);
        assert_eq!(all[29], (34, schedule.begun + Duration::from_millis(2_900)));
    }

    #[test]
    fn each_payment_has_its_own_key_and_any_of_the_wallets() {
        let requests = (0..100).map(|number| {
            let mut request = Vec::new();
            write_request(&mut request, number, "a:1", 3).unwrap();
            String::from_utf8(request).unwrap()
        });
        let requests: Vec<String> = requests.collect();
        for wallet in 1..=3 {
            let id = wallet_id(wallet);
            let of_it = requests.iter().filter(|text| text.contains(&id)).count();
            assert!(of_it > 20, "wallet {wallet} has {of_it}");
        }
        assert!(requests[7].contains("idempotency-key: bench-7\r\n"));
        assert!(requests[0].ends_with(
            "content-length: 44\r\n\r\n{\"amount\":\"1.00\",\"account_number\":\"WIFI-42\"}"
        ));
    }
}

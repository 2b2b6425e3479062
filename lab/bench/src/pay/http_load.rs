//! Clients of wallet-api: so many connections, each with one payment after the other.
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

use super::wallets;

const BODY: &str = r#"{"amount":"1.00","account_number":"WIFI-42"}"#;

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Which clients.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Where wallet-api listens, host:port.
    pub address: String,
    pub connections: u32,
    /// How many wallets they pay from, each as likely as the others.
    pub wallets: u32,
    pub time: Duration,
}

#[derive(Debug)]
pub(super) struct Answers {
    /// From the beginning of each request to the end of its answer.
    pub latencies: Vec<Duration>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

/// Pays. Dropped before, it goes on until a connection breaks or the time is over.
pub(super) async fn run(load: Load) -> anyhow::Result<Answers> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the clients")?;
        runtime.block_on(pay(&load))
    };
    tokio::task::spawn_blocking(run).await?
}

async fn pay(load: &Load) -> anyhow::Result<Answers> {
    let connecting = (0..load.connections).map(|_| TcpStream::connect(&load.address));
    let connections = try_join_all(connecting).await.context("connecting")?;
    let next = Cell::new(0);
    let begun = Instant::now();
    let clients = connections.into_iter().map(|connection| {
        let client = Client {
            connection,
            answer: Vec::with_capacity(ANSWER_BYTES_MAX),
        };
        client.run(load, begun, &next)
    });
    let latencies = try_join_all(clients).await?;
    Ok(Answers {
        latencies: latencies.into_iter().flatten().collect(),
        elapsed: begun.elapsed(),
    })
}

struct Client {
    connection: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    async fn run(
        mut self,
        load: &Load,
        begun: Instant,
        next: &Cell<u64>,
    ) -> anyhow::Result<Vec<Duration>> {
        self.connection.set_nodelay(true)?;
        let mut latencies = Vec::new();
        let mut request = Vec::new();
        while begun.elapsed() < load.time {
            let number = next.replace(next.get() + 1);
            request.clear();
            write_request(&mut request, number, load)?;
            let sent = Instant::now();
            self.connection.write_all(&request).await?;
            let status = self.read_answer().await.context("reading an answer")?;
            latencies.push(sent.elapsed());
            anyhow::ensure!(
                status == 202,
                "the measurement is void: a payment was answered {status}: {}",
                String::from_utf8_lossy(&self.answer)
            );
        }
        Ok(latencies)
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

/// The payment with this number: its own key, and a wallet by chance, the same in each run.
fn write_request(request: &mut Vec<u8>, number: u64, load: &Load) -> std::io::Result<()> {
    let wallet = wallets::wallet_id(scattered(number) % u64::from(load.wallets.max(1)) + 1);
    write!(
        request,
        "POST /wallets/{wallet}/pay-bill HTTP/1.1\r\n\
         host: {}\r\n\
         content-type: application/json\r\n\
         idempotency-key: bench-{number}\r\n\
         content-length: {}\r\n\r\n\
         {BODY}",
        load.address,
        BODY.len()
    )
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
    fn each_payment_has_its_own_key_and_any_of_the_wallets() {
        let load = Load {
            address: "a:1".to_owned(),
            connections: 1,
            wallets: 3,
            time: Duration::ZERO,
        };
        let requests = (0..100).map(|number| {
            let mut request = Vec::new();
            write_request(&mut request, number, &load).unwrap();
            String::from_utf8(request).unwrap()
        });
        let requests: Vec<String> = requests.collect();
        for wallet in 1..=3 {
            let id = wallets::wallet_id(wallet);
            let of_it = requests.iter().filter(|text| text.contains(&id)).count();
            assert!(of_it > 20, "wallet {wallet} has {of_it}");
        }
        assert!(requests[7].contains("idempotency-key: bench-7\r\n"));
        assert!(requests[0].ends_with(
            "content-length: 44\r\n\r\n{\"amount\":\"1.00\",\"account_number\":\"WIFI-42\"}"
        ));
    }
}

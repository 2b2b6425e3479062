//! Free ports: are those that are wanted free, and which others are.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;

#[derive(Debug, Clone)]
pub struct Wanted {
    port: u16,
    by: &'static str,
    variable: &'static str,
}

impl Wanted {
    /// `by` wants `port`, which the environment variable `variable` changes.
    pub const fn new(port: u16, by: &'static str, variable: &'static str) -> Self {
        Self { port, by, variable }
    }
}

/// Looks that all of them can be listened on.
pub fn check(wanted: &[Wanted]) -> anyhow::Result<()> {
    let mut seen: BTreeMap<u16, &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for Wanted { port, by, variable } in wanted {
        let why = match seen.insert(*port, by) {
            Some(other) => format!("is also wanted by {other}"),
            None if is_free(*port) => continue,
            None => "is in use by another program".to_owned(),
        };
        problems.push(format!(
            "port {port}, wanted by {by}, {why}; set {variable} to another one"
        ));
    }
    anyhow::ensure!(
        problems.is_empty(),
        "nothing was started:\n  {}",
        problems.join("\n  ")
    );
    Ok(())
}

/// As many different free ports as asked for.
///
/// None that this process was given before, and none among those that the
/// system gives to outgoing connections, where one could be taken before it is listened on.
pub fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Runs that look at the same time begin at different places.
    let offset = u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    let mut ports = [0; N];
    for port in &mut ports {
        let mut candidates = (0..10_000).map(|_| {
            let nth = NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
            20_000 + (offset + nth) % 10_000
        });
        *port = candidates
            .find(|port| is_free(*port))
            .context("there are no free ports from 20000 to 29999")?;
    }
    Ok(ports)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

pub fn base_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_named_with_who_wants_it_and_what_changes_it() {
        let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let busy = stranger.local_addr().unwrap().port();
        let error = check(&[Wanted::new(busy, "wallet-api", "WALLET_API_PORT")]).unwrap_err();
        let expected = format!(
            "nothing was started:\n  port {busy}, wanted by wallet-api, is in use by another program; \
             set WALLET_API_PORT to another one"
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn two_parts_on_one_port_are_refused() {
        let [port] = free().unwrap();
        let wanted = [
            Wanted::new(port, "lab", "LAB_PORT"),
            Wanted::new(port, "kafka", "KAFKA_PORT"),
        ];
        let error = check(&wanted).unwrap_err().to_string();
        assert!(
            error.contains("wanted by kafka, is also wanted by lab; set KAFKA_PORT"),
            "{error}"
        );
    }

    #[test]
    fn free_ports_differ_and_are_not_those_of_outgoing_connections() {
        let [a, b, c] = free().unwrap();
        assert!(a != b && b != c && a != c);
        assert!([a, b, c].iter().all(|port| (20_000..30_000).contains(port)));
    }
}

//! Who used the CPU during a measurement: the profile that shows what a figure is limited by.

use std::time::{Duration, Instant};

use lab_stack::process::{self, Identity};
use lab_stack::process_table::ProcessTable;
use serde::Serialize;

/// CPU time of everybody, at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    at: Instant,
    used: Used,
}

/// CPU time used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// By PostgreSQL with all its sessions, if it is a part of ours.
    pub postgres: Option<Duration>,
    pub kafka: Option<Duration>,
    /// By all other processes.
    pub services: Duration,
    /// By programs that were run to their end, such as pgbench.
    pub tools: Duration,
    pub lab: Duration,
}

/// CPU time used in a measurement, as shares of one core in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Shares {
    pub postgres: Option<u128>,
    pub kafka: Option<u128>,
    pub services: u128,
    pub tools: u128,
    pub lab: u128,
}

impl Sample {
    pub(super) async fn take(process_table: &ProcessTable) -> anyhow::Result<Self> {
        let lab = Identity::own()?.cpu();
        let mut used = Used {
            postgres: None,
            kafka: None,
            services: Duration::ZERO,
            tools: lab.waited,
            lab: lab.own,
        };
        for (name, part) in process_table.processes().await {
            let cpu = process::cpu_of_all(part);
            match name.as_str() {
                "postgres" => used.postgres = Some(cpu),
                "kafka" => used.kafka = Some(cpu),
                _ => used.services += cpu,
            }
        }
        let at = Instant::now();
        Ok(Self { at, used })
    }

    /// What was used from `earlier` to this.
    pub(super) fn since(&self, earlier: &Self) -> Shares {
        let share = |now: Duration, then: Duration| {
            percent(now.saturating_sub(then), self.at.duration_since(earlier.at))
        };
        let part = |now: Option<Duration>, then: Option<Duration>| {
            Some(share(now?, then.unwrap_or_default()))
        };
        let (now, then) = (&self.used, &earlier.used);
        Shares {
            postgres: part(now.postgres, then.postgres),
            kafka: part(now.kafka, then.kafka),
            services: share(now.services, then.services),
            tools: share(now.tools, then.tools),
            lab: share(now.lab, then.lab),
        }
    }
}

/// A share for people; a server that was given is not seen.
pub(super) fn shown(share: Option<u128>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{share} %"))
}

/// CPU time as a share of one core, in percent.
fn percent(cpu: Duration, time: Duration) -> u128 {
    let percent = cpu.as_nanos() * 100;
    percent.checked_div(time.as_nanos()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_one_core_and_of_the_time_between_the_samples() {
        let begun = Instant::now();
        let ms = Duration::from_millis;
        assert_eq!(percent(ms(1_500), ms(1_000)), 150);
        let sample = |at, postgres, services| Sample {
            at: begun + ms(at),
            used: Used {
                postgres,
                kafka: None,
                services: ms(services),
                tools: ms(50),
                lab: ms(at),
            },
        };
        let before = sample(1_000, Some(ms(500)), 100);
        let shares = sample(3_000, Some(ms(3_500)), 600).since(&before);
        let expected = Shares {
            postgres: Some(150),
            kafka: None,
            services: 25,
            tools: 0,
            lab: 100,
        };
        assert_eq!(shares, expected);
        assert_eq!(shown(shares.postgres), "150 %");
    }
}

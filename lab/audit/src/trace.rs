//! The life of one payment, by what each part says of it.
//!
//! The steps are in the order in which a payment takes them. Each part has its own clock; the provider tells no times.
//! Of Kafka only what was published since the payment was made is read, and, if it has ended, until soon afterwards.

mod step;
mod timeline;

use anyhow::Context as _;
use chassis::cli::plain;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use self::step::Step;
use crate::sources::Sources;
use crate::topic::WALLET_COMMANDS;

#[derive(Debug, clap::Args)]
pub struct TraceArgs {
    /// The payment's id
    #[arg(value_parser = payment_id, required_unless_present = "last")]
    payment_id: Option<Uuid>,
    /// The payment that was accepted last
    #[arg(long, conflicts_with = "payment_id")]
    last: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl TraceArgs {
    /// Traces, prints what it finds, and returns whether somebody knows the payment.
    pub async fn run(self, sources: &Sources) -> anyhow::Result<bool> {
        crate::session::refuse_poolers(sources).await?;
        let id = match self.payment_id {
            Some(id) => id,
            None => timeline::last(sources)
                .await?
                .context("there is no payment yet")?,
        };
        let Some(timeline) = trace(sources, id).await? else {
            lab_terminal::error(&anyhow::anyhow!("nobody knows a payment {id}"));
            return Ok(false);
        };
        if self.json {
            lab_terminal::line(serde_json::to_string_pretty(&timeline)?);
        } else {
            lab_terminal::line(timeline.text().trim_end());
        }
        Ok(true)
    }
}

fn payment_id(text: &str) -> Result<Uuid, String> {
    let error = |_| {
        "must be a payment's id, such as 018f4d2e-7c1b-7000-8000-000000000000; or leave it out and say --last".to_owned()
    };
    text.parse().map_err(error)
}

#[derive(Debug, Serialize)]
pub struct Timeline {
    pub payment_id: Uuid,
    /// `pending`, `paid`, `refunded`, `declined` or `LOST`; none if the wallet database does not know the payment.
    pub status: Option<String>,
    /// By which pattern it was written; none if the wallet database does not know the payment.
    pub pattern: Option<String>,
    pub steps: Vec<Step>,
}

/// The life of the payment; none if nobody knows it.
pub async fn trace(sources: &Sources, payment_id: Uuid) -> anyhow::Result<Option<Timeline>> {
    let mut told = timeline::of(sources, payment_id).await?;
    if told.is_lost() {
        // Its event may have been published after its topic was read, and before the outbox was: read again.
        told = timeline::of(sources, payment_id).await?;
    }
    if told.is_lost() {
        told.status = Some(LOST.to_owned());
        told.steps.append(&mut told.missing);
    }
    Ok((!told.steps.is_empty()).then_some(Timeline {
        payment_id,
        status: told.status,
        pattern: told.pattern,
        steps: told.steps,
    }))
}

/// The word of the audit.
const LOST: &str = "LOST";

impl Timeline {
    /// For the terminal: a line for each step, with the milliseconds since the first.
    fn text(&self) -> String {
        let is_command = |step: &Step| step.place == WALLET_COMMANDS.name;
        let status = match &self.status {
            Some(status) => status,
            None if self.steps.iter().any(is_command) => "a command, not decided yet",
            None => "unknown to the wallet",
        };
        let mut text = format!("Payment {}: {status}\n", self.payment_id);
        let begun = self.steps.iter().find_map(|step| step.at);
        for step in &self.steps {
            let after = match (step.at, begun) {
                (Some(at), Some(begun)) => format!("{} ms", at.saturating_sub(begun)),
                _ => String::new(),
            };
            text.push_str(&format!("{after:>10}  {:<20} {}", step.place, step.what));
            let detail = step.detail.as_object().into_iter().flatten();
            for (name, value) in detail {
                match value {
                    Value::Null => {}
                    // What comes from Kafka and from the provider is anybody's text.
                    Value::String(value) => text.push_str(&format!("  {name}={}", plain(value))),
                    value => text.push_str(&format!("  {name}={value}")),
                }
            }
            text.push('\n');
        }
        if status == LOST {
            let pattern = self.pattern.as_deref().unwrap_or("of an unknown name");
            let outcome = if self
                .steps
                .iter()
                .any(|step| step.what == timeline::BILL_TAKEN)
            {
                "the wallet will not hear what became of the bill"
            } else {
                "nobody will pay the bill"
            };
            text.push_str(&format!(
                "The wallet was debited by the pattern {pattern}, and {outcome}. To repair: wallet-api payments redrive {} --operator YOU\n",
                self.payment_id
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_step_is_a_line_with_its_time_since_the_first() {
        let step = |at, place, what: &str, detail| Step {
            at,
            place,
            what: what.to_owned(),
            detail,
        };
        let trace = Timeline {
            payment_id: Uuid::nil(),
            status: Some("paid".to_owned()),
            pattern: Some("outbox".to_owned()),
            steps: vec![
                step(
                    Some(1_000),
                    "wallet database",
                    "accepted",
                    json!({ "amount": "1.00" }),
                ),
                step(
                    None,
                    "provider",
                    "accepted",
                    json!({ "calls": 2, "receipt": null }),
                ),
                step(Some(1_042), "wallet database", "paid", json!({})),
            ],
        };
        insta::assert_snapshot!(trace.text(), @r"
        Payment 00000000-0000-0000-0000-000000000000: paid
              0 ms  wallet database      accepted  amount=1.00
                    provider             accepted  calls=2
             42 ms  wallet database      paid
        ");
    }

    #[test]
    fn what_is_no_id_is_refused_in_plain_words() {
        #[derive(clap::Parser, Debug)]
        struct Cli {
            #[command(flatten)]
            _trace: TraceArgs,
        }
        let refused = <Cli as clap::Parser>::try_parse_from(["trace", "nonsense"]).unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("must be a payment's id"), "{refused}");
    }
}

//! The life of one payment, by what each part says of it.
//!
//! The steps are in the order in which a payment takes them. Each part has its own clock; the provider tells no times.
//! Of Kafka only what was published since the payment was made is read, and, if it has ended, until soon afterwards.

mod step;
mod timeline;

use chassis::cli::plain;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use self::step::Step;
use crate::sources::Sources;

#[derive(Debug, clap::Args)]
// The commands have subcommands of these names, and clap would call the groups of both alike.
#[group(skip)]
pub struct Trace {
    /// The payment's id
    payment_id: Uuid,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Trace {
    /// Traces, prints what it finds, and returns whether somebody knows the payment.
    pub async fn run(self, sources: &Sources) -> anyhow::Result<bool> {
        let id = self.payment_id;
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

#[derive(Debug, Serialize)]
pub struct Timeline {
    pub payment_id: Uuid,
    /// `pending`, `paid`, `refunded` or `declined`; none if it is only a command yet.
    pub status: Option<String>,
    pub steps: Vec<Step>,
}

/// The life of the payment; none if nobody knows it.
pub async fn trace(sources: &Sources, payment_id: Uuid) -> anyhow::Result<Option<Timeline>> {
    let (status, steps) = timeline::of(sources, payment_id).await?;
    Ok((!steps.is_empty()).then_some(Timeline {
        payment_id,
        status,
        steps,
    }))
}

impl Timeline {
    /// For the terminal: a line for each step, with the milliseconds since the first.
    fn text(&self) -> String {
        let status = self
            .status
            .as_deref()
            .unwrap_or("a command, not decided yet");
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
}

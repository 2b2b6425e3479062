//! Counters and gauges of our own services, out of their `/metrics`.

use std::time::Duration;

use crate::http;

/// What a service said, or nothing when it is down.
#[derive(Debug, Default)]
pub struct Scrape(Option<String>);

impl Scrape {
    /// Asks a service, which counts as down if it takes longer than `within`.
    pub async fn of(base_url: &str, within: Duration) -> Self {
        let asked = http::client()
            .get(format!("{base_url}/metrics"))
            .timeout(within);
        let text = async { asked.send().await?.error_for_status()?.text().await };
        Self(text.await.ok())
    }

    /// What a service could have said.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }

    /// Whether the service did not answer.
    pub const fn is_down(&self) -> bool {
        self.0.is_none()
    }

    /// The sum of the metric over all label sets that have all of `labels`, such as `outcome="again"`; none when the
    /// service is down.
    pub fn sum(&self, name: &str, labels: &[&str]) -> Option<u64> {
        let lines = self.0.as_ref()?.lines();
        let values = lines.filter_map(|line| value(line, name, labels));
        Some(values.sum())
    }
}

/// The value of a line `name{labels} value`, if it is meant. What we count is whole; of a gauge that is not, the whole
/// process counts.
fn value(line: &str, name: &str, labels: &[&str]) -> Option<u64> {
    let rest = line.strip_prefix(name)?;
    let (own, value) = rest.rsplit_once(' ')?;
    let is_meant = own.is_empty() || own.starts_with('{');
    if !is_meant || !labels.iter().all(|label| own.contains(label)) {
        return None;
    }
    value.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_the_labels_that_are_meant() {
        let text = "# TYPE calls_total counter\n\
                    calls_total{call=\"pay\",outcome=\"paid\"} 7\n\
                    calls_total{call=\"pay\",outcome=\"unknown\"} 2\n\
                    calls_total_created 99\n\
                    bills{status=\"paying\"} 3.0\n\
                    plain 4\n";
        let scrape = Scrape::from_text(text);
        assert_eq!(scrape.sum("calls_total", &[]), Some(9));
        assert_eq!(scrape.sum("calls_total", &["outcome=\"paid\""]), Some(7));
        assert_eq!(scrape.sum("bills", &[]), Some(3));
        assert_eq!(scrape.sum("plain", &[]), Some(4));
        assert_eq!(scrape.sum("absent", &[]), Some(0));
        assert_eq!(Scrape(None).sum("plain", &[]), None);
    }
}

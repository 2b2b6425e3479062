//! What a run comes to. Pure.

use audit::Report;

use crate::snapshot::Outcome;

/// One sentence, to stand after "of", and how the money came out.
pub(super) fn of(report: &Report, promised: u64) -> (String, Outcome) {
    let Report {
        accepted,
        paid,
        refunded,
        declined,
        in_flight,
        ..
    } = report;
    let mut damage = Vec::new();
    let mut outcome = Outcome::Right;
    for finding in report.findings.iter().filter(|finding| finding.count > 0) {
        damage.push(format!("{} {}", finding.count, finding.kind.title()));
        outcome = outcome.max(finding.kind.into());
    }
    if promised > *accepted {
        let unknown = promised - accepted;
        outcome = Outcome::MoneyLost;
        damage.push(format!("{unknown} promised and not known here"));
    }
    let mut ended = format!("{paid} paid, {refunded} refunded");
    if *declined > 0 {
        ended.push_str(&format!(", {declined} declined"));
    }
    if *in_flight > 0 {
        ended.push_str(&format!(", {in_flight} still on their way"));
    }
    let sentence = if damage.is_empty() {
        format!("{accepted} payments: {ended}; nothing was lost and nothing was paid twice.")
    } else {
        format!("{accepted} payments: {}; {ended}.", damage.join(", "))
    };
    (sentence, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use audit::{Finding, Kind, Scope};

    fn report(kind: Kind, lost: u64) -> Report {
        Report {
            scope: Scope::default(),
            accepted: 10,
            in_flight: 0,
            in_flight_where: Vec::new(),
            paid: 9 - lost,
            refunded: 1,
            declined: 0,
            paid_after: None,
            findings: vec![Finding {
                kind,
                by_pattern: Vec::new(),
                differences: Vec::new(),
                repair: None,
                count: lost,
                examples: Vec::new(),
            }],
            read: audit::Read::default(),
            took_ms: 1,
        }
    }

    #[test]
    fn a_verdict_is_one_sentence_and_tells_how_the_money_came_out() {
        insta::assert_debug_snapshot!([
            of(&report(Kind::Lost, 0), 10),
            of(&report(Kind::Lost, 2), 10),
            of(&report(Kind::Stuck, 2), 10),
            // A customer was told "accepted", and nobody knows of it.
            of(&report(Kind::Lost, 0), 11),
        ]);
    }
}

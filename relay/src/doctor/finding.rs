//! What a check has found, and how it is printed.

use chassis::cli;

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    /// Every promise holds; something is worth knowing or setting.
    Advice,
    /// A promise would not hold.
    Wrong,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Wrong => "WRONG",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Finding {
    pub(super) check: String,
    pub(super) verdict: Verdict,
    /// What is there.
    pub(super) found: String,
    /// What to set, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found, None)
    }

    pub(super) fn advice(
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Verdict::Advice, found, Some(remedy.into()))
    }

    pub(super) fn wrong(
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Verdict::Wrong, found, Some(remedy.into()))
    }

    fn new(
        check: impl Into<String>,
        verdict: Verdict,
        found: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self {
            check: check.into(),
            verdict,
            found: found.into(),
            remedy,
        }
    }
}

/// A line for each finding, and one below it for what to do; at the end, the sum.
pub(super) fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.chars().count());
    let width = width.max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let found = cli::plain(&finding.found);
        let word = finding.verdict.word();
        text += &format!("{word:8}{:width$}  {found}\n", cli::plain(&finding.check));
        if let Some(remedy) = &finding.remedy {
            text += &format!("{:8}{:width$}  -> {}\n", "", "", cli::plain(remedy));
        }
    }
    let wrong = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Wrong)
        .count();
    text += &match wrong {
        0 => "Every promise holds.\n".to_owned(),
        wrong => format!("{wrong} to correct: until then a promise does not hold.\n"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_a_remedy_is_one_below_it() {
        let findings = [
            Finding::ok("version", "15.1"),
            Finding::wrong("wal_level", "replica", "set logical"),
        ];
        assert_eq!(
            text(&findings),
            "ok      version    15.1\n\
             WRONG   wal_level  replica\n                   -> set logical\n\
             1 to correct: until then a promise does not hold.\n"
        );
        assert!(text(&findings[..1]).ends_with("Every promise holds.\n"));
    }
}

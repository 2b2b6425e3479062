//! Times as an operator types them: `10m`, `2d`, `09:30`, `2026-03-01`, `2026-03-01T09:30`, `2026-03-01T09:30:00Z`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};

/// The longest duration that is understood: a hundred years.
const SECONDS_MAX: u64 = 100 * 366 * 24 * 60 * 60;

/// Why a text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SinceError {
    /// Neither a number with its unit.
    #[error("must be a number and its unit: s, m, h or d, such as 90s, 10m, 1h or 2d")]
    Duration,
    /// Nor anything else that names a moment.
    #[error(
        "must be a time such as 09:30 (today) or 2026-03-01T09:30, a date, or how long ago: 90s, 10m, 1h, 2d. Times are \
         local; one that ends with Z is in UTC"
    )]
    Time,
}

/// A duration: a whole number and one of the units `s`, `m`, `h` and `d`.
///
/// # Errors
/// [`SinceError::Duration`].
pub fn duration(text: &str) -> Result<Duration, SinceError> {
    let seconds = || {
        let unit = text.chars().next_back()?;
        let number = text.strip_suffix(unit)?;
        let unit_s = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return None,
        };
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let seconds = number.parse::<u64>().ok()?.checked_mul(unit_s)?;
        Some(seconds).filter(|seconds| *seconds <= SECONDS_MAX)
    };
    let seconds = seconds().ok_or(SinceError::Duration)?;
    Ok(Duration::from_secs(seconds))
}

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// From that time.
    At(DateTime<Utc>),
    /// From so long ago.
    Ago(Duration),
}

impl Since {
    /// The time, where it is `now`.
    #[must_use]
    pub fn resolve(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(time) => time,
            Self::Ago(duration) => now - duration,
        }
    }
}

impl FromStr for Since {
    type Err = SinceError;

    fn from_str(text: &str) -> Result<Self, SinceError> {
        if let Ok(duration) = duration(text) {
            return Ok(Self::Ago(duration));
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(time.to_utc()));
        }
        let time = local(text).ok_or(SinceError::Time)?;
        // A time that comes twice, when a clock is set back, is the earlier one.
        let time = Local.from_local_datetime(&time).earliest();
        time.map(|time| Self::At(time.to_utc()))
            .ok_or(SinceError::Time)
    }
}

/// A date, a time of today, or both.
fn local(text: &str) -> Option<NaiveDateTime> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(date.and_time(NaiveTime::MIN));
    }
    if let Ok(time) = text.parse::<NaiveTime>() {
        return Some(Local::now().date_naive().and_time(time));
    }
    let (date, time) = text.split_once(['T', ' '])?;
    Some(date.parse::<NaiveDate>().ok()?.and_time(time.parse().ok()?))
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => write!(f, "{}", time.to_rfc3339()),
            Self::Ago(duration) => write!(f, "{} s ago", duration.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_its_unit() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("10m", 600),
            ("1h", 3_600),
            ("2d", 172_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "h",
            "1",
            "-1h",
            "+1h",
            "1.5h",
            "1 h",
            "1h30m",
            "1H",
            "1w",
            "1ħ",
            "99999999999999999999s",
            "9999999999999999d",
            "36601d",
        ] {
            assert_eq!(duration(text), Err(SinceError::Duration), "{text}");
        }
    }

    #[test]
    fn since_is_a_time_a_date_or_how_long_ago() {
        let now: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
        for (text, time) in [
            ("2026-02-28T23:30:00Z", "2026-02-28T23:30:00Z"),
            ("2026-03-01T01:00:00+05:30", "2026-02-28T19:30:00Z"),
            ("2h", "2026-03-01T10:00:00Z"),
        ] {
            let since: Since = text.parse().unwrap();
            assert_eq!(
                since.resolve(now),
                time.parse::<DateTime<Utc>>().unwrap(),
                "{text}"
            );
        }
        for text in [
            "",
            "yesterday",
            "2026-02-30",
            "25:30",
            "2026-02-28T",
            "28.02.2026",
        ] {
            assert_eq!(text.parse::<Since>(), Err(SinceError::Time), "{text}");
        }
    }

    #[test]
    fn without_a_zone_a_time_is_local() {
        let day: NaiveDate = "2026-02-28".parse().unwrap();
        let today = Local::now().date_naive();
        let at = |date: NaiveDate, h, m, s| {
            let time = date.and_hms_opt(h, m, s).unwrap().and_local_timezone(Local);
            Since::At(time.earliest().unwrap().to_utc())
        };
        for (text, time) in [
            ("2026-02-28", at(day, 0, 0, 0)),
            ("2026-02-28T23:30", at(day, 23, 30, 0)),
            ("2026-02-28 23:30:12", at(day, 23, 30, 12)),
            ("18:45", at(today, 18, 45, 0)),
            ("18:45:12", at(today, 18, 45, 12)),
        ] {
            assert_eq!(text.parse(), Ok(time), "{text}");
        }
    }
}

//! The W3C trace context that follows a payment from the HTTP request, through the outbox row and the
//! Kafka header, to the provider's request.

use std::fmt;
use std::str::FromStr;

/// A W3C `traceparent` of version 00: `00-<trace id>-<span id>-<flags>`, lower-case hex.
///
/// One of a higher version is read as far as it is known, and goes on as version 00. Source: W3C Trace Context,
/// sections 3.2 and 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// The flag that the trace is recorded.
const SAMPLED: u8 = 1;

/// The text is not a valid `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct TraceparentError;

impl Traceparent {
    /// A new trace, sampled.
    #[must_use]
    pub fn start() -> Self {
        Self {
            trace_id: nonzero(rand::random),
            span_id: nonzero(rand::random),
            flags: SAMPLED,
        }
    }

    /// The next span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            span_id: nonzero(rand::random),
            ..self
        }
    }

    /// The 32 hex digits that all spans of the trace share; what to search the logs for.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// The trace id within a `traceparent`'s text, for a log line; empty if the text is something else.
#[must_use]
pub fn trace_id(traceparent: &str) -> &str {
    let is_valid = traceparent.parse::<Traceparent>().is_ok();
    let id = traceparent.split('-').nth(1).filter(|_| is_valid);
    id.unwrap_or_default()
}

/// All-zero ids are invalid in W3C Trace Context.
fn nonzero<T: Default + PartialEq>(random: impl Fn() -> T) -> T {
    loop {
        let value = random();
        if value != T::default() {
            return value;
        }
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }
}

impl FromStr for Traceparent {
    type Err = TraceparentError;

    fn from_str(text: &str) -> Result<Self, TraceparentError> {
        let hex = |part: &str, digits: usize| {
            part.len() == digits
                && part
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut parts = text.splitn(5, '-');
        let (Some(version), Some(trace_id), Some(span_id), Some(flags), more) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(TraceparentError);
        };
        let is_own_version = version == "00";
        if !hex(version, 2) || version == "ff" || (is_own_version && more.is_some()) {
            return Err(TraceparentError);
        }
        if !hex(trace_id, 32) || !hex(span_id, 16) || !hex(flags, 2) {
            return Err(TraceparentError);
        }
        // Of a higher version's flags only this one is known.
        let flags_known = if is_own_version { u8::MAX } else { SAMPLED };
        let parsed = Self {
            trace_id: u128::from_str_radix(trace_id, 16).map_err(|_| TraceparentError)?,
            span_id: u64::from_str_radix(span_id, 16).map_err(|_| TraceparentError)?,
            flags: u8::from_str_radix(flags, 16).map_err(|_| TraceparentError)? & flags_known,
        };
        if parsed.trace_id == 0 || parsed.span_id == 0 {
            return Err(TraceparentError);
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const IDS: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

    #[test]
    fn reads_back_what_it_writes() {
        let trace: Traceparent = EXAMPLE.parse().unwrap();
        assert_eq!(trace.to_string(), EXAMPLE);
        assert_eq!(trace.trace_id(), trace_id(EXAMPLE));
        assert_eq!(trace_id("00-a-b-01"), "");
        let started = Traceparent::start();
        assert_eq!(started.to_string().parse(), Ok(started));
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let trace: Traceparent = EXAMPLE.parse().unwrap();
        let child = trace.child();
        assert_eq!(child.trace_id(), trace.trace_id());
        assert_ne!(child, trace);
    }

    #[test]
    fn a_higher_version_is_read_as_version_00() {
        for (version, flags, more, known) in [
            ("01", "01", "", "01"),
            ("01", "01", "-what-the-future-brings", "01"),
            ("cc", "00", "-", "00"),
            ("fe", "ff", "", "01"),
        ] {
            let text = format!("{version}-{IDS}-{flags}{more}");
            let trace: Traceparent = text.parse().unwrap();
            assert_eq!(trace.to_string(), format!("00-{IDS}-{known}"), "{text}");
        }
    }

    #[test]
    fn refuses_what_the_standard_refuses() {
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "1-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "01-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_eq!(text.parse::<Traceparent>(), Err(TraceparentError), "{text}");
        }
    }
}

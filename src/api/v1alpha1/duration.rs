//! Lengths of time as people write them in a spec: `30s`, `24h`, `30d`, `1h30m`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What a length of time looks like. The API server checks the same pattern.
const PATTERN: &str = "^([0-9]+(ms|s|m|h|d|w))+$";

/// A length of time, kept as it was written so that a round trip changes nothing.
///
/// The schema carries `format: duration`, which makes it comparable in CEL, and a pattern, which keeps out
/// the spellings that only the API server's parser knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub String);

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration: write numbers with ms, s, m, h, d or w, such as 24h or 30d")]
pub struct InvalidSpan {
    /// The text that was refused.
    pub text: String,
}

impl Span {
    /// Wraps a text; [`Span::to_duration`] says whether it is one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The length of time.
    pub fn to_duration(&self) -> Result<Duration, InvalidSpan> {
        parse(&self.0).ok_or_else(|| InvalidSpan { text: self.0.clone() })
    }
}

fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let factor: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        millis = millis.checked_add(number.checked_mul(factor)?)?;
        rest = tail;
    }
    Some(Duration::from_millis(millis))
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration", "pattern": PATTERN, "maxLength": 64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, seconds) in
            [("30s", 30), ("24h", 86_400), ("1h30m", 5_400), ("2w1d", 1_296_000), ("0s", 0)]
        {
            assert_eq!(Span::new(text).to_duration().unwrap(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(Span::new("250ms").to_duration().unwrap(), Duration::from_millis(250));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "5", "h", "1y", "-1h", "1h ", "1.5h", "99999999999999999999s", "18446744073709551615w"]
        {
            assert!(Span::new(text).to_duration().is_err(), "{text}");
        }
    }
}

//! How long an answer asks its caller to stay away: `google.rpc.RetryInfo` in its details, or the header `Retry-After`.

use std::time::Duration;

use google_cloud_gax::error::rpc::StatusDetails;
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// What either says; the longer one, where both do.
pub(super) fn asked(details: &[StatusDetails], headers: Option<&HeaderMap>) -> Option<Duration> {
    let delays = details.iter().filter_map(|detail| match detail {
        // One that is negative asks for nothing.
        StatusDetails::RetryInfo(info) => Duration::try_from(info.retry_delay?).ok(),
        _ => None,
    });
    delays.chain(headers.and_then(of_headers)).max()
}

/// Seconds, or a time, which counts from the answer's own: our clock may be another.
fn of_headers(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(until.duration_since(date(headers)?)).ok()
}

/// When the answer was made, by the clock of whoever made it.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    rfc2822::parse(text).ok().map(|time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERED: &str = "Tue, 15 Nov 1994 08:12:31 GMT";

    fn info(delay: &str) -> Vec<StatusDetails> {
        let info =
            serde_json::json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay});
        vec![serde_json::from_value(info).unwrap()]
    }

    fn after(text: &'static str) -> HeaderMap {
        [(DATE, ANSWERED), (RETRY_AFTER, text)]
            .map(|(name, text)| (name, text.parse().unwrap()))
            .into_iter()
            .collect()
    }

    #[test]
    fn either_form_is_read_and_the_longer_wait_counts() {
        let asked = |details: &[_], headers: Option<HeaderMap>| asked(details, headers.as_ref());
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(asked(&[], None), None);
        assert_eq!(asked(&info("37s"), None), seconds(37));
        assert_eq!(asked(&info("0.250s"), None), Some(Duration::from_millis(250)));
        assert_eq!(asked(&[], Some(after("120"))), seconds(120));
        assert_eq!(asked(&[], Some(after("Tue, 15 Nov 1994 08:13:01 GMT"))), seconds(30));
        assert_eq!(asked(&info("5s"), Some(after("7"))), seconds(7));
        assert_eq!(asked(&info("9s"), Some(after("7"))), seconds(9));
    }

    #[test]
    fn what_asks_for_nothing_is_not_heeded() {
        for text in ["", "soon", "-5", "1.5", "Tue, 15 Nov 1994 08:12:01 GMT"] {
            assert_eq!(asked(&[], Some(&after(text))), None, "{text:?}");
        }
        let undated: HeaderMap = [(RETRY_AFTER, ANSWERED.parse().unwrap())].into_iter().collect();
        assert_eq!(asked(&[], Some(&undated)), None, "nobody knows when it was answered");
        assert_eq!(asked(&info("-5s"), None), None);
    }
}

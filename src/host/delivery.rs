//! The facts of one arrival: headers, invocation id, trace context, time. Knows no body.

use crate::chance;
use http::HeaderMap;
use std::collections::BTreeMap;

/// Header values by lower-case name. Repeated headers are joined with `, `.
pub type Headers = BTreeMap<String, String>;

/// The host's id of one invocation; new per attempt, overwritten by the host when it proxies.
pub const INVOCATION_HEADER: &str = "x-azure-functions-invocationid";

/// Longest invocation id taken over, in characters: the host's are GUIDs (36), a longer one is somebody else's.
const INVOCATION_CHARS_MAX: usize = 64;

/// What is known about one request besides its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The host's invocation id, or one of ours if it sent none.
    pub invocation: String,
    /// The sender's W3C `traceparent`, if it is valid.
    pub traceparent: Option<String>,
    /// When the request was received, in milliseconds since 1970.
    pub at_ms: i64,
}

impl Arrived {
    /// Reads the facts from the request's headers. `at_ms` is the time of receipt.
    #[must_use]
    pub fn read(headers: &HeaderMap, at_ms: i64) -> Self {
        // A host that forwards appends its id behind one that the client sent.
        let invocation = headers
            .get_all(INVOCATION_HEADER)
            .iter()
            .next_back()
            .and_then(|value| value.to_str().ok())
            .filter(|id| !id.is_empty() && id.len() <= INVOCATION_CHARS_MAX)
            .map_or_else(|| chance::token().to_string(), str::to_owned);
        let traceparent = headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .filter(|text| is_traceparent(text))
            .map(str::to_owned);
        Self { invocation, traceparent, at_ms }
    }
}

/// All headers as text, names in lower case. Bytes that are not UTF-8 are replaced.
#[must_use]
pub fn lower_case(headers: &HeaderMap) -> Headers {
    let mut all = Headers::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        all.entry(name.as_str().to_owned())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    all
}

/// Whether a request to an invocation path came from outside: the host itself adds none of these when it invokes, but
/// always some when it proxies or forwards what a client sent (facts, "Spoofing").
#[must_use]
pub fn came_through_the_front(headers: &HeaderMap) -> bool {
    headers.get_all(INVOCATION_HEADER).iter().count() > 1
        || headers.keys().any(|name| {
            let name = name.as_str();
            name == "x-ms-invocation-id" || name == "forwarded" || name.starts_with("x-forwarded-")
        })
}

/// The trace context that a sender put into application properties or a CloudEvent: `traceparent`, or `Diagnostic-Id`
/// as the Azure SDKs call it. Names in lower case.
#[must_use]
pub fn traceparent_of(properties: &Headers) -> Option<String> {
    ["traceparent", "diagnostic-id", "cloudevents:traceparent", "cloudevents_traceparent", "ce-traceparent"]
        .iter()
        .filter_map(|name| properties.get(*name))
        .find(|text| is_traceparent(text))
        .cloned()
}

/// Whether the text is a W3C trace context: `00-<32 hex>-<16 hex>-<2 hex>` in lower case, ids not all zero. Later
/// versions may carry more behind it; version `ff` is forbidden.
#[must_use]
pub fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let not_zero = |part: &str| part.bytes().any(|b| b != b'0');
    let mut parts = text.splitn(5, '-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let ends = version != "00" || parts.next().is_none();
    hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && not_zero(trace)
        && hex(parent, 16)
        && not_zero(parent)
        && hex(flags, 2)
        && ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn only_valid_trace_contexts_are_passed_on() {
        let check = |text: &str, expected: bool| assert_eq!(is_traceparent(text), expected, "{text}");
        check(TRACE, true);
        check("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true);
        check("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false);
        check("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false);
        check("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false);
        check("00-00000000000000000000000000000000-b7ad6b7169203331-01", false);
        check("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false);
        check("|0af7651916cd43dd.1.", false);
        check("", false);
    }

    #[test]
    fn the_hosts_invocation_id_wins_over_the_clients() {
        let both = headers(&[(INVOCATION_HEADER, "of-the-client"), (INVOCATION_HEADER, "of-the-host")]);
        assert_eq!(Arrived::read(&both, 0).invocation, "of-the-host");
        assert!(came_through_the_front(&both));
        let none = Arrived::read(&headers(&[("traceparent", "nonsense")]), 7);
        assert_eq!(none.invocation.len(), 36);
        assert_eq!(none.traceparent, None);
        assert_eq!(none.at_ms, 7);
    }

    #[test]
    fn every_mark_of_the_front_is_seen() {
        let check = |name: &'static str, expected: bool| {
            assert_eq!(came_through_the_front(&headers(&[(name, "x")])), expected, "{name}");
        };
        check("x-ms-invocation-id", true);
        check("x-forwarded-for", true);
        check("x-forwarded-host", true);
        check("x-forwarded-proto", true);
        check("forwarded", true);
        check(INVOCATION_HEADER, false);
        check("user-agent", false);
    }

    #[test]
    fn repeated_headers_are_joined_and_names_are_lower_case() {
        let all = lower_case(&headers(&[("CE-Id", "1"), ("Accept", "a"), ("Accept", "b")]));
        assert_eq!(all.get("ce-id").map(String::as_str), Some("1"));
        assert_eq!(all.get("accept").map(String::as_str), Some("a, b"));
    }

    #[test]
    fn the_first_valid_trace_property_is_taken() {
        let properties = Headers::from([
            ("traceparent".to_owned(), "broken".to_owned()),
            ("diagnostic-id".to_owned(), TRACE.to_owned()),
        ]);
        assert_eq!(traceparent_of(&properties).as_deref(), Some(TRACE));
        assert_eq!(traceparent_of(&Headers::new()), None);
    }
}

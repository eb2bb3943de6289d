//! The abuse protection handshake of CloudEvents webhooks (OPTIONS; "HTTP 1.1 Web Hooks for Event Delivery" 1.0.2,
//! section 4). A decision only: it answers no request and calls no callback.

/// Longest origin that is echoed; a DNS name has at most 253 characters.
const ORIGIN_BYTES_MAX: usize = 512;

/// Value of the `Allow` header beside the answer.
pub const ALLOW: &str = "POST, OPTIONS";

/// What to answer to an OPTIONS request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Permission: 200 with both headers.
    Granted {
        /// `WebHook-Allowed-Origin`.
        allow_origin: String,
        /// `WebHook-Allowed-Rate`: requests per minute, or `*`.
        allow_rate: String,
    },
    /// Nobody asked, or the question is malformed: answer without these headers, which is no consent.
    NotGranted,
}

/// Decides on `WebHook-Request-Origin` and `WebHook-Request-Rate`. Whoever knows the address and its key may send, so
/// every well-formed origin is granted, at the rate it asks for (too much is deferred, never refused).
///
/// `WebHook-Request-Callback` is no argument on purpose: permission is granted in the answer, and a service that calls
/// addresses given by strangers can be aimed at others.
#[must_use]
pub fn handshake(origin: Option<&str>, rate: Option<&str>) -> Handshake {
    let origin = origin.map(str::trim).unwrap_or_default();
    if origin.is_empty() || origin.len() > ORIGIN_BYTES_MAX || !origin.bytes().all(|b| b.is_ascii_graphic()) {
        return Handshake::NotGranted;
    }
    let asked = rate.and_then(|rate| rate.trim().parse::<u32>().ok()).filter(|&rate| rate > 0);
    Handshake::Granted {
        allow_origin: origin.to_owned(),
        allow_rate: asked.map_or_else(|| "*".to_owned(), |rate| rate.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_origin_is_granted_at_the_rate_it_asks_for() {
        for (origin, rate, expected) in [
            (Some("eventgrid.azure.net"), Some("120"), Some(("eventgrid.azure.net", "120"))),
            (Some(" eventgrid.azure.net "), None, Some(("eventgrid.azure.net", "*"))),
            (Some("a.example"), Some("0"), Some(("a.example", "*"))),
            (Some("a.example"), Some("-5"), Some(("a.example", "*"))),
            (Some("a.example"), Some("many"), Some(("a.example", "*"))),
            (Some("a.example\r\nx: y"), Some("1"), None),
            (Some("  "), Some("1"), None),
            (None, Some("1"), None),
        ] {
            let expected = expected.map_or(Handshake::NotGranted, |(origin, rate)| Handshake::Granted {
                allow_origin: origin.to_owned(),
                allow_rate: rate.to_owned(),
            });
            assert_eq!(handshake(origin, rate), expected, "{origin:?} {rate:?}");
        }
    }
}

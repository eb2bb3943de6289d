//! Verifies a shared access signature, as the service does: policy, HMAC, expiry, and what it was issued for. Knows no
//! queue.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use http::{Request, header};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

/// Whether `sr=..&sig=..&se=..&skn=..` is signed with this key and good for this request at `now`.
pub(super) fn verified(signature: &str, name: &str, key: &str, request: &Request<Bytes>, now: DateTime<Utc>) -> bool {
    let field = |name: &str| signature.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
    let (Some(resource), Some(sig), Some(expiry), Some(policy)) =
        (field("sr"), field("sig"), field("se"), field("skn").and_then(decoded))
    else {
        return false;
    };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let asked = format!("{host}{}", request.uri().path()).to_lowercase();
    let issued = decoded(resource).unwrap_or_default().to_lowercase();
    let issued = issued.split_once("://").map_or(issued.as_str(), |(_, rest)| rest).trim_end_matches('/');
    let below = asked.strip_prefix(issued).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let alive = expiry.parse::<i64>().is_ok_and(|expiry| expiry > now.timestamp());
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map(|mut mac| {
        mac.update(format!("{resource}\n{expiry}").as_bytes());
        BASE64.encode(mac.finalize().into_bytes())
    });
    policy == name && below && alive && mac.ok() == decoded(sig)
}

//! What a token says of itself (RFC 7519), for people who look why it is refused. Reads, verifies nothing: whether a token is
//! good only its receiver says.

use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::Value as Json;

/// Longest text of a claim that is kept, in characters: an address or a GUID.
const TEXT_CHARS_MAX: usize = 200;

/// The claims that decide whether a token fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `aud`: whom it is for; a token may name several.
    pub audiences: Vec<String>,
    /// `tid`: whose directory it is from.
    pub tenant: Option<String>,
    /// `appid`, of newer tokens `azp`: who asked for it.
    pub application: Option<String>,
    /// `nbf`: from when on it is good.
    pub begins: Option<DateTime<Utc>>,
    /// `exp`: until when it is good.
    pub ends: Option<DateTime<Utc>>,
}

impl Claims {
    /// The claims of a signed token (`header.claims.signature`); `None`: it is something else, which only its receiver reads.
    #[must_use]
    pub fn of(token: &Secret) -> Option<Self> {
        let parts: Vec<&str> = token.expose().split('.').collect();
        let [header, claims, _signature] = parts.as_slice() else { return None };
        object(header)?;
        let claims = object(claims)?;
        let text = |name: &str| claims.get(name).and_then(Json::as_str).map(kept);
        let time = |name: &str| DateTime::from_timestamp(seconds(claims.get(name)?)?, 0);
        let audiences = match claims.get("aud") {
            Some(Json::String(one)) => vec![kept(one)],
            Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).map(kept).collect(),
            _ => Vec::new(),
        };
        let application = text("appid").or_else(|| text("azp"));
        Some(Self { audiences, tenant: text("tid"), application, begins: time("nbf"), ends: time("exp") })
    }
}

fn object(part: &str) -> Option<Json> {
    let bytes = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
    serde_json::from_slice::<Json>(&bytes).ok().filter(Json::is_object)
}

/// A NumericDate may have a fraction.
fn seconds(json: &Json) -> Option<i64> {
    json.as_i64().or_else(|| json.to_string().split('.').next()?.parse().ok())
}

fn kept(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(claims: &Json) -> Secret {
        let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
        Secret::new(format!("{}.{}.c2ln", part(&json!({"alg": "RS256"})), part(claims)))
    }

    #[test]
    fn the_claims_of_a_signed_token_are_read_in_every_form() {
        let claims =
            Claims::of(&token(&json!({"aud": "https://org", "tid": "t", "appid": "a", "nbf": 5, "exp": 10.5})));
        let expected = Claims {
            audiences: vec!["https://org".to_owned()],
            tenant: Some("t".to_owned()),
            application: Some("a".to_owned()),
            begins: DateTime::from_timestamp(5, 0),
            ends: DateTime::from_timestamp(10, 0),
        };
        assert_eq!(claims, Some(expected));
        let newer = Claims::of(&token(&json!({"aud": ["x", 1, "y\u{1b}[2J"], "azp": "b"}))).unwrap();
        assert_eq!(
            (newer.audiences, newer.application),
            (vec!["x".to_owned(), "y[2J".to_owned()], Some("b".to_owned()))
        );
        assert_eq!(Claims::of(&token(&json!({}))), Some(Claims::default()));
    }

    #[test]
    fn what_is_no_signed_token_is_left_to_its_receiver() {
        for text in ["", "opaque", "a.b.c", "e30.e30", "e30.W10.x", "e30.e30.e30.e30.e30", "e30.!.x"] {
            assert_eq!(Claims::of(&Secret::new(text)), None, "{text}");
        }
        assert!(Claims::of(&Secret::new("e30.e30.x")).is_some());
    }
}

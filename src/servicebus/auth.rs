//! How a request to Service Bus proves who sends it: a shared access signature or a bearer token. Knows no operation.

use crate::identity::TokenSource;
use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;
use std::sync::{Arc, Mutex, PoisonError};

/// The audience of tokens for Service Bus (facts functions-host 7.4).
pub const RESOURCE: &str = "https://servicebus.azure.net";

/// How long a signature is good. Short, because it cannot be taken back; long against a clock that is minutes off.
const LIFETIME: TimeDelta = TimeDelta::minutes(60);

/// A signature is renewed when less than this is left of it: more than any request's time and clock skew.
const MARGIN: TimeDelta = TimeDelta::minutes(15);

/// RFC 3986 unreserved characters stay, everything else is encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Credentials for one queue. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A shared access policy's key (rights `Send`, `Listen`, for [`Admin`](crate::servicebus::Admin) `Manage`).
    SharedKey(SharedKey),
    /// A ready-made signature.
    Signature(Secret),
    /// Tokens of an identity with a role (`Azure Service Bus Data Sender`, `... Receiver`, for
    /// [`Admin`](crate::servicebus::Admin) `... Owner`).
    Bearer(TokenSource),
}

/// A shared access policy and its key, with the last signature. Clones share it.
#[derive(Clone, Debug)]
pub struct SharedKey(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    key: Secret,
    last: Mutex<Option<Signed>>,
}

#[derive(Clone, Debug)]
struct Signed {
    resource: String,
    token: Secret,
    until: DateTime<Utc>,
}

impl SharedKey {
    /// The policy's name and its key as the portal shows it (the text itself is the key, it is not decoded).
    ///
    /// # Errors
    /// A fragment naming the part that is empty.
    pub fn new(name: impl Into<String>, key: Secret) -> Result<Self, &'static str> {
        let name = name.into();
        if name.is_empty() || key.expose().is_empty() {
            return Err("SharedAccessKeyName or SharedAccessKey is empty");
        }
        Ok(Self(Arc::new(Inner { name, key, last: Mutex::new(None) })))
    }

    /// `SharedAccessSignature sr=...&sig=...&se=...&skn=...` for this address and everything below it; signed anew
    /// only when the last one is nearly over, or the clock was set.
    pub(super) fn token(&self, resource: &str, now: DateTime<Utc>) -> Secret {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signed) = last.as_ref() {
            let left = signed.until.signed_duration_since(now);
            if signed.resource == resource && left > MARGIN && left <= LIFETIME {
                return signed.token.clone();
            }
        }
        let until = now.checked_add_signed(LIFETIME).unwrap_or(now);
        let token = self.sign(resource, until);
        *last = Some(Signed { resource: resource.to_owned(), token: token.clone(), until });
        token
    }

    fn sign(&self, resource: &str, until: DateTime<Utc>) -> Secret {
        let encode = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
        let (resource, expiry) = (encode(&resource.to_lowercase()), until.timestamp());
        let mac = Hmac::<Sha256>::new_from_slice(self.0.key.expose().as_bytes());
        let signature = mac.map(|mut mac| {
            mac.update(format!("{resource}\n{expiry}").as_bytes());
            BASE64.encode(mac.finalize().into_bytes())
        });
        // HMAC takes keys of any length; without a signature the service would answer 401
        let signature = encode(&signature.unwrap_or_default());
        let name = encode(&self.0.name);
        Secret::new(format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "https://NS.servicebus.windows.net/q";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_768_471_200 + seconds, 0).unwrap()
    }

    fn key() -> SharedKey {
        SharedKey::new("send me", Secret::new("key=")).unwrap()
    }

    #[test]
    fn the_signature_is_the_documented_one() {
        // printf 'https%%3A%%2F%%2Fns.servicebus.windows.net%%2Fq\n1768474800' | openssl dgst -sha256 -hmac 'key=' -binary | base64
        let expected = "SharedAccessSignature sr=https%3A%2F%2Fns.servicebus.windows.net%2Fq\
                        &sig=vPZBOqsRxxmVQ%2Fu7lqb8kCYUgJvDciicRnpZKLey%2BlQ%3D&se=1768474800&skn=send%20me";
        assert_eq!(key().token(QUEUE, at(0)).expose(), expected);
    }

    #[test]
    fn a_signature_is_used_again_until_it_is_nearly_over() {
        let key = key();
        let token = |seconds| key.token(QUEUE, at(seconds)).expose().to_owned();
        let first = token(0);
        assert_eq!(token(44 * 60), first);
        let second = token(45 * 60);
        assert_ne!(second, first);
        assert_eq!(token(50 * 60), second, "the renewed one is kept");
        assert_ne!(token(0), second, "a clock that was set back signs anew");
        assert_ne!(key.token("https://other", at(0)).expose(), token(0));
    }

    #[test]
    fn nothing_shows_the_key() {
        let key = SharedKey::new("n", Secret::new("topsecret")).unwrap();
        let token = key.token(QUEUE, at(0));
        let shown = format!("{key:?} {:?} {token:?}", Auth::SharedKey(key.clone()));
        let signature = token.expose().split("sig=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        assert!(!shown.contains("topsecret") && !shown.contains(&signature), "{shown}");
        assert!(SharedKey::new("n", Secret::new("")).is_err() && SharedKey::new("", Secret::new("k")).is_err());
    }
}

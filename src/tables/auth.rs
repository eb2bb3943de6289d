//! How a Table Storage request proves who sends it: SharedKeyLite, a SAS, or a bearer token. Knows no operation.

use crate::identity::TokenSource;
use crate::secret::Secret;
use crate::tables::error::TablesError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use sha2::Sha256;

/// The audience of tokens for storage.
pub const RESOURCE: &str = "https://storage.azure.com";

/// Credentials for one account. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub enum Auth {
    /// The account's key.
    SharedKey(SharedKey),
    /// A shared access signature, without the leading `?`.
    Sas(Secret),
    /// Tokens of an identity with a role on the tables (`Storage Table Data Contributor`).
    Bearer(TokenSource),
}

/// An account name and its key, checked to be base64.
#[derive(Clone, Debug)]
pub struct SharedKey {
    account: String,
    key: Secret,
}

impl SharedKey {
    /// The key in base64, as the portal shows it.
    ///
    /// # Errors
    /// [`TablesError::Invalid`] if it is not base64.
    pub fn new(account: impl Into<String>, key: Secret) -> Result<Self, TablesError> {
        match BASE64.decode(key.expose()) {
            Ok(bytes) if !bytes.is_empty() => Ok(Self { account: account.into(), key }),
            _ => Err(TablesError::invalid("the account key is not base64")),
        }
    }

    /// Adds the SharedKeyLite signature of `date\n/account/path` (facts table-storage); `date` is `x-ms-date`'s.
    pub(super) fn sign(&self, headers: &mut HeaderMap, path: &str, date: &str) -> Result<(), TablesError> {
        let wrong = || TablesError::invalid("the account name or key cannot be used in a header");
        let key = BASE64.decode(self.key.expose()).map_err(|_| wrong())?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| wrong())?;
        mac.update(format!("{date}\n/{}{path}", self.account).as_bytes());
        let signature = BASE64.encode(mac.finalize().into_bytes());
        let value = HeaderValue::from_str(&format!("SharedKeyLite {}:{signature}", self.account));
        let mut value = value.map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

/// `x-ms-date`: with it the service refuses requests that are more than 15 minutes old.
pub(super) fn date(now: DateTime<Utc>) -> String {
    now.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_documented_one() {
        let key = SharedKey::new("acc", Secret::new(BASE64.encode("key"))).unwrap();
        let mut headers = HeaderMap::new();
        let date = date(DateTime::from_timestamp(1_768_471_200, 0).unwrap());
        assert_eq!(date, "Thu, 15 Jan 2026 10:00:00 GMT");
        key.sign(&mut headers, "/Tables", &date).unwrap();
        // printf 'Thu, 15 Jan 2026 10:00:00 GMT\n/acc/Tables' | openssl dgst -sha256 -hmac key -binary | base64
        assert_eq!(
            headers.get("authorization").unwrap(),
            "SharedKeyLite acc:2DmIAgC9Q0HET6oFV3qYvVzdrJFoSvhlPz/zKYGa4kA="
        );
        assert!(!format!("{headers:?}").contains("SharedKeyLite"));
    }

    #[test]
    fn a_key_that_is_not_base64_is_refused() {
        assert!(SharedKey::new("acc", Secret::new("not base64!")).is_err());
        assert!(SharedKey::new("acc", Secret::new("")).is_err());
    }
}

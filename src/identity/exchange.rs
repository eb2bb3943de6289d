//! One token for one credential: the HTTP exchange and its answer. Knows no cache.

use crate::identity::IdentityError;
use crate::outbound::retry::retry_after;
use crate::outbound::transport::{Request, Response};
use crate::secret::Secret;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

/// RFC 3986 unreserved characters stay, everything else is encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where tokens come from when nothing else is said: the public cloud.
const AUTHORITY_DEFAULT: &str = "https://login.microsoftonline.com";

/// The App Service protocol version (facts functions-host 9).
const IDENTITY_API_VERSION: &str = "2019-08-01";

/// Who we are. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nobody: calls carry no token. Only for stand-ins on loopback.
    None,
    /// An application with a secret.
    ClientSecret {
        /// The authority, `https://host`, no slash at the end.
        authority: String,
        /// The tenant's id or domain.
        tenant: String,
        /// The application's client id.
        client_id: String,
        /// The application's secret.
        secret: Secret,
    },
    /// The function app's managed identity, by the App Service protocol.
    ManagedIdentity {
        /// `IDENTITY_ENDPOINT`.
        endpoint: String,
        /// `IDENTITY_HEADER`.
        header: Secret,
        /// The client id of a user-assigned identity; `None`: the system-assigned one.
        client_id: Option<String>,
    },
}

impl Credential {
    /// Client credentials. `authority` is `AZURE_AUTHORITY_HOST`, with or without `https://`; `None`: public cloud.
    ///
    /// # Errors
    /// [`IdentityError::Misconfigured`] for an empty or malformed part.
    pub fn client_secret(
        authority: Option<&str>,
        tenant: &str,
        client_id: &str,
        secret: Secret,
    ) -> Result<Self, IdentityError> {
        let wrong = |what: &str| IdentityError::Misconfigured { what: what.to_owned() };
        if tenant.is_empty() || !tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
            return Err(wrong("the tenant id is neither a GUID nor a domain name"));
        }
        if client_id.is_empty() || secret.expose().is_empty() {
            return Err(wrong("client id and client secret are both needed"));
        }
        let authority = authority.unwrap_or(AUTHORITY_DEFAULT).trim_end_matches('/');
        let authority = if authority.contains("://") { authority.to_owned() } else { format!("https://{authority}") };
        if !is_https_or_loopback(&authority) {
            return Err(wrong("the authority host is not https"));
        }
        Ok(Self::ClientSecret { authority, tenant: tenant.to_owned(), client_id: client_id.to_owned(), secret })
    }

    /// The managed identity. `endpoint` and `header` are the host's `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    ///
    /// # Errors
    /// [`IdentityError::Misconfigured`] when the host gave none.
    pub fn managed_identity(
        endpoint: Option<&str>,
        header: Option<Secret>,
        client_id: Option<&str>,
    ) -> Result<Self, IdentityError> {
        let (Some(endpoint), Some(header)) = (endpoint.filter(|e| !e.is_empty()), header) else {
            let what = "no managed identity here (IDENTITY_ENDPOINT and IDENTITY_HEADER are not set): \
                        assign one to the function app, or configure client credentials";
            return Err(IdentityError::Misconfigured { what: what.to_owned() });
        };
        let client_id = client_id.filter(|id| !id.is_empty()).map(str::to_owned);
        Ok(Self::ManagedIdentity { endpoint: endpoint.to_owned(), header, client_id })
    }

    /// The request for a token for `resource` (an audience without `/.default`); `None` for [`Credential::None`].
    pub(super) fn request(&self, resource: &str, timeout: Duration) -> Result<Option<Request>, IdentityError> {
        let resource = resource.strip_suffix("/.default").unwrap_or(resource);
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        match self {
            Self::None => Ok(None),
            Self::ClientSecret { authority, tenant, client_id, secret } => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                let scope = format!("{resource}/.default");
                let body = form(&[
                    ("client_id", client_id),
                    ("client_secret", secret.expose()),
                    ("grant_type", "client_credentials"),
                    ("scope", &scope),
                ]);
                let url = format!("{authority}/{tenant}/oauth2/v2.0/token");
                Ok(Some(Request { method: Method::POST, url, headers, body: Bytes::from(body), timeout }))
            }
            Self::ManagedIdentity { endpoint, header, client_id } => {
                let mut value = HeaderValue::from_str(header.expose()).map_err(|_| IdentityError::Misconfigured {
                    what: "IDENTITY_HEADER is not a header value".to_owned(),
                })?;
                value.set_sensitive(true);
                headers.insert(HeaderName::from_static("x-identity-header"), value);
                let mut query = vec![("api-version", IDENTITY_API_VERSION), ("resource", resource)];
                query.extend(client_id.as_deref().map(|id| ("client_id", id)));
                let separator = if endpoint.contains('?') { '&' } else { '?' };
                let url = format!("{endpoint}{separator}{}", form(&query));
                Ok(Some(Request { method: Method::GET, url, headers, body: Bytes::new(), timeout }))
            }
        }
    }
}

/// A token and how long it lives from now.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub(super) token: Secret,
    pub(super) lifetime: Duration,
}

/// Reads the answer: `expires_in` (seconds from now) or `expires_on` (Unix seconds), numbers or texts.
pub(super) fn read(answer: &Response, now: DateTime<Utc>) -> Result<Granted, IdentityError> {
    let status = answer.status;
    if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        return Err(IdentityError::Busy { status: status.as_u16(), after: retry_after(&answer.headers, now) });
    }
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    if status != StatusCode::OK {
        return Err(IdentityError::Refused { status: status.as_u16(), code: refusal(body.as_ref()) });
    }
    let body = body.ok_or(IdentityError::Decode { what: "not JSON" })?;
    let token = body.get("access_token").and_then(Value::as_str).filter(|t| !t.is_empty());
    let token = token.ok_or(IdentityError::Decode { what: "no access_token" })?;
    let seconds = match (number(body.get("expires_in")), number(body.get("expires_on"))) {
        (Some(seconds), _) => seconds,
        (None, Some(on)) => on.saturating_sub(now.timestamp()),
        (None, None) => return Err(IdentityError::Decode { what: "neither expires_in nor expires_on" }),
    };
    let lifetime = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let lifetime = lifetime.ok_or(IdentityError::Decode { what: "the token has expired already" })?;
    Ok(Granted { token: Secret::new(token), lifetime })
}

/// `error` and the AADSTS number: enough to look it up, no text that repeats what we sent.
fn refusal(body: Option<&Value>) -> String {
    let word =
        |value: &Value| value.as_str().map(|text| text.chars().filter(char::is_ascii_graphic).take(60).collect());
    let mut code: String =
        body.and_then(|body| body.get("error")).and_then(word).unwrap_or_else(|| "no error code".to_owned());
    if let Some(number) = body.and_then(|body| body.pointer("/error_codes/0")).and_then(Value::as_i64) {
        let _ = write!(code, " AADSTS{number}");
    }
    code
}

fn number(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, RESERVED));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn is_https_or_loopback(url: &str) -> bool {
    let host = |rest: &str| rest.split(['/', '?']).next().map(str::to_owned);
    match (url.strip_prefix("https://"), url.strip_prefix("http://").and_then(host)) {
        (Some(rest), _) => !rest.is_empty(),
        (None, Some(host)) => {
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            matches!(name, "localhost" | "127.0.0.1" | "[::1]")
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_768_471_200, 0).unwrap()
    }

    fn answer(status: u16, body: &str) -> Response {
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn client_credentials_are_posted_as_a_form() {
        let credential = Credential::client_secret(None, "contoso.com", "id", Secret::new("a&b=c d")).unwrap();
        let request = credential.request("https://org.crm4.dynamics.com", Duration::from_secs(1)).unwrap().unwrap();
        assert_eq!(request.url, "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token");
        assert_eq!(
            request.body,
            "client_id=id&client_secret=a%26b%3Dc%20d&grant_type=client_credentials\
             &scope=https%3A%2F%2Forg.crm4.dynamics.com%2F.default"
        );
        assert!(!format!("{credential:?}").contains("a&b"));
    }

    #[test]
    fn a_managed_identity_is_asked_as_app_service_says() {
        let make = |id| Credential::managed_identity(Some("http://127.0.0.1:41/msi"), Some(Secret::new("h")), id);
        let request =
            |id| make(id).unwrap().request("https://storage.azure.com/.default", Duration::ZERO).unwrap().unwrap();
        let system = request(None);
        assert_eq!(
            system.url,
            "http://127.0.0.1:41/msi?api-version=2019-08-01&resource=https%3A%2F%2Fstorage.azure.com"
        );
        assert_eq!(system.headers.get("x-identity-header").unwrap(), "h");
        assert!(!format!("{system:?}").contains("\"h\""));
        assert!(request(Some("abc")).url.ends_with("&client_id=abc"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_what_to_do() {
        let error = Credential::managed_identity(None, None, None).unwrap_err();
        assert!(error.to_string().contains("assign one to the function app"), "{error}");
        assert!(Credential::client_secret(None, "a/b", "id", Secret::new("s")).is_err());
        assert!(Credential::client_secret(None, "t", "", Secret::new("s")).is_err());
        assert!(Credential::client_secret(Some("http://evil.example"), "t", "id", Secret::new("s")).is_err());
        assert!(Credential::client_secret(Some("http://127.0.0.1:1"), "t", "id", Secret::new("s")).is_ok());
        assert!(Credential::client_secret(Some("login.example/"), "t", "id", Secret::new("s")).is_ok());
    }

    #[test]
    fn lifetimes_are_read_in_every_form() {
        let check = |body: &str, seconds: u64| {
            let granted = read(&answer(200, body), now()).unwrap();
            assert_eq!(granted.lifetime, Duration::from_secs(seconds), "{body}");
        };
        check(r#"{"access_token":"t","expires_in":3599}"#, 3599);
        check(r#"{"access_token":"t","expires_in":"60"}"#, 60);
        check(r#"{"access_token":"t","expires_on":"1768471260"}"#, 60);
        check(r#"{"access_token":"t","expires_on":1768471260}"#, 60);
    }

    #[test]
    fn answers_that_are_no_token_are_told_apart() {
        for body in
            ["", "[]", r#"{"access_token":""}"#, r#"{"access_token":"t"}"#, r#"{"access_token":"t","expires_in":0}"#]
        {
            assert!(matches!(read(&answer(200, body), now()), Err(IdentityError::Decode { .. })), "{body}");
        }
        assert!(matches!(read(&answer(503, ""), now()), Err(IdentityError::Busy { status: 503, .. })));
        let body = r#"{"error":"invalid_client","error_description":"secret text","error_codes":[7000215]}"#;
        let error = read(&answer(401, body), now()).unwrap_err();
        assert_eq!(error.to_string(), "the token request was refused with 401: invalid_client AADSTS7000215");
        assert_eq!(error.disposition(), crate::outbound::disposition::Disposition::Stop);
    }
}

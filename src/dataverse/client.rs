//! The exchange: one request to the Web API of one environment, one judged answer. Repeats nothing but a request whose
//! token was refused; knows no rows and no columns.

use super::classify::{self, Asked};
use super::environment::EnvironmentUrl;
use super::error::{DataverseError, Kind, Verb};
use super::url::{self, Address, URL_BYTES_MAX, UrlError};
use super::write::Precondition;
use crate::clock::Clock;
use crate::domain::disposition::Disposition;
use crate::outbound::authorize::{Authorize, AuthorizeError};
use crate::outbound::beside::beside;
use crate::outbound::transport::{Request, Response, Transport, TransportError};
use crate::secret::Secret;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use http::{Method, StatusCode};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

pub use crate::identity::Claims;

/// The annotations that make errors and lookups readable. No `TraceText`: it holds customer data.
const ANNOTATIONS: &str = "odata.include-annotations=\"Microsoft.Dynamics.CRM.lookuplogicalname,\
OData.Community.Display.V1.FormattedValue,Microsoft.PowerApps.CDS.ErrorDetails*,Microsoft.PowerApps.CDS.InnerError*\"";

/// The annotation that makes lookups readable, for pages of many rows.
const LEAN_ANNOTATIONS: &str = "odata.include-annotations=\"Microsoft.Dynamics.CRM.lookuplogicalname\"";

/// Longest correlation id or trace context passed on, in bytes. W3C trace contexts have 55, GUIDs 36.
const TRACE_BYTES_MAX: usize = 128;

/// Limits of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Time-out of one request, connecting included (`limits.request_timeout`, default 30 s).
    pub request_timeout: Duration,
    /// Longest body sent, in bytes. A row is at most about 2 MiB of text (one event is 1 MiB); default 4 MiB.
    pub body_bytes_max: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { request_timeout: Duration::from_secs(30), body_bytes_max: 4 * 1024 * 1024 }
    }
}

/// One permission to call: until when a request may take, and what is passed on to the target's traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// On [`Clock::monotonic`]: a request is sent only if it must have ended by then (PROTOCOL R2; the caller has taken the
    /// clock skew off).
    pub latest_end: Duration,
    /// The event's correlation id.
    pub correlation: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Call {
    /// A call without traces.
    #[must_use]
    pub fn until(latest_end: Duration) -> Self {
        Self { latest_end, correlation: None, traceparent: None }
    }
}

/// What is known of a token. Never the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// The environment wants none.
    NotNeeded,
    /// Nobody but its receiver can read it.
    Opaque,
    /// What it says.
    Signed(Claims),
}

/// A client of one environment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dataverse {
    environment: EnvironmentUrl,
    api: String,
    authorize: Arc<dyn Authorize>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    limits: ClientLimits,
}

/// One request below the Web API root.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) asked: Asked<'a>,
    pub(super) method: Method,
    /// Path and query, percent-encoded.
    pub(super) path: String,
    pub(super) body: Option<&'a serde_json::Value>,
    /// What goes into `Prefer` before the annotations.
    pub(super) prefer: Option<Cow<'static, str>>,
    /// Many rows: no annotation but what lookups need to be read.
    pub(super) lean: bool,
    /// `Consistency: Strong`: see metadata changes at once.
    pub(super) strong: bool,
}

impl<'a> Exchange<'a> {
    /// A GET.
    pub(super) fn get(verb: Verb, table: &'a str, address: Option<&'a Address>, path: String) -> Self {
        let asked = Asked { verb, table, address, precondition: &Precondition::None, binds: false };
        Self { asked, method: Method::GET, path, body: None, prefer: None, lean: false, strong: false }
    }
}

impl Dataverse {
    /// A client that sends through `transport` with tokens from `authorize`.
    #[must_use]
    pub fn new(
        environment: EnvironmentUrl,
        authorize: Arc<dyn Authorize>,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        limits: ClientLimits,
    ) -> Self {
        let api = environment.api();
        Self { environment, api, authorize, transport, clock, limits }
    }

    /// The environment.
    #[must_use]
    pub fn environment(&self) -> &EnvironmentUrl {
        &self.environment
    }

    /// The clock that [`Call::latest_end`] is read on.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Gets a token without using it, and what it says of itself.
    ///
    /// # Errors
    /// [`AuthorizeError`].
    pub async fn check_token(&self) -> Result<Token, AuthorizeError> {
        Ok(match self.authorize.token().await? {
            None => Token::NotNeeded,
            Some(token) => Claims::of(&token).map_or(Token::Opaque, Token::Signed),
        })
    }

    /// The address of a path below the Web API root, for `@odata.id`.
    pub(super) fn absolute(&self, path: &str) -> String {
        format!("{}/{path}", self.api)
    }

    /// Sends one request and judges the answer; a 401 costs the token, and the request goes once more (it was refused
    /// before anybody looked at it).
    pub(super) async fn exchange(&self, call: &Call, exchange: Exchange<'_>) -> Result<Response, DataverseError> {
        let asked = exchange.asked;
        let request = self.request(call, &exchange)?;
        let mut answer = self.send(call, asked, request.clone()).await?;
        if answer.response.status == StatusCode::UNAUTHORIZED
            && let Some(token) = answer.token
        {
            self.authorize.drop_token(&token);
            answer = self.send(call, asked, request).await?;
        }
        let response = answer.response;
        if response.status.is_success() {
            return Ok(response);
        }
        Err(classify::classify(asked, response.status, &response.headers, &response.body, self.clock.now()))
    }

    async fn send(&self, call: &Call, asked: Asked<'_>, mut request: Request) -> Result<Answer, DataverseError> {
        let failed = |kind, reason| DataverseError::unanswered(kind, asked.verb, asked.table, reason);
        self.check_time(call, asked)?;
        let token = self.authorize.token().await;
        let token = token.map_err(|error| self.no_token(asked, &error))?;
        if let Some(token) = &token {
            let header = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let mut header =
                header.map_err(|_| failed(Kind::Unauthorized, "the token is no header value".to_owned()))?;
            header.set_sensitive(true);
            request.headers.insert(AUTHORIZATION, header);
        }
        // getting the token took time
        self.check_time(call, asked)?;
        match beside(self.transport.send(request), self.authorize.renew()).await {
            Ok(response) => Ok(Answer { response, token }),
            Err(TransportError::NotSent { reason, .. }) => Err(failed(Kind::NotSent, reason)),
            Err(TransportError::Unknown { reason, .. }) if asked.verb.changes() => Err(failed(Kind::Unknown, reason)),
            Err(TransportError::Unknown { reason, .. }) => Err(failed(Kind::Transient, reason)),
        }
    }

    /// Nothing was sent. A token service that may be asked again is like a network that may come back.
    fn no_token(&self, asked: Asked<'_>, error: &AuthorizeError) -> DataverseError {
        let (kind, retry_after) = match error.disposition {
            Disposition::Retry { after } | Disposition::Defer { after } => (Kind::NotSent, after),
            Disposition::Park | Disposition::Stop => (Kind::Unauthorized, None),
        };
        DataverseError::unanswered(kind, asked.verb, asked.table, error.to_string()).paused(retry_after)
    }

    fn check_time(&self, call: &Call, asked: Asked<'_>) -> Result<(), DataverseError> {
        if self.clock.monotonic().saturating_add(self.limits.request_timeout) <= call.latest_end {
            return Ok(());
        }
        let reason = "the request could not end in time".to_owned();
        Err(DataverseError::unanswered(Kind::OutOfTime, asked.verb, asked.table, reason))
    }

    fn request(&self, call: &Call, exchange: &Exchange<'_>) -> Result<Request, DataverseError> {
        let asked = exchange.asked;
        let invalid =
            |reason: &str| DataverseError::unanswered(Kind::Invalid, asked.verb, asked.table, reason.to_owned());
        let url = self.absolute(&exchange.path);
        if url.len() > URL_BYTES_MAX {
            return Err(invalid("the URL is longer than the service accepts"));
        }
        let body = match exchange.body {
            Some(json) => serde_json::to_vec(json).map_err(|_| invalid("the body is no JSON"))?,
            None => Vec::new(),
        };
        if body.len() > self.limits.body_bytes_max {
            return Err(invalid("the body is longer than the limit"));
        }
        let headers = headers(call, exchange).ok_or_else(|| invalid("the ETag is no header value"))?;
        let timeout = self.limits.request_timeout;
        Ok(Request { method: exchange.method.clone(), url, headers, body: Bytes::from(body), timeout })
    }
}

struct Answer {
    response: Response,
    token: Option<Secret>,
}

/// The error of a request whose address cannot be written.
pub(super) fn address_error(verb: Verb, table: &str, reason: UrlError) -> DataverseError {
    DataverseError::unanswered(Kind::Address(reason), verb, table, String::new())
}

/// The error of an answer that is not what the Web API sends.
pub(super) fn protocol_error(verb: Verb, table: &str, what: &str) -> DataverseError {
    DataverseError::unanswered(Kind::Protocol, verb, table, what.to_owned())
}

/// `?tag=`, or nothing. The tag arrives in the shared variables of the events that the write raises (loop marker).
pub(super) fn tag_query(tag: Option<&str>, separator: char) -> String {
    tag.map(|tag| format!("{separator}tag={}", url::encode(tag))).unwrap_or_default()
}

/// All headers but the token's (compose-http-requests-handle-errors). `None` if the ETag is no header value.
fn headers(call: &Call, exchange: &Exchange<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert("odata-version", HeaderValue::from_static("4.0"));
    headers.insert("odata-maxversion", HeaderValue::from_static("4.0"));
    if exchange.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    match exchange.asked.precondition {
        // Microsoft recommends the literal `null`, so that no proxy adds a condition of its own
        Precondition::None => headers.insert(IF_NONE_MATCH, HeaderValue::from_static("null")),
        Precondition::Exists => headers.insert(IF_MATCH, HeaderValue::from_static("*")),
        Precondition::Absent => headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*")),
        Precondition::Etag(etag) => headers.insert(IF_MATCH, HeaderValue::from_str(etag).ok()?),
    };
    let annotations = if exchange.lean { LEAN_ANNOTATIONS } else { ANNOTATIONS };
    let prefer = match &exchange.prefer {
        Some(first) => format!("{first},{annotations}"),
        None => annotations.to_owned(),
    };
    headers.insert("prefer", HeaderValue::from_str(&prefer).ok()?);
    if exchange.strong {
        headers.insert("consistency", HeaderValue::from_static("Strong"));
    }
    let traces = [
        ("x-ms-correlation-request-id", &call.correlation),
        ("x-ms-client-request-id", &call.correlation),
        ("traceparent", &call.traceparent),
    ];
    for (name, value) in traces {
        // the value comes from a sender: what is no header value is not passed on
        let value = value.as_deref().filter(|value| value.len() <= TRACE_BYTES_MAX);
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Some(headers)
}

#[cfg(test)]
mod tests;

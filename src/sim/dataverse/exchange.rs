//! One request, taken apart: address, preferences, preconditions, on whose behalf. Also what all requests must carry.

use super::environment::Environment;
use super::errors::{self, ApiError};
use super::literal::guid;
use super::url::{Address, list};
use super::world::Origin;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

/// One request.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Method.
    pub method: Method,
    /// Address.
    pub address: Address,
    /// `http://127.0.0.1:1234`: by which address the request came.
    pub base: String,
    /// What it prefers.
    pub prefer: Prefer,
    /// `If-Match`.
    pub if_match: Option<Match>,
    /// `If-None-Match`.
    pub if_none_match: Option<Match>,
    /// On whose behalf.
    pub origin: Origin,
    body: Bytes,
}

/// A precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `*`.
    Any,
    /// `W/"1"`.
    Etag(String),
}

/// The `Prefer` header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefer {
    /// `return=representation`.
    pub representation: bool,
    /// `odata.maxpagesize`.
    pub page: Option<usize>,
    /// `odata.track-changes`.
    pub track: bool,
    annotations: Vec<String>,
}

impl Prefer {
    /// Reads all `Prefer` headers.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        for value in headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok()) {
            for (name, value) in preferences(value) {
                match name.as_str() {
                    "return" => prefer.representation = value == "representation",
                    "odata.maxpagesize" => prefer.page = value.parse().ok(),
                    "odata.track-changes" => prefer.track = true,
                    "odata.include-annotations" => prefer.annotations = list(&value),
                    _ => {}
                }
            }
        }
        prefer
    }

    /// Is this annotation wanted?
    #[must_use]
    pub fn wants(&self, annotation: &str) -> bool {
        self.annotations.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => annotation.starts_with(start),
            None => pattern == annotation,
        })
    }

    /// Is any annotation wanted?
    #[must_use]
    pub fn wants_any(&self) -> bool {
        !self.annotations.is_empty()
    }
}

/// `a=b,c="d,e"` in pairs.
fn preferences(text: &str) -> Vec<(String, String)> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' | ';' if !quoted => parts.push(String::new()),
            c => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    parts
        .iter()
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect()
}

/// An extension of a request: the environment's person makes it, not the application user. No header says this, so that
/// nobody else can.
#[derive(Clone, Copy, Debug)]
pub struct AsPerson;

impl Exchange {
    /// Takes a request apart.
    ///
    /// # Errors
    /// A wrong address, and headers that are missing although clients are told to send them.
    pub fn read(environment: &Environment, request: http::Request<Bytes>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let address = Address::parse(&parts.uri)?;
        let headers = &parts.headers;
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        for name in ["odata-version", "odata-maxversion"] {
            if text(name) != Some("4.0") {
                return Err(errors::uri(format!("Header {name} must be 4.0.")));
            }
        }
        if !text("accept").is_some_and(|accept| accept.contains("application/json")) {
            return Err(ApiError::new(
                StatusCode::NOT_ACCEPTABLE,
                "0x80060888",
                "Header Accept must contain application/json.",
            ));
        }
        if !body.is_empty() && !text("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "0x80060888",
                "Header Content-Type must be application/json.",
            ));
        }
        for name in ["callerobjectid", "mscrmcallerid"] {
            if headers.contains_key(name) {
                return Err(errors::not_simulated("acting on behalf of another user"));
            }
        }
        let authority = parts.uri.authority().map(ToString::to_string).or_else(|| text("host").map(str::to_owned));
        let base = match authority {
            Some(authority) => format!("{}://{authority}", parts.uri.scheme_str().unwrap_or("http")),
            None => environment.world().base_url.clone(),
        };
        let by_person = parts.extensions.get::<AsPerson>().is_some();
        let mut origin = if by_person { environment.person() } else { environment.service() };
        origin.tag.clone_from(&address.query.tag);
        origin.agent = text("user-agent").unwrap_or_default().to_owned();
        origin.correlation = text("x-ms-correlation-request-id").and_then(guid);
        origin.bypass_async =
            text("mscrm.bypassbusinesslogicexecution").is_some_and(|v| list(v).iter().any(|w| w == "CustomAsync"));
        let steps = text("mscrm.bypassbusinesslogicexecutionstepids").map(list).unwrap_or_default();
        origin.bypass_steps = steps.iter().filter_map(|id| guid(id)).collect();
        Ok(Self {
            method: parts.method.clone(),
            address,
            base,
            prefer: Prefer::read(headers),
            if_match: condition(text("if-match"))?,
            if_none_match: condition(text("if-none-match"))?,
            origin,
            body,
        })
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// No body, or no JSON.
    pub fn json(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.body).map_err(|e| errors::payload(format!("the body is no JSON: {e}")))
    }

    /// `http://.../api/data/v9.2/` and what follows.
    #[must_use]
    pub fn link(&self, rest: &str) -> String {
        format!("{}/api/data/{}/{rest}", self.base, self.address.version)
    }
}

fn condition(text: Option<&str>) -> Result<Option<Match>, ApiError> {
    match text {
        // `If-None-Match: null` is what Microsoft recommends for "no condition".
        None | Some("null" | "") => Ok(None),
        Some("*") => Ok(Some(Match::Any)),
        Some(etag) => {
            let inner = etag.strip_prefix("W/\"").and_then(|e| e.strip_suffix('"'));
            match inner.filter(|i| !i.is_empty() && i.bytes().all(|b| b.is_ascii_digit())) {
                Some(_) => Ok(Some(Match::Etag(etag.to_owned()))),
                None => Err(errors::uri(format!("'{etag}' is not an ETag."))),
            }
        }
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers of this answer alone.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Option<Value>,
}

impl Answer {
    /// 200 with a body.
    #[must_use]
    pub fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body: Some(body) }
    }

    /// 204.
    #[must_use]
    pub fn empty() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: Vec::new(), body: None }
    }

    /// The answer with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

//! What the table stand-in answers: refusals with the service's codes, and their JSON or XML form.
//! Knows no entity and no store.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// How a request was refused: HTTP status, the service's error code and its message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// The code in `x-ms-error-code` and in the body.
    pub code: &'static str,
    /// The message, without request id and time.
    pub message: String,
}

impl Refusal {
    /// A refusal with these parts.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// 400 `InvalidInput`.
    #[must_use]
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidInput", message)
    }

    /// 400 with a code of its own.
    #[must_use]
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404 `ResourceNotFound`.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", "The specified resource does not exist.")
    }

    /// 404 `TableNotFound`.
    #[must_use]
    pub fn no_table() -> Self {
        Self::new(StatusCode::NOT_FOUND, "TableNotFound", "The table specified does not exist.")
    }

    /// 409 `EntityAlreadyExists`.
    #[must_use]
    pub fn exists() -> Self {
        Self::new(StatusCode::CONFLICT, "EntityAlreadyExists", "The specified entity already exists.")
    }

    /// 412 `UpdateConditionNotSatisfied`.
    #[must_use]
    pub fn stale() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "UpdateConditionNotSatisfied",
            "The update condition specified in the request was not satisfied.",
        )
    }

    /// 503 `ServerBusy`.
    #[must_use]
    pub fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", "The server is busy.")
    }

    /// The same refusal with the index of the batch operation in front of its message.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.message = format!("{index}:{}", self.message);
        self
    }
}

/// How much metadata the client asked for with `Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// `application/json;odata=nometadata`: values only.
    None,
    /// `application/json` or `odata=minimalmetadata`: types that JSON does not show, and the ETag.
    Minimal,
    /// `odata=fullmetadata`.
    Full,
}

impl Metadata {
    /// Reads an `Accept` header. `None` = no JSON asked for, so the answer would be Atom, which has
    /// not been served since API version 2015-12-11.
    #[must_use]
    pub fn parse(accept: Option<&str>) -> Option<Self> {
        let accept = accept?.to_ascii_lowercase();
        accept.split(',').find_map(|part| {
            let mut fields = part.split(';').map(str::trim);
            if fields.next() != Some("application/json") {
                return None;
            }
            Some(match fields.find_map(|f| f.strip_prefix("odata=")) {
                Some("nometadata") => Self::None,
                Some("fullmetadata") => Self::Full,
                _ => Self::Minimal,
            })
        })
    }

    /// The content type of an answer in this form.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::None => "application/json;odata=nometadata",
            Self::Minimal => "application/json;odata=minimalmetadata",
            Self::Full => "application/json;odata=fullmetadata",
        }
    }
}

/// What every answer carries besides its content.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// `x-ms-request-id`.
    pub request_id: String,
    /// Server time, RFC 3339 with seven fraction digits.
    pub time: String,
}

impl Envelope {
    /// An answer without a body.
    #[must_use]
    pub fn empty(&self, status: StatusCode) -> Response<Bytes> {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = status;
        self.stamp(answer)
    }

    /// A JSON answer.
    #[must_use]
    pub fn json(&self, status: StatusCode, metadata: Metadata, body: &serde_json::Value) -> Response<Bytes> {
        let mut answer = Response::new(Bytes::from(body.to_string()));
        *answer.status_mut() = status;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(metadata.content_type()));
        self.stamp(answer)
    }

    /// The JSON body of a refusal.
    #[must_use]
    pub fn error_json(&self, refusal: &Refusal) -> serde_json::Value {
        json!({"odata.error": {"code": refusal.code, "message": {"lang": "en-US", "value": self.message(refusal)}}})
    }

    /// A refusal as an answer: JSON if JSON was asked for, else XML.
    #[must_use]
    pub fn refuse(&self, refusal: &Refusal, metadata: Option<Metadata>) -> Response<Bytes> {
        let (kind, body) = if metadata.is_some() {
            (
                "application/json;odata=minimalmetadata;streaming=true;charset=utf-8",
                self.error_json(refusal).to_string(),
            )
        } else {
            let message = self.message(refusal).replace('&', "&amp;").replace('<', "&lt;");
            (
                "application/xml",
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<Error>\n  <Code>{}</Code>\n  <Message>{message}</Message>\n</Error>",
                    refusal.code
                ),
            )
        };
        let mut answer = Response::new(Bytes::from(body));
        *answer.status_mut() = refusal.status;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert("x-ms-error-code", HeaderValue::from_static(refusal.code));
        self.stamp(answer)
    }

    fn message(&self, refusal: &Refusal) -> String {
        format!("{}\nRequestId:{}\nTime:{}", refusal.message, self.request_id, self.time)
    }

    fn stamp(&self, mut answer: Response<Bytes>) -> Response<Bytes> {
        let headers = answer.headers_mut();
        headers.insert("x-ms-version", HeaderValue::from_static("2022-11-02"));
        headers.insert("cache-control", HeaderValue::from_static("no-cache"));
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert("x-ms-request-id", id);
        }
        answer
    }
}

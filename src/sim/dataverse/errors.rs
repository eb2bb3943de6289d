//! What the Web API refuses, with the status and code of facts/dataverse.md section 6. The only file that knows codes.
//! A code whose status the facts leave open is answered with 400.

use http::StatusCode;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// Prefix of the annotations that carry details.
const DETAILS: &str = "@Microsoft.PowerApps.CDS.ErrorDetails.";

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// `0x...`, in lower case as the service writes it.
    pub code: String,
    /// The text.
    pub message: String,
    /// Annotations, sent only to those who ask for them.
    pub annotations: Vec<(String, String)>,
    /// For `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.code, self.message)
    }
}

impl std::error::Error for ApiError {}

impl ApiError {
    /// A refusal without annotations.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_ascii_lowercase(),
            message: message.into(),
            annotations: Vec::new(),
            retry_after: None,
        }
    }

    fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    fn annotated(mut self, name: &str, value: String) -> Self {
        self.annotations.push((format!("{DETAILS}{name}"), value));
        self
    }

    /// The body `{"error": {...}}`; annotations only if asked for.
    #[must_use]
    pub fn body(&self, annotations: bool) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), Value::from(self.code.clone()));
        error.insert("message".into(), Value::from(self.message.clone()));
        if annotations {
            for (name, value) in &self.annotations {
                error.insert(name.clone(), Value::from(value.clone()));
            }
        }
        Value::Object(Map::from_iter([("error".to_owned(), Value::Object(error))]))
    }
}

/// An undeclared property or a value of the wrong JSON type.
#[must_use]
pub fn payload(message: impl Into<String>) -> ApiError {
    ApiError::bad("0x80048D19", format!("Error identified in Payload provided by the user: {}", message.into()))
}

/// Something wrong in the address or the query.
#[must_use]
pub fn uri(message: impl Into<String>) -> ApiError {
    ApiError::bad("0x80060888", message)
}

/// A resource that does not exist in the model.
#[must_use]
pub fn no_resource(segment: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "0x80060888", format!("Resource not found for the segment '{segment}'."))
}

/// A method that the resource does not have.
#[must_use]
pub fn method(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "0x80060888", message)
}

/// What the service has and this stand-in does not.
#[must_use]
pub fn not_simulated(what: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "0x80040265", format!("{what} is not simulated"))
}

/// A row that does not exist, by its primary key.
#[must_use]
pub fn no_row(table: &str, id: Uuid) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "0x80040217", format!("Entity '{table}' With Id = {id} Does Not Exist"))
}

/// A row that does not exist, by an alternate key.
#[must_use]
pub fn no_row_by_key(table: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "0x80060891",
        format!("A record with the specified key values does not exist in {table} entity"),
    )
}

/// Columns that are no alternate key.
#[must_use]
pub fn no_key(table: &str) -> ApiError {
    ApiError::bad("0x80060890", format!("The specified key attributes are not a defined key for the {table} entity"))
}

/// Several rows answer to one alternate key, whose index is not active.
#[must_use]
pub fn many_rows_by_key(table: &str) -> ApiError {
    ApiError::bad("0x8006089D", format!("More than one {table} record has the specified key values"))
}

/// A metadata entry that does not exist.
#[must_use]
pub fn no_metadata(what: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "0x80040217", format!("Could not find {what}"))
}

/// The primary key is taken.
#[must_use]
pub fn duplicate_id(table: &str, id: Uuid) -> ApiError {
    ApiError::new(StatusCode::PRECONDITION_FAILED, "0x80040237", "A record with matching key values already exists.")
        .annotated("ApiExceptionMessageName", "DuplicateRecord".into())
        .annotated(
            "SqlExceptionMessage",
            format!("Violation of PRIMARY KEY constraint 'PK_{table}Base'. The duplicate key value is ({id})."),
        )
}

/// `If-None-Match: *` and the row is there.
#[must_use]
pub fn already_there() -> ApiError {
    ApiError::new(StatusCode::PRECONDITION_FAILED, "0x80040237", "A record with matching key values already exists.")
}

/// The link is there already (SQL integrity violation).
#[must_use]
pub fn duplicate_link() -> ApiError {
    ApiError::new(StatusCode::PRECONDITION_FAILED, "0x80040237", "Cannot insert duplicate key.")
}

/// Another row has the alternate key. `writing` is the row being written, as in reality never the one that is in the way.
#[must_use]
pub fn duplicate_key(key: &str, values: &[(String, String)], table: &str, writing: Uuid) -> ApiError {
    let attributes: String = values.iter().map(|(name, value)| format!("<{name}>{}</{name}>", xml(value))).collect();
    ApiError::new(
        StatusCode::PRECONDITION_FAILED,
        "0x80060892",
        format!("Entity Key {key} violated. A record with the same value for the key already exists."),
    )
    .annotated("DuplicateAttributes", format!("<DuplicateAttributes>{attributes}</DuplicateAttributes>"))
    .annotated("DuplicateEntity", format!("{table}:{writing}"))
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The ETag is not the row's.
#[must_use]
pub fn version_mismatch() -> ApiError {
    ApiError::new(
        StatusCode::PRECONDITION_FAILED,
        "0x80060882",
        "The version of the existing record doesn't match the RowVersion property provided.",
    )
}

/// An ETag for a table without optimistic concurrency.
#[must_use]
pub fn no_concurrency(table: &str) -> ApiError {
    ApiError::bad("0x8006088D", format!("Optimistic concurrency isn't enabled for entity type {table}."))
}

/// Other rows keep this one.
#[must_use]
pub fn delete_restricted(table: &str, by: &str) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "0x80040227",
        format!("The {table} you tried to delete is associated with a {by} and cannot be deleted."),
    )
}

/// A text that is too long.
#[must_use]
pub fn too_long(column: &str, length_max: usize) -> ApiError {
    ApiError::bad(
        "0x80044331",
        format!(
            "A validation error occurred. The length of the '{column}' attribute exceeded the maximum allowed length of '{length_max}'."
        ),
    )
}

/// A text with characters that no column keeps.
#[must_use]
pub fn invalid_characters(column: &str) -> ApiError {
    ApiError::bad("0x80040278", format!("Invalid character in field '{column}'."))
}

/// A whole number outside its range.
#[must_use]
pub fn int_range(column: &str) -> ApiError {
    ApiError::bad(
        "0x8004432F",
        format!("A validation error occurred. The value of '{column}' is outside the valid range."),
    )
}

/// A decimal, float or amount outside its range.
#[must_use]
pub fn decimal_range(column: &str) -> ApiError {
    ApiError::bad(
        "0x80044330",
        format!("A validation error occurred. The value of '{column}' is outside the valid range."),
    )
}

/// A choice that the column does not have.
#[must_use]
pub fn choice(column: &str, value: i64) -> ApiError {
    ApiError::bad("0x8004431A", format!("The value {value} of '{column}' is outside the valid range of the choice."))
}

/// A date that cannot be kept.
#[must_use]
pub fn date(column: &str) -> ApiError {
    ApiError::bad("0x80040239", format!("DateTime is less than the minimum value supported, in '{column}'."))
}

/// A status reason that its state does not have.
#[must_use]
pub fn status_pair(table: &str, state: i64, status: i64) -> ApiError {
    ApiError::bad("0x80048408", format!("{status} is not a valid status code for state code {state} on {table}"))
}

/// A change to a row that its state makes read-only.
#[must_use]
pub fn read_only_row(table: &str) -> ApiError {
    ApiError::bad("0x8004022E", format!("This {table} is in a state that makes it read-only."))
}

/// A column that must have a value.
#[must_use]
pub fn required(column: &str) -> ApiError {
    ApiError::bad("0x80040200", format!("Required field '{column}' is missing."))
}

/// An argument that makes no sense.
#[must_use]
pub fn invalid_argument(message: impl Into<String>) -> ApiError {
    ApiError::bad("0x80040203", message)
}

/// An owner that cannot own.
#[must_use]
pub fn owner() -> ApiError {
    ApiError::bad("0x80040229", "The owner of the record cannot be empty or of this type.")
}

/// No token, or a wrong one.
#[must_use]
pub fn unauthorized() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "0x8005F101", "The access token is missing, wrong or has expired.")
}

/// Too many requests in the window.
#[must_use]
pub fn too_many_requests(requests_max: u64, window: Duration, retry_after: Duration) -> ApiError {
    ApiError {
        retry_after: Some(retry_after),
        ..ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "0x80072322",
            format!(
                "Number of requests exceeded the limit of {requests_max} over time window of {} seconds.",
                window.as_secs()
            ),
        )
    }
}

/// Too many requests at once.
#[must_use]
pub fn too_many_at_once(concurrent_max: usize, retry_after: Duration) -> ApiError {
    ApiError {
        retry_after: Some(retry_after),
        ..ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "0x80072326",
            format!("Number of concurrent requests exceeded the limit of {concurrent_max}."),
        )
    }
}

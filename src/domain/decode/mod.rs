//! Bytes -> events: everything that the webhook and the queue accept (CONTRACT "What the webhook accepts"). Pure; it
//! knows no transport, no mapping and no target, and it never lets an event through that has no identity.
//!
//! [`decode`] looks at the media type, then at the shape of the document:
//! - a Dataverse `RemoteExecutionContext` (`context`), by its `MessageName`;
//! - a row change (`row_change`), by its `table` and `operation`;
//! - a CloudEvent around either of them (`cloudevents`), by its media type, its `ce-specversion` header, or the
//!   `specversion` of the document.
//!
//! Unknown fields are ignored, because newer servers add some. Unknown shapes of what we use are refused, with the
//! JSON path. Names are compared in lower case, values are kept exactly.

mod addressed;
mod cloudevents;
mod context;
mod error;
mod handshake;
mod headers;
mod identity;
mod json;
mod limits;
mod media;
mod properties;
mod row_change;
#[cfg(test)]
mod tests;
mod tree;

pub use addressed::{Address, decode_addressed};
pub use error::{DecodeError, Problem, Refusal};
pub use handshake::{ALLOW, Handshake, handshake};
pub use limits::DecodeLimits;
pub use properties::headers_of_properties;

use super::event::{ChangeEvent, EventId};
use super::outcome::Ignored;
use cloudevents::Attributes;
use error::Fault;
use json::{Json, Part};
use media::Media;
use std::collections::BTreeMap;

/// One delivery, as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    /// `Content-Type` of the request or the message.
    pub content_type: Option<&'a str>,
    /// Headers by lower-case name; for queue messages what [`headers_of_properties`] makes of the application properties.
    pub headers: &'a BTreeMap<String, String>,
    /// The broker's `MessageId`: the last resort for an id. Only queue messages have one.
    pub message_id: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// What a delivery holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// One event.
    One(Item),
    /// A CloudEvents batch, in its order; each is judged by itself.
    Batch(Vec<Result<Item, DecodeError>>),
    /// `URL_VALIDATION`: somebody tests whether we are there. Answer 200.
    Heartbeat,
}

/// One event of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A change to work on.
    Change(Box<ChangeEvent>),
    /// Understood, and nothing that we handle.
    NotForUs(NotForUs),
}

/// An event that ends as `ignored` without being looked at any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotForUs {
    /// Its identity.
    pub event_id: EventId,
    /// The table it is about, as far as it says; else empty.
    pub table: String,
    /// The row it is about, as far as it says; else empty.
    pub row: String,
    /// Why.
    pub why: Ignored,
}

impl Inbound<'_> {
    /// Whether Dataverse itself sent this (`x-ms-dynamics-*`): it never retries a 400, so what cannot be understood is
    /// parked instead of refused.
    #[must_use]
    pub fn is_from_dataverse(&self) -> bool {
        self.headers.keys().any(|name| name.starts_with("x-ms-dynamics-"))
    }

    /// A header that is there and not empty.
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Whether Dataverse says that it removed columns because of the size (facts 1.4 and 4.2). Presence is the mark.
    fn is_stripped(&self) -> bool {
        self.header("x-ms-dynamics-msg-size-exceeded").is_some_and(|value| !value.eq_ignore_ascii_case("false"))
    }
}

/// What a payload may use besides itself: the delivery, and what the sender says around it.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    inbound: &'a Inbound<'a>,
    /// `None`: the sender gave no id.
    attributes: Option<&'a Attributes>,
    limits: &'a DecodeLimits,
}

/// Decodes one delivery.
///
/// # Errors
/// [`DecodeError`]: where and what; [`DecodeError::refusal`] says how HTTP answers. In a batch only what concerns the
/// batch as a whole is an error here.
pub fn decode(inbound: &Inbound<'_>, limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    let heartbeat = inbound.header("x-ms-dynamics-request-name") == Some(context::URL_VALIDATION);
    match decode_body(inbound, limits) {
        // the body of a heartbeat is undocumented; but a broken context is an error whatever the header says
        Err(_) if heartbeat && !json::parse(inbound.body, limits).is_ok_and(|body| context::is_context(&body)) => {
            Ok(Decoded::Heartbeat)
        }
        other => other,
    }
}

/// Whether the body may be read at all.
fn readable(inbound: &Inbound<'_>, limits: &DecodeLimits) -> Result<(), DecodeError> {
    if inbound.body.len() > limits.body_bytes_max {
        let problem = Problem::TooLarge { what: "the body", bytes_max: limits.body_bytes_max };
        return Err(DecodeError::body(problem));
    }
    let encoding = inbound.header("content-encoding").unwrap_or("identity");
    if !encoding.eq_ignore_ascii_case("identity") {
        let problem = Problem::UnsupportedMediaType("compressed bodies are not read".to_owned());
        return Err(DecodeError::header("content-encoding", problem));
    }
    Ok(())
}

fn decode_body(inbound: &Inbound<'_>, limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    readable(inbound, limits)?;
    let media = media::judge(inbound.content_type, inbound.message_id.is_some())?;
    let root = json::parse(inbound.body, limits)?;
    match media {
        Media::Batch => cloudevents::batch(inbound, &root, limits).map(Decoded::Batch),
        Media::Structured => cloudevents::structured(inbound, &root, "$", limits).map(Decoded::One),
        Media::Json if inbound.headers.contains_key("ce-specversion") => {
            let attributes = cloudevents::binary_attributes(inbound)?;
            let around = Surroundings { inbound, attributes: Some(&attributes), limits };
            payload(&root, around).map(Decoded::One).map_err(|fault| fault.locate(&root, "$"))
        }
        // a broker or a relay may have lost the media type
        Media::Json if root.get("specversion").is_some() => {
            cloudevents::structured(inbound, &root, "$", limits).map(Decoded::One)
        }
        Media::Json if context::is_heartbeat(&root) => Ok(Decoded::Heartbeat),
        Media::Json => {
            let attributes = identity::of_headers(inbound)?.map(Attributes::of_id);
            let around = Surroundings { inbound, attributes: attributes.as_ref(), limits };
            payload(&root, around).map(Decoded::One).map_err(|fault| fault.locate(&root, "$"))
        }
    }
}

/// A context or a row change, whichever it is.
fn payload<'v>(json: &'v Json, around: Surroundings<'_>) -> Part<'v, Item> {
    if context::is_context(json) {
        return context::decode(json, around);
    }
    if row_change::is_row_change(json) {
        return row_change::decode(json, around).map(|event| Item::Change(Box::new(event)));
    }
    let hint = match json {
        Json::Array(_) => "; a batch of CloudEvents needs the content type application/cloudevents-batch+json",
        _ => "",
    };
    let expected = "expected a Dataverse execution context (`MessageName`) or a row change (`table`, `operation`)";
    Err(Fault::shape(json, format!("{expected}, not {}{hint}", json::kind(json))))
}

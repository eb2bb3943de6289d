//! CloudEvents 1.0 in the three content modes. Judges the envelope; what is inside is somebody else's.

use super::error::{DecodeError, Fault, Problem};
use super::headers;
use super::json::{Json, Part, given, kind, text};
use super::limits::DecodeLimits;
use super::media::{self, Media};
use super::{Inbound, Item, Surroundings, json};
use crate::domain::event::EventId;
use base64::Engine;
use chrono::DateTime;

/// What an envelope says about its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    /// `id` with `source`.
    pub(super) id: EventId,
    /// `time`, in microseconds since 1970.
    pub(super) time: Option<i64>,
    /// `sequence` (documented extension), if it is a whole number.
    pub(super) sequence: Option<i64>,
}

impl Attributes {
    /// An id and nothing else: a `ce-id` header outside of a CloudEvent.
    pub(super) fn of_id(id: EventId) -> Self {
        Self { id, time: None, sequence: None }
    }
}

/// Reads the attributes of binary mode from the `ce-*` headers.
///
/// # Errors
/// A required attribute is missing or bad.
pub(super) fn binary_attributes(inbound: &Inbound<'_>) -> Result<Attributes, DecodeError> {
    let attribute = |name: &str| -> Result<Option<String>, DecodeError> {
        inbound.header(name).map(|value| headers::decode(name, value)).transpose()
    };
    let bad = |name: &str, what: &str| DecodeError::header(name, Problem::BadValue(what.to_owned()));
    let required = |name: &str| attribute(name)?.filter(|v| !v.is_empty()).ok_or_else(|| bad(name, "is missing"));
    if required("ce-specversion")? != SPECVERSION {
        return Err(bad("ce-specversion", "only CloudEvents 1.0 is read"));
    }
    let id = match attribute("ce-id")? {
        Some(id) if !id.is_empty() => id,
        _ => return Err(DecodeError::header("ce-id", Problem::MissingIdentity("a CloudEvent must have an `id`"))),
    };
    let source = required("ce-source")?;
    required("ce-type")?;
    let time = attribute("ce-time")?
        .map(|text| micros(&text).ok_or_else(|| bad("ce-time", "must be a time (RFC 3339)")))
        .transpose()?;
    Ok(Attributes {
        id: EventId::new(Some(&source), &id).map_err(|error| bad("ce-id", &error.to_string()))?,
        time,
        sequence: attribute("ce-sequence")?.and_then(|text| text.parse().ok()),
    })
}

const SPECVERSION: &str = "1.0";

/// Microseconds since 1970 of an RFC 3339 time.
pub(super) fn micros(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text.trim()).ok().map(|time| time.timestamp_micros())
}

/// Decodes one structured event that starts at `root`, whose path is `base`.
///
/// # Errors
/// The envelope or what is in it is not understood.
pub(super) fn structured(
    inbound: &Inbound<'_>,
    root: &Json,
    base: &str,
    limits: &DecodeLimits,
) -> Result<Item, DecodeError> {
    let (attributes, data) = envelope(root).map_err(|fault| fault.locate(root, base))?;
    let around = Surroundings { inbound, attributes: Some(&attributes), limits };
    match data {
        Data::Inline(data) => super::payload(data, around).map_err(|fault| fault.locate(root, base)),
        Data::Encoded(bytes) => {
            let base = format!("{base}.data_base64");
            let data = json::parse(&bytes, limits).map_err(|error| DecodeError { path: base.clone(), ..error })?;
            super::payload(&data, around).map_err(|fault| fault.locate(&data, &base))
        }
    }
}

/// Decodes a batch: each event by itself.
///
/// # Errors
/// The body is no array, or too long a one.
pub(super) fn batch(
    inbound: &Inbound<'_>,
    root: &Json,
    limits: &DecodeLimits,
) -> Result<Vec<Result<Item, DecodeError>>, DecodeError> {
    let Some(events) = root.as_array() else {
        let problem = Problem::UnknownShape(format!("a batch must be an array, not {}", kind(root)));
        return Err(DecodeError::body(problem));
    };
    if events.len() > limits.batch_max {
        return Err(DecodeError::body(Problem::TooMany { what: "events in a batch", count_max: limits.batch_max }));
    }
    Ok(events.iter().enumerate().map(|(n, event)| structured(inbound, event, &format!("$[{n}]"), limits)).collect())
}

enum Data<'v> {
    Inline(&'v Json),
    Encoded(Vec<u8>),
}

fn envelope(root: &Json) -> Part<'_, (Attributes, Data<'_>)> {
    if !root.is_object() {
        return Err(Fault::shape(root, format!("a CloudEvent must be an object, not {}", kind(root))));
    }
    let Some(id) = given(root, "id").filter(|id| id.as_str() != Some("")) else {
        return Err(Fault::new(root, Problem::MissingIdentity("a CloudEvent must have an `id`")));
    };
    let specversion = json::required(root, "specversion")?;
    if specversion.as_str() != Some(SPECVERSION) {
        return Err(Fault::bad(specversion, "only CloudEvents 1.0 is read"));
    }
    let source = text(json::required(root, "source")?, "`source`")?;
    text(json::required(root, "type")?, "`type`")?;
    let time = given(root, "time")
        .map(|time| {
            let parsed = micros(text(time, "`time`")?);
            parsed.ok_or_else(|| Fault::bad(time, "`time` must be a time (RFC 3339)"))
        })
        .transpose()?;
    let attributes = Attributes {
        id: EventId::new(Some(source), text(id, "`id`")?).map_err(|error| Fault::bad(id, error.to_string()))?,
        time,
        sequence: given(root, "sequence").and_then(sequence),
    };
    Ok((attributes, data(root)?))
}

/// The extension says text; some senders write a number.
fn sequence(json: &Json) -> Option<i64> {
    match json {
        Json::String(text) => text.parse().ok(),
        other => json::whole(other, "`sequence`").ok(),
    }
}

fn data(root: &Json) -> Part<'_, Data<'_>> {
    if let Some(declared) = given(root, "datacontenttype") {
        let judged = media::judge(Some(text(declared, "`datacontenttype`")?), false);
        match judged {
            Ok(Media::Json) => {}
            Ok(Media::Structured | Media::Batch) => {
                return Err(Fault::shape(declared, "a CloudEvent inside of a CloudEvent"));
            }
            Err(error) => return Err(Fault::new(declared, error.problem)),
        }
    }
    match (given(root, "data"), given(root, "data_base64")) {
        (Some(data), None) => Ok(Data::Inline(data)),
        (None, Some(encoded)) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text(encoded, "`data_base64`")?);
            bytes.map(Data::Encoded).map_err(|_| Fault::bad(encoded, "`data_base64` is not base64"))
        }
        (Some(_), Some(both)) => Err(Fault::bad(both, "`data` and `data_base64` exclude each other")),
        (None, None) => Err(Fault::shape(root, "a CloudEvent without `data`")),
    }
}

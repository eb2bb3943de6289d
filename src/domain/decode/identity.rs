//! Which event this is (facts 2): the sender's id where there is one, else one that is derived from the body and
//! comes out the same on every delivery. Never correlation or request ids: many events share those.

use super::error::{DecodeError, Fault, Problem};
use super::headers;
use super::json::{Json, Part, canonical_hash, given};
use super::{Inbound, Surroundings};
use crate::domain::event::{EventId, hex};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The identity of a context: what the sender gave, else derived.
///
/// # Errors
/// None that a body can cause; the derived id has a fixed length.
pub(super) fn of_context<'v>(context: &'v Json, around: Surroundings<'_>) -> Part<'v, EventId> {
    match around.attributes {
        Some(attributes) => Ok(attributes.id.clone()),
        None => EventId::new(None, &derived(context)).map_err(|error| Fault::bad(context, error.to_string())),
    }
}

/// The identity of a row change: what the sender gave, else `Idempotency-Key`, else the broker's `MessageId`.
///
/// # Errors
/// None of them is there, or it is unusable.
pub(super) fn of_row_change<'v>(json: &'v Json, around: Surroundings<'_>) -> Part<'v, EventId> {
    if let Some(attributes) = around.attributes {
        return Ok(attributes.id.clone());
    }
    let key = around.inbound.header("idempotency-key").map(headers::unquote);
    let id = key.or_else(|| around.inbound.message_id.map(|id| id.trim().to_owned())).filter(|id| !id.is_empty());
    let missing = Problem::MissingIdentity("send a `ce-id` or an `Idempotency-Key` header");
    let id = id.ok_or_else(|| Fault::new(json, missing))?;
    EventId::new(None, &id).map_err(|error| Fault::bad(json, error.to_string()))
}

/// `ce-id` with `ce-source`, outside of a CloudEvent.
///
/// # Errors
/// It is there and unusable.
pub(super) fn of_headers(inbound: &Inbound<'_>) -> Result<Option<EventId>, DecodeError> {
    let Some(id) = inbound.header("ce-id") else {
        return Ok(None);
    };
    let id = headers::decode("ce-id", id)?;
    let source = inbound.header("ce-source").map(|source| headers::decode("ce-source", source)).transpose()?;
    EventId::new(source.as_deref(), &id)
        .map(Some)
        .map_err(|error| DecodeError::header("ce-id", Problem::BadValue(error.to_string())))
}

/// `Mode`: 0 sync, 1 async.
pub(super) fn mode(context: &Json) -> Option<i64> {
    given(context, "Mode")?.as_i64()
}

/// The key rule of facts 2: 64 hex digits of SHA-256.
///
/// Async: `OperationId` is the system job's, one per event and step. Sync (or a mode we don't know): it is the API
/// request's, which can raise several events, so time and content are added. Without one the content is all there is.
fn derived(context: &Json) -> String {
    let field = |name: &str| {
        let text = given(context, name).and_then(Json::as_str).unwrap_or_default().trim();
        Uuid::parse_str(text).map_or_else(|_| text.to_ascii_lowercase(), |id| id.to_string())
    };
    let operation = field("OperationId");
    if operation.is_empty() || operation == Uuid::nil().to_string() {
        return hex(&canonical_hash(context), 64);
    }
    let step = given(context, "OwningExtension").and_then(|step| given(step, "Id")).and_then(Json::as_str);
    let mut parts = vec![
        field("OrganizationId"),
        step.unwrap_or_default().trim().to_ascii_lowercase(),
        field("MessageName"),
        field("PrimaryEntityName"),
        field("PrimaryEntityId"),
        operation,
    ];
    if mode(context) != Some(1) {
        parts.push(field("OperationCreatedOn"));
        for name in ["InputParameters", "PreEntityImages", "PostEntityImages"] {
            parts.push(given(context, name).map(|json| hex(&canonical_hash(json), 64)).unwrap_or_default());
        }
    }
    hex(&Sha256::digest(parts.join("|")), 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived_of(change: impl Fn(&mut Json)) -> String {
        let mut context = serde_json::json!({
            "OrganizationId": "B015DF52-A05F-EE11-A382-000D3A64DB73", "OwningExtension": {"Id": "x"},
            "MessageName": "Update", "PrimaryEntityName": "account", "Mode": 1,
            "PrimaryEntityId": "6420f0cc-916b-ee11-9ae6-000d3a688809",
            "OperationId": "1ecf6213-9296-4772-b37c-c09138dd0d59", "OperationCreatedOn": "/Date(1)/",
            "CorrelationId": "a", "RequestId": "b", "InputParameters": [{"key": "Target", "value": 1}],
        });
        change(&mut context);
        derived(&context)
    }

    #[test]
    fn every_part_of_the_key_counts_and_nothing_else() {
        let base = derived_of(|_| {});
        for name in ["OrganizationId", "MessageName", "PrimaryEntityName", "PrimaryEntityId", "OperationId"] {
            assert_ne!(derived_of(|context| context[name] = "other".into()), base, "{name}");
        }
        assert_ne!(derived_of(|context| context["OwningExtension"]["Id"] = "y".into()), base);
        for name in ["CorrelationId", "RequestId", "OperationCreatedOn", "InputParameters", "PostEntityImages", "New"] {
            assert_eq!(derived_of(|context| context[name] = "other".into()), base, "{name}");
        }
        let spelt = "{b015df52-a05f-ee11-a382-000d3a64db73}";
        assert_eq!(derived_of(|context| context["OrganizationId"] = spelt.into()), base);
    }

    #[test]
    fn a_synchronous_step_adds_time_and_content() {
        let sync = |change: &dyn Fn(&mut Json)| {
            derived_of(|context| {
                context["Mode"] = 0.into();
                change(context);
            })
        };
        let base = sync(&|_| {});
        assert_ne!(base, derived_of(|_| {}));
        for name in ["OperationCreatedOn", "InputParameters", "PreEntityImages", "PostEntityImages"] {
            assert_ne!(sync(&|context| context[name] = "other".into()), base, "{name}");
        }
        assert_eq!(sync(&|context| context["CorrelationId"] = "other".into()), base);
    }

    #[test]
    fn without_an_operation_id_the_content_is_the_identity() {
        let without = |id: Json, correlation: &str| {
            derived_of(|context| {
                context["OperationId"] = id.clone();
                context["CorrelationId"] = correlation.into();
            })
        };
        for id in [Json::Null, "".into(), "00000000-0000-0000-0000-000000000000".into()] {
            assert_eq!(without(id.clone(), "a"), without(id.clone(), "a"));
            assert_ne!(without(id.clone(), "a"), without(id, "b"));
        }
    }
}

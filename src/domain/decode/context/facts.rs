//! What a context says about itself: origin, loop markers, places in time. Lenient: nothing here may fail an event.

use super::entity::readable_pairs;
use super::values::NetDate;
use crate::domain::decode::Surroundings;
use crate::domain::decode::json::{Json, given};
use crate::domain::event::Origin;
use crate::domain::value::{Columns, Value};
use crate::domain::version::Stamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How many different loop markers are kept; a chain of contexts carries one per service that wrote.
const TAGS_MAX: usize = 32;

/// A GUID field that is there and not all zero, plain or in a `__value` wrapper.
pub(super) fn guid(json: &Json, name: &str) -> Option<Uuid> {
    let field = json.get(name)?;
    let text = field.get("__value").unwrap_or(field).as_str()?;
    Uuid::parse_str(text.trim()).ok().filter(|id| !id.is_nil())
}

/// Where the event comes from.
pub(super) fn origin(context: &Json) -> Origin {
    let who = ["InitiatingUserId", "InitiatingUserAzureActiveDirectoryObjectId"];
    Origin {
        organization: guid(context, "OrganizationId"),
        correlation: guid(context, "CorrelationId").map(|id| id.to_string()),
        tags: tags(context),
        initiators: who.into_iter().filter_map(|name| guid(context, name)).collect(),
        comparison: None,
    }
}

/// The `tag` variables of the context and all of its parents (steps before validation have theirs on a parent).
fn tags(context: &Json) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for level in std::iter::successors(Some(context), |level| given(level, "ParentContext")) {
        for (_, tag) in readable_pairs(level, "SharedVariables").filter(|(key, _)| *key == "tag") {
            if let Some(tag) = tag.as_str().filter(|tag| !tags.iter().any(|seen| seen == tag))
                && tags.len() < TAGS_MAX
            {
                tags.push(tag.to_owned());
            }
        }
    }
    tags
}

/// What the event offers to order it by. `at` is the row's `modifiedon` after the change, as the first of `after` says
/// that has one; where none does (deletes, links, stripped bodies) it is `OperationCreatedOn`, which follows within
/// about a second and is far nearer to the truth than our arrival.
pub(super) fn stamp(context: &Json, after: &[&Columns], image: &Columns, around: Surroundings<'_>) -> Stamp {
    let created_on = given(context, "OperationCreatedOn")
        .and_then(Json::as_str)
        .and_then(NetDate::parse)
        .and_then(NetDate::operation_micros);
    let modified_on = after.iter().find_map(|columns| match columns.get("modifiedon") {
        Some(Value::DateTime(at)) => Some(at.timestamp_micros()),
        _ => None,
    });
    let row_version = match image.get("versionnumber") {
        Some(Value::Number(number)) => number.to_i64(),
        _ => None,
    };
    Stamp {
        at: modified_on.or(created_on),
        created_on,
        row_version,
        sequence: around.attributes.and_then(|attributes| attributes.sequence),
        time: around.attributes.and_then(|attributes| attributes.time),
        depth: given(context, "Depth").and_then(Json::as_u64).and_then(|d| u32::try_from(d).ok()).unwrap_or(0),
        correlation: guid(context, "CorrelationId").map(short_hash),
    }
}

fn short_hash(id: Uuid) -> u64 {
    let hash = Sha256::digest(id.as_bytes());
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

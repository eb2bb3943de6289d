//! Tests of the decoder as a whole: recorded payloads, envelopes, refusals, laws.

mod envelopes;
mod laws;
mod payloads;
mod refusals;
mod row_changes;

use super::json::Json;
use super::{DecodeError, DecodeLimits, Decoded, Inbound, Item, decode};
use crate::domain::event::ChangeEvent;
use crate::domain::value::{Columns, Value};
use std::collections::BTreeMap;

/// A recorded body of `tests/payloads`.
macro_rules! payload {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/payloads/", $name, ".json"))
    };
}
use payload;

/// Every recorded body.
const PAYLOADS: [&str; 14] = [
    payload!("aex_create_account_sync_encoding"),
    payload!("aex_create_allfields_sync"),
    payload!("aex_create_allfields_sync_original"),
    payload!("aex_create_alltypes_async_webhook"),
    payload!("aex_create_sharepointdocumentlocation_async"),
    payload!("aex_update_account_sync_typed_guid_datetime_HANDEDITED"),
    payload!("aex_update_customactivity_async_entitycollection_parties"),
    payload!("synthetic_associate_nn_async"),
    payload!("synthetic_create_account_async_tag"),
    payload!("synthetic_delete_account_async"),
    payload!("synthetic_disassociate_nn_async"),
    payload!("synthetic_oversized_stripped_update"),
    payload!("synthetic_update_contact_async_full_postimage"),
    payload!("xes_update_account_sync_webhook"),
];

/// A delivery under construction.
#[derive(Clone, Default)]
struct Sent {
    content_type: Option<String>,
    headers: BTreeMap<String, String>,
    message_id: Option<String>,
    body: Vec<u8>,
}

fn sent(body: impl AsRef<[u8]>) -> Sent {
    Sent {
        content_type: Some("application/json".to_owned()),
        body: body.as_ref().to_vec(),
        headers: BTreeMap::new(),
        message_id: None,
    }
}

impl Sent {
    fn typed(mut self, content_type: &str) -> Self {
        self.content_type = Some(content_type.to_owned());
        self
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    fn queued(mut self, message_id: &str) -> Self {
        self.message_id = Some(message_id.to_owned());
        self
    }

    fn decode(&self) -> Result<Decoded, DecodeError> {
        self.decode_within(&DecodeLimits::default())
    }

    fn decode_within(&self, limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
        let inbound = Inbound {
            content_type: self.content_type.as_deref(),
            headers: &self.headers,
            message_id: self.message_id.as_deref(),
            body: &self.body,
        };
        decode(&inbound, limits)
    }

    /// The one event of the delivery.
    fn event(&self) -> ChangeEvent {
        match self.decode() {
            Ok(Decoded::One(Item::Change(event))) => *event,
            other => panic!("not one event: {other:?}"),
        }
    }

    /// What it is refused with.
    fn refused(&self) -> String {
        self.decode().map(|decoded| panic!("{decoded:?}")).unwrap_err().to_string()
    }
}

/// A payload, changed.
fn changed(payload: &str, change: impl FnOnce(&mut Json)) -> Sent {
    let mut json: Json = serde_json::from_str(payload).unwrap();
    change(&mut json);
    sent(json.to_string())
}

/// A value in few characters; numbers with their exact text.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("#{}", number.as_str()),
        Value::Text(text) => format!("'{text}'"),
        Value::DateTime(at) => at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        Value::Choice(choice) => format!("choice {choice}"),
        Value::Choices(choices) => format!("choices {choices:?}"),
        Value::Lookup(to) => {
            format!("{}({}){}", to.table, to.row, to.name.as_ref().map(|n| format!(" {n}")).unwrap_or_default())
        }
        Value::Parties(parties) => {
            parties.iter().map(|party| format!("[{}]", shown(party).join("; "))).collect::<Vec<_>>().join(" ")
        }
    }
}

/// Columns as lines `name: value`, sorted by name.
fn shown(columns: &Columns) -> Vec<String> {
    columns.iter().map(|(name, value)| format!("{name}: {}", show(value))).collect()
}

/// One column, shown.
fn column(columns: &Columns, name: &str) -> String {
    columns.get(name).map_or_else(|| "absent".to_owned(), show)
}

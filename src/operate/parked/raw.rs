//! Replaying what was parked as it came: payloads that could not be decoded, and events whose id other content uses.
//!
//! An event that can be decoded now waits, like everything whose row is not known yet, in a partition of its own and is
//! handed to the engine by a due entry. An id that was handled before, with other content, is met again there and parked as
//! `id_reused`, in its row's partition; replaying *that* makes its content the event's.

use super::{Desk, DeskError, Done, Treated, owe};
use crate::domain::decode::{DecodeLimits, Decoded, Inbound, Item, decode};
use crate::domain::event::ChangeEvent;
use crate::inbox::{Parked, Slip};
use crate::ledger::parked::Replayed;
use crate::ledger::record::event_key;
use std::collections::BTreeMap;

/// The header under which a queue message's id is kept.
const MESSAGE_ID: &str = "message-id";

pub(super) async fn replay(desk: &Desk<'_>, slip: &Slip, parked: &Parked, bytes: &[u8]) -> Result<Treated, DeskError> {
    let treated = |done, detail: String| Treated { id: parked.id.clone(), done, detail };
    let (events, problems) = match understood(parked, bytes) {
        Ok(understood) => understood,
        Err(problem) => return Ok(treated(Done::Kept, format!("still not understood: {problem}"))),
    };
    for event in &events {
        let partition = if parked.partition.is_empty() {
            format!("wait:{}", event.id.fingerprint())
        } else {
            parked.partition.clone()
        };
        match desk.ledger.replay_as(&partition, event, parked.first_ms).await? {
            Replayed::Owed(_) => {}
            Replayed::Pending | Replayed::NoPayload(_) | Replayed::Missing => {
                let detail = "another event with its id is owed; replay it when that one has ended";
                return Ok(treated(Done::Kept, detail.to_owned()));
            }
        }
        let parked = Parked { table: event.table.clone(), ..parked.clone() };
        owe(desk, &parked, &partition, &event_key(&event.id)).await?;
    }
    if let Some(problem) = problems.first() {
        let detail = format!("{} events run, {} are still not understood: {problem}", events.len(), problems.len());
        return Ok(treated(Done::Kept, detail));
    }
    desk.inbox.unpark(slip).await?;
    Ok(match events.len() {
        0 => treated(Done::Settled, "it holds no event for us".to_owned()),
        1 => treated(Done::Replayed, "runs with the next sweep".to_owned()),
        many => treated(Done::Replayed, format!("{many} events run with the next sweep")),
    })
}

/// The events in a payload, and what of it cannot be understood. `Err`: nothing of it can.
fn understood(parked: &Parked, bytes: &[u8]) -> Result<(Vec<ChangeEvent>, Vec<String>), String> {
    // an impostor is kept as the event it was decoded to
    if !parked.event_key.is_empty() {
        let event = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        return Ok((vec![event], Vec::new()));
    }
    let headers: BTreeMap<String, String> = parked
        .raw
        .iter()
        .flat_map(|raw| &raw.headers)
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .collect();
    let inbound = Inbound {
        content_type: headers.get("content-type").map(String::as_str),
        headers: &headers,
        message_id: headers.get(MESSAGE_ID).map(String::as_str),
        body: bytes,
    };
    let items = match decode(&inbound, &DecodeLimits::default()).map_err(|error| error.to_string())? {
        Decoded::Heartbeat => Vec::new(),
        Decoded::One(item) => vec![Ok(item)],
        Decoded::Batch(items) => items,
    };
    let (mut events, mut problems) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok(Item::Change(event)) => events.push(*event),
            Ok(Item::NotForUs(_)) => {}
            Err(error) => problems.push(error.to_string()),
        }
    }
    if events.is_empty() && !problems.is_empty() { Err(problems.join("; ")) } else { Ok((events, problems)) }
}

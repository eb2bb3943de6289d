//! The sweep's messages: each names an entry of the inbox, so that the work on what is owed scales with the instances
//! that listen to the queue. The message carries no event: what it says is where to look.
//!
//! # Decision (2026-11-21): what the `MessageId` is
//! *Context:* a send without an answer is repeated, and a queue with duplicate detection drops the second message of the
//! same `MessageId` within its window (10 minutes by default). *Options:* the event's id; a random one; the name of the
//! entry. *Choice:* the entry's name, that is its due time and a hash of row and event. The event's id would be swallowed
//! when the event is handed over again within the window, after it was deferred or its message was lost; a random one
//! would double a repeated send. A moved entry has another due time, so each hand-over has its own id, and two
//! sends of one hand-over have the same. *Would change it:* nothing that is in sight.

use crate::inbox::{Entry, Name};
use crate::servicebus::{Message, PartlySent, Property, Sender, ServiceBusError};
use serde_json::{Map, Value};

/// The application property that makes a message a hand-over; its value is the version of the body.
pub const PROPERTY: &str = "dataverse-sync-owed";
const VERSION: &str = "1";
/// How often one batch of messages is sent when no answer comes or the service is away for a moment.
const SENDS_MAX: u32 = 2;

/// The message for an entry.
///
/// # Errors
/// A text, when the entry's name cannot be written.
pub fn message(entry: &Entry) -> Result<Message, String> {
    let name = entry.name();
    let body = serde_json::to_string(&name).map_err(|error| error.to_string())?;
    Ok(Message {
        message_id: Some(name.key()),
        label: Some("owed".to_owned()),
        properties: [(PROPERTY.to_owned(), Property::from(VERSION))].into(),
        ..Message::new(body)
    })
}

/// What a message hands over. `None`: it is none of the sweep's.
#[must_use]
pub fn read(properties: &Map<String, Value>, body: &[u8]) -> Option<Result<Name, String>> {
    // names of properties travel as names of headers, which have no case
    let (_, version) = properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(PROPERTY))?;
    if version.as_str().is_none_or(|version| version.trim_matches('"') != VERSION) {
        return Some(Err(format!("{PROPERTY} is not {VERSION}: another version of this program sent it")));
    }
    Some(serde_json::from_slice(body).map_err(|error| format!("{PROPERTY}: {error}")))
}

/// Sends the messages of these entries in their order, with at most one repetition where none may have arrived.
///
/// # Errors
/// How many are in the queue for sure, and why not more.
pub async fn send(sender: &Sender, entries: &[Entry]) -> Result<(), PartlySent> {
    let messages: Result<Vec<Message>, String> = entries.iter().map(message).collect();
    let messages = messages.map_err(|what| PartlySent { sent: 0, error: ServiceBusError::Invalid { what } })?;
    let mut done = 0;
    for tries in 1.. {
        let Some(rest) = messages.get(done..).filter(|rest| !rest.is_empty()) else { break };
        let Err(partly) = sender.send_all(rest).await else { break };
        done += partly.sent;
        let passing = matches!(partly.error, ServiceBusError::Unknown { .. } | ServiceBusError::NotSent { .. });
        if tries >= SENDS_MAX || !passing {
            return Err(PartlySent { sent: done, error: partly.error });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Channel;
    use serde_json::json;

    fn entry(due_ms: i64) -> Entry {
        Entry {
            partition: "ab12-account:r \u{e9}".to_owned(),
            event_key: "event:e".to_owned(),
            due_ms,
            first_ms: 1,
            attempts: 2,
            reason: "busy".to_owned(),
            table: "account".to_owned(),
            channel: Channel::Webhook,
            handed: 1,
        }
    }

    #[test]
    fn a_message_is_read_back_however_its_property_is_written() {
        let message = message(&entry(7)).unwrap();
        for (name, value) in [(PROPERTY, "1"), ("Dataverse-Sync-Owed", "\"1\"")] {
            let properties = Map::from_iter([(name.to_owned(), json!(value))]);
            assert_eq!(read(&properties, &message.body), Some(Ok(entry(7).name())));
        }
        assert_eq!(read(&Map::new(), &message.body), None);
    }

    #[test]
    fn a_hand_over_that_cannot_be_read_is_no_event_either() {
        for (version, body) in [("2", "{}"), ("1", "{}"), ("1", "not json")] {
            let properties = Map::from_iter([(PROPERTY.to_owned(), json!(version))]);
            assert!(matches!(read(&properties, body.as_bytes()), Some(Err(_))), "{version} {body}");
        }
    }

    #[test]
    fn each_hand_over_has_an_id_of_its_own_and_the_same_one_when_sent_again() {
        let id = |due_ms| message(&entry(due_ms)).unwrap().message_id.unwrap();
        assert_eq!(id(7), id(7));
        assert_ne!(id(7), id(8));
        assert!(id(i64::MAX).len() <= 128);
    }
}

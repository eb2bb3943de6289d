//! `queue`: events from a Service Bus queue. Every end of an event completes its message, for it is finished or stored;
//! only what could be neither fails the invocation, so that the broker delivers it again.
//!
//! What cannot be understood is parked as it came and completed (CONTRACT); only if that fails too does the broker keep it.
//!
//! # The broker gives up too (PROTOCOL R11)
//! After `deliveries_max` deliveries a message is dead. An event that could be neither finished nor stored in the delivery
//! before the last is parked as it came. At the last delivery nothing else is tried any more, because whatever took
//! the earlier ones with it (a handler that dies of the message) would take this one too.
//!
//! # Decision (2026-11-21): the delivery before the last still tries
//! *Context:* R11 says to park one delivery before the maximum. *Options:* park without trying; try, and park what fails.
//! *Choice:* try: most messages that come so far did not get here by being bad but by an outage of the ledger, and then
//! parking would ask a person for what works by itself. The last delivery stays the reserve for parking.

use super::events::{handle_all, log, report_line};
use crate::domain::decode::{DecodeLimits, Decoded, Inbound, Item, decode, headers_of_properties};
use crate::domain::delivery::{Channel, Delivery, NotHandled};
use crate::host::{Arrived, Done, Failed, Function, Invocation, InvokedFunction, Kind, Message};
use crate::inbox::Name;
use crate::inbox::entry::HEADER_BYTES_MAX;
use crate::operate::handover;
use crate::sync::{HandleEvent, Owed, RawEvent, Unusable};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use std::sync::Arc;

/// The trigger's binding.
const BINDING: &str = "message";
/// Owed events of one invocation that are worked on at the same time; messages come one by one unless `function.json` says otherwise.
const HANDED_AT_ONCE_MAX: usize = 16;

/// The function.
#[derive(Debug)]
pub struct Queue {
    engine: Arc<dyn HandleEvent>,
    limits: DecodeLimits,
}

impl Queue {
    /// The function as the host knows it.
    #[must_use]
    pub fn function(engine: Arc<dyn HandleEvent>, limits: DecodeLimits) -> Function {
        let function = Box::new(Self { engine, limits });
        Function { name: "queue", kind: Kind::Invoked { binding: BINDING, function } }
    }

    /// The events of one message, and what in it was not understood.
    fn events(&self, message: &Message) -> (Vec<Item>, Vec<String>) {
        let headers = headers_of_properties(&message.properties);
        let inbound = Inbound {
            content_type: message.content_type.as_deref(),
            headers: &headers,
            message_id: message.message_id.as_deref(),
            body: &message.body,
        };
        let decoded = match decode(&inbound, &self.limits) {
            Ok(Decoded::Heartbeat) => Vec::new(),
            Ok(Decoded::One(item)) => vec![Ok(item)],
            Ok(Decoded::Batch(items)) => items,
            Err(error) => vec![Err(error)],
        };
        let (mut items, mut problems) = (Vec::with_capacity(decoded.len()), Vec::new());
        for result in decoded {
            match result {
                Ok(item) => items.push(item),
                Err(error) => problems.push(error.to_string()),
            }
        }
        (items, problems)
    }
}

/// What one invocation came to.
#[derive(Debug, Default)]
struct Ended {
    done: Done,
    problems: Vec<String>,
}

impl Queue {
    /// Keeps a message as it came.
    async fn park(&self, message: &Message, delivery: &Delivery, why: Unusable, problem: String, ended: &mut Ended) {
        let raw = RawEvent { why, body: message.body.clone(), headers: headers(message), problem: problem.clone() };
        match self.engine.keep_raw(raw, delivery).await {
            Ok(_) => ended.done.logs.push(format!("parked ({}): {problem}", why.name())),
            Err(error) => ended.problems.push(format!("not kept ({}: {problem}): {error}", why.name())),
        }
    }

    /// An event that the sweep handed over. Once it has ended, was deferred or put off, the message has done its work: the
    /// event is in the inbox as long as it is owed, and nothing depends on the message. If the entry could not even be looked
    /// at or put off, the message comes again, because the entry would wait for long; but it never dies of that.
    async fn come_back(&self, name: Name, delivery: &Delivery) -> Result<String, String> {
        let key = name.key();
        if self.is_last(delivery) {
            return Ok(format!("still owed: {key}: not finished in {} deliveries", delivery.delivery_count - 1));
        }
        match self.engine.come_back(&Owed::Named(name), &delivery.invocation).await {
            Ok(Some(report)) => {
                log(&report);
                Ok(report_line(&report))
            }
            Ok(None) => Ok(format!("nothing is owed under {key} any more")),
            Err(error) => {
                tracing::warn!(%error, key, "an owed event could not be worked on");
                let line = format!("still owed: {key}: {error}");
                if self.is_nearly_given_up(delivery) { Ok(line) } else { Err(line) }
            }
        }
    }

    /// Whether the broker gives a message up after this delivery, or after the next.
    fn is_nearly_given_up(&self, delivery: &Delivery) -> bool {
        delivery.delivery_count.saturating_add(1) >= self.engine.deliveries_max()
    }

    /// Whether this is the last delivery, and earlier ones came to nothing.
    fn is_last(&self, delivery: &Delivery) -> bool {
        delivery.delivery_count >= self.engine.deliveries_max().max(2)
    }
}

#[async_trait]
impl InvokedFunction for Queue {
    async fn run(&self, invocation: Invocation) -> Result<Done, Failed> {
        let messages = Message::read(&invocation.envelope, BINDING).map_err(|error| Failed::new(error.to_string()))?;
        let mut ended = Ended::default();
        let (mut work, mut origins, mut handed) = (Vec::new(), Vec::new(), Vec::new());
        for message in &messages {
            let delivery = delivery(message, &invocation.arrived);
            let named = match handover::read(&message.properties, &message.body) {
                None => None,
                Some(Ok(name)) => {
                    handed.push((name, delivery));
                    continue;
                }
                Some(Err(problem)) => Some(problem),
            };
            if self.is_last(&delivery) {
                let problem = format!("not finished in {} deliveries", delivery.delivery_count.saturating_sub(1));
                self.park(message, &delivery, Unusable::DeliveriesExhausted, problem, &mut ended).await;
                continue;
            }
            let (events, not_understood) = match named {
                None => self.events(message),
                Some(problem) => (Vec::new(), vec![problem]),
            };
            if !not_understood.is_empty() {
                let problem = not_understood.join("; ");
                self.park(message, &delivery, Unusable::Undecodable, problem, &mut ended).await;
            }
            for item in events {
                work.push((item, delivery.clone()));
                origins.push((message, delivery.clone()));
            }
        }
        let mut given_up: Vec<&Message> = Vec::new();
        for (result, (message, delivery)) in handle_all(self.engine.as_ref(), work).await.into_iter().zip(origins) {
            match result {
                Ok(report) => ended.done.logs.push(report_line(&report)),
                Err(NotHandled::IdReused { event_id, stored: true, .. }) => {
                    ended.done.logs.push(format!("parked (id_reused): event {event_id}"));
                }
                Err(_) if given_up.iter().any(|other| std::ptr::eq(*other, message)) => {}
                Err(error) if self.is_nearly_given_up(&delivery) => {
                    given_up.push(message);
                    let why = Unusable::DeliveriesExhausted;
                    self.park(message, &delivery, why, error.to_string(), &mut ended).await;
                }
                Err(error) => ended.problems.push(error.to_string()),
            }
        }
        let handed = handed.into_iter().map(|(name, delivery)| async move { self.come_back(name, &delivery).await });
        for came_back in stream::iter(handed).buffer_unordered(HANDED_AT_ONCE_MAX).collect::<Vec<_>>().await {
            match came_back {
                Ok(line) => ended.done.logs.push(line),
                Err(problem) => ended.problems.push(problem),
            }
        }
        if ended.problems.is_empty() { Ok(ended.done) } else { Err(Failed::new(ended.problems.join("; "))) }
    }
}

/// What decoding it again needs, the most telling first, as much as is kept of a parked message.
fn headers(message: &Message) -> Vec<(String, String)> {
    let own = [("content-type", &message.content_type), ("message-id", &message.message_id)];
    let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
    let mut left = HEADER_BYTES_MAX;
    let fits = |(name, value): &(String, String)| {
        let bytes = name.len() + value.len();
        let fits = bytes <= left;
        left -= if fits { bytes } else { 0 };
        fits
    };
    let mut rest: Vec<_> = headers_of_properties(&message.properties).into_iter().collect();
    rest.retain(|(name, _)| name != "content-type" && name != "message-id");
    rest.sort_by_key(|(name, value)| (!name.starts_with("ce-"), !name.starts_with("x-ms-"), value.len()));
    own.chain(rest).filter(fits).collect()
}

fn delivery(message: &Message, arrived: &Arrived) -> Delivery {
    Delivery {
        channel: Channel::Queue,
        arrival_ms: message.enqueued_ms.unwrap_or(arrived.at_ms),
        delivery_count: message.delivery_count,
        invocation: arrived.invocation.clone(),
        traceparent: arrived.traceparent.clone().or_else(|| message.traceparent.clone()),
    }
}

//! `queue`: events from a Service Bus queue. Every end of an event completes its message, for it is finished or stored;
//! only what could be neither fails the invocation, so that the broker delivers it again.
//!
//! What cannot be understood is parked as it came and completed (CONTRACT); only if that fails too does the broker keep it.
//!
//! # Many messages
//! The host hands over what the queue has, up to a number (`function.json`, `host.json`), and completes all of it or gives all
//! of it back. So every message ends for itself here, and one that cannot be finished is stored and does not fail the others;
//! events of one row are folded ([`HandleEvent::handle_row`]), rows go side by side. Only when one of them could not even be
//! stored do all of them come again, and those that had ended are duplicates then.
//!
//! Locks of messages that came together are **not renewed**, and an instance takes no others before these have ended. Hence
//! `batch_deadline`: what has not begun by then is stored, what waits (for a busy row, for the target) is deferred. `doctor`
//! compares it with the lock.
//!
//! # Decision (2026-11-21): many at a time is how it is deployed
//! *Context:* with `cardinality: one` the host runs 16 invocations side by side and renews their locks; with `many` one, of
//! up to 64 messages. *Options:* either. *Choice:* many: changes of one row come in bursts (a form saved twice, an import, a
//! plug-in that touches its row again), and only what comes together is folded; an invocation has a cost of its own, which 64
//! messages share. What it costs is that one slow event holds up the next batch of its instance, `batch_deadline` at most.
//! *Would change it:* a load that hardly ever has two events of one row under way, over a target whose answers take seconds;
//! remove `cardinality` from `function.json` then, nothing else changes.
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
use futures_util::future::join3;
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use std::time::Duration;

/// The trigger's binding.
const BINDING: &str = "message";
/// Messages of one invocation that are handled at the same time, by what is to be done with them: as many as host.json lets
/// the host hand over (`maxMessageBatchSize`).
const AT_ONCE_MAX: usize = 64;

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

/// The messages of one invocation, by what is to be done with them.
#[derive(Debug, Default)]
struct Sorted<'a> {
    /// Events to be handled, and the message that each came with.
    events: Vec<(Item, Delivery)>,
    origins: Vec<(&'a Message, Delivery)>,
    /// Events that the sweep handed over.
    handed: Vec<(Name, Delivery)>,
    /// What is only kept, and why.
    kept: Vec<(&'a Message, Delivery, Unusable, String)>,
}

impl Queue {
    fn sort<'a>(&self, messages: &'a [Message], arrived: &Arrived) -> Sorted<'a> {
        let until = if messages.len() > 1 { self.engine.batch_until() } else { None };
        let mut sorted = Sorted::default();
        for message in messages {
            let delivery = delivery(message, arrived, until);
            let named = match handover::read(&message.properties, &message.body) {
                None => None,
                Some(Ok(name)) => {
                    sorted.handed.push((name, delivery));
                    continue;
                }
                Some(Err(problem)) => Some(problem),
            };
            if self.is_last(&delivery) {
                let problem = format!("not finished in {} deliveries", delivery.delivery_count.saturating_sub(1));
                sorted.kept.push((message, delivery, Unusable::DeliveriesExhausted, problem));
                continue;
            }
            let (events, not_understood) = match named {
                None => self.events(message),
                Some(problem) => (Vec::new(), vec![problem]),
            };
            if !not_understood.is_empty() {
                let problem = not_understood.join("; ");
                sorted.kept.push((message, delivery.clone(), Unusable::Undecodable, problem));
            }
            for item in events {
                sorted.events.push((item, delivery.clone()));
                sorted.origins.push((message, delivery.clone()));
            }
        }
        sorted
    }

    /// Keeps messages as they came; a line for each, or why it could not be kept.
    async fn park(&self, kept: Vec<(&Message, Delivery, Unusable, String)>) -> Vec<Result<String, String>> {
        let park = |(message, delivery, why, problem): (&Message, Delivery, Unusable, String)| {
            let raw = RawEvent { why, body: message.body.clone(), headers: headers(message), problem: problem.clone() };
            async move {
                match self.engine.keep_raw(raw, &delivery).await {
                    Ok(_) => Ok(format!("parked ({}): {problem}", why.name())),
                    Err(error) => Err(format!("not kept ({}: {problem}): {error}", why.name())),
                }
            }
        };
        let parking: Vec<_> = kept.into_iter().map(park).collect();
        stream::iter(parking).buffered(AT_ONCE_MAX).collect().await
    }

    /// Works on events. What can be neither finished nor stored, in a delivery that may be the last to try, is parked as it
    /// came.
    async fn work(
        &self,
        events: Vec<(Item, Delivery)>,
        origins: Vec<(&Message, Delivery)>,
    ) -> Vec<Result<String, String>> {
        let (mut lines, mut given_up) = (Vec::with_capacity(events.len()), Vec::<(&Message, _, _, _)>::new());
        for (result, (message, delivery)) in handle_all(self.engine.as_ref(), events).await.into_iter().zip(origins) {
            match result {
                Ok(report) => lines.push(Ok(report_line(&report))),
                Err(NotHandled::IdReused { event_id, stored: true, .. }) => {
                    lines.push(Ok(format!("parked (id_reused): event {event_id}")));
                }
                Err(_) if given_up.iter().any(|(other, ..)| std::ptr::eq(*other, message)) => {}
                Err(error) if self.is_nearly_given_up(&delivery) => {
                    given_up.push((message, delivery, Unusable::DeliveriesExhausted, error.to_string()));
                }
                Err(error) => lines.push(Err(error.to_string())),
            }
        }
        lines.extend(self.park(given_up).await);
        lines
    }

    async fn come_back_all(&self, handed: Vec<(Name, Delivery)>) -> Vec<Result<String, String>> {
        let handed = handed.into_iter().map(|(name, delivery)| async move { self.come_back(name, &delivery).await });
        let handed: Vec<_> = handed.collect();
        stream::iter(handed).buffer_unordered(AT_ONCE_MAX).collect().await
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
        let Sorted { events, origins, handed, kept } = self.sort(&messages, &invocation.arrived);
        let (kept, worked, came_back) =
            join3(self.park(kept), self.work(events, origins), self.come_back_all(handed)).await;
        let (mut done, mut problems) = (Done::default(), Vec::new());
        for ended in kept.into_iter().chain(worked).chain(came_back) {
            match ended {
                Ok(line) => done.logs.push(line),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(done) } else { Err(Failed::new(problems.join("; "))) }
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

fn delivery(message: &Message, arrived: &Arrived, until: Option<Duration>) -> Delivery {
    Delivery {
        channel: Channel::Queue,
        arrival_ms: message.enqueued_ms.unwrap_or(arrived.at_ms),
        delivery_count: message.delivery_count,
        invocation: arrived.invocation.clone(),
        traceparent: arrived.traceparent.clone().or_else(|| message.traceparent.clone()),
        until,
    }
}

//! `queue`: events from a Service Bus queue. Every end of an event completes its message, for it is finished or stored;
//! only what could be neither fails the invocation, so that the broker delivers it again.
//!
//! What cannot be understood is parked as it came and completed (CONTRACT); only if that fails too does the broker keep it.

use super::events::{handle_all, report_line};
use crate::domain::decode::{DecodeLimits, Decoded, Inbound, Item, decode, headers_of_properties};
use crate::domain::delivery::{Channel, Delivery, NotHandled};
use crate::host::{Arrived, Done, Failed, Function, Invocation, InvokedFunction, Kind, Message};
use crate::sync::{HandleEvent, RawEvent};
use async_trait::async_trait;
use std::sync::Arc;

/// The trigger's binding.
const BINDING: &str = "message";

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

#[async_trait]
impl InvokedFunction for Queue {
    async fn run(&self, invocation: Invocation) -> Result<Done, Failed> {
        let messages = Message::read(&invocation.envelope, BINDING).map_err(|error| Failed::new(error.to_string()))?;
        let mut problems = Vec::new();
        let mut work = Vec::new();
        let mut done = Done::default();
        for message in messages {
            let delivery = delivery(&message, &invocation.arrived);
            let (events, not_understood) = self.events(&message);
            if !not_understood.is_empty() {
                let headers = headers(&message);
                let problem = not_understood.join("; ");
                let raw = RawEvent { body: message.body.to_vec(), headers, problem: problem.clone() };
                match self.engine.keep_raw(raw, &delivery).await {
                    Ok(_) => done.logs.push(format!("parked (undecodable): {problem}")),
                    Err(error) => problems.push(format!("not understood: {problem}; {error}")),
                }
            }
            work.extend(events.into_iter().map(|item| (item, delivery.clone())));
        }
        for result in handle_all(self.engine.as_ref(), work).await {
            match result {
                Ok(report) => done.logs.push(report_line(&report)),
                Err(NotHandled::IdReused { event_id, stored: true, .. }) => {
                    done.logs.push(format!("parked (id_reused): event {event_id}"));
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        if problems.is_empty() { Ok(done) } else { Err(Failed::new(problems.join("; "))) }
    }
}

/// What is needed to decode the message again.
fn headers(message: &Message) -> Vec<(String, String)> {
    let of_the_broker = [("content-type", &message.content_type), ("message-id", &message.message_id)];
    let of_the_broker = of_the_broker.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
    headers_of_properties(&message.properties).into_iter().chain(of_the_broker).collect()
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

//! Azure Service Bus over REST: sending to a queue, taking out its dead letters, asking how it is set up. Knows neither
//! events nor the inbox, and no function.
//!
//! One request per call, and no repetition: whoever sends knows whether a doubled message does harm. A message with a
//! `MessageId` in a queue with duplicate detection may be sent again after an unknown outcome.
//!
//! # Decision (2026-11-21): REST on our own transport instead of an AMQP crate
//! *Context:* the host receives for us; the handler only sends one message now and then, and a person looks at dead
//! letters. *Options:* `azure_messaging_servicebus` 0.21 (REST, shared keys only, unmaintained), an AMQP stack, or a few
//! hundred lines on `Transport`. *Choice:* our own, so that identities, time-outs, "not sent" against "unknown" and the
//! simulated network are the same as everywhere. *Would change it:* sessions or settling messages of the trigger, which
//! REST does not have.

pub mod admin;
pub mod auth;
pub mod client;
pub mod connection;
mod detail;
pub mod error;
pub mod message;
pub mod received;
pub mod receiver;
#[cfg(test)]
mod script;
pub mod sender;

pub use admin::{Admin, QueueInfo, QueueStatus};
pub use auth::{Auth, SharedKey};
pub use client::{BusLimits, QueueClient};
pub use connection::{Connection, ConnectionError, Proof};
pub use error::ServiceBusError;
pub use message::{Message, Property};
pub use received::{Lock, Locked, Received};
pub use receiver::Receiver;
pub use sender::{PartlySent, Sender};

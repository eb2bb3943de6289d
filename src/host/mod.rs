//! The inbound protocol of Azure Functions: what a custom handler is sent and what it must answer.
//!
//! A function is one of two kinds: an [`HttpFunction`] sees an HTTP request, an [`InvokedFunction`] the host's JSON
//! envelope. This module knows how both arrive (proxied, forwarded, or HTTP wrapped in an envelope by older hosts) and
//! imports no function.

pub mod answer;
pub mod delivery;
pub mod dispatch;
pub mod drain;
pub mod envelope;
pub mod function;
pub mod message;
pub mod route;
pub mod server;
pub mod timer;
pub mod wrapped;

pub use answer::{Done, Failed, HttpAnswer, Problem};
pub use delivery::{Arrived, Headers};
pub use dispatch::Dispatch;
pub use envelope::{Envelope, EnvelopeError};
pub use function::{Function, HttpFunction, HttpRequest, Invocation, InvokedFunction, Kind};
pub use message::Message;

//! The engine: receive, decode, map, claim, merge, apply, finish, and nothing else.

mod apply;
mod claiming;
pub mod compared;
mod delete;
pub mod engine;
pub mod environment;
mod failure;
mod filter;
mod job;
mod keep;
mod links;
mod lookups;
mod parents;
mod pause;
mod refused;
mod witness;
mod work;
mod write;

use crate::domain::delivery::{Delivery, NotHandled, Report};
use crate::domain::event::ChangeEvent;
use async_trait::async_trait;

/// Handles one event to its end. Implemented by the engine, and by decorators that pause or count.
#[async_trait]
pub trait HandleEvent: Send + Sync + std::fmt::Debug {
    /// Brings the event's change into the target, or stores it, or says why not.
    ///
    /// # Errors
    /// [`NotHandled::Unfinished`] when the event is neither finished nor stored: the sender must keep it;
    /// [`NotHandled::IdReused`] when its id belongs to other content.
    async fn handle(&self, event: ChangeEvent, delivery: &Delivery) -> Result<Report, NotHandled>;

    /// Keeps what could not be understood, as it came, for a person (CONTRACT `undecodable`).
    ///
    /// # Errors
    /// [`NotHandled::Unfinished`] when it could not be stored: the sender must keep it.
    async fn keep_raw(&self, raw: RawEvent, delivery: &Delivery) -> Result<Report, NotHandled>;
}

/// A delivery that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// The body, any bytes.
    pub body: Vec<u8>,
    /// Headers or properties that help to understand it; no secrets.
    pub headers: Vec<(String, String)>,
    /// What was not understood, and where.
    pub problem: String,
}

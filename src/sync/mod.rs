//! The engine: receive, decode, map, claim, merge, apply, finish, and nothing else.

mod apply;
pub mod back;
mod birth;
mod claiming;
pub mod compared;
mod delete;
pub mod engine;
pub mod environment;
mod failure;
mod filter;
mod fold;
pub mod fuse;
mod job;
mod keep;
mod keyed;
mod keys;
mod links;
mod lookups;
mod neighbours;
mod paired;
mod parents;
mod pause;
pub mod paused;
mod place;
pub mod placeholders;
mod refused;
pub mod strangers;
mod vanished;
mod witness;
mod work;
mod write;

use crate::domain::delivery::{Delivery, NotHandled, Report};
use crate::domain::event::ChangeEvent;
use crate::inbox::{Entry, InboxError, Name, Slip};
use crate::outbound::gate::{NotNow, Permit};
use async_trait::async_trait;
use std::time::Duration;

/// Handles one event to its end. Implemented by the engine, and by decorators that pause or count.
#[async_trait]
pub trait HandleEvent: Send + Sync + std::fmt::Debug {
    /// Brings the event's change into the target, or stores it, or says why not.
    ///
    /// # Errors
    /// [`NotHandled::Unfinished`] when the event is neither finished nor stored: the sender must keep it;
    /// [`NotHandled::IdReused`] when its id belongs to other content.
    async fn handle(&self, event: ChangeEvent, delivery: &Delivery) -> Result<Report, NotHandled>;

    /// The same for events of one row that came together, in their order; each ends for itself.
    async fn handle_row(&self, events: Vec<(ChangeEvent, Delivery)>) -> Vec<Result<Report, NotHandled>> {
        let mut ended = Vec::with_capacity(events.len());
        for (event, delivery) in events {
            ended.push(self.handle(event, &delivery).await);
        }
        ended
    }

    /// Until when work on messages that come together now may take, on the monotonic clock; `None`: as long as on one.
    fn batch_until(&self) -> Option<Duration> {
        None
    }

    /// Keeps what could not be understood, as it came, for a person (CONTRACT `undecodable`).
    ///
    /// # Errors
    /// [`NotHandled::Unfinished`] when it could not be stored: the sender must keep it.
    async fn keep_raw(&self, raw: RawEvent, delivery: &Delivery) -> Result<Report, NotHandled>;

    /// Comes back to an event that is owed; `invocation` is for logs. `None`: nothing is owed there any more. An entry that was
    /// named and could not be worked on is put off; that is reported as deferred, or parked in the end.
    ///
    /// # Errors
    /// [`NotHandled`]: its entry is still in the inbox, as it was or at a later time; one that was named is as it was.
    async fn come_back(&self, owed: &Owed, invocation: &str) -> Result<Option<Report>, NotHandled>;

    /// Waits, no longer than `patience`, for a place at the target, and takes it for [`Self::come_back_with`]: nothing that is
    /// owed is touched while no call could be made for it.
    ///
    /// # Errors
    /// [`NotNow`]: there is none.
    async fn reserve(&self, _patience: Duration) -> Result<Option<Permit>, NotNow> {
        Ok(None)
    }

    /// [`Self::come_back`] with the place that was taken for it.
    ///
    /// # Errors
    /// As there.
    async fn come_back_with(
        &self,
        owed: &Owed,
        place: Option<Permit>,
        invocation: &str,
    ) -> Result<Option<Report>, NotHandled> {
        drop(place);
        self.come_back(owed, invocation).await
    }

    /// Puts an entry off if its table is paused, without a look at its event. Whether it was.
    ///
    /// # Errors
    /// [`InboxError`]: the entry is where it was.
    async fn put_off_if_paused(&self, _slip: &Slip, _entry: &Entry) -> Result<bool, InboxError> {
        Ok(false)
    }

    /// Looks at placeholders that were made an hour ago or more. How many of them still wait for their row.
    ///
    /// # Errors
    /// [`placeholders::PlaceholderError`]: the rest is looked at next time.
    async fn look_after_placeholders(&self) -> Result<usize, placeholders::PlaceholderError> {
        Ok(0)
    }

    /// After how many deliveries the broker gives a message up.
    fn deliveries_max(&self) -> u32;
}

/// An event that is owed, by its entry in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owed {
    /// As a sweep found it.
    Entry(Slip, Entry),
    /// As a message names it; it may be gone.
    Named(Name),
}

/// A delivery that is kept as it came, because nothing else can be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// Why, the first word of the reason.
    pub why: Unusable,
    /// The body, any bytes.
    pub body: Vec<u8>,
    /// Headers or properties that help to understand it; no secrets.
    pub headers: Vec<(String, String)>,
    /// What was not understood, and where; or what went wrong each time.
    pub problem: String,
}

/// Why a delivery is only kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It could not be understood.
    Undecodable,
    /// It was understood and could not be kept as an event, as often as the broker brought it.
    DeliveriesExhausted,
}

impl Unusable {
    /// The word in reasons.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::DeliveriesExhausted => "deliveries_exhausted",
        }
    }
}

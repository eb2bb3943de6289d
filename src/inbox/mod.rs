//! What we owe: an index of events that somebody must come back to, and of events that need a person.
//!
//! An entry names an event, it does not hold it: the payload is in the ledger, in the row's partition. (What could not
//! even be decoded has no row; such raw bytes are parked here whole.) So an entry is small, and an entry too many
//! is harmless: whoever comes to it finds in the ledger that the event is done, and settles it. An entry too few is a
//! lost event. All rules follow from that:
//!
//! * an entry is written before what depends on it (the target request, the 202, the release of the lease), and
//!   removed only after the ledger said that the event is done (PROTOCOL R9);
//! * moving an entry writes the new one first. A crash between leaves two;
//! * an entry is removed only as it was read or written. One that was written again since stays.
//!
//! [`Inbox`] is what others use; [`store::Store`] is where entries are kept. Neither knows the ledger.

mod due;
pub mod entry;
pub mod error;
mod handover;
mod leaving;
pub mod memory;
mod parked;
mod placeholders;
pub mod store;
pub mod table;

pub use due::{Counts, Inbox};
pub use entry::{Entry, Name, Parked, Raw, RawFacts};
pub use error::InboxError;
pub use handover::HandedOver;
pub use leaving::LEAVES_WITHIN;
pub use parked::{ParkedFilter, ParkedPage};
pub use placeholders::{Placeholder, Placeholders};
pub use store::Slip;

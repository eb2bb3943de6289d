//! Claims: who may work on which row, and what came of every event. See [`claim`] for the protocol.

mod cache;
pub mod claim;
pub mod hold;
pub mod judge;
pub mod memory;
mod probe;
pub mod record;
pub mod store;
pub mod table;

//! Claims: who may work on which row, and what came of every event. See [`claim`] for the protocol,
//! [`fold`] for several events at once, [`owed`] and [`parked`] for events that are not worked on now, [`purge`] for what is
//! forgotten, [`flow`] and [`system`] for what is not about rows.

pub mod adopt;
mod cache;
pub mod claim;
mod ending;
pub mod flow;
pub mod fold;
mod held;
pub mod hold;
pub mod judge;
pub mod memory;
mod moved;
pub mod owed;
pub mod parked;
mod probe;
pub mod purge;
pub mod record;
pub mod store;
pub mod system;
pub mod table;

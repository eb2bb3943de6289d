//! Reconciliation in one process on paused time: planted differences, live traffic beside it, kills and restarts.

mod changes;
mod differences;
mod keyed;
mod kills;
mod live;
mod safeties;
mod twins;
mod values;

//! Reconciliation in one process on paused time: planted differences, live traffic beside it, kills and restarts.

mod budget;
mod changes;
mod differences;
mod fallback;
mod keyed;
mod kills;
mod live;
mod progress;
mod safeties;
mod twins;
mod values;

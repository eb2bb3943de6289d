//! `reconcile` from outside: the real binary between two environments and a table storage, over real sockets.
//!
//! With more rows: `ROWS=50000 cargo test --release --test all reconcile::planted -- --nocapture`.
#![cfg(unix)]

mod kills;
mod memory;
mod planted;
mod stop;
mod world;

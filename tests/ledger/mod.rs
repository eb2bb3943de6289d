//! One conformance suite for every ledger: memory, the Table Storage stand-in, Azurite. Differences between
//! stores are arguments of a [`World`], never skipped cases.

mod cases;
mod flows;
mod folds;
mod owed;
mod parked;
mod purge;
mod stores;
mod system;

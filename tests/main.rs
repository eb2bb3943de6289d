//! The one integration test binary.
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, helpers outside #[test] functions included"
)]

mod allocations;
mod bench;
mod cli;
mod counted;
mod dataverse_client;
mod demo;
mod dev;
mod doctor;
mod engine;
mod functions;
mod governed;
mod guides;
mod handover;
mod host;
mod inbox;
mod infra;
mod killed;
mod ledger;
mod mutations;
mod package;
mod people;
mod process;
mod readme;
mod reconcile;
mod register;
mod serve;
mod servicebus;
mod support;
mod tables;
mod tidy;

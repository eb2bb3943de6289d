//! dataverse-sync (architecture page, written with the code).

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dataverse;
pub mod domain;
pub mod functions;
pub mod host;
pub mod identity;
pub mod inbox;
pub mod ledger;
pub mod outbound;
pub mod secret;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sync;
pub mod tables;
pub mod telemetry;

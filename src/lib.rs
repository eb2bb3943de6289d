//! dataverse-sync (architecture page, written with the code).

pub mod clock;
pub mod dataverse;
pub mod domain;
pub mod outbound;
pub mod secret;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sync;

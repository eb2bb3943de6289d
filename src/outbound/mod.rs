//! One outbound call: transport, retry, `Retry-After`. Knows no Dataverse and no Table Storage.

pub mod authorised;
pub mod budget;
pub mod disposition;
pub mod gate;
pub mod reqwest;
pub mod retry;
pub mod transport;

//! One outbound call: transport, retry, the `Retry-After` gate. Knows no Dataverse and no Table Storage.

pub mod authorised;
pub mod authorize;
pub mod budget;
pub mod disposition;
pub mod gate;
pub mod gated;
pub mod reqwest;
pub mod retry;
pub mod transport;

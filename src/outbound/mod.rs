//! One outbound call: transport, retry, and the gate with its governor. Knows no Dataverse and no Table Storage.

pub mod authorised;
pub mod authorize;
pub mod beside;
pub mod disposition;
pub mod gate;
pub mod gated;
pub mod governor;
pub mod reqwest;
pub mod retry;
pub mod transport;

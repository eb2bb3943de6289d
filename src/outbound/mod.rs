//! One outbound call: transport, retry, `Retry-After`. Knows no Dataverse and no Table Storage.

pub mod authorize;
pub mod transport;

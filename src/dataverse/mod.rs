//! The client of the Dataverse Web API: requests, errors, metadata. It knows no ledger, no lease, no mapping file.
//!
//! One method call is one HTTP exchange (a refused token is replaced once); whoever calls decides about repeating, and
//! says until when a request may take ([`client::Call`]), because a lease must be checked before every request.
//!
//! - [`environment`], [`literal`], [`url`]: addresses, filters, literals
//! - [`body`], [`scalar`], [`party`]: columns to the body of a write; [`row`]: an answer to columns; [`equal`]: whether they say the same
//! - [`client`] (the exchange), [`mod@write`], [`read`], [`pages`], [`link`]: the requests
//! - [`codes`], [`message`], [`error`], [`classify`]: what a refusal means
//! - [`metadata`], [`resolve`]: what is cached about an environment

pub mod body;
pub mod classify;
pub mod client;
pub mod codes;
pub mod counts;
pub mod environment;
pub mod equal;
pub mod error;
pub mod link;
pub mod literal;
pub mod message;
pub mod metadata;
pub mod order;
pub mod pages;
pub mod party;
pub mod read;
pub mod registration;
pub mod resolve;
pub mod row;
pub mod scalar;
#[cfg(test)]
pub(crate) mod script;
pub mod url;
pub mod write;

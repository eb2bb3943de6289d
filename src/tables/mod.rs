//! A thin client for Azure Table Storage, used by the ledger and the inbox. Knows neither.
//!
//! One request per call. Writes are never repeated here: whoever wrote knows how to recognise its own write
//! after a lost answer (PROTOCOL, facts table-storage). Reads are repeated, bounded.
//!
//! # Decision (2026-11-21): an own client instead of `azure_data_tables`
//! *Context:* the ledger needs entity group transactions with `If-Match`, bounded time, pooled connections and errors
//! that tell "not sent" from "unknown". *Options:* the crate `azure_data_tables` 0.21 (the last of an unmaintained
//! tree), or about a thousand lines of our own on reqwest. *Choice:* our own. Reproduced with the crate: an answer
//! without a `Server` header is an error after the write was applied (azure-sdk-for-rust #4489, #3530), so every claim
//! would look failed; a failed transaction returns `Ok`; keys are not escaped, so a merge of `a''b` hits `a'b`; a lost
//! reply is retried into a 409; pooling is off and there is no time-out; debug logs print the signature
//! (RUSTSEC-2026-0275); it has no user-assigned identity and wants OpenSSL. Microsoft's new SDK has no tables
//! (azure-sdk-for-rust #4304). *Would change it:* a tables crate in that SDK with transactions and a transport that can be
//! given; the ledger's trait is the place to change then.

pub mod auth;
mod batch;
pub mod client;
pub mod connection;
pub mod entity;
pub mod error;
pub mod keys;
pub mod query;
pub mod split;

pub use auth::{Auth, SharedKey};
pub use batch::{Op, When};
pub use client::{TableClient, TableLimits};
pub use connection::{Connection, Proof};
pub use entity::{EdmValue, Entity, Etag};
pub use error::TablesError;
pub use keys::Key;
pub use query::{Filter, Page, Query};

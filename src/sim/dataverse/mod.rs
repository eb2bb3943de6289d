//! A Dataverse environment for tests and demonstrations: the Web API with its refusals, the race between two upserts of
//! a missing row, service protection, faults on demand, and the events that steps raise. Built from what is documented;
//! where reality is kinder than its documents, this is not. Knows nothing of the client.
//!
//! ```text
//! web (headers, faults, protection) -> requests (preconditions, race window) -> write (rules, cascades) -> store
//!                                                                                |
//!                                            deliver <- events <- context <------+ commits
//! ```

mod body;
pub mod cell;
mod changes;
mod context;
pub mod decimal;
mod deliver;
mod derive;
mod difference;
mod direct;
mod environment;
pub mod errors;
mod events;
mod exchange;
mod faults;
mod filter;
mod furnish;
mod intersect;
mod json;
mod links;
mod literal;
mod log;
mod metadata;
mod metadata_json;
mod options;
mod paging;
mod protection;
mod read;
mod registered;
mod registration;
mod render;
mod requests;
pub mod sample;
pub mod schema;
mod store;
mod table;
mod types;
mod url;
mod web;
mod world;
mod write;

#[cfg(test)]
mod tests;

pub use cell::{Cell, Row};
pub use context::Image;
pub use deliver::{Collector, FailedJob, Receive, Sink, Webhook};
pub use difference::{Difference, Side, difference};
pub use environment::Environment;
pub use errors::ApiError;
pub use events::{QueueMessage, RaisedEvent, Step, WebhookPost};
pub use exchange::AsPerson;
pub use faults::{Effect, Faults, Rule, When};
pub use log::{Log, Record};
pub use protection::{Gate, Protection};
pub use web::serve;
pub use world::{Auth, Origin, Settings, User, World};
pub use write::{Message, business_columns};

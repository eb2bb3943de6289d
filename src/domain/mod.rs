//! The pure heart: events, versions, merge, mapping, schema, outcomes. No I/O, no clock, no randomness.

pub mod decode;
pub mod delivery;
pub mod digest;
pub mod disposition;
pub mod event;
pub mod groups;
pub mod map;
pub mod mapping;
pub mod merge;
pub mod outcome;
pub mod partition;
pub mod row;
pub mod schema;
pub mod system;
pub mod value;
pub mod version;

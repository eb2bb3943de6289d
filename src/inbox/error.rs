//! Why the inbox did not do what was asked. Never holds a payload.

use std::time::Duration;

/// What can go wrong with entries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    /// No answer: the write may have worked. Writing the same entry again is harmless.
    #[error("the inbox did not answer: {0}")]
    Unknown(String),
    /// Nothing was done; the store is down, busy or refuses us.
    #[error("the inbox cannot be used: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// When to come back, at the earliest, if it was told.
        after: Option<Duration>,
    },
    /// An entry is there but not readable.
    #[error("inbox entry is corrupt: {0}")]
    Corrupt(String),
    /// What should be kept does not fit.
    #[error("too large for the inbox: {0}")]
    TooLarge(String),
}

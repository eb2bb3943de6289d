//! What may be done about a failed call, whoever raised the error. Knows no protocol: each error enum
//! maps its own variants onto this one, once, without a wildcard arm.

use std::time::Duration;

/// What the caller may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing happened: the same call may be made again, not before `after` when that is known.
    Repeat {
        /// The pause the other side asked for.
        after: Option<Duration>,
    },
    /// It may have worked, now or later: only what is idempotent may be repeated, anything else is read back first.
    Uncertain,
    /// The world is not as assumed (a conflict, a stale ETag, a missing row): read again and decide again.
    Reread,
    /// Repeating it as it is cannot help: a person or another input is needed.
    Stop,
}

//! What may be done about an error. Every error type answers `disposition()` by an exhaustive match (STYLE rule 8).

use std::time::Duration;

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Try again within this invocation, not before `after`.
    Retry {
        /// The shortest wait the other side asked for.
        after: Option<Duration>,
    },
    /// Not now: keep the event and come back, not before `after`.
    Defer {
        /// The shortest wait the other side asked for.
        after: Option<Duration>,
    },
    /// Never by itself: a person must look.
    Park,
    /// Stop at once and change nothing more: somebody else owns the row now.
    Stop,
}

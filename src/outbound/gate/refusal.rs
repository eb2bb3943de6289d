//! Why the gate lets a call not through.

use crate::outbound::governor::breaker::Refused;
use std::time::Duration;

/// Why a call may not start within the caller's patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// The environment asked for a pause.
    #[error("the environment asked for a pause of another {after:?}")]
    Closed {
        /// How much of it is left.
        after: Duration,
    },
    /// Calls kept failing: the breaker is open.
    #[error("breaker_open: calls to the environment keep failing, none is made for another {after:?}")]
    Open {
        /// Until the next one may try.
        after: Duration,
    },
    /// Calls kept failing, and one is trying.
    #[error("breaker_probing: calls to the environment kept failing, one is trying")]
    Probing {
        /// How long that may take at most.
        after: Duration,
    },
    /// As many calls as allowed are under way.
    #[error("{in_flight} calls are under way already")]
    Full {
        /// How many.
        in_flight: u32,
    },
}

impl NotNow {
    /// When another try is worth it, if that is known.
    #[must_use]
    pub fn after(self) -> Option<Duration> {
        match self {
            Self::Closed { after } | Self::Open { after } | Self::Probing { after } => Some(after),
            Self::Full { .. } => None,
        }
    }
}

impl From<Refused> for NotNow {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Open(after) => Self::Open { after },
            Refused::Probing(after) => Self::Probing { after },
        }
    }
}

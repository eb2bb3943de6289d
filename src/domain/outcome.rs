//! How an event ended: the words of CONTRACT "What comes back".

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The final word on one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The target has it.
    Applied(Applied),
    /// This id was handled before; what it ended as then.
    Duplicate(String),
    /// Everything in it is older than what was written.
    Stale,
    /// Not for us.
    Ignored(Ignored),
    /// Stored; will be tried again.
    Deferred {
        /// When, at the earliest.
        retry_at: DateTime<Utc>,
        /// Why it could not be done now.
        reason: String,
    },
    /// Stored; needs a person.
    Parked {
        /// Why, a word of the list in the documentation first.
        reason: String,
    },
}

/// What was done to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// The row came into being.
    Created,
    /// Columns were written to a row that was there.
    Updated,
    /// Written; whether the row was there before is not known.
    Upserted,
    /// The row is gone.
    Deleted,
    /// The row was set inactive instead of deleted.
    Deactivated,
    /// Another writer created the row at the same moment; the target has our values.
    Raced,
    /// The target had all values already: nothing was sent.
    Unchanged,
    /// A delete that came after a newer write: only older columns were cleared.
    Cleared,
    /// The link is there.
    Linked,
    /// The link is gone.
    Unlinked,
}

impl Applied {
    /// The word in answers and history.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Upserted => "upserted",
            Self::Deleted => "deleted",
            Self::Deactivated => "deactivated",
            Self::Raced => "raced",
            Self::Unchanged => "unchanged",
            Self::Cleared => "cleared",
            Self::Linked => "linked",
            Self::Unlinked => "unlinked",
        }
    }
}

/// Why an event is not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ignored {
    /// The table is not in the mapping.
    TableNotConfigured,
    /// The operation is not in the table's `operations`.
    OperationNotConfigured,
    /// Our own write came back.
    OwnEcho,
    /// Not the source environment.
    ForeignOrganization,
    /// No column of it exists in the target.
    NothingToWrite,
    /// A message we do not handle (SetState, Assign, ...).
    MessageNotSupported,
}

impl Ignored {
    /// The word in answers and history.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TableNotConfigured => "table_not_configured",
            Self::OperationNotConfigured => "operation_not_configured",
            Self::OwnEcho => "own_echo",
            Self::ForeignOrganization => "foreign_organization",
            Self::NothingToWrite => "nothing_to_write",
            Self::MessageNotSupported => "message_not_supported",
        }
    }
}

impl Outcome {
    /// The outcome's word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Duplicate(_) => "duplicate",
            Self::Stale => "stale",
            Self::Ignored(_) => "ignored",
            Self::Deferred { .. } => "deferred",
            Self::Parked { .. } => "parked",
        }
    }

    /// The detail, empty if there is none.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Applied(applied) => applied.name(),
            Self::Duplicate(then) => then,
            Self::Stale => "",
            Self::Ignored(why) => why.name(),
            Self::Deferred { reason, .. } | Self::Parked { reason } => reason,
        }
    }
}

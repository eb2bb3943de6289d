//! Why work on an event stopped before its outcome, inside the engine.

use super::paused::{self, PAUSED};
use crate::dataverse::error::{DataverseError, Kind};
use crate::dataverse::metadata::MetadataError;
use crate::dataverse::resolve::ResolveError;
use crate::domain::disposition::Disposition;
use crate::ledger::claim::LedgerError;
use crate::ledger::store::StoreError;
use crate::outbound::gate::NotNow;
use std::time::Duration;

/// When nobody says when to come back.
const LATER: Duration = Duration::from_secs(2);
/// When it takes a person or a slow process.
const MUCH_LATER: Duration = Duration::from_secs(60);

/// Attempts that an outage counts for at most: with these the pauses have reached their longest.
const SHUT_ATTEMPTS_MAX: u32 = 10;

/// Why there is no outcome yet.
#[derive(Debug)]
pub(super) enum Failure {
    /// Not now. The event must be kept and repeated.
    NotNow { reason: String, after: Duration },
    /// Not now, because no call to the environment may start: a pause, an open breaker, no place. Nothing was tried.
    Shut { reason: String, after: Duration },
    /// A person has paused the table: stored until it is resumed.
    Paused,
    /// The target refused what it might take in another order: a state pair, a read-only row, a required column.
    OutOfOrder { reason: String, after: Duration },
    /// The source has to say what to write.
    AskSource { reason: &'static str },
    /// A row that was there is gone from the target, and no delete that we know of took it away.
    Vanished,
    /// Somebody works on the row.
    Busy { reason: String, after: Duration },
    /// Not without a person: repeating alone does not help.
    Never { reason: String },
    /// A request may still take effect: the row stays ours until the lease runs out (PROTOCOL R3).
    Unsettled { reason: String, after: Duration },
    /// Somebody else holds the row of a parent that is missing (PROTOCOL R6): our own row is given back first.
    ParentBusy,
    /// Somebody else holds the row (PROTOCOL R7).
    Overtaken,
    /// The row's history is in another partition: go on there.
    Moved { to: String },
    /// The target's names changed: map the event anew.
    NamesChanged,
    /// The id belongs to other content.
    IdReused,
    /// It does, and what came was parked beside it.
    ImpostorKept,
    /// The ledger cannot hold it, however often it is tried.
    TooLarge { reason: String },
    /// Ledger or inbox cannot be reached: nothing can be kept, so nothing may be acknowledged.
    Ledger { reason: String, after: Duration },
}

impl Failure {
    pub(super) fn not_now(reason: impl Into<String>) -> Self {
        Self::NotNow { reason: reason.into(), after: LATER }
    }

    /// The time of those it came with was over before its turn came. That is no attempt.
    pub(super) fn not_begun() -> Self {
        Self::Busy { reason: "not_begun: the time of its batch was over".to_owned(), after: LATER }
    }

    pub(super) fn never(reason: impl Into<String>) -> Self {
        Self::Never { reason: reason.into() }
    }

    pub(super) fn ledger(reason: impl Into<String>) -> Self {
        Self::Ledger { reason: reason.into(), after: LATER }
    }

    /// Whether it is the ledger that failed: then the event cannot be kept either.
    pub(super) fn is_of_the_ledger(&self) -> bool {
        matches!(self, Self::Ledger { .. })
    }

    /// Attempts with this one, after `tried`. A row that is busy is none (PROTOCOL "Smaller"), nor is a table that is
    /// paused. An outage (`shut`) spaces the tries out, but is never by itself what makes them too many.
    pub(super) fn attempts(&self, tried: u32, shut: bool) -> u32 {
        match self {
            Self::ParentBusy | Self::Overtaken | Self::Busy { .. } | Self::Paused | Self::Moved { .. } => tried,
            _ if shut => tried.max(tried.saturating_add(1).min(SHUT_ATTEMPTS_MAX)),
            _ => tried.saturating_add(1),
        }
    }

    /// Whether nothing was tried, because no call to the environment may start.
    pub(super) fn is_shut(&self) -> bool {
        matches!(self, Self::Shut { .. })
    }

    /// The same, but not before the way is open again.
    pub(super) fn not_before(self, opens_in: Option<Duration>) -> Self {
        match (self, opens_in) {
            (Self::NotNow { reason, after }, Some(shut)) => Self::NotNow { reason, after: after.max(shut) },
            (other, _) => other,
        }
    }

    /// When to come back, at the earliest, and why.
    pub(super) fn told(&self) -> (String, Duration) {
        match self {
            Self::NotNow { reason, after }
            | Self::Shut { reason, after }
            | Self::Busy { reason, after }
            | Self::OutOfOrder { reason, after }
            | Self::Unsettled { reason, after }
            | Self::Ledger { reason, after } => (reason.clone(), *after),
            Self::Never { reason } | Self::TooLarge { reason } => (reason.clone(), MUCH_LATER),
            Self::Paused => (PAUSED.to_owned(), paused::look_again()),
            Self::AskSource { reason } => (format!("source_needed: {reason}"), LATER),
            Self::Vanished => ("the row keeps vanishing from the target".to_owned(), LATER),
            Self::ParentBusy => ("parent_busy: another worker holds the parent's row".to_owned(), LATER),
            Self::Overtaken => ("overtaken: another worker holds the row".to_owned(), LATER),
            Self::Moved { .. } => ("row_moved: its history is being moved".to_owned(), LATER),
            Self::NamesChanged => ("the target's names keep changing".to_owned(), MUCH_LATER),
            Self::IdReused | Self::ImpostorKept => ("the id was used with other content".to_owned(), MUCH_LATER),
        }
    }

    /// What is parked is found by the first word of its reason.
    fn of_request(error: &DataverseError) -> Self {
        let remedy = match error.kind() {
            Kind::DeleteRestricted => "; rows of the target that refer to it have to be deleted or changed first",
            _ => "",
        };
        match error.disposition() {
            Disposition::Park => Self::Never { reason: format!("{}: {error}{remedy}", error.kind().name()) },
            disposition => Self::by(disposition, format!("{error}{remedy}")),
        }
    }

    fn by(disposition: Disposition, reason: String) -> Self {
        match disposition {
            Disposition::Retry { after } | Disposition::Defer { after } => {
                Self::NotNow { reason, after: after.unwrap_or(LATER) }
            }
            Disposition::Park => Self::Never { reason },
            Disposition::Stop => Self::Overtaken,
        }
    }
}

impl From<NotNow> for Failure {
    fn from(refusal: NotNow) -> Self {
        Self::Shut { reason: refusal.to_string(), after: refusal.after().unwrap_or(LATER) }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let reason = error.to_string();
        match error {
            LedgerError::Store(StoreError::Unavailable { after, .. }) => {
                Self::Ledger { reason, after: after.unwrap_or(LATER) }
            }
            LedgerError::Store(StoreError::Unknown(_) | StoreError::Conflict) | LedgerError::Contended => {
                Self::ledger(reason)
            }
            LedgerError::Store(StoreError::TooLarge(what)) => Self::TooLarge { reason: format!("too_large: {what}") },
            LedgerError::Store(StoreError::Corrupt(_)) | LedgerError::Payload(_) => {
                Self::Ledger { reason, after: MUCH_LATER }
            }
        }
    }
}

impl From<DataverseError> for Failure {
    fn from(error: DataverseError) -> Self {
        if matches!(error.kind(), Kind::StatePair | Kind::ReadOnlyRow | Kind::RequiredMissing) {
            return Self::OutOfOrder { reason: error.to_string(), after: LATER };
        }
        Self::of_request(&error)
    }
}

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        match &error {
            MetadataError::Request(request) => Self::of_request(request),
            MetadataError::TableUnknown { .. } | MetadataError::BadName { .. } | MetadataError::TooManyTables => {
                Self::by(error.disposition(), format!("table_missing: {error}"))
            }
        }
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Metadata(error) => error.into(),
            ResolveError::Request(error) => error.into(),
        }
    }
}

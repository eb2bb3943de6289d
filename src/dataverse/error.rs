//! What went wrong with a request, judged once. Whoever handles it looks at the kind, never at status or code.

use super::url::UrlError;
use crate::domain::disposition::Disposition;
use std::time::Duration;
use uuid::Uuid;

/// How much of the server's message is kept, in bytes: enough for the texts seen, bounded for the ledger's record.
pub const MESSAGE_BYTES_MAX: usize = 2 * 1024;

/// How long to leave alone what a person or a slow process must mend (roles, disabled users, solution imports).
const SLOW: Duration = Duration::from_secs(300);

/// Which uniqueness was violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UniqueKey {
    /// The primary key (`80040237`): the usual race of two upserts by GUID.
    Primary,
    /// An alternate key (`80060892`).
    Alternate,
    /// Some unique index of the table (`80073002`).
    UniqueIndex,
}

/// Columns and values that the target says are taken. They are row values: `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DuplicateAttributes(pub Vec<(String, String)>);

impl std::fmt::Debug for DuplicateAttributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(column, _)| column)).finish()
    }
}

/// How the missing row was referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingBy {
    /// By GUID (`80040217`).
    Id,
    /// By alternate key (`80060891`).
    Key,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Another row (or the same one, a moment ago) has the key: repeat once, then a real conflict.
    DuplicateKey {
        /// Which key.
        which: UniqueKey,
        /// What is taken, if the target says; empty otherwise.
        attributes: DuplicateAttributes,
    },
    /// The write was create-only (`If-None-Match: *`) and the row is there.
    AlreadyExists,
    /// The row changed since its ETag was read.
    VersionMismatch,
    /// The row addressed does not exist.
    RowMissing,
    /// A row that the request refers to does not exist: usually a lookup's.
    ParentMissing {
        /// How it was referred to.
        by: MissingBy,
        /// Its table, if the target says.
        table: Option<String>,
        /// Its GUID, if the target says.
        id: Option<Uuid>,
    },
    /// A table, column or navigation property is not called that: refresh the metadata once, then never.
    NamesWrong,
    /// Service protection: everything to this environment pauses for [`DataverseError::retry_after`].
    Throttled,
    /// Passes by itself.
    Transient,
    /// Passes by itself, but not within minutes.
    SlowTransient,
    /// "Unexpected": once more, then a person.
    Once,
    /// A plug-in of the target refused.
    PluginRefused,
    /// State and status do not go together, or not after what the row has: may be a matter of order.
    StatePair,
    /// The row's state makes it read-only: may be a matter of order.
    ReadOnlyRow,
    /// Other rows keep this one: may be a matter of order.
    DeleteRestricted,
    /// A required column is missing: an update before its create looks like that.
    RequiredMissing,
    /// The owner cannot own.
    OwnerInvalid,
    /// The request can never work.
    Invalid,
    /// The target is not set up for it: a key that is not defined, no optimistic concurrency.
    Misconfigured,
    /// A privilege is missing. Roles take effect late: no tight retry.
    Privilege,
    /// The token was refused twice, or none could be had.
    Unauthorized,
    /// The user, the environment or its storage is out of service.
    Disabled,
    /// No address or query can be made of what was asked. Nothing was sent.
    Address(UrlError),
    /// The request could not have ended in time. Nothing was sent.
    OutOfTime,
    /// The request did not leave this machine.
    NotSent,
    /// The request may have worked, now or later (PROTOCOL R3).
    Unknown,
    /// The answer is not one of a Dataverse environment.
    Protocol,
}

impl Kind {
    /// The word in logs, reasons of parked events, and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::DuplicateKey { .. } => "duplicate_key",
            Self::AlreadyExists => "already_exists",
            Self::VersionMismatch => "version_mismatch",
            Self::RowMissing => "row_missing",
            Self::ParentMissing { .. } => "parent_missing",
            Self::NamesWrong => "names_wrong",
            Self::Throttled => "throttled",
            Self::Transient => "transient",
            Self::SlowTransient => "slow_transient",
            Self::Once => "unexpected",
            Self::PluginRefused => "plugin_refused",
            Self::StatePair => "state_status",
            Self::ReadOnlyRow => "row_read_only",
            Self::DeleteRestricted => "delete_restricted",
            Self::RequiredMissing => "required_missing",
            Self::OwnerInvalid => "owner_invalid",
            Self::Invalid => "invalid",
            Self::Misconfigured => "misconfigured",
            Self::Privilege => "privilege",
            Self::Unauthorized => "unauthorized",
            Self::Disabled => "disabled",
            Self::Address(_) => "address",
            Self::OutOfTime => "out_of_time",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown_outcome",
            Self::Protocol => "protocol",
        }
    }
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET of one row.
    Read,
    /// GET by filter.
    Query,
    /// PATCH.
    Write,
    /// POST of a new row.
    Create,
    /// DELETE.
    Delete,
    /// Many-to-many: link.
    Link,
    /// Many-to-many: unlink.
    Unlink,
    /// Metadata.
    Metadata,
    /// Who we are there.
    WhoAmI,
}

impl Verb {
    /// Whether the target may change by it.
    #[must_use]
    pub fn changes(self) -> bool {
        match self {
            Self::Write | Self::Create | Self::Delete | Self::Link | Self::Unlink => true,
            Self::Read | Self::Query | Self::Metadata | Self::WhoAmI => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Query => "query",
            Self::Write => "write",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::Metadata => "metadata",
            Self::WhoAmI => "whoami",
        }
    }
}

/// A request that failed. `Display` and `Debug` hold names and numbers, never a row's values.
#[derive(Clone, PartialEq, Eq)]
pub struct DataverseError(Box<Failure>);

/// The content of a [`DataverseError`], boxed to keep results small.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) verb: Verb,
    pub(super) table: String,
    pub(super) status: Option<u16>,
    pub(super) code: Option<u32>,
    pub(super) code_name: Option<&'static str>,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

impl From<Failure> for DataverseError {
    fn from(mut failure: Failure) -> Self {
        failure.message = bounded(failure.message);
        Self(Box::new(failure))
    }
}

impl DataverseError {
    /// An error without an answer.
    #[must_use]
    pub(super) fn unanswered(kind: Kind, verb: Verb, table: &str, message: String) -> Self {
        let table = table.to_owned();
        Failure { kind, verb, table, status: None, code: None, code_name: None, message, retry_after: None }.into()
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// The HTTP status, if there was an answer: for records, not for decisions.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The code, if the answer had one.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        self.0.code
    }

    /// The server's text, at most [`MESSAGE_BYTES_MAX`]. It may quote row values: for the ledger's record, not for logs.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The shortest wait that the target asked for.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the request may have taken effect, now or later. Then the lease is kept until it cannot any more.
    #[must_use]
    pub fn may_have_worked(&self) -> bool {
        self.0.kind == Kind::Unknown
    }

    /// How often the very same request is worth repeating; `None`: as the retry policy says.
    #[must_use]
    pub fn repeats_max(&self) -> Option<u32> {
        match self.0.kind {
            Kind::DuplicateKey { .. } | Kind::Once | Kind::NamesWrong => Some(1),
            Kind::Throttled | Kind::Transient | Kind::NotSent => None,
            Kind::AlreadyExists
            | Kind::VersionMismatch
            | Kind::RowMissing
            | Kind::ParentMissing { .. }
            | Kind::SlowTransient
            | Kind::PluginRefused
            | Kind::StatePair
            | Kind::ReadOnlyRow
            | Kind::DeleteRestricted
            | Kind::RequiredMissing
            | Kind::OwnerInvalid
            | Kind::Invalid
            | Kind::Misconfigured
            | Kind::Privilege
            | Kind::Unauthorized
            | Kind::Disabled
            | Kind::Address(_)
            | Kind::OutOfTime
            | Kind::Unknown
            | Kind::Protocol => Some(0),
        }
    }

    /// What may be done by whoever has no better idea. `Retry` is bounded by [`Self::repeats_max`]; `Retry` of a version
    /// mismatch or an existing row means: read and decide again.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        let after = self.0.retry_after;
        match self.0.kind {
            Kind::DuplicateKey { .. }
            | Kind::AlreadyExists
            | Kind::VersionMismatch
            | Kind::Throttled
            | Kind::Transient
            | Kind::Once
            | Kind::NotSent => Disposition::Retry { after },
            Kind::RowMissing
            | Kind::ParentMissing { .. }
            | Kind::StatePair
            | Kind::ReadOnlyRow
            | Kind::DeleteRestricted
            | Kind::RequiredMissing
            | Kind::OwnerInvalid
            | Kind::OutOfTime
            | Kind::Unknown
            | Kind::Protocol => Disposition::Defer { after },
            Kind::SlowTransient | Kind::Privilege | Kind::Unauthorized | Kind::Disabled => {
                Disposition::Defer { after: Some(after.unwrap_or(SLOW)) }
            }
            Kind::NamesWrong | Kind::PluginRefused | Kind::Invalid | Kind::Misconfigured | Kind::Address(_) => {
                Disposition::Park
            }
        }
    }
}

impl std::fmt::Display for DataverseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.0.verb.name(), self.0.table, self.0.kind.name())?;
        if let Kind::Address(reason) = &self.0.kind {
            write!(f, " ({reason})")?;
        }
        if let Some(code) = self.0.code {
            write!(f, " (0x{code:08X} {})", self.0.code_name.unwrap_or("unknown code"))?;
        }
        match self.0.status {
            Some(status) => write!(f, ", HTTP {status}"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for DataverseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataverseError({self}; {:?})", self.0.kind)
    }
}

impl std::error::Error for DataverseError {}

/// Cuts a text to [`MESSAGE_BYTES_MAX`], at a character's end.
pub(super) fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    text
}

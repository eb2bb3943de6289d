//! What a Table Storage call can end in, classified once. Never holds a key, a value or a credential.

use crate::identity::IdentityError;
use crate::outbound::authorised::CallError;
use crate::outbound::disposition::Disposition;
use crate::outbound::transport::TransportError;
use http::StatusCode;
use std::time::Duration;

/// Why a call did not do what was asked. `index` is the operation within a transaction; `None` for a single call, or
/// when the service did not say.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TablesError {
    /// An entity with these keys exists already (409).
    #[error("table storage: the entity exists already{}", at(*index))]
    Conflict {
        /// Which operation.
        index: Option<usize>,
    },
    /// There is no such entity (404).
    #[error("table storage: no such entity{}", at(*index))]
    NotFound {
        /// Which operation.
        index: Option<usize>,
    },
    /// The entity has another ETag (412).
    #[error("table storage: the entity was changed by somebody else{}", at(*index))]
    Stale {
        /// Which operation.
        index: Option<usize>,
    },
    /// The service did nothing and asks for a pause.
    #[error("table storage is busy")]
    Busy {
        /// The pause it asked for.
        after: Option<Duration>,
    },
    /// Nothing was sent, so nothing happened.
    #[error("table storage was not asked: {reason}")]
    NotSent {
        /// What went wrong.
        reason: String,
    },
    /// Sent, and no usable answer: a write may have worked, now or later.
    #[error("table storage gave no answer: {reason}")]
    Unknown {
        /// What went wrong.
        reason: String,
    },
    /// The service refused, and repeating will not help.
    #[error("table storage refused with {status} {code}{}", at(*index))]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The service's error code, empty if it gave none.
        code: String,
        /// Which operation.
        index: Option<usize>,
    },
    /// An answer to a read that is not what the protocol says.
    #[error("table storage: {what} is not understood")]
    Decode {
        /// Which part.
        what: String,
    },
    /// The call breaks a rule of the service that is known here; nothing was sent.
    #[error("table storage: {what}")]
    Invalid {
        /// Which rule.
        what: String,
    },
}

fn at(index: Option<usize>) -> String {
    index.map(|index| format!(" (operation {index})")).unwrap_or_default()
}

impl TablesError {
    /// What the caller may do.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Conflict { .. } | Self::NotFound { .. } | Self::Stale { .. } => Disposition::Reread,
            Self::Busy { after } => Disposition::Repeat { after: *after },
            Self::NotSent { .. } => Disposition::Repeat { after: None },
            Self::Unknown { .. } => Disposition::Uncertain,
            Self::Rejected { .. } | Self::Decode { .. } | Self::Invalid { .. } => Disposition::Stop,
        }
    }

    /// The operation of a transaction that failed, where known.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Conflict { index }
            | Self::NotFound { index }
            | Self::Stale { index }
            | Self::Rejected { index, .. } => *index,
            Self::Busy { .. }
            | Self::NotSent { .. }
            | Self::Unknown { .. }
            | Self::Decode { .. }
            | Self::Invalid { .. } => None,
        }
    }

    pub(super) fn decode(what: impl Into<String>) -> Self {
        Self::Decode { what: what.into() }
    }

    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }
}

impl From<TransportError> for TablesError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::NotSent { host, reason } => Self::NotSent { reason: format!("{host}: {reason}") },
            TransportError::Unknown { host, reason } => Self::Unknown { reason: format!("{host}: {reason}") },
        }
    }
}

impl From<CallError> for TablesError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Transport(error) => error.into(),
            CallError::Identity(IdentityError::Busy { after, .. }) => Self::Busy { after },
            CallError::Identity(error @ (IdentityError::Unreachable(_) | IdentityError::Decode { .. })) => {
                Self::NotSent { reason: error.to_string() }
            }
            CallError::Identity(error @ (IdentityError::Misconfigured { .. } | IdentityError::Refused { .. })) => {
                Self::Invalid { what: error.to_string() }
            }
        }
    }
}

/// Codes for "this service is busy and did nothing" (facts table-storage).
const CODES_BUSY: [&str; 3] = ["ServerBusy", "TableBeingDeleted", "AccountBeingCreated"];

/// Classifies a refusal by its code first, by its status where there is no code. `after` is `Retry-After`.
pub(super) fn classify(status: StatusCode, code: &str, index: Option<usize>, after: Option<Duration>) -> TablesError {
    match (status.as_u16(), code) {
        (_, code) if CODES_BUSY.contains(&code) => TablesError::Busy { after },
        (429, _) => TablesError::Busy { after },
        (_, "EntityAlreadyExists") => TablesError::Conflict { index },
        (_, "UpdateConditionNotSatisfied" | "ConditionNotMet") => TablesError::Stale { index },
        (_, "ResourceNotFound" | "EntityNotFound") => TablesError::NotFound { index },
        (412, _) => TablesError::Stale { index },
        // a gateway's 5xx, OperationTimedOut, InternalError: the write behind it may have worked
        (408 | 500..=599, _) => TablesError::Unknown { reason: format!("answered {} {code}", status.as_u16()) },
        (status, code) => TablesError::Rejected { status, code: code.to_owned(), index },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_by_code_then_status() {
        let check = |status: u16, code: &str, expected: &str| {
            let error = classify(StatusCode::from_u16(status).unwrap(), code, Some(1), None);
            assert!(format!("{error:?}").starts_with(expected), "{status} {code}: {error:?}");
        };
        check(409, "EntityAlreadyExists", "Conflict { index: Some(1) }");
        check(404, "ResourceNotFound", "NotFound");
        check(412, "UpdateConditionNotSatisfied", "Stale");
        check(412, "", "Stale");
        check(503, "ServerBusy", "Busy");
        check(409, "TableBeingDeleted", "Busy");
        check(429, "", "Busy");
        check(503, "", "Unknown");
        check(500, "OperationTimedOut", "Unknown");
        check(504, "", "Unknown");
        check(404, "", "Rejected");
        check(403, "AuthenticationFailed", "Rejected");
        check(400, "InvalidInput", "Rejected");
        check(302, "", "Rejected");
    }

    #[test]
    fn no_error_is_both_repeatable_and_uncertain() {
        let unknown = TablesError::from(TransportError::Unknown { host: "h".into(), reason: "r".into() });
        assert_eq!(unknown.disposition(), Disposition::Uncertain);
        let not_sent = TablesError::from(TransportError::NotSent { host: "h".into(), reason: "r".into() });
        assert_eq!(not_sent.disposition(), Disposition::Repeat { after: None });
    }
}

//! What a Service Bus call can end in, classified once. Never holds a key, a signature or a message's content.

use crate::identity::IdentityError;
use crate::outbound::authorised::CallError;
use crate::outbound::disposition::Disposition;
use crate::outbound::transport::TransportError;
use crate::servicebus::detail::Detail;
use http::StatusCode;
use std::time::Duration;

/// Pause after "the service is busy" when it names none (Service Bus documentation, throttling: 10 s).
const BUSY_PAUSE: Duration = Duration::from_secs(10);

/// Why a call did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceBusError {
    /// Nothing was sent, so nothing happened.
    #[error("service bus was not asked: {reason}")]
    NotSent {
        /// What went wrong.
        reason: String,
    },
    /// Sent, and no usable answer: it may have worked, now or later. Sending again may double a message; with a
    /// `MessageId` and duplicate detection that is harmless.
    #[error("service bus gave no answer: {reason}")]
    Unknown {
        /// What went wrong.
        reason: String,
    },
    /// The service did nothing and asks for a pause.
    #[error("service bus is busy")]
    Throttled {
        /// The pause it asked for, or the documented one.
        after: Option<Duration>,
    },
    /// The queue has reached its size; nothing was stored. It takes messages again when others are taken out.
    #[error("the queue is full")]
    QueueFull,
    /// The signature or token is refused, or lacks the right for this call.
    #[error("service bus refused the credentials with {status}; needed: the role or policy right {right}")]
    Unauthorized {
        /// The HTTP status.
        status: u16,
        /// Which right the call needs: `Send`, `Listen` or `Manage`.
        right: &'static str,
    },
    /// There is no such queue in the namespace.
    #[error("the queue does not exist")]
    NotFound,
    /// The lock on a received message is lost: it ran out, or the message is settled.
    #[error("the lock on the message is lost")]
    LockLost,
    /// The message, or the batch, is larger than the queue takes.
    #[error("the message is too large: {bytes} bytes")]
    TooLarge {
        /// Its size as counted here.
        bytes: usize,
    },
    /// The service refused, and repeating will not help.
    #[error("service bus refused with {status} {code}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The service's sub-code, empty if it gave none.
        code: String,
    },
    /// An answer that is not what the protocol says.
    #[error("service bus: {what} is not understood")]
    Decode {
        /// Which part.
        what: String,
    },
    /// The call breaks a rule of the service that is known here, or the settings cannot work; nothing was sent.
    #[error("service bus: {what}")]
    Invalid {
        /// Which rule.
        what: String,
    },
}

impl ServiceBusError {
    /// What the caller may do.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::NotSent { .. } => Disposition::Repeat { after: None },
            Self::Throttled { after } => Disposition::Repeat { after: *after },
            Self::QueueFull => Disposition::Repeat { after: Some(BUSY_PAUSE) },
            Self::Unknown { .. } => Disposition::Uncertain,
            Self::LockLost => Disposition::Reread,
            Self::Unauthorized { .. }
            | Self::NotFound
            | Self::TooLarge { .. }
            | Self::Rejected { .. }
            | Self::Decode { .. }
            | Self::Invalid { .. } => Disposition::Stop,
        }
    }

    pub(super) fn decode(what: impl Into<String>) -> Self {
        Self::Decode { what: what.into() }
    }

    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }
}

impl From<TransportError> for ServiceBusError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::NotSent { host, reason } => Self::NotSent { reason: format!("{host}: {reason}") },
            TransportError::Unknown { host, reason } => Self::Unknown { reason: format!("{host}: {reason}") },
        }
    }
}

impl From<CallError> for ServiceBusError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Transport(error) => error.into(),
            CallError::Identity(IdentityError::Busy { after, .. }) => Self::Throttled { after },
            CallError::Identity(IdentityError::Unreachable(error)) => {
                Self::NotSent { reason: format!("no token: {error}") }
            }
            CallError::Identity(error @ IdentityError::Decode { .. }) => Self::NotSent { reason: error.to_string() },
            CallError::Identity(error @ (IdentityError::Misconfigured { .. } | IdentityError::Refused { .. })) => {
                Self::Invalid { what: error.to_string() }
            }
        }
    }
}

/// What was asked, as far as it matters for reading a refusal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The right the call needs.
    pub(super) right: &'static str,
    /// How large its message was.
    pub(super) bytes: usize,
    /// Whether it names a lock: then 404 and 410 are about the lock.
    pub(super) settles: bool,
}

/// Classifies a refusal by status and the service's own words (documentation of each operation: 403 is both "quota
/// exceeded" and "message too large", 410 a missing queue). `after` is `Retry-After`.
pub(super) fn classify(status: StatusCode, body: &[u8], after: Option<Duration>, asked: Asked) -> ServiceBusError {
    let detail = Detail::read(body);
    let number = status.as_u16();
    match number {
        429 => ServiceBusError::Throttled { after: after.or(Some(BUSY_PAUSE)) },
        503 if detail.is_busy() => ServiceBusError::Throttled { after: after.or(Some(BUSY_PAUSE)) },
        413 => ServiceBusError::TooLarge { bytes: asked.bytes },
        400 | 403 if detail.is_size() => ServiceBusError::TooLarge { bytes: asked.bytes },
        403 if detail.is_quota() => ServiceBusError::QueueFull,
        401 | 403 => ServiceBusError::Unauthorized { status: number, right: asked.right },
        404 | 410 if asked.settles => ServiceBusError::LockLost,
        404 | 410 => ServiceBusError::NotFound,
        // a gateway's 5xx: the broker behind it may have stored the message
        408 | 500..=599 => ServiceBusError::Unknown { reason: format!("answered {number} {}", detail.code()) },
        // a success that this operation does not have
        200..=299 => ServiceBusError::Unknown { reason: format!("answered {number}, which is not documented") },
        _ => ServiceBusError::Rejected { status: number, code: detail.code() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: Asked = Asked { right: "Send", bytes: 7, settles: false };

    #[test]
    fn refusals_are_told_apart_by_status_and_words() {
        let check = |status: u16, body: &str, expected: &str| {
            let error = classify(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None, SEND);
            assert!(format!("{error:?}").starts_with(expected), "{status} {body}: {error:?}");
        };
        let error = |code: u16, text: &str| format!("<Error><Code>{code}</Code><Detail>{text}</Detail></Error>");
        check(400, &error(400, "BrokerProperties: SubCode=40000. x"), "Rejected { status: 400, code: \"40000\" }");
        check(401, "", "Unauthorized { status: 401, right: \"Send\" }");
        check(403, &error(403, "The specified operation is not allowed"), "Unauthorized { status: 403");
        check(403, &error(403, "SubCode=40300. The maximum entity size has been reached. Quota"), "QueueFull");
        check(403, &error(403, "The message is too large: maximum message size is 262144"), "TooLarge { bytes: 7 }");
        check(413, "", "TooLarge");
        check(404, "", "NotFound");
        check(410, "", "NotFound");
        check(429, "", "Throttled { after: Some(10s) }");
        check(503, &error(503, "the namespace ns is being throttled. Error code : 50009."), "Throttled");
        check(503, "", "Unknown");
        check(500, "", "Unknown");
        check(502, "<html>", "Unknown");
        check(408, "", "Unknown");
        check(200, "", "Unknown");
        check(302, "", "Rejected { status: 302");
        check(409, "not xml & SubCode=1", "Rejected { status: 409");
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_and_a_lost_lock_is_no_missing_queue() {
        let after = Some(Duration::from_secs(3));
        let error = classify(StatusCode::TOO_MANY_REQUESTS, b"", after, SEND);
        assert_eq!(error.disposition(), Disposition::Repeat { after });
        for status in [StatusCode::NOT_FOUND, StatusCode::GONE] {
            let error = classify(status, b"", None, Asked { settles: true, ..SEND });
            assert_eq!((format!("{error:?}"), error.disposition()), ("LockLost".to_owned(), Disposition::Reread));
        }
    }

    #[test]
    fn no_error_is_both_repeatable_and_uncertain() {
        let (host, reason) = ("h".to_owned(), "r".to_owned());
        let unknown = ServiceBusError::from(TransportError::Unknown { host: host.clone(), reason: reason.clone() });
        assert_eq!(unknown.disposition(), Disposition::Uncertain);
        let not_sent = ServiceBusError::from(TransportError::NotSent { host, reason });
        assert_eq!(not_sent.disposition(), Disposition::Repeat { after: None });
    }
}

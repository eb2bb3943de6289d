//! What one call showed about the environment's health. Looks at the status alone: what a refusal means for the event
//! that was sent is somebody else's matter.

use crate::outbound::transport::{Response, TransportError};
use http::StatusCode;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An answer: the environment works. Refusals of one request (4xx) are such answers.
    Answered,
    /// 429: it works and wants less.
    Throttled,
    /// 500 and 501: often about one request (a plug-in that breaks), sometimes about everything.
    Erred,
    /// 502, 503, 504: it does not work, or wants nothing at all.
    Unavailable,
    /// Sent, and no answer.
    Unanswered,
    /// Not even sent: no connection.
    Unreachable,
}

impl Seen {
    /// What this answer, or its absence, shows.
    #[must_use]
    pub fn of(answer: Result<&Response, &TransportError>) -> Self {
        match answer {
            Err(TransportError::NotSent { .. }) => Self::Unreachable,
            Err(TransportError::Unknown { .. }) => Self::Unanswered,
            Ok(response) => Self::of_status(response.status),
        }
    }

    fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            429 => Self::Throttled,
            // 408: a gateway's word for no answer
            408 => Self::Unanswered,
            502..=504 => Self::Unavailable,
            500..=599 => Self::Erred,
            _ => Self::Answered,
        }
    }

    /// Whether fewer calls at once would do the environment good.
    #[must_use]
    pub fn asks_for_less(self) -> bool {
        match self {
            Self::Throttled | Self::Unavailable | Self::Unanswered | Self::Unreachable => true,
            Self::Answered | Self::Erred => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_one_request_shows_an_environment_that_works() {
        for (status, expected) in [
            (200, Seen::Answered),
            (204, Seen::Answered),
            (304, Seen::Answered),
            (400, Seen::Answered),
            (401, Seen::Answered),
            (403, Seen::Answered),
            (404, Seen::Answered),
            (408, Seen::Unanswered),
            (412, Seen::Answered),
            (429, Seen::Throttled),
            (499, Seen::Answered),
            (500, Seen::Erred),
            (501, Seen::Erred),
            (502, Seen::Unavailable),
            (503, Seen::Unavailable),
            (504, Seen::Unavailable),
            (520, Seen::Erred),
        ] {
            assert_eq!(Seen::of_status(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
        let (host, reason) = ("h".to_owned(), String::new());
        let unknown = TransportError::Unknown { host: host.clone(), reason: reason.clone() };
        assert_eq!(Seen::of(Err(&unknown)), Seen::Unanswered);
        assert_eq!(Seen::of(Err(&TransportError::NotSent { host, reason })), Seen::Unreachable);
    }
}

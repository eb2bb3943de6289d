//! Tokens for whatever we call: Dataverse, Table Storage, Service Bus. Knows none of them.
//!
//! # Decision (2026-11-21): the two exchanges are our own, not `azure_identity`'s
//! *Context:* client credentials and the App Service managed identity are one HTTP request each (facts
//! functions-host 9, dataverse 9). *Options:* `azure_identity` 1.0 with our [`Transport`] behind its `HttpClient`, or
//! two small files on `Transport`. *Choice:* our own, because the crate's managed identity reads
//! `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` from the process environment only (here only `config` may, and tests pass
//! values), and without them silently asks the virtual-machine endpoint, which does not exist on Functions; its token
//! cache asks the machine's clock, cannot be emptied after a 401, and holds everybody up during a refresh although the old
//! token is still valid; its pipeline brings retries of its own, up to a minute, below our deadlines. *Would change it:* a
//! third kind of credential (certificates, workload identity), or an `Env` and a cache that can be passed in.
//!
//! [`Transport`]: crate::outbound::transport::Transport

mod claims;
mod exchange;
mod source;

pub use claims::Claims;
pub use exchange::Credential;
pub use source::{TokenLimits, TokenSource};

use crate::outbound::disposition::Disposition;
use crate::outbound::transport::TransportError;
use std::time::Duration;

/// Why there is no token. Never holds a token, a secret or an answer's body.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IdentityError {
    /// A setting is missing or malformed; says which and what to do.
    #[error("identity: {what}")]
    Misconfigured {
        /// What to do about it.
        what: String,
    },
    /// The authority said no: wrong secret, unknown client, no such identity.
    #[error("the token request was refused with {status}: {code}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The authority's code, for example `invalid_client AADSTS7000215`.
        code: String,
    },
    /// The authority is busy or ill.
    #[error("the token endpoint is not available ({status})")]
    Busy {
        /// The HTTP status.
        status: u16,
        /// The pause it asked for.
        after: Option<Duration>,
    },
    /// No answer from the authority.
    #[error("the token endpoint was not reached: {0}")]
    Unreachable(#[from] TransportError),
    /// An answer that is not what the protocol says.
    #[error("the token answer is not understood: {what}")]
    Decode {
        /// What is missing or wrong.
        what: &'static str,
    },
}

impl IdentityError {
    /// What may be done: asking for a token has no effect, so everything but a refusal may be repeated.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Misconfigured { .. } | Self::Refused { .. } => Disposition::Stop,
            Self::Busy { after, .. } => Disposition::Repeat { after: *after },
            Self::Unreachable(_) | Self::Decode { .. } => Disposition::Repeat { after: None },
        }
    }
}

//! Where a call gets its bearer token from: the seam between a protocol's client and `identity`. Knows neither.

use crate::domain::disposition::Disposition;
use crate::secret::Secret;
use async_trait::async_trait;

/// Hands out tokens for one resource (one environment has one audience).
#[async_trait]
pub trait Authorize: Send + Sync + std::fmt::Debug {
    /// A token that is good now, fetched if need be; `None` if the other side wants none (`TARGET_AUTH=none`).
    ///
    /// # Errors
    /// [`AuthorizeError`] when a token is wanted and cannot be had. Nothing was sent to the resource then.
    async fn token(&self) -> Result<Option<Secret>, AuthorizeError>;

    /// Renews the token if it will soon end: beside a call, see [`super::beside`].
    async fn renew(&self) {}

    /// Forgets this token because the other side refused it. A newer one that is already there is kept.
    fn drop_token(&self, refused: &Secret);
}

/// There is no token.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no token: {reason}")]
pub struct AuthorizeError {
    /// What went wrong, without secrets.
    pub reason: String,
    /// Whether the token service may be asked again.
    pub disposition: Disposition,
}

/// No authorisation at all: for stand-ins on loopback.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoToken;

#[async_trait]
impl Authorize for NoToken {
    async fn token(&self) -> Result<Option<Secret>, AuthorizeError> {
        Ok(None)
    }

    fn drop_token(&self, _refused: &Secret) {}
}

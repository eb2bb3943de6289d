//! Tokens, cached: renewed ahead of expiry beside calls that go with the old one, one refresh at a time. Knows no credential's protocol.

use crate::clock::Clock;
use crate::identity::exchange::{Credential, Granted, read};
use crate::identity::{Disposition, IdentityError};
use crate::outbound::retry::RetryPolicy;
use crate::outbound::transport::Transport;
use crate::secret::Secret;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Limits of token requests.
#[derive(Clone, Copy, Debug)]
pub struct TokenLimits {
    /// One token request, connecting included. Default 10 s.
    pub request: Duration,
    /// All attempts of one refresh together. Default 20 s.
    pub refresh: Duration,
    /// Attempts of one refresh and the pauses between them.
    pub retry: RetryPolicy,
    /// How long a failure answers for everybody who was waiting, so that they do not ask one after the other. Default 2 s.
    pub failure: Duration,
    /// How far apart tokens may be dropped after a 401: a fresh token that is refused will be refused again. Default 60 s.
    pub drop_interval: Duration,
}

impl Default for TokenLimits {
    fn default() -> Self {
        let retry = RetryPolicy::new(3, Duration::from_millis(200), Duration::from_secs(2));
        Self {
            request: Duration::from_secs(10),
            refresh: Duration::from_secs(20),
            retry: retry.unwrap_or(RetryPolicy::NEVER),
            failure: Duration::from_secs(2),
            drop_interval: Duration::from_secs(60),
        }
    }
}

/// More resources than this is a mistake (we know storage, Service Bus and two environments).
const RESOURCES_MAX: usize = 16;

/// How long after one renewal another may be tried. A fifth of a token's life, minutes, is there for it.
const RENEW_AGAIN: Duration = Duration::from_secs(5);

/// Tokens of one credential for any resource. Clones share the cache.
#[derive(Clone, Debug)]
pub struct TokenSource(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    credential: Credential,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    limits: TokenLimits,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// What is known about one resource's token.
#[derive(Debug, Default)]
struct Slot {
    known: Mutex<Known>,
    /// Held during a refresh; given back by the guard even if the holder is dropped at an await.
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    token: Option<Held>,
    failure: Option<(IdentityError, Duration)>,
    dropped_at: Option<Duration>,
    renewed_at: Option<Duration>,
}

/// Times are on [`Clock::monotonic`]'s scale.
#[derive(Clone, Debug)]
struct Held {
    token: Secret,
    refresh_at: Duration,
    unusable_at: Duration,
}

impl TokenSource {
    /// Tokens for this credential, fetched through `transport`. Asks nobody before the first token is needed.
    #[must_use]
    pub fn new(
        credential: Credential,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        limits: TokenLimits,
    ) -> Self {
        Self(Arc::new(Inner { credential, transport, clock, limits, slots: Mutex::default() }))
    }

    /// A token for `resource` (`https://storage.azure.com`, an environment's URL); `None` for [`Credential::None`].
    ///
    /// # Errors
    /// [`IdentityError`]. A token that still works is given out at once; [`Self::renew`] sees to the next one.
    pub async fn token(&self, resource: &str) -> Result<Option<Secret>, IdentityError> {
        if matches!(self.0.credential, Credential::None) {
            return Ok(None);
        }
        let slot = self.slot(resource)?;
        if let Some(token) = slot.usable(self.now()) {
            return Ok(Some(token));
        }
        let _turn = slot.refreshing.lock().await;
        if let Some(token) = slot.usable(self.now()) {
            return Ok(Some(token));
        }
        if let Some(failure) = slot.failed(self.now()) {
            return Err(failure);
        }
        self.refresh(resource, &slot).await.map(Some)
    }

    /// Fetches a new token if the one there is will soon end: for a place beside a call that goes with the old one, so that no
    /// call waits for a refresh. One at a time, and after one that came to nothing, or was dropped, not at once again.
    pub async fn renew(&self, resource: &str) {
        let Ok(slot) = self.slot(resource) else { return };
        if !slot.is_due(self.now()) {
            return;
        }
        let Ok(_turn) = slot.refreshing.try_lock() else { return };
        if !slot.is_due(self.now()) {
            return;
        }
        slot.known().renewed_at = Some(self.now());
        if let Err(error) = self.refresh(resource, &slot).await {
            tracing::warn!(%error, resource, "a token that still works could not be renewed");
        }
    }

    async fn refresh(&self, resource: &str, slot: &Slot) -> Result<Secret, IdentityError> {
        let outcome = self.fetch(resource).await;
        let now = self.now();
        match outcome {
            Ok(granted) => Ok(slot.keep(granted, now)),
            Err(failure) => {
                slot.known().failure = Some((failure.clone(), now.saturating_add(self.0.limits.failure)));
                Err(failure)
            }
        }
    }

    /// Forgets `refused` after a 401. `true`: the next [`Self::token`] is another one, so the call may be repeated once.
    /// `false`: the cache was renewed so recently that repeating is pointless, or there is no token to drop.
    #[must_use]
    pub fn drop_token(&self, resource: &str, refused: &Secret) -> bool {
        let Ok(slot) = self.slot(resource) else { return false };
        let now = self.now();
        let mut known = slot.known();
        match &known.token {
            Some(held) if !held.token.matches(refused.expose()) => return true,
            Some(_) => {}
            None => return true,
        }
        let too_soon = known.dropped_at.is_some_and(|at| now < at.saturating_add(self.0.limits.drop_interval));
        if !too_soon {
            known.token = None;
            known.dropped_at = Some(now);
        }
        !too_soon
    }

    /// The monotonic time that tokens are judged by, for deadlines of calls that carry them.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.clock.monotonic()
    }

    fn slot(&self, resource: &str) -> Result<Arc<Slot>, IdentityError> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(resource) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= RESOURCES_MAX {
            let what = format!("more than {RESOURCES_MAX} resources ask for tokens");
            return Err(IdentityError::Misconfigured { what });
        }
        Ok(Arc::clone(slots.entry(resource.to_owned()).or_default()))
    }

    async fn fetch(&self, resource: &str) -> Result<Granted, IdentityError> {
        let limits = self.0.limits;
        let deadline = self.now().saturating_add(limits.refresh);
        let mut attempt = 1;
        loop {
            let left = deadline.saturating_sub(self.now());
            let failure = match self.ask(resource, limits.request.min(left)).await {
                Ok(granted) => return Ok(granted),
                Err(failure) => failure,
            };
            let Disposition::Repeat { after } = failure.disposition() else { return Err(failure) };
            let left = deadline.saturating_sub(self.now());
            let Some(pause) = limits.retry.next_delay(attempt, after, left, crate::chance::jitter()) else {
                return Err(failure);
            };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn ask(&self, resource: &str, timeout: Duration) -> Result<Granted, IdentityError> {
        let request = self.0.credential.request(resource, timeout)?;
        let request = request.ok_or(IdentityError::Decode { what: "no credential" })?;
        let answer = self.0.transport.send(request).await?;
        read(&answer, self.0.clock.now())
    }
}

impl Slot {
    fn known(&self) -> MutexGuard<'_, Known> {
        // every write is one assignment: never half written
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a token that should be renewed now.
    fn is_due(&self, now: Duration) -> bool {
        let known = self.known();
        let rests = known.renewed_at.is_some_and(|at| now < at.saturating_add(RENEW_AGAIN));
        !rests && known.token.as_ref().is_some_and(|held| held.refresh_at <= now)
    }

    /// The token, if it still works.
    fn usable(&self, now: Duration) -> Option<Secret> {
        self.known().token.as_ref().filter(|held| now < held.unusable_at).map(|held| held.token.clone())
    }

    fn failed(&self, now: Duration) -> Option<IdentityError> {
        self.known().failure.as_ref().filter(|(_, until)| now < *until).map(|(failure, _)| failure.clone())
    }

    /// Refreshed after 80 % of its life; not used in the last tenth (30 s at most: request time and clock skew).
    fn keep(&self, granted: Granted, now: Duration) -> Secret {
        let Granted { token, lifetime } = granted;
        let margin = (lifetime / 10).min(Duration::from_secs(30));
        let held = Held {
            token: token.clone(),
            refresh_at: now.saturating_add(lifetime.saturating_mul(4) / 5),
            unusable_at: now.saturating_add(lifetime.saturating_sub(margin)),
        };
        let mut known = self.known();
        known.token = Some(held);
        known.failure = None;
        token
    }
}

#[cfg(test)]
mod tests;

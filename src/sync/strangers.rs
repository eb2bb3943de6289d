//! Events that are not for us because of who sent them: another organisation's, and our own echo.
//!
//! **Organisation.** Events of the organisations in the settings are taken. Where none is named, the first that brings an
//! event for a configured table is pinned in the ledger, by the first writer for good, and every other is ignored: a copy of
//! the environment posts to the same address. The pin is read once per process. Events that name no organisation (row
//! changes) are not asked.
//!
//! **Own user.** What our application user did in the source is our own echo, tag or not. Who that is only the source can
//! say (`WhoAmI`), so this needs a source; it is asked once. If it does not answer, events are taken: their tag is still
//! looked at. The *initiating* user counts, not the one a step runs as: a step that is registered to run as our user would
//! make an echo of everything.

use super::engine::Engine;
use super::failure::Failure;
use super::filter;
use super::pause::until_known;
use crate::clock::Clock;
use crate::dataverse::client::Call;
use crate::domain::event::ChangeEvent;
use crate::domain::mapping::TableMap;
use crate::domain::outcome::Ignored;
use crate::ledger::claim::LedgerError;
use crate::ledger::system::System;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// The name of the pinned organisation's state.
pub const PINNED_STATE: &str = "source_organization";
/// How long the first events wait for the source to say who we are.
const WHOAMI_WAIT: Duration = Duration::from_secs(5);
/// When it is asked again after it did not.
const WHOAMI_AGAIN: Duration = Duration::from_secs(60);

/// The organisation whose events are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Which.
    pub organization: Uuid,
    /// Since when, in milliseconds.
    pub since_ms: i64,
}

impl Pinned {
    /// What is pinned, if anything is. One round trip.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn read(system: &System) -> Result<Option<Self>, LedgerError> {
        Ok(system.state::<Self>(PINNED_STATE).await?.map(|stored| stored.record))
    }

    /// Pins it, if nothing is pinned; what is pinned then. One round trip if something was, else two.
    async fn pin(system: &System, organization: Uuid, since_ms: i64) -> Result<Self, LedgerError> {
        let mine = Self { organization, since_ms };
        let pinned = system.update(PINNED_STATE, |before| before.is_none().then_some(mine)).await?;
        Ok(pinned.unwrap_or(mine))
    }
}

/// Who sends and who we are, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    pinned: tokio::sync::OnceCell<Uuid>,
    foreign: AtomicU64,
    own: tokio::sync::Mutex<()>,
    own_user: Mutex<OwnUser>,
}

#[derive(Clone, Copy, Debug, Default)]
enum OwnUser {
    #[default]
    NotAsked,
    /// Ask again then, by the monotonic clock.
    Silent(Duration),
    Known(Uuid),
}

impl Strangers {
    async fn pinned(
        &self,
        system: &System,
        clock: &dyn Clock,
        from: Uuid,
        deadline: Duration,
    ) -> Result<Uuid, Failure> {
        let look = || async {
            let pinned = self.pinned.get_or_try_init(|| async {
                let now_ms = clock.now().timestamp_millis();
                let pinned = Pinned::pin(system, from, now_ms).await?;
                let (organization, since_ms) = (pinned.organization, pinned.since_ms);
                tracing::info!(%organization, since_ms, "this organisation's events are taken, others are ignored");
                Ok(pinned.organization)
            });
            pinned.await.copied()
        };
        until_known(clock, deadline, look).await
    }

    /// Counts an event of another organisation, and says so now and then: a copied environment sends as many as its model.
    fn foreign(&self, event: &ChangeEvent) {
        let count = self.foreign.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if count.is_multiple_of(1_000) || [1, 10, 100].contains(&count) {
            let organization = event.origin.organization.map(|id| id.to_string()).unwrap_or_default();
            let table = &event.table;
            tracing::warn!(organization, table, count, "events of an organisation that is not the source are ignored");
        }
    }

    fn own_user(&self) -> OwnUser {
        *self.own_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Events of other organisations that this process has ignored.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.strangers.foreign.load(Ordering::Relaxed)
    }

    /// The event's table, or why it is not for us.
    pub(super) async fn admitted(
        &self,
        event: &ChangeEvent,
        deadline: Duration,
    ) -> Result<Result<&TableMap, Ignored>, Failure> {
        let parts = &self.parts;
        let table = match filter::judge(&parts.mapping, event, &parts.tag, parts.organizations.as_ref()) {
            Ok(table) => table,
            Err(ignored) => {
                if ignored == Ignored::ForeignOrganization {
                    self.strangers.foreign(event);
                }
                return Ok(Err(ignored));
            }
        };
        if let (None, Some(system), Some(from)) = (&parts.organizations, &parts.system, event.origin.organization)
            && self.strangers.pinned(system, parts.clock.as_ref(), from, deadline).await? != from
        {
            self.strangers.foreign(event);
            return Ok(Err(Ignored::ForeignOrganization));
        }
        if self.is_own_user(&event.origin.initiators).await {
            return Ok(Err(Ignored::OwnEcho));
        }
        Ok(Ok(table))
    }

    /// Whether our application user in the source is among these.
    async fn is_own_user(&self, initiators: &[Uuid]) -> bool {
        let Some(source) = self.parts.source.as_ref().filter(|_| !initiators.is_empty()) else { return false };
        let clock = &self.parts.clock;
        let ask = |known: OwnUser| match known {
            OwnUser::NotAsked => true,
            OwnUser::Silent(again) => clock.monotonic() >= again,
            OwnUser::Known(_) => false,
        };
        if ask(self.strangers.own_user()) {
            let _turn = self.strangers.own.lock().await;
            if ask(self.strangers.own_user()) {
                let latest_end = clock.monotonic() + WHOAMI_WAIT + self.parts.mapping.limits.request_timeout;
                let call = Call::until(latest_end);
                let asked = tokio::time::timeout(WHOAMI_WAIT, source.client.whoami(&call));
                let (known, problem) = match asked.await {
                    Ok(Ok(identity)) => (OwnUser::Known(identity.user), None),
                    Ok(Err(error)) => (OwnUser::Silent(clock.monotonic() + WHOAMI_AGAIN), Some(error.to_string())),
                    Err(_) => (OwnUser::Silent(clock.monotonic() + WHOAMI_AGAIN), Some("no answer".to_owned())),
                };
                if let Some(problem) = problem {
                    tracing::warn!(problem, "the source does not say who we are: echo is known by its tag alone");
                }
                *self.strangers.own_user.lock().unwrap_or_else(PoisonError::into_inner) = known;
            }
        }
        matches!(self.strangers.own_user(), OwnUser::Known(user) if initiators.contains(&user))
    }
}

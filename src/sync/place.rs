//! Places at the target, taken before a row is: who has none touches nothing, so that an event for which no call could be made
//! costs no claim, no lease and no second try. Knows the gate, not the ledger.

use super::engine::{Engine, Parts};
use super::failure::Failure;
use super::keep::Track;
use crate::domain::delivery::{Channel, Delivery};
use crate::outbound::gate::{NotNow, Permit};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

impl Engine {
    /// Waits, if this delivery may, while no call to the target may start: before the row is claimed, so that it stays free
    /// meanwhile, and nothing is claimed in vain. Who has a place may be the one whose call decides whether others may start.
    pub(super) async fn way_is_open(
        &self,
        delivery: &Delivery,
        deadline: Duration,
        track: &Track,
    ) -> Result<(), Failure> {
        let Parts { target, clock, .. } = &self.parts;
        if track.place.is_some() {
            return Ok(());
        }
        loop {
            target.look().await;
            let patience =
                if self.is_patient(delivery) { deadline.saturating_sub(clock.monotonic()) } else { Duration::ZERO };
            if target.gate.opens_in().is_none() {
                return Ok(());
            }
            target.gate.open(patience).await?;
        }
    }

    /// A place at the target's gate within `patience`, with what others have found known.
    pub(super) async fn place(&self, patience: Duration) -> Result<Permit, NotNow> {
        let Parts { target, clock, .. } = &self.parts;
        let deadline = clock.monotonic().saturating_add(patience);
        loop {
            target.look().await;
            let permit = target.gate.enter(deadline.saturating_sub(clock.monotonic())).await?;
            // whoever waited may not have heard what others found meanwhile
            if !target.look().await || target.gate.closed_for().is_none() {
                return Ok(permit);
            }
        }
    }

    /// A place at the target for what is about to claim its row. A webhook that has none is stored without touching the row; what
    /// is owed waits for one without holding its row. A message has its row while it waits: its turn has come.
    async fn reserved(
        &self,
        delivery: &Delivery,
        deadline: Duration,
        track: &mut Track,
    ) -> Result<Option<Permit>, Failure> {
        let Parts { target, clock, .. } = &self.parts;
        Ok(match (delivery.channel, track.place.take()) {
            (Channel::Inbox, Some(place)) => Some(place),
            (Channel::Inbox, None) => Some(target.gate.enter(deadline.saturating_sub(clock.monotonic())).await?),
            (Channel::Webhook, _) if !self.is_patient(delivery) => Some(target.gate.try_enter()?),
            (Channel::Webhook | Channel::Queue, _) => None,
        })
    }

    /// The row's turn within this process, and then a place.
    pub(super) async fn turn_and_place(
        &self,
        partition: &str,
        delivery: &Delivery,
        deadline: Duration,
        track: &mut Track,
    ) -> Result<(OwnedMutexGuard<()>, Option<Permit>), Failure> {
        let turn = match self.locks.turn_now(partition) {
            Some(turn) => turn,
            None => {
                // who has the turn may need the place to go on
                track.place = None;
                self.locks.turn(partition, self.parts.clock.as_ref(), deadline).await?
            }
        };
        Ok((turn, self.reserved(delivery, deadline, track).await?))
    }
}

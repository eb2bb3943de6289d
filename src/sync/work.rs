//! Work on one claimed row: the rules of time between the ledger and the target (PROTOCOL R2, R3).
//!
//! Before **each** request to the target [`Work::ready`] takes a place at the gate and makes sure that the lease covers
//! whatever the request may do: it may start only if `lease - clock_skew` lies at least `request_timeout` *and*
//! `settle` ahead, and is renewed otherwise. So at every moment, a crash included, the row stays leased until no
//! request of ours can take effect any more. The client checks the same moment again right before it sends.
//!
//! After an unanswered request ([`Work::unanswered`]) the row is not given back before `sent + settle`: the work goes
//! on if the delivery may wait that long, else the lease is left to run out.

use super::engine::Engine;
use super::environment::Environment;
use super::failure::Failure;
use crate::clock::Clock;
use crate::dataverse::client::Call;
use crate::domain::delivery::Delivery;
use crate::domain::event::ChangeEvent;
use crate::domain::mapping::Limits;
use crate::inbox::Inbox;
use crate::ledger::claim::{Claim, Finished, Ledger};
use crate::outbound::gate::Permit;
use std::collections::BTreeSet;
use std::time::Duration;

/// A claim, and what its work may still do.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) claim: &'a mut Claim,
    pub(super) ledger: &'a Ledger,
    /// Where placeholders are noted.
    pub(super) inbox: Option<&'a Inbox>,
    pub(super) target: &'a Environment,
    pub(super) clock: &'a dyn Clock,
    pub(super) limits: &'a Limits,
    /// No request starts after this moment of the monotonic clock.
    pub(super) deadline: Duration,
    /// Whether the delivery may wait for a place at the gate: a webhook is stored and answered instead (P5).
    pub(super) patient: bool,
    /// A place at the target's gate that was taken before the row, for the first request.
    pub(super) reserved: Option<Permit>,
    /// Passed on to the target's traces.
    pub(super) traces: Call,
    /// Whether anything was sent that may change the target.
    pub(super) sent: bool,
    /// Until when an unanswered request may take effect.
    pub(super) unsettled_until: Option<Duration>,
    /// The row that the ledger knows was found gone: it has nothing of what was written.
    pub(super) vanished: bool,
    /// Requests that may change the target, for the log.
    pub(super) requests: u32,
}

impl Work<'_> {
    /// Time left before the deadline.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.clock.monotonic())
    }

    /// Waits for a place at the target's gate and for a lease that is long enough; the permit must live as long as the
    /// request.
    pub(super) async fn ready(&mut self) -> Result<(Call, Permit), Failure> {
        // while it was held the target may have asked for a pause
        let reserved = self.reserved.take().filter(|_| self.target.gate.closed_for().is_none());
        self.ready_with(self.target, reserved).await
    }

    /// The same at another environment's gate.
    pub(super) async fn ready_at(&mut self, environment: &Environment) -> Result<(Call, Permit), Failure> {
        self.ready_with(environment, None).await
    }

    async fn ready_with(
        &mut self,
        environment: &Environment,
        mut reserved: Option<Permit>,
    ) -> Result<(Call, Permit), Failure> {
        let permit = loop {
            let patience = if self.patient { self.left() } else { Duration::ZERO };
            let permit = match reserved.take() {
                Some(permit) => permit,
                None => environment.gate.enter(patience).await?,
            };
            // whoever waited may not have heard what others found meanwhile
            if !environment.look().await || environment.gate.opens_in().is_none() {
                break permit;
            }
        };
        if self.left().is_zero() {
            return Err(Failure::not_now("the deadline of this delivery has passed"));
        }
        if self.claim.holds_for(self.clock.monotonic()) <= self.must_cover() {
            self.renew().await?;
        }
        Ok((Call { latest_end: self.covered_by(self.claim.holds_until()), ..self.traces.clone() }, permit))
    }

    /// The latest end, as the client understands it (it adds its own time-out to the clock before it compares), of a
    /// request that a lease ending at `holds_until` covers whatever becomes of it.
    pub(super) fn covered_by(&self, holds_until: Duration) -> Duration {
        holds_until.saturating_sub(self.must_cover()) + self.limits.request_timeout
    }

    /// How long a lease must still hold when a request starts.
    fn must_cover(&self) -> Duration {
        self.limits.settle.max(self.limits.request_timeout) + self.limits.clock_skew
    }

    /// Makes sure, in the ledger itself, that the row is still ours, and for another full lease.
    pub(super) async fn renew(&mut self) -> Result<(), Failure> {
        match self.ledger.renew(self.claim).await? {
            Finished::Done => Ok(()),
            Finished::Overtaken => Err(Failure::Overtaken),
        }
    }

    /// Notes further columns that are about to be written (R5), and holds the row for another full lease.
    pub(super) async fn touch(&mut self, columns: &BTreeSet<String>) -> Result<(), Failure> {
        match self.ledger.touch(self.claim, columns).await? {
            Finished::Done => Ok(()),
            Finished::Overtaken => Err(Failure::Overtaken),
        }
    }

    /// A request that may change the target is about to be sent.
    pub(super) fn sending(&mut self) {
        self.sent = true;
        self.requests += 1;
    }

    /// A request that was just sent has no answer.
    pub(super) fn unanswered(&mut self) {
        self.unsettled_until = Some(self.clock.monotonic().saturating_add(self.limits.settle));
    }

    /// Waits until nothing unanswered can take effect any more, or says that this delivery can't wait for it.
    pub(super) async fn settled(&mut self) -> Result<(), Failure> {
        let Some(until) = self.unsettled_until else { return Ok(()) };
        let wait = until.saturating_sub(self.clock.monotonic());
        if wait > self.left() {
            let reason = "a request without an answer may still take effect".to_owned();
            return Err(Failure::Unsettled { reason, after: wait + self.limits.clock_skew });
        }
        if self.claim.holds_for(self.clock.monotonic()) <= wait + self.limits.clock_skew {
            self.renew().await?;
        }
        tokio::time::sleep(wait).await;
        self.unsettled_until = None;
        Ok(())
    }
}

impl Engine {
    /// Work on a row that was just claimed.
    pub(super) fn begin<'a>(
        &'a self,
        claim: &'a mut Claim,
        event: &ChangeEvent,
        delivery: &Delivery,
        deadline: Duration,
        reserved: Option<Permit>,
    ) -> Work<'a> {
        Work {
            claim,
            ledger: &self.parts.ledger,
            inbox: self.parts.inbox.as_ref(),
            target: &self.parts.target,
            clock: self.parts.clock.as_ref(),
            limits: &self.parts.mapping.limits,
            deadline,
            patient: self.is_patient(delivery),
            reserved,
            traces: Call {
                correlation: event.origin.correlation.clone(),
                traceparent: delivery.traceparent.clone(),
                ..Call::default()
            },
            sent: false,
            unsettled_until: None,
            vanished: false,
            requests: 0,
        }
    }
}

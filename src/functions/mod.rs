//! The functions, one file each, as the folders under `functions/` name them. They see decoded requests and no socket.

pub mod claims;
pub mod console;
mod door;
mod events;
pub mod health;
pub mod queue;
pub mod reconcile;
pub mod rows;
pub mod status;
pub mod sweep;
pub mod webhook;

use crate::domain::decode::DecodeLimits;
use crate::host::Function;
use crate::ledger::flow::Flows;
use crate::operate::reconcile::Reconciler;
use crate::operate::sweep::Sweeper;
use crate::secret::Secret;
use crate::sync::HandleEvent;
use crate::sync::engine::Engine;
use std::sync::Arc;

/// What timers and pages look after.
#[derive(Clone, Debug)]
pub struct Running {
    /// Whose state is told.
    pub engine: Arc<Engine>,
    /// What comes back to what it owes.
    pub sweeper: Arc<Sweeper>,
    /// What compares both sides, if there is a source.
    pub reconciler: Option<Arc<Reconciler>>,
    /// Claims on ids.
    pub flows: Arc<Flows>,
}

/// All functions of the app, with what they work on.
#[must_use]
pub fn all(
    engine: &Arc<dyn HandleEvent>,
    running: Option<Running>,
    webhook_secrets: Vec<Secret>,
    limits: DecodeLimits,
) -> Vec<Function> {
    let reconciler = running.as_ref().and_then(|running| running.reconciler.clone());
    let mapping = running.as_ref().map(|running| Arc::clone(&running.engine.parts().mapping));
    let flows = running.as_ref().map(|running| Arc::clone(&running.flows));
    let (watched, sweeper) = running.map(|running| (running.engine, running.sweeper)).unzip();
    vec![
        webhook::Webhook::function(Arc::clone(engine), webhook_secrets.clone(), limits),
        rows::Rows::function(Arc::clone(engine), mapping, webhook_secrets, limits),
        queue::Queue::function(Arc::clone(engine), limits),
        claims::Claims::function(flows),
        status::Status::function(watched.clone()),
        console::Console::function(watched),
        sweep::Sweep::function(sweeper),
        reconcile::Reconcile::function(reconciler),
        health::Health::function(),
    ]
}

#[cfg(test)]
mod tests;

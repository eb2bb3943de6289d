//! The functions, one file each, as the folders under `functions/` name them. They see decoded requests and no socket.

mod events;
pub mod health;
pub mod queue;
pub mod status;
pub mod sweep;
pub mod webhook;

use crate::domain::decode::DecodeLimits;
use crate::host::Function;
use crate::operate::sweep::Sweeper;
use crate::secret::Secret;
use crate::sync::HandleEvent;
use crate::sync::engine::Engine;
use std::sync::Arc;

/// All functions of the app, with what they work on; `watched` is the engine that `status` tells of.
#[must_use]
pub fn all(
    engine: &Arc<dyn HandleEvent>,
    sweeper: Option<Arc<Sweeper>>,
    watched: Option<Arc<Engine>>,
    webhook_secrets: Vec<Secret>,
    limits: DecodeLimits,
) -> Vec<Function> {
    vec![
        webhook::Webhook::function(Arc::clone(engine), webhook_secrets, limits),
        queue::Queue::function(Arc::clone(engine), limits),
        status::Status::function(watched),
        sweep::Sweep::function(sweeper),
        health::Health::function(),
    ]
}

#[cfg(test)]
mod tests;

//! One Dataverse environment as the engine uses it: client, metadata, queries with memory, and the gate before it.

use super::neighbours::Neighbours;
use crate::dataverse::client::Dataverse;
use crate::dataverse::metadata::cache::RECHECK;
use crate::dataverse::metadata::cache::SchemaCache;
use crate::dataverse::resolve::{ResolveLimits, Resolver};
use crate::ledger::system::System;
use crate::outbound::gate::Gate;
use std::sync::Arc;
use std::time::Duration;

/// Everything about one environment that is shared by all events.
#[derive(Debug)]
pub struct Environment {
    /// The client: one exchange per call.
    pub client: Dataverse,
    /// Its metadata.
    pub schemas: Arc<SchemaCache>,
    /// Queries with memory.
    pub resolver: Resolver,
    /// Shut while a `Retry-After` runs or calls keep failing, and narrow.
    pub gate: Gate,
    /// What other instances tell about it.
    neighbours: Option<Neighbours>,
}

impl Environment {
    /// An environment behind this client. The client's transport must be gated by the same gate, so that a pause the
    /// environment asks for is seen by every call.
    #[must_use]
    pub fn new(client: Dataverse, gate: Gate) -> Self {
        let schemas = Arc::new(SchemaCache::new(client.clone(), RECHECK));
        let resolver = Resolver::new(Arc::clone(&schemas), ResolveLimits::default());
        Self { client, schemas, resolver, gate, neighbours: None }
    }

    /// From now on what the gate finds is exchanged with other instances.
    pub(super) fn join(&mut self, system: &System, clock_skew: Duration) {
        let origin = self.client.environment().origin();
        let name = origin.split_once("://").map_or(origin, |(_, name)| name);
        self.neighbours = Some(Neighbours::new(system.clone(), name, clock_skew));
    }

    /// Hears what other instances have found, if that was not done in the last seconds; whether that took a round trip.
    pub(super) async fn look(&self) -> bool {
        match &self.neighbours {
            Some(neighbours) => neighbours.look(&self.gate, self.client.clock().as_ref()).await,
            None => false,
        }
    }

    /// Tells other instances what was found here, if that is news.
    pub(super) async fn tell(&self) {
        if let Some(neighbours) = &self.neighbours {
            neighbours.tell(&self.gate, self.client.clock().as_ref()).await;
        }
    }
}

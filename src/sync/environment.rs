//! One Dataverse environment as the engine uses it: client, metadata, queries with memory, and the gate before it.

use crate::dataverse::client::Dataverse;
use crate::dataverse::metadata::cache::RECHECK;
use crate::dataverse::metadata::cache::SchemaCache;
use crate::dataverse::resolve::{ResolveLimits, Resolver};
use crate::outbound::gate::Gate;
use std::sync::Arc;

/// Everything about one environment that is shared by all events.
#[derive(Debug)]
pub struct Environment {
    /// The client: one exchange per call.
    pub client: Dataverse,
    /// Its metadata.
    pub schemas: Arc<SchemaCache>,
    /// Queries with memory.
    pub resolver: Resolver,
    /// Closed while a `Retry-After` runs, and narrow.
    pub gate: Gate,
}

impl Environment {
    /// An environment behind this client. The client's transport must be gated by the same gate, so that a pause the
    /// environment asks for is seen by every call.
    #[must_use]
    pub fn new(client: Dataverse, gate: Gate) -> Self {
        let schemas = Arc::new(SchemaCache::new(client.clone(), RECHECK));
        let resolver = Resolver::new(Arc::clone(&schemas), ResolveLimits::default());
        Self { client, schemas, resolver, gate }
    }
}

//! Where claims on ids are kept: read one, write one on a condition. Judges nothing.

use super::record::FlowRecord;
use crate::domain::event::hex;
use crate::ledger::store::{Etag, Expect, StoreError, Stored};
use async_trait::async_trait;
use sha2::{Digest, Sha256};

/// First part of the partitions. Those of rows begin with four hex digits, those of the system with `system`.
const KIND: &str = "claim";

/// Key of the one record of such a partition.
pub(in crate::ledger) const FLOW_KEY: &str = "claim";

/// Where claims on ids are kept. Implementations: Azure Table Storage and memory. Every method is one round trip.
#[async_trait]
pub trait FlowStore: Send + Sync + std::fmt::Debug {
    /// The claim on an id.
    ///
    /// # Errors
    /// [`StoreError`], never `Conflict`.
    async fn flow(&self, id: &str) -> Result<Option<Stored<FlowRecord>>, StoreError>;

    /// Writes it, on a condition.
    ///
    /// # Errors
    /// `Conflict` and `Unavailable` mean that nothing was written; after `Unknown` it may be.
    async fn put_flow(&self, id: &str, record: &FlowRecord, expect: &Expect) -> Result<Etag, StoreError>;
}

/// The parts of an id's partition: a hash before the id, because Table Storage spreads ranges of keys over servers and ids are
/// often counted up.
pub(in crate::ledger) fn partition(id: &str) -> [String; 3] {
    [KIND.to_owned(), hex(&Sha256::digest(id), 4), id.to_owned()]
}

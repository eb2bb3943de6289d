//! A probe of the ledger's table for `doctor`: whether what claims need (insert, read, replace by ETag, delete) works. Apart
//! from the protocol of claims, and in a partition of its own kind.

use super::store::StoreError;
use super::table::{TableStore, read_error, write_error};
use crate::chance;
use crate::tables::{Entity, Key, Op, When};

/// Partition of the probes.
const PARTITION: &str = "system:doctor";
/// What a probe holds.
const PROPERTY: &str = "probe";

impl TableStore {
    /// Inserts a probe by a transaction, reads it, deletes it by its ETag. The table is created if it is missing.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Corrupt`] if what was read is not what was written.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let invalid = |error: crate::tables::keys::KeyError| StoreError::TooLarge(error.to_string());
        let partition = Key::join(&PARTITION.split(':').collect::<Vec<_>>()).map_err(invalid)?;
        let name = chance::token().to_string();
        let row = Key::join(&["probe", &name]).map_err(invalid)?;
        let entity = Entity::new(partition.clone(), row.clone()).with(PROPERTY, name.as_str());
        let table = self.client();
        table.transact(&partition, vec![Op::Insert(entity)]).await.map_err(write_error)?;
        let found = table.get(&partition, &row).await.map_err(read_error)?;
        let intact = found.as_ref().and_then(|entity| entity.text(PROPERTY)) == Some(name.as_str());
        let etag = found.and_then(|entity| entity.etag);
        let Some(etag) = etag.filter(|_| intact) else {
            return Err(StoreError::Corrupt("a probe was not read as it was written".to_owned()));
        };
        table.delete(&partition, &row, When::Is(etag)).await.map_err(write_error)
    }
}

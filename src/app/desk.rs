//! What commands work with that look after a running system: its ledger, inbox and states, and the mapping. No environment
//! is reached.

use super::compose::{self, Base, Records};
use crate::clock::Clock;
use crate::config::settings::LedgerStore;
use crate::config::{self, Settings};
use crate::domain::mapping::Mapping;
use crate::inbox::Inbox;
use crate::ledger::claim::{Ledger, LedgerLimits};
use crate::ledger::system::System;
use anyhow::bail;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The stores of a running system.
#[derive(Debug)]
pub struct Stores {
    /// Tables and limits.
    pub mapping: Mapping,
    /// What happened.
    pub ledger: Ledger,
    /// What is owed and parked.
    pub inbox: Inbox,
    /// What is paused.
    pub system: System,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Stores {
    /// The stores that these settings name; `root` is the app's folder.
    ///
    /// # Errors
    /// Settings or mapping are wrong, or the ledger is one that only its own process sees.
    pub fn open(base: &Base, values: &BTreeMap<String, String>, root: &Path) -> anyhow::Result<Self> {
        let settings = Settings::from_map(values)?;
        if matches!(settings.ledger.store, LedgerStore::Memory) {
            bail!("LEDGER_STORE: memory is seen by the handler's process alone; this command needs `table`");
        }
        let file = values.get("SYNC_CONFIG").map(|file| file.trim()).filter(|file| !file.is_empty());
        let mapping = config::mapping(&root.join(file.unwrap_or("sync.toml")))?;
        let limits = LedgerLimits { lease: mapping.limits.lease, clock_skew: mapping.limits.clock_skew };
        let records = Records::open(base, &settings)?;
        Ok(Self {
            ledger: Ledger::new(Arc::clone(&records.claims), Arc::clone(&base.clock), limits),
            inbox: compose::inbox(base, &settings)?,
            system: records.system(base, mapping.limits.clock_skew),
            clock: Arc::clone(&base.clock),
            mapping,
        })
    }
}

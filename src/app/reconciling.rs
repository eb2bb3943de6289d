//! `reconcile` from the command line: settings become an engine of this process and a reconciler on it.

use super::compose::{self, Base, Records};
use crate::config::settings::LedgerStore;
use crate::config::{self, Settings};
use crate::operate::reconcile::Reconciler;
use anyhow::bail;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A reconciler by these settings; `root` is the app's folder. `writes`: it is to mend, and not only to compare.
///
/// # Errors
/// Settings or mapping are wrong, there is no source, or the ledger is one that only its own process sees.
pub fn open(base: &Base, values: &BTreeMap<String, String>, root: &Path, writes: bool) -> anyhow::Result<Reconciler> {
    let settings = Settings::from_map(values)?;
    if writes && matches!(settings.ledger.store, LedgerStore::Memory) {
        bail!("LEDGER_STORE: memory is seen by the handler's process alone; this command needs `table`");
    }
    let file = values.get("SYNC_CONFIG").map(|file| file.trim()).filter(|file| !file.is_empty());
    let mapping = config::mapping(&root.join(file.unwrap_or("sync.toml")))?;
    settings.check_with(&mapping)?;
    let records = Records::open(base, &settings)?;
    let system = records.system(base, mapping.limits.clock_skew);
    let engine = compose::engine(base, &settings, &records, mapping)?;
    if engine.parts().source.is_none() {
        bail!("SOURCE_URL is not set: there is nothing to compare with");
    }
    Ok(Reconciler::new(Arc::new(engine), system))
}

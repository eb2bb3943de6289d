//! Can the ledger be used: a probe is written, read and deleted. Knows no claims.

use super::Check;
use crate::ledger::store::StoreError;
use crate::ledger::table::TableStore;

/// Writes, reads and deletes a probe in the ledger's table; `None`: the ledger is in memory.
pub async fn ledger(table: Option<&TableStore>) -> Check {
    const NAME: &str = "ledger";
    let Some(table) = table else {
        let detail = "kept in the memory of one process: lost when it ends, not shared between instances";
        return Check::warn(NAME, detail, "set LEDGER_STORE=table, except for tests");
    };
    match table.probe().await {
        Ok(()) => Check::ok(NAME, "table reachable; a probe was written, read and deleted"),
        Err(error) => {
            let remedy = remedy(&error);
            Check::fail(NAME, error.to_string(), remedy)
        }
    }
}

fn remedy(error: &StoreError) -> &'static str {
    let text = error.to_string();
    if text.contains(" 401 ") || text.contains(" 403 ") {
        "check the key in the connection string; an identity needs the role Storage Table Data Contributor, and the \
         account's firewall must let the app in"
    } else if matches!(error, StoreError::Corrupt(_)) {
        "give the ledger a table of its own in LEDGER_TABLE"
    } else {
        "check the storage account in LEDGER_CONNECTION's setting and the network; locally, start Azurite"
    }
}

//! The app's folder as it would be deployed, with the measurement's mapping. Knows no process.

use super::BenchArgs;
use anyhow::Context;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The table that events are about.
pub(super) const TABLE: &str = "account";
/// The queue.
pub(super) const QUEUE: &str = "dataverse-events";
/// The host's connection to the queue has a name of its own, so handlers have none: their sweeps work off what is due
/// themselves.
pub(super) const QUEUE_CONNECTION: &str = "BenchQueue";

/// A folder. It goes with the value.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes one.
    ///
    /// # Errors
    /// The temporary folder cannot be written.
    pub(super) fn write(arguments: &BenchArgs) -> anyhow::Result<Self> {
        let folder = Self(std::env::temp_dir().join(format!("dataverse-sync-bench-{}", Uuid::new_v4())));
        let (limits, max_in_flight) = (limits(arguments.by_settings()), arguments.max_in_flight());
        let mapping = format!(
            "version = 1\n[limits]\n{limits}max_in_flight = {max_in_flight}\n\
             [tables.{TABLE}.columns]\nexclude = [\"ownerid\", \"transactioncurrencyid\"]\n"
        );
        let queue = include_str!("../../../functions/queue/function.json")
            .replace("ServiceBus\"", &format!("{QUEUE_CONNECTION}\""));
        let files = [
            ("host.json", include_str!("../../../host.json")),
            ("queue/function.json", queue.as_str()),
            ("webhook/function.json", include_str!("../../../functions/webhook/function.json")),
            ("sweep/function.json", include_str!("../../../functions/sweep/function.json")),
            ("status/function.json", include_str!("../../../functions/status/function.json")),
            ("health/function.json", include_str!("../../../functions/health/function.json")),
            ("sync.toml", mapping.as_str()),
        ];
        for (name, text) in files {
            let path = folder.0.join(name);
            let parent = path.parent().unwrap_or(&folder.0);
            std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(folder)
    }
}

/// Short times before a stand-in: what is deferred or unanswered must come to its end within the measurement. An environment
/// has its own pace, so there the defaults hold.
fn limits(by_settings: bool) -> &'static str {
    if by_settings {
        return "";
    }
    "lease = \"14s\"\nsettle = \"4s\"\nrequest_timeout = \"3s\"\nwebhook_deadline = \"2s\"\nqueue_deadline = \"9s\"\n\
     duplicate_wait = \"1s\"\nclock_skew = \"1s\"\n"
}

impl Drop for Folder {
    fn drop(&mut self) {
        // what stays behind is a few kilobytes in the temporary folder
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

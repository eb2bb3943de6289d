//! The app's folder as it would be deployed, with the measurement's mapping. Knows no process.

use super::BenchArgs;
use anyhow::Context;
use serde_json::{Value as Json, json};
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
        let (host, queue) = (host(arguments.batch())?, queue(arguments.batch() > 1)?);
        let files = [
            ("host.json", host.as_str()),
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

const HOST: &str = include_str!("../../../host.json");
const QUEUE_FUNCTION: &str = include_str!("../../../functions/queue/function.json");
const BATCH: &str = "maxMessageBatchSize";

/// Messages of one invocation as the app is shipped.
pub(super) fn shipped_batch() -> usize {
    if !QUEUE_FUNCTION.contains("\"many\"") {
        return 1;
    }
    let host: Option<Json> = serde_json::from_str(HOST).ok();
    let size = host.as_ref().and_then(|host| host.pointer("/extensions/serviceBus")?.get(BATCH)?.as_u64());
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(1)
}

/// host.json with batches of at most so many messages, which are not waited for.
fn host(batch: usize) -> anyhow::Result<String> {
    let mut host: Json = serde_json::from_str(HOST)?;
    let bus = host.pointer_mut("/extensions/serviceBus").and_then(Json::as_object_mut);
    let bus = bus.context("host.json has no serviceBus")?;
    bus.insert(BATCH.to_owned(), json!(batch));
    bus.insert("minMessageBatchSize".to_owned(), json!(1));
    Ok(host.to_string())
}

/// The queue's function.json, for one message or several in an invocation.
fn queue(many: bool) -> anyhow::Result<String> {
    let mut function: Json = serde_json::from_str(QUEUE_FUNCTION)?;
    let trigger = function.pointer_mut("/bindings/0").and_then(Json::as_object_mut).context("no trigger")?;
    trigger.insert("connection".to_owned(), json!(QUEUE_CONNECTION));
    trigger.insert("cardinality".to_owned(), json!(if many { "many" } else { "one" }));
    Ok(function.to_string())
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

//! The JSON schema of `sync.toml` for editors, made from documented types. Only for the schema: [`super::compile`] reads the
//! file, and a test holds the two together.
//!
//! `docs/sync.schema.json` is written by `BLESS=1 cargo test config::file`.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::collections::{BTreeMap, BTreeSet};

/// The schema, draft 7 (what editors' TOML servers understand).
#[must_use]
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(without_null));
    settings.into_generator().into_root_schema_for::<SyncFile>()
}

/// TOML has no null: an optional key is left out.
fn without_null(schema: &mut Schema) {
    let is_null = |branch: &serde_json::Value| branch.get("type").is_some_and(|kind| kind == "null");
    if let Some(branches) = schema.get_mut("anyOf").and_then(|branches| branches.as_array_mut()) {
        branches.retain(|branch| !is_null(branch));
    }
    if let Some(kinds) = schema.get_mut("type") {
        if let Some(list) = kinds.as_array_mut() {
            list.retain(|kind| kind != "null");
        }
        if let Some([one]) = kinds.as_array().map(Vec::as_slice) {
            *kinds = one.clone();
        }
    }
}

/// What dataverse-sync synchronises, and how. The same file serves every environment: no secrets, no addresses.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, title = "sync.toml")]
pub struct SyncFile {
    /// The version of this format: 1.
    #[schemars(extend("const" = 1))]
    pub version: u8,
    /// What holds for every table that does not say otherwise.
    pub defaults: Option<Choices>,
    /// Times and counts. Durations are a whole number and a unit: `500ms`, `60s`, `5m`, `1h`, `14d`.
    pub limits: Option<Limits>,
    /// The synchronised tables, by logical name in the source. Tables that are not listed are not synchronised.
    pub tables: BTreeMap<String, Table>,
}

/// Keys of `[defaults]`, each of which may be repeated per table.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Choices {
    /// What it means that the target refuses a write because another writer has just created the row (412).
    #[schemars(extend("default" = "same-source"))]
    pub duplicate_key: Option<DuplicateKey>,
    /// What keeps an overtaken writer from changing the target.
    #[schemars(extend("default" = "lease"))]
    pub guard: Option<Guard>,
    /// Where values come from.
    #[schemars(extend("default" = "event"))]
    pub read: Option<Read>,
    /// When placeholders are made for rows that lookups of this table point to.
    #[schemars(extend("default" = "on-missing"))]
    pub parents: Option<Parents>,
    /// What a delete in the source does in the target.
    #[schemars(extend("default" = "delete"))]
    pub deletes: Option<Deletes>,
    /// Which operations are synchronised; events of others are ignored. `link` is both ways of many-to-many.
    #[schemars(extend("default" = ["create", "update", "delete", "link"], "minItems" = 1))]
    pub operations: Option<BTreeSet<Operation>>,
    /// Primary name of placeholders of this table, until the row itself arrives. 1 to 100 characters.
    #[schemars(length(min = 1, max = 100), extend("default" = "(awaiting sync)"))]
    pub placeholder_name: Option<String>,
}

/// One synchronised table. Nothing is needed if both sides are alike.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Table {
    /// Logical name in the target. Default: the same.
    pub target: Option<LogicalName>,
    /// Identity by an alternate key of the target: its columns, target names. Default: the same GUID on both sides.
    #[schemars(length(min = 1, max = 16))]
    pub key: Option<BTreeSet<LogicalName>>,
    /// Columns that are always written together. Known already: state and status, money and currency, the parts of a key, start
    /// and end, the parties of an activity.
    pub groups: Option<Vec<BTreeSet<LogicalName>>>,
    /// Which columns, under which names, with which values.
    pub columns: Option<Columns>,
    /// What placeholders of this table have besides their id and name.
    pub placeholder: Option<Placeholder>,
    /// Rules for lookups, by column (source or target name). Default: for synchronised tables as `parents` says; for others
    /// "skip", and so for owners.
    pub lookups: Option<BTreeMap<LogicalName, Lookup>>,
    /// Instead of `limits.deletes_max`; 0: no fuse for this table.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub deletes_max: Option<u32>,
    /// As in `[defaults]`.
    pub duplicate_key: Option<DuplicateKey>,
    /// As in `[defaults]`.
    pub guard: Option<Guard>,
    /// As in `[defaults]`.
    pub read: Option<Read>,
    /// As in `[defaults]`.
    pub parents: Option<Parents>,
    /// As in `[defaults]`.
    pub deletes: Option<Deletes>,
    /// As in `[defaults]`.
    #[schemars(length(min = 1))]
    pub operations: Option<BTreeSet<Operation>>,
    /// As in `[defaults]`.
    #[schemars(length(min = 1, max = 100))]
    pub placeholder_name: Option<String>,
}

/// Which columns are synchronised.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Columns {
    /// Source names, or `["*"]`: what both sides have and the target can write. A listed column must exist in the target.
    #[schemars(length(min = 1), extend("default" = ["*"]))]
    pub include: Option<BTreeSet<String>>,
    /// Source names that are never sent.
    pub exclude: Option<BTreeSet<LogicalName>>,
    /// Source name to target name.
    pub rename: Option<BTreeMap<LogicalName, LogicalName>>,
    /// Column (target name) to a map of source values (as text) to target values. A value without an entry parks the event.
    pub values: Option<BTreeMap<LogicalName, BTreeMap<String, ColumnValue>>>,
}

/// What placeholders of a table have besides their id and name.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Placeholder {
    /// Column (target name) to value.
    pub set: Option<BTreeMap<LogicalName, ColumnValue>>,
}

/// What to do with a lookup.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Lookup {
    /// What happens when the row it points to is missing.
    Word(LookupWord),
    /// Find the target's row by a column.
    By(LookupBy),
    /// Translate GUIDs.
    Map(LookupMap),
}

/// What happens when the row that a lookup points to is missing.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum LookupWord {
    /// Make a placeholder.
    Ensure,
    /// Write the row without this lookup; counted.
    Skip,
    /// Park the event.
    Park,
}

/// Find the target's row by equal values of a column.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LookupBy {
    /// Column of the referenced table, `azureactivedirectoryobjectid` for owners.
    pub by: LogicalName,
    /// The row to use when none is found. Without it the lookup is left out.
    pub default: Option<Guid>,
}

/// Translate GUIDs.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LookupMap {
    /// Source GUID to target GUID.
    pub map: BTreeMap<Guid, Guid>,
}

/// Times and counts. Relations between them are checked when the file is read.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Limits {
    /// How long a claim holds a row unless it is renewed, 1s to 1h. Longer than `settle`, and at least each deadline +
    /// `request_timeout` + `clock_skew`.
    #[schemars(extend("default" = "180s"))]
    pub lease: Option<Span>,
    /// How long a request that was not answered may still take effect at the target, up to 3500s. At least `request_timeout`.
    #[schemars(extend("default" = "150s"))]
    pub settle: Option<Span>,
    /// Time-out of one request to an environment, up to 150s. At most `queue_deadline`.
    #[schemars(extend("default" = "30s"))]
    pub request_timeout: Option<Span>,
    /// How long a webhook works before the event is stored and answered 202, up to 55s: Dataverse gives up after 60 s.
    #[schemars(extend("default" = "10s"))]
    pub webhook_deadline: Option<Span>,
    /// How long a queue message works before it is deferred, up to 270s: below the lock renewal of host.json.
    #[schemars(extend("default" = "60s"))]
    pub queue_deadline: Option<Span>,
    /// How long messages that come in one invocation work, all of them together, before the rest is stored, up to 270s and never
    /// longer than `queue_deadline`: their locks are not renewed, and one invocation waits for the slowest of them.
    #[schemars(extend("default" = "30s"))]
    pub batch_deadline: Option<Span>,
    /// How long a second delivery of an event waits for the first to end, up to 50s and below each deadline.
    #[schemars(extend("default" = "5s"))]
    pub duplicate_wait: Option<Span>,
    /// How far the clocks of instances may differ, up to 5m.
    #[schemars(extend("default" = "5s"))]
    pub clock_skew: Option<Span>,
    /// Requests in flight per instance and environment, 1 to 1000; adapts downwards, and honours `x-ms-dop-hint`.
    #[schemars(range(min = 1, max = 1000), extend("default" = 8))]
    pub max_in_flight: Option<u32>,
    /// Attempts before an event is parked, 1 to 10000.
    #[schemars(range(min = 1, max = 10000), extend("default" = 50))]
    pub attempts_max: Option<u32>,
    /// The queue's maximum delivery count, 1 to 2000: one delivery before it a message that cannot be kept otherwise is
    /// parked as it came.
    #[schemars(range(min = 1, max = 2000), extend("default" = 10))]
    pub deliveries_max: Option<u32>,
    /// Age at which an event that could not be applied is parked, 1s to 365d.
    #[schemars(extend("default" = "7d"))]
    pub age_max: Option<Span>,
    /// Deletes of one table by one instance within `deletes_window` before the fuse blows: further deletes of the table are
    /// parked (`mass_delete`). 0: no fuse. Up to 1000000.
    #[schemars(range(min = 0, max = 1_000_000), extend("default" = 1000))]
    pub deletes_max: Option<u32>,
    /// The window of `deletes_max`, 1s to 7d. A blown fuse closes when no delete of the table came for as long.
    #[schemars(extend("default" = "10m"))]
    pub deletes_window: Option<Span>,
    /// How long event ids are kept, 1s to 3650d. At least `age_max`.
    #[schemars(extend("default" = "14d"))]
    pub dedup_window: Option<Span>,
    /// How long it is kept that a row was deleted, 1s to 36500d. At least `dedup_window`.
    #[schemars(extend("default" = "180d"))]
    pub tombstones: Option<Span>,
}

/// What a 412 duplicate-key race means.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum DuplicateKey {
    /// Another delivery of the same source's changes: read the row back; what we wanted to write is there, fine, else repeat.
    SameSource,
    /// Another source may have written it: repeat the write at once, which now updates.
    MultiSource,
}

/// What keeps an overtaken writer from changing the target.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Guard {
    /// The lease in the ledger.
    Lease,
    /// Also the row's ETag at the target: one more request per write.
    Etag,
}

/// Where values come from.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Read {
    /// The event's own values.
    Event,
    /// The event is only a signal: the row is read from the source (needs SOURCE_URL).
    Source,
}

/// When placeholders for parents are made.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Parents {
    /// When the target says that one is missing.
    OnMissing,
    /// Before every write.
    Always,
    /// Never.
    Never,
}

/// What a delete does.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Deletes {
    /// Delete the target's row.
    Delete,
    /// Set the target's row inactive.
    Deactivate,
    /// Nothing.
    Ignore,
}

/// An operation.
#[derive(Debug, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[schemars(rename_all = "kebab-case")]
pub enum Operation {
    /// Creates, and row changes.
    Create,
    /// Updates, and row changes.
    Update,
    /// Deletes.
    Delete,
    /// Many-to-many links and unlinks.
    Link,
}

macro_rules! text_schema {
    ($($(#[$doc:meta])* $name:ident { $($schema:tt)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ $($schema)* })
            }
        }
    )*};
}

text_schema! {
    /// Logical name of a table or column.
    LogicalName { "type": "string", "pattern": "^[a-z_][a-z0-9_]{0,127}$" }
    /// A duration.
    Span { "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }
    /// A GUID.
    Guid { "type": "string", "format": "uuid" }
    /// A column value. Dates are TOML dates or date-times with offset, which editors show as text.
    ColumnValue { "type": ["string", "number", "boolean", "array"], "items": { "type": "integer" } }
}

#[cfg(test)]
mod tests;

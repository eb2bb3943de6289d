//! The compiled mapping: `sync.toml` as the engine uses it, checked and complete. Built by `config`, read by everybody.

use super::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// All tables and limits. Tables are found by the source's logical name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapping {
    /// By source table.
    pub tables: BTreeMap<String, TableMap>,
    /// Times and counts.
    pub limits: Limits,
}

impl Mapping {
    /// The map whose target is this table.
    #[must_use]
    pub fn by_target(&self, target: &str) -> Option<&TableMap> {
        self.tables.values().find(|table| table.target == target)
    }
}

/// One synchronised table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableMap {
    /// Logical name in the source.
    pub source: String,
    /// Logical name in the target.
    pub target: String,
    /// How a row is known in the target.
    pub identity: Identity,
    /// What a 412 duplicate-key race means.
    pub duplicate_key: DuplicateKey,
    /// What fences writes at the target.
    pub guard: Guard,
    /// Where values come from.
    pub read: ReadFrom,
    /// When placeholders for missing parents are made.
    pub parents: Parents,
    /// What a delete does.
    pub deletes: Deletes,
    /// Which operations are synchronised.
    pub operations: BTreeSet<OperationKind>,
    /// Primary name of placeholders of this table.
    pub placeholder_name: String,
    /// Further values of placeholders of this table, target names.
    pub placeholder_set: BTreeMap<String, Value>,
    /// Which columns, and under which names.
    pub columns: ColumnMap,
    /// Columns always written together, target names. The built-in groups (state and status, money and currency, key
    /// parts, start and end) are added when target metadata is known.
    pub groups: Vec<BTreeSet<String>>,
    /// Rules for lookups, by target column.
    pub lookups: BTreeMap<String, LookupRule>,
}

/// How a row is known in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The same GUID on both sides.
    Id,
    /// An alternate key of the target: its columns, target names, sorted.
    Key(Vec<String>),
}

/// `duplicate_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateKey {
    /// Read back; ours is there: done, else repeat.
    SameSource,
    /// Repeat at once.
    MultiSource,
}

/// `guard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The ledger's lease alone.
    Lease,
    /// Also the target row's ETag.
    Etag,
}

/// `read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The event's own values.
    Event,
    /// The event is only a signal.
    Source,
}

/// `parents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parents {
    /// When the target says that one is missing.
    OnMissing,
    /// Before every write.
    Always,
    /// Never.
    Never,
}

/// `deletes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// Delete in the target.
    Delete,
    /// Set inactive.
    Deactivate,
    /// Do nothing.
    Ignore,
}

/// `operations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperationKind {
    /// Creates (and upserts).
    Create,
    /// Updates (and upserts).
    Update,
    /// Deletes.
    Delete,
    /// Links and unlinks.
    Link,
}

/// Which columns are synchronised. `include`/`exclude` hold source names, `rename` source to target, `values` target names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnMap {
    /// `None`: all that both sides have (`["*"]`).
    pub include: Option<BTreeSet<String>>,
    /// Never.
    pub exclude: BTreeSet<String>,
    /// Source name to target name.
    pub rename: BTreeMap<String, String>,
    /// Target column -> source value (as text) -> target value.
    pub values: BTreeMap<String, BTreeMap<String, Value>>,
}

impl ColumnMap {
    /// Whether the file names this source column, so that the target must have it.
    #[must_use]
    pub fn is_named(&self, source: &str) -> bool {
        self.rename.contains_key(source) || self.include.as_ref().is_some_and(|include| include.contains(source))
    }

    /// The target's name of a source column; `None` if it is not synchronised: excluded, not included, or its name is what
    /// another column is renamed to.
    #[must_use]
    pub fn target_name<'a>(&'a self, source: &'a str) -> Option<&'a str> {
        if self.exclude.contains(source) {
            return None;
        }
        if let Some(target) = self.rename.get(source) {
            return Some(target);
        }
        let included = self.include.as_ref().is_none_or(|include| include.contains(source));
        (included && !self.is_rename_target(source)).then_some(source)
    }

    /// The source's name of a target column; `None` if no source column leads to it.
    #[must_use]
    pub fn source_name<'a>(&'a self, target: &'a str) -> Option<&'a str> {
        let renamed = self.rename.iter().find(|(_, to)| *to == target).map(|(from, _)| from.as_str());
        renamed
            .or_else(|| (!self.rename.contains_key(target)).then_some(target))
            .filter(|&source| self.target_name(source) == Some(target))
    }

    /// The target's name of a column that `sync.toml` names by either side's name. A target name wins.
    #[must_use]
    pub fn resolved<'a>(&'a self, name: &'a str) -> &'a str {
        if self.is_rename_target(name) {
            return name;
        }
        self.rename.get(name).map_or(name, String::as_str)
    }

    fn is_rename_target(&self, name: &str) -> bool {
        self.rename.values().any(|target| target == name)
    }
}

/// What to do with a lookup column.
#[derive(Clone, Debug, PartialEq)]
pub enum LookupRule {
    /// Make a placeholder when the parent is missing.
    Ensure,
    /// Leave the column out when the parent is missing; counted.
    Skip,
    /// Park the event when the parent is missing.
    Park,
    /// Find the target row by equal values of this column of the referenced table (owners by Entra object id).
    By {
        /// Column of the referenced table.
        column: String,
        /// GUID to use when none is found.
        default: Option<Uuid>,
    },
    /// Source GUID to target GUID.
    Map(BTreeMap<Uuid, Uuid>),
}

/// `[limits]`. See CONTRACT for meanings; relations between them are checked by `config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a claim holds a row unless renewed. Default 180 s.
    pub lease: Duration,
    /// How long an unanswered request may still take effect at the target. Default 150 s.
    pub settle: Duration,
    /// Time-out of one request to the target. Default 30 s.
    pub request_timeout: Duration,
    /// How long a webhook works before it stores and answers 202. Default 10 s.
    pub webhook_deadline: Duration,
    /// How long a queue message works. Default 60 s.
    pub queue_deadline: Duration,
    /// How long a second delivery waits for the first. Default 5 s.
    pub duplicate_wait: Duration,
    /// How far clocks of instances may differ. Default 5 s.
    pub clock_skew: Duration,
    /// Calls in flight per instance and environment. Default 8.
    pub max_in_flight: usize,
    /// Attempts before an event is parked. Default 50.
    pub attempts_max: u32,
    /// Age before an event is parked. Default 7 d.
    pub age_max: Duration,
    /// How long event ids are kept. Default 14 d.
    pub dedup_window: Duration,
    /// How long tombstones are kept. Default 180 d.
    pub tombstones: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (seconds, days) = (Duration::from_secs, |days: u64| Duration::from_secs(days * 86_400));
        Self {
            lease: seconds(180),
            settle: seconds(150),
            request_timeout: seconds(30),
            webhook_deadline: seconds(10),
            queue_deadline: seconds(60),
            duplicate_wait: seconds(5),
            clock_skew: seconds(5),
            max_in_flight: 8,
            attempts_max: 50,
            age_max: days(7),
            dedup_window: days(14),
            tombstones: days(180),
        }
    }
}

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

    /// The target's name of a source table; the same name for tables that are not synchronised.
    #[must_use]
    pub fn target_of<'a>(&'a self, source: &'a str) -> &'a str {
        self.tables.get(source).map_or(source, |table| table.target.as_str())
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
    /// Deletes within [`Limits::deletes_window`] before the fuse blows, if this table has a number of its own; 0: no fuse.
    pub deletes_max: Option<u32>,
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

impl TableMap {
    /// A table that is alike on both sides, with the defaults of CONTRACT.
    #[must_use]
    pub fn new(source: &str) -> Self {
        use OperationKind::{Create, Delete, Link, Update};
        Self {
            source: source.to_owned(),
            target: source.to_owned(),
            identity: Identity::Id,
            duplicate_key: DuplicateKey::SameSource,
            guard: Guard::Lease,
            read: ReadFrom::Event,
            parents: Parents::OnMissing,
            deletes: Deletes::Delete,
            deletes_max: None,
            operations: BTreeSet::from([Create, Update, Delete, Link]),
            placeholder_name: "(awaiting sync)".to_owned(),
            placeholder_set: BTreeMap::new(),
            columns: ColumnMap::default(),
            groups: Vec::new(),
            lookups: BTreeMap::new(),
        }
    }

    /// Whether the file names this column (by either name), so that the target must have it.
    #[must_use]
    pub fn is_named(&self, source: &str, target: &str) -> bool {
        let in_key = matches!(&self.identity, Identity::Key(columns) if columns.iter().any(|column| column == target));
        in_key
            || self.columns.is_named(source)
            || self.columns.values.contains_key(target)
            || self.lookups.contains_key(target)
            || self.groups.iter().any(|group| group.contains(target))
    }
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

/// `[limits]`. `config` checks the ranges, and the relations between the limits (PROTOCOL R2, R3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a claim holds a row unless renewed. Default 180 s, 1 s to 1 h; longer than `settle`, and at least each deadline +
    /// `request_timeout` + `clock_skew`.
    pub lease: Duration,
    /// How long an unanswered request may still take effect at the target, counted from sending. Default 150 s, 1 ms to
    /// 3 500 s; at least `request_timeout`.
    pub settle: Duration,
    /// Time-out of one request to an environment. Default 30 s, 1 ms to 150 s (Dataverse ends requests after 120 s); at most
    /// `queue_deadline`.
    pub request_timeout: Duration,
    /// How long a webhook works before it stores and answers 202. Default 10 s, 1 ms to 55 s (Dataverse gives up after 60 s).
    pub webhook_deadline: Duration,
    /// How long a queue message works. Default 60 s, 1 ms to 270 s (host.json renews a message's lock for 5 min).
    pub queue_deadline: Duration,
    /// How long messages that came in one invocation work, all of them together; what has not begun by then is stored.
    /// Default 30 s, 1 ms to 270 s; never more than `queue_deadline`.
    pub batch_deadline: Duration,
    /// How long a second delivery waits for the first. Default 5 s, 1 ms to 50 s; below both deadlines.
    pub duplicate_wait: Duration,
    /// How far clocks of instances may differ. Default 5 s, 1 ms to 5 min.
    pub clock_skew: Duration,
    /// Calls in flight per instance and environment. Default 8, 1 to 1 000.
    pub max_in_flight: usize,
    /// Attempts before an event is parked. Default 50, 1 to 10 000.
    pub attempts_max: u32,
    /// Deliveries after which the broker gives a message up: the queue's `MaxDeliveryCount`. Default 10, 1 to 2 000.
    pub deliveries_max: u32,
    /// Age before an event is parked. Default 7 d, 1 s to 365 d.
    pub age_max: Duration,
    /// Deletes of one table that one instance makes within `deletes_window` before the fuse blows and further ones are parked.
    /// Default 1 000, 0 (no fuse) to 1 000 000.
    pub deletes_max: u32,
    /// The window of `deletes_max`, and how long no delete may come before a blown fuse closes. Default 10 min, 1 s to 7 d.
    pub deletes_window: Duration,
    /// How long event ids are kept. Default 14 d, 1 s to 3 650 d; at least `age_max`.
    pub dedup_window: Duration,
    /// How long tombstones are kept. Default 180 d, 1 s to 36 500 d; at least `dedup_window`.
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
            batch_deadline: seconds(30),
            duplicate_wait: seconds(5),
            clock_skew: seconds(5),
            max_in_flight: 8,
            attempts_max: 50,
            deliveries_max: 10,
            age_max: days(7),
            deletes_max: 1_000,
            deletes_window: seconds(600),
            dedup_window: days(14),
            tombstones: days(180),
        }
    }
}

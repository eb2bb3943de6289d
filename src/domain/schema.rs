//! The target's metadata as data: what can be written where, under which names. Filled by `dataverse/metadata`.

use std::collections::{BTreeMap, BTreeSet};

/// One table of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSchema {
    /// Logical name, `account`.
    pub name: String,
    /// Entity set name, `accounts`.
    pub entity_set: String,
    /// Primary key column, `accountid`.
    pub primary_id: String,
    /// Primary name column, `name`; some tables have none.
    pub primary_name: Option<String>,
    /// Columns by logical name.
    pub columns: BTreeMap<String, ColumnSchema>,
    /// Single-valued navigation properties, one per (lookup column, referenced table).
    pub lookups: Vec<LookupSchema>,
    /// Alternate keys.
    pub keys: Vec<KeySchema>,
    /// Many-to-many relationships.
    pub links: Vec<LinkSchema>,
    /// Whether `If-Match` with a row's ETag works (`IsOptimisticConcurrencyEnabled`).
    pub optimistic_concurrency: bool,
    /// Elastic tables replace the whole row on upsert: not supported for partial writes.
    pub elastic: bool,
    /// Virtual tables keep their rows elsewhere, under rules that nobody here knows: not supported.
    pub external: bool,
    /// File and image columns: never synchronised.
    pub files: BTreeSet<String>,
    /// Columns with column security: whoever lacks a profile reads null.
    pub secured: BTreeSet<String>,
}

impl TableSchema {
    /// Whether a column of this name is never sent: a system column, the primary key, or the base-currency value of a money
    /// column (facts/dataverse.md 3.4).
    #[must_use]
    pub fn is_system(&self, column: &str) -> bool {
        let is_money = |stem: &str| self.columns.get(stem).is_some_and(|column| column.kind == ColumnKind::Money);
        super::system::is_never_sent(column)
            || column == self.primary_id
            || column.strip_suffix("_base").is_some_and(is_money)
    }
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSchema {
    /// What it holds.
    pub kind: ColumnKind,
    /// `IsValidForCreate`.
    pub creatable: bool,
    /// `IsValidForUpdate`.
    pub updatable: bool,
}

impl ColumnSchema {
    /// Whether a create or an update may write it.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.creatable || self.updatable
    }
}

/// What a column holds, and so how its value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Two options.
    Boolean,
    /// Whole number.
    Integer,
    /// 64-bit whole number.
    BigInt,
    /// Exact decimal.
    Decimal,
    /// Floating point.
    Double,
    /// Money; needs the row's currency.
    Money,
    /// Single or multiple lines of text.
    Text,
    /// Date and time, by behaviour.
    DateTime(DateBehavior),
    /// Choice.
    Choice,
    /// Multi-select choices: written as "1,9".
    Choices,
    /// `statecode`.
    State,
    /// `statuscode`.
    Status,
    /// Lookup, customer or owner: written by `@odata.bind`.
    Lookup,
    /// Owner.
    Owner,
    /// Activity parties.
    PartyList,
    /// A GUID.
    Guid,
    /// File, image, managed property, virtual: never written.
    Unsupported,
}

/// `DateTimeBehavior` of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateBehavior {
    /// Edm.DateTimeOffset, an instant.
    UserLocal,
    /// Edm.Date, `YYYY-MM-DD`.
    DateOnly,
    /// Edm.DateTimeOffset, taken as is.
    TimeZoneIndependent,
}

/// One way a lookup column can point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupSchema {
    /// The lookup column, `parentcustomerid`.
    pub column: String,
    /// The table it points to, `account`.
    pub referenced_table: String,
    /// Case-sensitive navigation property, `parentcustomerid_account`.
    pub navigation: String,
}

/// One alternate key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySchema {
    /// Logical name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Whether `EntityKeyIndexStatus` is `Active`: only then it is enforced.
    pub active: bool,
}

/// One many-to-many relationship, seen from both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSchema {
    /// Schema name.
    pub name: String,
    /// First table and its collection-valued navigation property.
    pub first: (String, String),
    /// Second table and its collection-valued navigation property.
    pub second: (String, String),
}

//! What an environment knows about its tables, and builders to say it. Plain data: knows no row and no request.

use super::decimal::Decimal;
pub use super::table::TableDef;
use std::collections::BTreeMap;

/// How a date column treats time zones (behavior-format-date-time-attribute).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// A point in time.
    UserLocal,
    /// A day.
    DateOnly,
    /// A point in time, shown without conversion.
    TimeZoneIndependent,
}

/// What becomes of a row when the row it refers to is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// The lookup becomes null.
    RemoveLink,
    /// The delete is refused with 405.
    Restrict,
    /// The row is deleted too.
    Cascade,
}

/// Which sort of lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupKind {
    /// To fixed tables.
    Plain,
    /// To an account or a contact.
    Customer,
    /// To a user or a team; both through one navigation property.
    Owner,
}

/// A lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupDef {
    /// Which sort.
    pub kind: LookupKind,
    /// Per table it may refer to: logical name and navigation property (case-sensitive).
    pub targets: Vec<(String, String)>,
    /// When the referenced row is deleted.
    pub on_delete: OnDelete,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One line of at most that many UTF-16 units.
    Text(usize),
    /// Lines of at most that many UTF-16 units.
    Memo(usize),
    /// A whole number between two bounds, both included.
    Int(i64, i64),
    /// A 64 bit whole number.
    BigInt,
    /// A decimal with that many digits after the point, and its bounds.
    Decimal(u32, i64, i64),
    /// A binary float between two bounds.
    Double(i64, i64),
    /// An amount with that many digits after the point.
    Money(u32),
    /// Yes or no.
    Bool,
    /// One of these values.
    Choice(Vec<i64>),
    /// Any of these values.
    Choices(Vec<i64>),
    /// The state; its values are those of [`TableDef::states`].
    State,
    /// The status reason, likewise.
    Status,
    /// A date.
    Date(Behavior),
    /// A reference.
    Lookup(LookupDef),
    /// Parties of an activity with that participation type.
    Parties(i64),
    /// A unique identifier.
    Guid,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDef {
    /// Logical name, lower case.
    pub name: String,
    /// Schema name.
    pub schema_name: String,
    /// What it holds.
    pub kind: Kind,
    /// May a create set it?
    pub for_create: bool,
    /// May an update set it?
    pub for_update: bool,
    /// Must it have a value (system-required)?
    pub required: bool,
    /// Column security without a profile for the application user: it reads null.
    pub secured: bool,
    /// The platform computes it (`SourceType` 1).
    pub calculated: bool,
}

/// A column that clients may write.
#[must_use]
pub fn column(name: &str, kind: Kind) -> ColumnDef {
    ColumnDef {
        name: name.to_ascii_lowercase(),
        schema_name: name.to_owned(),
        kind,
        for_create: true,
        for_update: true,
        required: false,
        secured: false,
        calculated: false,
    }
}

impl ColumnDef {
    /// Only the platform writes it.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        (self.for_create, self.for_update) = (false, false);
        self
    }

    /// Cannot be changed after the create.
    #[must_use]
    pub fn create_only(mut self) -> Self {
        self.for_update = false;
        self
    }

    /// Column security hides its values from the application user.
    #[must_use]
    pub fn secured(mut self) -> Self {
        self.secured = true;
        self
    }

    /// The platform computes it.
    #[must_use]
    pub fn calculated(mut self) -> Self {
        self.calculated = true;
        self.read_only()
    }

    /// Must have a value.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// State of the index behind an alternate key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// Not yet built: nothing is enforced.
    Pending,
    /// Being built: nothing is enforced.
    InProgress,
    /// Enforced.
    Active,
    /// Could not be built (duplicates exist): nothing is enforced, nobody says so.
    Failed,
}

/// An alternate key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDef {
    /// Logical name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Whether it is enforced.
    pub status: KeyStatus,
}

/// A state with its status reasons, the default one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDef {
    /// Value of `statecode`.
    pub value: i64,
    /// Label.
    pub label: String,
    /// Values of `statuscode`; the first is the default.
    pub statuses: Vec<i64>,
    /// Rows in this state refuse changes that do not change the state.
    pub read_only: bool,
}

/// A many-to-many relationship.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManyToMany {
    /// Schema name.
    pub schema_name: String,
    /// Logical name of the intersect table.
    pub intersect: String,
    /// First table and the navigation property on it.
    pub first: (String, String),
    /// Second table and the navigation property on it.
    pub second: (String, String),
}

/// All tables and many-to-many relationships of an environment.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// By logical name.
    pub tables: BTreeMap<String, TableDef>,
    /// Many-to-many relationships.
    pub many_to_many: Vec<ManyToMany>,
}

impl Schema {
    /// Adds a table.
    #[must_use]
    pub fn with(mut self, table: TableDef) -> Self {
        self.tables.insert(table.name.clone(), table);
        self
    }

    /// Adds a many-to-many relationship. Both navigation properties have its schema name.
    #[must_use]
    pub fn link(mut self, schema_name: &str, intersect: &str, first: &str, second: &str) -> Self {
        self.many_to_many.push(ManyToMany {
            schema_name: schema_name.to_owned(),
            intersect: intersect.to_owned(),
            first: (first.to_owned(), schema_name.to_owned()),
            second: (second.to_owned(), schema_name.to_owned()),
        });
        self
    }

    /// The table with that entity set name.
    #[must_use]
    pub fn by_set(&self, set: &str) -> Option<&TableDef> {
        self.tables.values().find(|t| t.set == set)
    }

    /// The relationship behind a collection-valued navigation property of a table.
    #[must_use]
    pub fn links_of(&self, table: &str, navigation: &str) -> Option<&ManyToMany> {
        self.many_to_many
            .iter()
            .find(|r| [&r.first, &r.second].into_iter().any(|(t, nav)| t == table && nav == navigation))
    }
}

/// The bounds of amounts (money type).
#[must_use]
pub fn money_bound() -> Decimal {
    Decimal::new(922_337_203_685_477, 0)
}

//! One table of the schema, and the builder to say it. Plain data: knows no row and no request.

use super::schema::{Behavior, ColumnDef, KeyDef, KeyStatus, Kind, LookupDef, LookupKind, OnDelete, StateDef, column};
use std::collections::BTreeMap;

/// One table.
#[derive(Clone, Debug)]
pub struct TableDef {
    /// Logical name.
    pub name: String,
    /// Schema name.
    pub schema_name: String,
    /// Entity set name.
    pub set: String,
    /// Primary key column.
    pub primary_id: String,
    /// Primary name column.
    pub primary_name: String,
    /// All columns, without primary key and `versionnumber`.
    pub columns: BTreeMap<String, ColumnDef>,
    /// Alternate keys.
    pub keys: Vec<KeyDef>,
    /// States, empty for tables without.
    pub states: Vec<StateDef>,
    /// An elastic table: an upsert replaces the row, and raises `Upsert` instead of Create and Update.
    pub elastic: bool,
    /// A virtual table, as far as metadata says so.
    pub external: bool,
    /// Whether ETags are accepted in `If-Match`.
    pub optimistic_concurrency: bool,
    /// Whether changes are tracked.
    pub change_tracking: bool,
    /// An activity.
    pub activity: bool,
    /// Text columns that the primary name is made of, in order (`fullname`); empty if it is a column like others.
    pub name_parts: Vec<String>,
    /// Whether the primary key has a named form in addresses (not for users and teams).
    pub named_primary_key: bool,
}

impl TableDef {
    /// A table without columns. The primary key is `<name>id`.
    #[must_use]
    pub fn new(schema_name: &str, set: &str, primary_name: &str) -> Self {
        let name = schema_name.to_ascii_lowercase();
        Self {
            primary_id: format!("{name}id"),
            name,
            schema_name: schema_name.to_owned(),
            set: set.to_owned(),
            primary_name: primary_name.to_owned(),
            columns: BTreeMap::new(),
            keys: Vec::new(),
            states: Vec::new(),
            elastic: false,
            external: false,
            optimistic_concurrency: true,
            change_tracking: true,
            activity: false,
            name_parts: Vec::new(),
            named_primary_key: true,
        }
    }

    /// Adds a column.
    #[must_use]
    pub fn with(mut self, column: ColumnDef) -> Self {
        self.columns.insert(column.name.clone(), column);
        self
    }

    /// Adds a lookup column to one table, with its navigation property.
    #[must_use]
    pub fn lookup(self, name: &str, table: &str, navigation: &str) -> Self {
        let targets = vec![(table.to_owned(), navigation.to_owned())];
        self.with(column(
            name,
            Kind::Lookup(LookupDef { kind: LookupKind::Plain, targets, on_delete: OnDelete::RemoveLink }),
        ))
    }

    /// Adds a lookup to several tables, each with its navigation property.
    #[must_use]
    pub fn polymorphic(self, name: &str, kind: LookupKind, targets: &[(&str, &str)]) -> Self {
        let targets = targets.iter().map(|(table, nav)| ((*table).to_owned(), (*nav).to_owned())).collect();
        self.with(column(name, Kind::Lookup(LookupDef { kind, targets, on_delete: OnDelete::RemoveLink })))
    }

    /// Says what becomes of rows of this table when the row in lookup `name` is deleted.
    #[must_use]
    pub fn on_delete(mut self, name: &str, rule: OnDelete) -> Self {
        if let Some(ColumnDef { kind: Kind::Lookup(lookup), .. }) = self.columns.get_mut(name) {
            lookup.on_delete = rule;
        }
        self
    }

    /// Adds an alternate key.
    #[must_use]
    pub fn key(mut self, name: &str, columns: &[&str], status: KeyStatus) -> Self {
        let columns = columns.iter().map(|c| (*c).to_owned()).collect();
        self.keys.push(KeyDef { name: name.to_owned(), columns, status });
        self
    }

    /// Adds state and status columns: per state its value, label and status reasons (the default first). No create sets the
    /// state (`IsValidForCreate` is false everywhere): a row begins in the first one.
    #[must_use]
    pub fn states(mut self, states: &[(i64, &str, &[i64])]) -> Self {
        self.states = states
            .iter()
            .map(|(value, label, statuses)| StateDef {
                value: *value,
                label: (*label).to_owned(),
                statuses: statuses.to_vec(),
                read_only: false,
            })
            .collect();
        let mut state = column("statecode", Kind::State);
        state.for_create = false;
        self.with(state).with(column("statuscode", Kind::Status))
    }

    /// Rows in that state refuse changes that do not change the state.
    #[must_use]
    pub fn read_only_state(mut self, value: i64) -> Self {
        for state in self.states.iter_mut().filter(|s| s.value == value) {
            state.read_only = true;
        }
        self
    }

    /// Adds what nearly every table has: who and when, owner, and if it has amounts, currency and base amounts.
    #[must_use]
    pub fn with_system_columns(mut self) -> Self {
        let user = |column: &str| {
            let targets = vec![("systemuser".to_owned(), column.to_owned())];
            Kind::Lookup(LookupDef { kind: LookupKind::Plain, targets, on_delete: OnDelete::RemoveLink })
        };
        for name in ["createdon", "modifiedon"] {
            self = self.with(column(name, Kind::Date(Behavior::UserLocal)).read_only());
        }
        for name in ["createdby", "modifiedby", "createdonbehalfby", "modifiedonbehalfby", "owninguser"] {
            self = self.with(column(name, user(name)).read_only());
        }
        self = self
            .with(column("overriddencreatedon", Kind::Date(Behavior::UserLocal)).create_only())
            .with(column("timezoneruleversionnumber", Kind::Int(-1, i64::from(i32::MAX))))
            .with(column("importsequencenumber", Kind::Int(i64::from(i32::MIN), i64::from(i32::MAX))).create_only());
        let owner = if self.activity { format!("ownerid_{}", self.name) } else { "ownerid".to_owned() };
        self = self.polymorphic("ownerid", LookupKind::Owner, &[("systemuser", &owner), ("team", &owner)]);
        for (name, table) in [("owningteam", "team"), ("owningbusinessunit", "businessunit")] {
            self = self.lookup(name, table, name);
            if let Some(column) = self.columns.get_mut(name) {
                (column.for_create, column.for_update) = (false, false);
            }
        }
        self.with_currency()
    }

    fn with_currency(mut self) -> Self {
        let amounts: Vec<String> = self.money_columns().map(str::to_owned).collect();
        if amounts.is_empty() {
            return self;
        }
        for name in amounts {
            self = self.with(column(&format!("{name}_base"), Kind::Money(4)).read_only());
        }
        self.with(column("exchangerate", Kind::Decimal(10, 0, 100_000_000_000)).read_only()).lookup(
            "transactioncurrencyid",
            "transactioncurrency",
            "transactioncurrencyid",
        )
    }

    /// The columns with amounts, base amounts left out.
    pub fn money_columns(&self) -> impl Iterator<Item = &str> {
        self.columns
            .values()
            .filter(|c| matches!(c.kind, Kind::Money(_)) && !c.name.ends_with("_base"))
            .map(|c| c.name.as_str())
    }

    /// The lookup column behind a navigation property and the table that it refers to, both empty-handed if the
    /// name is written differently in the least.
    #[must_use]
    pub fn navigation(&self, name: &str) -> Vec<(&ColumnDef, &str)> {
        let mut found = Vec::new();
        for column in self.columns.values() {
            let Kind::Lookup(lookup) = &column.kind else { continue };
            found.extend(lookup.targets.iter().filter(|(_, nav)| nav == name).map(|(t, _)| (column, t.as_str())));
        }
        found
    }

    /// The lookup of a column.
    #[must_use]
    pub fn lookup_of(&self, column: &str) -> Option<&LookupDef> {
        match self.columns.get(column) {
            Some(ColumnDef { kind: Kind::Lookup(lookup), .. }) => Some(lookup),
            _ => None,
        }
    }
}

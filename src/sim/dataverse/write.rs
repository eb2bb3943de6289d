//! Creating, changing and deleting rows, with everything the platform adds: defaults, derived columns, state rules,
//! cascades. Knows no HTTP; reports what it did as [`Commit`]s, from which events are made.

use super::cell::{Cell, Changes, Row};
use super::derive::{required, state_of};
use super::errors::{self, ApiError};
use super::registration;
use super::schema::{Kind, OnDelete, Schema, TableDef};
use super::store::State;
use super::world::{Origin, World};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Message {
    /// A new row.
    Create,
    /// A changed row.
    Update,
    /// A removed row.
    Delete,
    /// Create or update of a row in an elastic table.
    Upsert,
    /// New links.
    Associate,
    /// Removed links.
    Disassociate,
}

impl Message {
    /// The name in contexts and headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
            Self::Upsert => "Upsert",
            Self::Associate => "Associate",
            Self::Disassociate => "Disassociate",
        }
    }
}

/// Links that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkChange {
    /// Schema name of the relationship.
    pub relationship: String,
    /// Table on the other side.
    pub table: String,
    /// Rows on the other side.
    pub ids: Vec<Uuid>,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Which number it has in the environment; the true order.
    pub sequence: u64,
    /// What happened.
    pub message: Message,
    /// Table of the row; of the row that the request named first, for links.
    pub table: String,
    /// The row.
    pub id: Uuid,
    /// What the client sent.
    pub sent: Changes,
    /// The same with what the platform added.
    pub target: Changes,
    /// The row before.
    pub before: Option<Row>,
    /// The row after.
    pub after: Option<Row>,
    /// For links.
    pub link: Option<LinkChange>,
    /// When.
    pub at: DateTime<Utc>,
}

/// Writes on behalf of somebody at one moment.
#[derive(Debug)]
pub struct Writer<'a> {
    /// What does not change.
    pub world: &'a World,
    /// What does.
    pub state: &'a mut State,
    /// The moment.
    pub now: DateTime<Utc>,
    /// Who writes.
    pub origin: &'a Origin,
}

impl Writer<'_> {
    /// Creates a row.
    ///
    /// # Errors
    /// 412 when the id or an alternate key is taken; 400 for what may not be set, and for a status reason that is none of the
    /// first state's: the state itself is ignored.
    pub fn create(&mut self, def: &TableDef, id: Option<Uuid>, mut sent: Changes) -> Result<Commit, ApiError> {
        sent.remove("statecode");
        for name in sent.keys() {
            allowed(def, name, true)?;
        }
        let id = id.unwrap_or_else(|| self.state.guid());
        if self.state.row(&def.name, id).is_some() {
            return Err(errors::duplicate_id(&def.name, id));
        }
        let mut columns = BTreeMap::new();
        let mut target = sent.clone();
        target.remove("overriddencreatedon");
        let created = match sent.get("overriddencreatedon") {
            Some(Some(Cell::Time(time))) => *time,
            _ => self.now,
        };
        self.defaults(def, &mut target, created)?;
        state_of(def, None, &mut target)?;
        for (name, value) in &target {
            if let Some(value) = value {
                columns.insert(name.clone(), value.clone());
            }
        }
        self.derive(def, &mut columns, &mut target, true)?;
        required(def, &columns)?;
        registration::check(self.world, self.state, def, &mut columns)?;
        self.state.check_keys(def, id, &columns)?;
        let row = self.state.put(&def.name, id, columns);
        let message = if def.elastic { Message::Upsert } else { Message::Create };
        Ok(Commit { after: Some(row), ..self.commit(message, &def.name, id, sent, target) })
    }

    /// Changes a row. The primary key is never changed.
    ///
    /// # Errors
    /// 404 without the row; 412 when an alternate key is taken; 400 for what may not be set.
    pub fn update(&mut self, def: &TableDef, id: Uuid, sent: Changes) -> Result<Commit, ApiError> {
        let before = self.state.row(&def.name, id).cloned().ok_or_else(|| errors::no_row(&def.name, id))?;
        for name in sent.keys() {
            allowed(def, name, false)?;
        }
        let mut target = sent.clone();
        if def.elastic {
            let lost = before.columns.keys().filter(|name| def.columns.get(*name).is_some_and(|c| c.for_update));
            for name in lost.filter(|name| !matches!(name.as_str(), "ownerid" | "statecode" | "statuscode")) {
                target.entry(name.clone()).or_insert(None);
            }
        }
        state_of(def, Some(&before), &mut target)?;
        self.owner(def, &mut target)?;
        let mut columns = before.columns.clone();
        for (name, value) in &target {
            match value {
                Some(value) => columns.insert(name.clone(), value.clone()),
                None => columns.remove(name),
            };
        }
        self.derive(def, &mut columns, &mut target, false)?;
        required(def, &columns)?;
        registration::check(self.world, self.state, def, &mut columns)?;
        self.state.check_keys(def, id, &columns)?;
        let row = self.state.put(&def.name, id, columns);
        let message = if def.elastic { Message::Upsert } else { Message::Update };
        Ok(Commit { before: Some(before), after: Some(row), ..self.commit(message, &def.name, id, sent, target) })
    }

    /// Deletes a row, and what cascades from it.
    ///
    /// # Errors
    /// 404 without the row; 405 when another row keeps it.
    pub fn delete(&mut self, def: &TableDef, id: Uuid) -> Result<Vec<Commit>, ApiError> {
        if self.state.row(&def.name, id).is_none() {
            return Err(errors::no_row(&def.name, id));
        }
        let schema = &self.world.schema;
        let mut doomed = vec![(def.name.clone(), id)];
        let mut seen = BTreeSet::from([(def.name.clone(), id)]);
        let mut nulls = Vec::new();
        let mut at = 0;
        while let Some((table, row)) = doomed.get(at).cloned() {
            at += 1;
            for referrer in self.state.referrers(schema, &table, row) {
                match referrer.rule {
                    OnDelete::Restrict => return Err(errors::delete_restricted(&table, &referrer.table)),
                    OnDelete::RemoveLink => nulls.push(referrer),
                    OnDelete::Cascade => {
                        if seen.insert((referrer.table.clone(), referrer.id)) {
                            doomed.push((referrer.table, referrer.id));
                        }
                    }
                }
            }
        }
        // Links are removed in the database, without a message of their own.
        for referrer in nulls.into_iter().filter(|r| !seen.contains(&(r.table.clone(), r.id))) {
            if let Some(mut columns) = self.state.row(&referrer.table, referrer.id).map(|r| r.columns.clone()) {
                columns.remove(&referrer.column);
                self.state.put(&referrer.table, referrer.id, columns);
            }
        }
        let mut commits = Vec::new();
        for (table, row) in doomed.into_iter().rev() {
            self.state.unlink_all(schema, &table, row);
            let before = self.state.remove(&table, row);
            let commit = self.commit(Message::Delete, &table, row, Changes::new(), Changes::new());
            commits.push(Commit { before, ..commit });
        }
        Ok(commits)
    }

    /// Links two rows, seen from `table`.
    ///
    /// # Errors
    /// 404 without the rows, 412 when the link is there.
    pub fn associate(&mut self, relationship: &str, table: &str, id: Uuid, other: Uuid) -> Result<Commit, ApiError> {
        let (pair, other_table) = self.pair(relationship, table, id, other)?;
        for (table, id) in [(table, id), (other_table.as_str(), other)] {
            if self.state.row(table, id).is_none() {
                return Err(errors::no_row(table, id));
            }
        }
        if !self.state.links.entry(relationship.to_owned()).or_default().insert(pair) {
            return Err(errors::duplicate_link());
        }
        Ok(self.linked(Message::Associate, relationship, (table, id), (&other_table, other)))
    }

    /// Unlinks two rows. A link that is not there is no error, as in the service, but raises nothing.
    ///
    /// # Errors
    /// An unknown relationship.
    pub fn disassociate(
        &mut self,
        relationship: &str,
        table: &str,
        id: Uuid,
        other: Uuid,
    ) -> Result<Option<Commit>, ApiError> {
        let (pair, other_table) = self.pair(relationship, table, id, other)?;
        if self.state.row(table, id).is_none() {
            return Err(errors::no_row(table, id));
        }
        if !self.state.links.entry(relationship.to_owned()).or_default().remove(&pair) {
            return Ok(None);
        }
        Ok(Some(self.linked(Message::Disassociate, relationship, (table, id), (&other_table, other))))
    }

    fn linked(&mut self, message: Message, relationship: &str, one: (&str, Uuid), other: (&str, Uuid)) -> Commit {
        let link = LinkChange { relationship: relationship.to_owned(), table: other.0.to_owned(), ids: vec![other.1] };
        Commit { link: Some(link), ..self.commit(message, one.0, one.1, Changes::new(), Changes::new()) }
    }

    fn pair(&self, name: &str, table: &str, id: Uuid, other: Uuid) -> Result<((Uuid, Uuid), String), ApiError> {
        let relationship = self
            .world
            .schema
            .many_to_many
            .iter()
            .find(|r| r.schema_name == name)
            .ok_or_else(|| errors::no_resource(name))?;
        if relationship.first.0 == table {
            return Ok(((id, other), relationship.second.0.clone()));
        }
        if relationship.second.0 == table {
            return Ok(((other, id), relationship.first.0.clone()));
        }
        Err(errors::no_resource(name))
    }

    fn commit(&mut self, message: Message, table: &str, id: Uuid, sent: Changes, target: Changes) -> Commit {
        self.state.sequence += 1;
        Commit {
            sequence: self.state.sequence,
            message,
            table: table.to_owned(),
            id,
            sent,
            target,
            before: None,
            after: None,
            link: None,
            at: self.now,
        }
    }
}

fn allowed(def: &TableDef, name: &str, creating: bool) -> Result<(), ApiError> {
    let Some(column) = def.columns.get(name) else {
        return Err(errors::payload(format!("An undeclared property '{name}'")));
    };
    let (valid, when) = if creating { (column.for_create, "create") } else { (column.for_update, "update") };
    if valid || matches!(column.kind, Kind::Parties(_)) {
        return Ok(());
    }
    Err(errors::invalid_argument(format!("Attribute '{name}' of '{}' is not valid for {when}.", def.name)))
}

/// Columns that are written once by tools, not by people.
const TOOL_COLUMNS: [&str; 3] = ["timezoneruleversionnumber", "overriddencreatedon", "importsequencenumber"];

/// The columns that people and clients write: what two environments are compared by.
#[must_use]
pub fn business_columns(schema: &Schema, table: &str) -> Vec<String> {
    let Some(def) = schema.tables.get(table) else { return Vec::new() };
    def.columns
        .values()
        .filter(|c| c.for_create || c.for_update || matches!(c.kind, Kind::Parties(_)))
        .filter(|c| !TOOL_COLUMNS.contains(&c.name.as_str()))
        .map(|c| c.name.clone())
        .collect()
}

//! Changes without HTTP, for tests and demonstrations: the same checks, the same events, no race window.

use super::body;
use super::environment::Environment;
use super::errors::{self, ApiError};
use super::table::TableDef;
use super::world::Origin;
use serde_json::Value;
use uuid::Uuid;

impl Environment {
    /// Creates a row; the body is that of a POST.
    ///
    /// # Errors
    /// What the Web API refuses.
    pub fn create(&self, origin: &Origin, table: &str, value: &Value) -> Result<Uuid, ApiError> {
        let def = self.table(table)?;
        let body = body::read(&self.world().schema, def, &self.world().base_url, value)?;
        self.transact(origin, |writer| {
            let changes = body.resolve(writer.state, &writer.world.schema, def)?;
            let commit = writer.create(def, body.id, changes)?;
            Ok((commit.id, vec![commit]))
        })
    }

    /// Changes an existing row; the body is that of a PATCH.
    ///
    /// # Errors
    /// What the Web API refuses.
    pub fn update(&self, origin: &Origin, table: &str, id: Uuid, value: &Value) -> Result<(), ApiError> {
        let def = self.table(table)?;
        let body = body::read(&self.world().schema, def, &self.world().base_url, value)?;
        self.transact(origin, |writer| {
            let changes = body.resolve(writer.state, &writer.world.schema, def)?;
            Ok(((), vec![writer.update(def, id, changes)?]))
        })
    }

    /// Deletes a row.
    ///
    /// # Errors
    /// What the Web API refuses.
    pub fn delete(&self, origin: &Origin, table: &str, id: Uuid) -> Result<(), ApiError> {
        let def = self.table(table)?;
        self.transact(origin, |writer| Ok(((), writer.delete(def, id)?)))
    }

    /// Links a row of `table` to another.
    ///
    /// # Errors
    /// What the Web API refuses.
    pub fn associate(
        &self,
        origin: &Origin,
        relationship: &str,
        table: &str,
        id: Uuid,
        other: Uuid,
    ) -> Result<(), ApiError> {
        self.transact(origin, |writer| Ok(((), vec![writer.associate(relationship, table, id, other)?])))
    }

    /// Removes a link.
    ///
    /// # Errors
    /// What the Web API refuses.
    pub fn disassociate(
        &self,
        origin: &Origin,
        relationship: &str,
        table: &str,
        id: Uuid,
        other: Uuid,
    ) -> Result<(), ApiError> {
        self.transact(origin, |writer| {
            Ok(((), writer.disassociate(relationship, table, id, other)?.into_iter().collect()))
        })
    }

    fn table(&self, name: &str) -> Result<&TableDef, ApiError> {
        self.world().schema.tables.get(name).ok_or_else(|| errors::no_resource(name))
    }
}

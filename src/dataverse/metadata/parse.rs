//! Metadata answers as `TableSchema`. Pure: paths in, JSON in, schema out.

use super::quoted;
use crate::dataverse::url;
use crate::domain::schema::{ColumnKind, ColumnSchema, DateBehavior, KeySchema, LinkSchema, LookupSchema, TableSchema};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A metadata answer that does not have what every table has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata lacks {what}")]
pub struct ParseError {
    what: &'static str,
}

const fn lacks(what: &'static str) -> ParseError {
    ParseError { what }
}

/// The request for everything about a table but the behaviour of its dates.
#[must_use]
pub fn table_path(table: &str) -> String {
    format!(
        "EntityDefinitions(LogicalName={})?$select=LogicalName,EntitySetName,PrimaryIdAttribute,PrimaryNameAttribute,\
         IsOptimisticConcurrencyEnabled,TableType\
         &$expand=Attributes($select=LogicalName,AttributeType,AttributeTypeName,AttributeOf,IsValidForCreate,\
         IsValidForUpdate,IsSecured),\
         Keys($select=LogicalName,KeyAttributes,EntityKeyIndexStatus),\
         ManyToOneRelationships($select=ReferencingAttribute,ReferencedEntity,ReferencingEntityNavigationPropertyName),\
         ManyToManyRelationships($select=SchemaName,Entity1LogicalName,Entity1NavigationPropertyName,\
         Entity2LogicalName,Entity2NavigationPropertyName)",
        quoted(table)
    )
}

/// The request for the behaviour of a table's dates.
#[must_use]
pub fn dates_path(table: &str) -> String {
    format!(
        "EntityDefinitions(LogicalName={})/Attributes/Microsoft.Dynamics.CRM.DateTimeAttributeMetadata\
         ?$select=LogicalName,DateTimeBehavior",
        quoted(table)
    )
}

/// The request for the entity sets of some tables.
#[must_use]
pub fn entity_sets_path(tables: &[&str]) -> String {
    let terms: Vec<String> = tables.iter().map(|table| format!("LogicalName eq '{table}'")).collect();
    format!("EntityDefinitions?$select=LogicalName,EntitySetName&$filter={}", url::encode(&terms.join(" or ")))
}

/// Reads a table. Dates are UserLocal until [`dates`] has been read.
///
/// # Errors
/// [`ParseError`].
pub fn table(json: &Json) -> Result<TableSchema, ParseError> {
    Ok(TableSchema {
        name: text(json, "LogicalName").ok_or(lacks("LogicalName"))?,
        entity_set: text(json, "EntitySetName").ok_or(lacks("EntitySetName"))?,
        primary_id: text(json, "PrimaryIdAttribute").ok_or(lacks("PrimaryIdAttribute"))?,
        primary_name: text(json, "PrimaryNameAttribute"),
        columns: list(json, "Attributes").ok_or(lacks("Attributes"))?.iter().filter_map(column).collect(),
        lookups: list(json, "ManyToOneRelationships")
            .ok_or(lacks("ManyToOneRelationships"))?
            .iter()
            .filter_map(lookup)
            .collect(),
        keys: list(json, "Keys").ok_or(lacks("Keys"))?.iter().filter_map(key).collect(),
        links: list(json, "ManyToManyRelationships")
            .ok_or(lacks("ManyToManyRelationships"))?
            .iter()
            .filter_map(link)
            .collect(),
        optimistic_concurrency: json.get("IsOptimisticConcurrencyEnabled").and_then(Json::as_bool).unwrap_or(false),
        elastic: is_type(json, "Elastic"),
        external: is_type(json, "Virtual"),
        files: list(json, "Attributes").into_iter().flatten().filter_map(file).collect(),
        secured: list(json, "Attributes").into_iter().flatten().filter_map(secured).collect(),
    })
}

/// Fills in the behaviour of dates.
///
/// # Errors
/// [`ParseError`].
pub fn dates(schema: &mut TableSchema, json: &Json) -> Result<(), ParseError> {
    for attribute in list(json, "value").ok_or(lacks("the date columns"))? {
        let behavior = attribute.get("DateTimeBehavior").and_then(|behavior| text(behavior, "Value"));
        let behavior = match behavior.as_deref() {
            Some("DateOnly") => DateBehavior::DateOnly,
            Some("TimeZoneIndependent") => DateBehavior::TimeZoneIndependent,
            _ => DateBehavior::UserLocal,
        };
        let column = text(attribute, "LogicalName").and_then(|name| schema.columns.get_mut(&name));
        if let Some(column) = column.filter(|column| matches!(column.kind, ColumnKind::DateTime(_))) {
            column.kind = ColumnKind::DateTime(behavior);
        }
    }
    Ok(())
}

/// Reads entity sets: logical name to set name.
///
/// # Errors
/// [`ParseError`].
pub fn entity_sets(json: &Json) -> Result<BTreeMap<String, String>, ParseError> {
    let rows = list(json, "value").ok_or(lacks("the tables"))?;
    Ok(rows.iter().filter_map(|row| Some((text(row, "LogicalName")?, text(row, "EntitySetName")?))).collect())
}

fn column(json: &Json) -> Option<(String, ColumnSchema)> {
    let flag = |name: &str| json.get(name).and_then(Json::as_bool).unwrap_or(false);
    let derived = text(json, "AttributeOf").is_some();
    let type_name = json.get("AttributeTypeName").and_then(|name| text(name, "Value"));
    let kind = kind(text(json, "AttributeType").as_deref(), type_name.as_deref(), derived);
    let (creatable, updatable) = (flag("IsValidForCreate"), flag("IsValidForUpdate"));
    Some((text(json, "LogicalName")?, ColumnSchema { kind, creatable, updatable }))
}

fn is_type(json: &Json, name: &str) -> bool {
    text(json, "TableType").is_some_and(|kind| kind.eq_ignore_ascii_case(name))
}

/// The name of a file or image column.
fn file(json: &Json) -> Option<String> {
    let type_name = json.get("AttributeTypeName").and_then(|name| text(name, "Value"))?;
    ["FileType", "ImageType"].contains(&type_name.as_str()).then(|| text(json, "LogicalName"))?
}

/// The name of a column with column security.
fn secured(json: &Json) -> Option<String> {
    let secured = json.get("IsSecured").and_then(Json::as_bool).unwrap_or(false);
    secured.then(|| text(json, "LogicalName"))?
}

/// Columns derived from another one (`owneridname`, `entityimage_url`) can be neither selected nor written.
fn kind(attribute_type: Option<&str>, type_name: Option<&str>, derived: bool) -> ColumnKind {
    if derived {
        return ColumnKind::Unsupported;
    }
    match (attribute_type, type_name) {
        (_, Some("MultiSelectPicklistType")) => ColumnKind::Choices,
        (Some("Boolean"), _) => ColumnKind::Boolean,
        (Some("Integer"), _) => ColumnKind::Integer,
        (Some("BigInt"), _) => ColumnKind::BigInt,
        (Some("Decimal"), _) => ColumnKind::Decimal,
        (Some("Double"), _) => ColumnKind::Double,
        (Some("Money"), _) => ColumnKind::Money,
        (Some("String" | "Memo"), _) => ColumnKind::Text,
        (Some("DateTime"), _) => ColumnKind::DateTime(DateBehavior::UserLocal),
        (Some("Picklist"), _) => ColumnKind::Choice,
        (Some("State"), _) => ColumnKind::State,
        (Some("Status"), _) => ColumnKind::Status,
        (Some("Lookup" | "Customer"), _) => ColumnKind::Lookup,
        (Some("Owner"), _) => ColumnKind::Owner,
        (Some("PartyList"), _) => ColumnKind::PartyList,
        (Some("Uniqueidentifier"), _) => ColumnKind::Guid,
        // Virtual (file, image), ManagedProperty, CalendarRules, EntityName, and what newer servers add
        (_, _) => ColumnKind::Unsupported,
    }
}

fn lookup(json: &Json) -> Option<LookupSchema> {
    Some(LookupSchema {
        column: text(json, "ReferencingAttribute")?,
        referenced_table: text(json, "ReferencedEntity")?,
        navigation: text(json, "ReferencingEntityNavigationPropertyName")?,
    })
}

fn key(json: &Json) -> Option<KeySchema> {
    let columns = list(json, "KeyAttributes")?.iter().map(|column| column.as_str().map(str::to_owned));
    Some(KeySchema {
        name: text(json, "LogicalName")?,
        columns: columns.collect::<Option<Vec<_>>>()?,
        active: text(json, "EntityKeyIndexStatus").as_deref() == Some("Active"),
    })
}

fn link(json: &Json) -> Option<LinkSchema> {
    Some(LinkSchema {
        name: text(json, "SchemaName")?,
        first: (text(json, "Entity1LogicalName")?, text(json, "Entity1NavigationPropertyName")?),
        second: (text(json, "Entity2LogicalName")?, text(json, "Entity2NavigationPropertyName")?),
    })
}

/// A text that is there and not empty.
fn text(json: &Json, name: &str) -> Option<String> {
    json.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn list<'a>(json: &'a Json, name: &str) -> Option<&'a Vec<Json>> {
    json.get(name)?.as_array()
}

#[cfg(test)]
mod tests;

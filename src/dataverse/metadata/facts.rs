//! What a comparison of two environments needs to know about a table besides its schema: what cannot be read, what the
//! platform computes, how exact numbers are kept and how long texts may be, and where links are. Asked for by
//! `reconcile`; nobody else pays for it.

use super::{MetadataError, check_name, quoted};
use crate::dataverse::client::{Call, Dataverse};
use crate::domain::schema::{ColumnKind, TableSchema};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// About a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// Whether the table tracks changes.
    pub change_tracking: bool,
    /// By column.
    pub columns: BTreeMap<String, ColumnFacts>,
    /// The tables behind its many-to-many relationships, by schema name.
    pub links: BTreeMap<String, LinkFacts>,
}

/// About a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnFacts {
    /// The platform computes it (calculated, rollup, formula).
    pub computed: bool,
    /// Column security: without a profile it reads as null.
    pub secured: bool,
    /// It cannot be read at all.
    pub unreadable: bool,
    /// Digits after the point, for decimals and amounts.
    pub precision: Option<u32>,
    /// The precision of an amount is that of its currency or of the organisation, not of the column.
    pub precision_elsewhere: bool,
    /// Longest text, in UTF-16 units.
    pub length_max: Option<usize>,
}

/// About a many-to-many relationship.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Logical name of the table of links.
    pub table: String,
    /// Its column for the first row.
    pub first: String,
    /// Its column for the second row.
    pub second: String,
}

/// The metadata type of a kind of column, and what is asked of it.
fn cast(kind: ColumnKind) -> Option<(&'static str, &'static str)> {
    match kind {
        ColumnKind::Decimal => Some(("DecimalAttributeMetadata", "Precision")),
        ColumnKind::Money => Some(("MoneyAttributeMetadata", "Precision,PrecisionSource")),
        _ => None,
    }
}

impl Dataverse {
    /// The facts about a table, in one request; with `limits` also precisions and lengths, in one more for each kind of
    /// column that has them.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub async fn table_facts(
        &self,
        call: &Call,
        schema: &TableSchema,
        limits: bool,
    ) -> Result<TableFacts, MetadataError> {
        let table = schema.name.as_str();
        check_name(table)?;
        let mut facts = read(&self.metadata(call, table, path(table), false).await?);
        if !limits {
            return Ok(facts);
        }
        let mut casts: BTreeSet<(&str, &str)> =
            schema.columns.values().filter_map(|column| cast(column.kind)).collect();
        if schema.columns.values().any(|column| column.kind == ColumnKind::Text) {
            casts.extend([("StringAttributeMetadata", "MaxLength"), ("MemoAttributeMetadata", "MaxLength")]);
        }
        for (cast, select) in casts {
            let path = format!(
                "EntityDefinitions(LogicalName={})/Attributes/Microsoft.Dynamics.CRM.{cast}?$select=LogicalName,{select}",
                quoted(table)
            );
            add_limits(&mut facts, &self.metadata(call, table, path, false).await?);
        }
        Ok(facts)
    }
}

fn path(table: &str) -> String {
    format!(
        "EntityDefinitions(LogicalName={})?$select=LogicalName,ChangeTrackingEnabled\
         &$expand=Attributes($select=LogicalName,SourceType,IsSecured,IsValidForRead),\
         ManyToManyRelationships($select=SchemaName,IntersectEntityName,Entity1IntersectAttribute,\
         Entity2IntersectAttribute)",
        quoted(table)
    )
}

fn read(json: &Json) -> TableFacts {
    let flag = |json: &Json, name: &str| json.get(name).and_then(Json::as_bool);
    let column = |json: &Json| {
        let facts = ColumnFacts {
            computed: json.get("SourceType").and_then(Json::as_i64).is_some_and(|kind| kind != 0),
            secured: flag(json, "IsSecured").unwrap_or(false),
            unreadable: !flag(json, "IsValidForRead").unwrap_or(true),
            ..ColumnFacts::default()
        };
        Some((text(json, "LogicalName")?, facts))
    };
    let link = |json: &Json| {
        let facts = LinkFacts {
            table: text(json, "IntersectEntityName")?,
            first: text(json, "Entity1IntersectAttribute")?,
            second: text(json, "Entity2IntersectAttribute")?,
        };
        Some((text(json, "SchemaName")?, facts))
    };
    TableFacts {
        change_tracking: flag(json, "ChangeTrackingEnabled").unwrap_or(false),
        columns: list(json, "Attributes").filter_map(column).collect(),
        links: list(json, "ManyToManyRelationships").filter_map(link).collect(),
    }
}

fn add_limits(facts: &mut TableFacts, json: &Json) {
    for column in list(json, "value") {
        let Some(found) = text(column, "LogicalName").and_then(|name| facts.columns.get_mut(&name)) else { continue };
        let number = |name: &str| column.get(name).and_then(Json::as_u64);
        found.precision = number("Precision").and_then(|digits| u32::try_from(digits).ok()).or(found.precision);
        found.precision_elsewhere = number("PrecisionSource").is_some_and(|source| source != 0);
        found.length_max = number("MaxLength").and_then(|units| usize::try_from(units).ok()).or(found.length_max);
    }
}

fn list<'a>(json: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> {
    json.get(name).and_then(Json::as_array).into_iter().flatten()
}

fn text(json: &Json, name: &str) -> Option<String> {
    json.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn facts_are_read_and_what_is_not_told_is_assumed_harmless() {
        let mut facts = read(&json!({
            "ChangeTrackingEnabled": true,
            "Attributes": [
                {"LogicalName": "plain", "SourceType": 0},
                {"LogicalName": "sum", "SourceType": 2, "IsSecured": false, "IsValidForRead": true},
                {"LogicalName": "secret", "SourceType": null, "IsSecured": true},
                {"LogicalName": "hidden", "IsValidForRead": false},
            ],
            "ManyToManyRelationships": [{"SchemaName": "a_b", "IntersectEntityName": "a_b",
                "Entity1IntersectAttribute": "aid", "Entity2IntersectAttribute": "bid"}],
        }));
        assert!(facts.change_tracking);
        assert_eq!(facts.columns["plain"], ColumnFacts::default());
        assert!(facts.columns["sum"].computed && facts.columns["secret"].secured && facts.columns["hidden"].unreadable);
        assert_eq!(facts.links["a_b"].second, "bid");
        add_limits(
            &mut facts,
            &json!({"value": [{"LogicalName": "plain", "Precision": 2, "PrecisionSource": 2},
            {"LogicalName": "sum", "MaxLength": 100}, {"LogicalName": "nosuch", "MaxLength": 1}]}),
        );
        assert_eq!((facts.columns["plain"].precision, facts.columns["plain"].precision_elsewhere), (Some(2), true));
        assert_eq!(facts.columns["sum"].length_max, Some(100));
    }
}

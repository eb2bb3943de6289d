//! Tables, columns, keys and relationships as metadata JSON. Knows no request.

use super::intersect;
use super::schema::{Behavior, ColumnDef, KeyStatus, Kind, LookupKind, ManyToMany, OnDelete, Schema, TableDef, column};
use serde_json::{Value, json};
use uuid::Uuid;

/// Members that all kinds of columns have.
pub const BASE: [&str; 18] = [
    "MetadataId",
    "LogicalName",
    "SchemaName",
    "EntityLogicalName",
    "AttributeType",
    "AttributeTypeName",
    "AttributeOf",
    "IsPrimaryId",
    "IsPrimaryName",
    "IsValidForCreate",
    "IsValidForUpdate",
    "IsValidForRead",
    "IsSecured",
    "IsLogical",
    "IsCustomAttribute",
    "RequiredLevel",
    "SourceType",
    "ColumnNumber",
];

/// Types that a cast may name.
pub const KINDS: [&str; 15] = [
    "StringAttributeMetadata",
    "MemoAttributeMetadata",
    "IntegerAttributeMetadata",
    "BigIntAttributeMetadata",
    "DecimalAttributeMetadata",
    "DoubleAttributeMetadata",
    "MoneyAttributeMetadata",
    "BooleanAttributeMetadata",
    "PicklistAttributeMetadata",
    "MultiSelectPicklistAttributeMetadata",
    "StateAttributeMetadata",
    "StatusAttributeMetadata",
    "DateTimeAttributeMetadata",
    "LookupAttributeMetadata",
    "UniqueIdentifierAttributeMetadata",
];

/// An id that is the same at each call (FNV-1a over the names).
fn metadata_id(parts: &[&str]) -> Uuid {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in parts.join("/").bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    Uuid::from_u128(hash)
}

/// An entity definition with everything below it.
#[must_use]
pub fn table(schema: &Schema, def: &TableDef) -> Value {
    json!({
        "MetadataId": metadata_id(&[&def.name]),
        "LogicalName": def.name,
        "SchemaName": def.schema_name,
        "EntitySetName": def.set,
        "LogicalCollectionName": def.set,
        "PrimaryIdAttribute": def.primary_id,
        "PrimaryNameAttribute": def.primary_name,
        "IsOptimisticConcurrencyEnabled": def.optimistic_concurrency,
        "ChangeTrackingEnabled": def.change_tracking,
        "IsActivity": def.activity,
        "IsIntersect": false,
        "IsCustomEntity": def.name.contains('_'),
        "TableType": if def.elastic { "Elastic" } else if def.external { "Virtual" } else { "Standard" },
        "OwnershipType": if def.columns.contains_key("ownerid") { "UserOwned" } else { "OrganizationOwned" },
        "Privileges": privileges(def).map(|(kind, name, id)| {
            json!({"PrivilegeId": id, "Name": name, "PrivilegeType": kind})
        }).collect::<Vec<_>>(),
        "Attributes": attributes(def, false),
        "Keys": keys(def),
        "ManyToOneRelationships": many_to_one(def),
        "OneToManyRelationships": schema.tables.values().flat_map(many_to_one)
            .filter(|r| r["ReferencedEntity"] == *def.name).collect::<Vec<_>>(),
        "ManyToManyRelationships": many_to_many(schema, Some(def)),
    })
}

/// Type, name and id of a table's privileges.
pub fn privileges(def: &TableDef) -> impl Iterator<Item = (&'static str, String, Value)> {
    ["Create", "Read", "Write", "Delete", "Assign", "Share", "Append", "AppendTo"].into_iter().map(|kind| {
        let name = format!("prv{kind}{}", def.schema_name);
        let id = json!(metadata_id(&["privilege", &name]));
        (kind, name, id)
    })
}

/// The definition of the table behind a many-to-many relationship, without its columns.
#[must_use]
pub fn intersect(relationship: &ManyToMany) -> Value {
    json!({
        "MetadataId": metadata_id(&[&relationship.intersect]),
        "LogicalName": relationship.intersect,
        "SchemaName": relationship.intersect,
        "EntitySetName": intersect::set_of(relationship),
        "LogicalCollectionName": intersect::set_of(relationship),
        "PrimaryIdAttribute": intersect::primary_id(relationship),
        "PrimaryNameAttribute": null,
        "IsOptimisticConcurrencyEnabled": false,
        "ChangeTrackingEnabled": false,
        "IsActivity": false,
        "IsIntersect": true,
        "IsCustomEntity": true,
        "TableType": "Standard",
        "OwnershipType": "None",
    })
}

/// The alternate keys.
#[must_use]
pub fn keys(def: &TableDef) -> Vec<Value> {
    def.keys
        .iter()
        .map(|key| {
            let status = match key.status {
                KeyStatus::Pending => "Pending",
                KeyStatus::InProgress => "InProgress",
                KeyStatus::Active => "Active",
                KeyStatus::Failed => "Failed",
            };
            json!({
                "MetadataId": metadata_id(&[&def.name, &key.name]),
                "LogicalName": key.name,
                "SchemaName": key.name,
                "EntityLogicalName": def.name,
                "KeyAttributes": key.columns,
                "EntityKeyIndexStatus": status,
            })
        })
        .collect()
}

/// The lookups, one entry per table that they may refer to. An owner is one entry to the table `owner`.
#[must_use]
pub fn many_to_one(def: &TableDef) -> Vec<Value> {
    let mut all = Vec::new();
    for column in def.columns.values() {
        let Kind::Lookup(lookup) = &column.kind else { continue };
        let mut targets: Vec<(&str, &str)> = lookup.targets.iter().map(|(t, n)| (t.as_str(), n.as_str())).collect();
        if lookup.kind == LookupKind::Owner {
            targets = targets.iter().take(1).map(|(_, navigation)| ("owner", *navigation)).collect();
        }
        let delete = match lookup.on_delete {
            OnDelete::RemoveLink => "RemoveLink",
            OnDelete::Restrict => "Restrict",
            OnDelete::Cascade => "Cascade",
        };
        for (table, navigation) in targets {
            let name = format!("{}_{}_{table}", def.name, column.name);
            all.push(json!({
                "@odata.type": "#Microsoft.Dynamics.CRM.OneToManyRelationshipMetadata",
                "MetadataId": metadata_id(&[&name]),
                "SchemaName": name,
                "RelationshipType": "OneToManyRelationship",
                "ReferencedEntity": table,
                "ReferencedAttribute": format!("{table}id"),
                "ReferencingEntity": def.name,
                "ReferencingAttribute": column.name,
                "ReferencingEntityNavigationPropertyName": navigation,
                "ReferencedEntityNavigationPropertyName": name,
                "CascadeConfiguration": {"Delete": delete},
            }));
        }
    }
    all
}

/// The many-to-many relationships of a table, or all.
#[must_use]
pub fn many_to_many(schema: &Schema, def: Option<&TableDef>) -> Vec<Value> {
    schema
        .many_to_many
        .iter()
        .filter(|r| def.is_none_or(|def| r.first.0 == def.name || r.second.0 == def.name))
        .map(|r| {
            json!({
                "@odata.type": "#Microsoft.Dynamics.CRM.ManyToManyRelationshipMetadata",
                "MetadataId": metadata_id(&[&r.schema_name]),
                "SchemaName": r.schema_name,
                "RelationshipType": "ManyToManyRelationship",
                "IntersectEntityName": r.intersect,
                "Entity1LogicalName": r.first.0,
                "Entity1IntersectAttribute": intersect::columns(r).0,
                "Entity1NavigationPropertyName": r.first.1,
                "Entity2LogicalName": r.second.0,
                "Entity2IntersectAttribute": intersect::columns(r).1,
                "Entity2NavigationPropertyName": r.second.1,
            })
        })
        .collect()
}

/// All columns; `options`: with the option sets that only a cast can expand.
#[must_use]
pub fn attributes(def: &TableDef, options: bool) -> Vec<Value> {
    let id = column(&def.primary_id, Kind::Guid).create_only();
    let version = column("versionnumber", Kind::BigInt).read_only();
    def.columns.values().chain([&id, &version]).map(|c| attribute(def, c, options)).collect()
}

fn attribute(def: &TableDef, column: &ColumnDef, options: bool) -> Value {
    let (kind, type_name, class) = names(&column.kind);
    let required = if column.required { "SystemRequired" } else { "None" };
    let mut value = json!({
        "@odata.type": format!("#Microsoft.Dynamics.CRM.{class}AttributeMetadata"),
        "MetadataId": metadata_id(&[&def.name, &column.name]),
        "LogicalName": column.name,
        "SchemaName": column.schema_name,
        "EntityLogicalName": def.name,
        "AttributeType": kind,
        "AttributeTypeName": {"Value": type_name},
        "AttributeOf": null,
        "IsPrimaryId": column.name == def.primary_id,
        "IsPrimaryName": column.name == def.primary_name,
        "IsValidForCreate": column.for_create || matches!(column.kind, Kind::Parties(_)),
        "IsValidForUpdate": column.for_update || matches!(column.kind, Kind::Parties(_)),
        "IsValidForRead": true,
        "IsSecured": column.secured,
        "IsLogical": false,
        "IsCustomAttribute": column.name.contains("new_"),
        "RequiredLevel": {"Value": required, "CanBeChanged": false, "ManagedPropertyLogicalName": "canmodifyrequirementlevelsettings"},
        "SourceType": if column.calculated || column.name.ends_with("_base") { json!(1) } else { json!(null) },
        "ColumnNumber": 1,
    });
    let Value::Object(members) = &mut value else { return value };
    for (name, more) in specific(&column.kind) {
        members.insert(name.to_owned(), more);
    }
    if options && let Some(set) = option_set(def, column) {
        members.insert("OptionSet".into(), set);
        members.insert("GlobalOptionSet".into(), Value::Null);
    }
    value
}

/// `AttributeType`, `AttributeTypeName` and class of a kind of column.
fn names(kind: &Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::Text(_) => ("String", "StringType", "String"),
        Kind::Memo(_) => ("Memo", "MemoType", "Memo"),
        Kind::Int(..) => ("Integer", "IntegerType", "Integer"),
        Kind::BigInt => ("BigInt", "BigIntType", "BigInt"),
        Kind::Decimal(..) => ("Decimal", "DecimalType", "Decimal"),
        Kind::Double(..) => ("Double", "DoubleType", "Double"),
        Kind::Money(_) => ("Money", "MoneyType", "Money"),
        Kind::Bool => ("Boolean", "BooleanType", "Boolean"),
        Kind::Choice(_) => ("Picklist", "PicklistType", "Picklist"),
        Kind::Choices(_) => ("Virtual", "MultiSelectPicklistType", "MultiSelectPicklist"),
        Kind::State => ("State", "StateType", "State"),
        Kind::Status => ("Status", "StatusType", "Status"),
        Kind::Date(_) => ("DateTime", "DateTimeType", "DateTime"),
        Kind::Lookup(lookup) => match lookup.kind {
            LookupKind::Plain => ("Lookup", "LookupType", "Lookup"),
            LookupKind::Customer => ("Customer", "CustomerType", "Lookup"),
            LookupKind::Owner => ("Owner", "OwnerType", "Lookup"),
        },
        Kind::Parties(_) => ("PartyList", "PartyListType", "Lookup"),
        Kind::Guid => ("Uniqueidentifier", "UniqueidentifierType", "UniqueIdentifier"),
    }
}

fn specific(kind: &Kind) -> Vec<(&'static str, Value)> {
    match kind {
        Kind::Text(max) | Kind::Memo(max) => vec![("MaxLength", json!(max)), ("Format", json!("Text"))],
        Kind::Int(min, max) | Kind::Double(min, max) => vec![("MinValue", json!(min)), ("MaxValue", json!(max))],
        Kind::Decimal(precision, min, max) => {
            vec![("Precision", json!(precision)), ("MinValue", json!(min)), ("MaxValue", json!(max))]
        }
        Kind::Money(precision) => vec![
            ("Precision", json!(precision)),
            ("PrecisionSource", json!(0)),
            ("MinValue", json!(-922_337_203_685_477_i64)),
            ("MaxValue", json!(922_337_203_685_477_i64)),
        ],
        Kind::Date(behavior) => {
            let (value, format) = match behavior {
                Behavior::UserLocal => ("UserLocal", "DateAndTime"),
                Behavior::DateOnly => ("DateOnly", "DateOnly"),
                Behavior::TimeZoneIndependent => ("TimeZoneIndependent", "DateAndTime"),
            };
            vec![("DateTimeBehavior", json!({"Value": value})), ("Format", json!(format))]
        }
        Kind::Lookup(lookup) => {
            let targets: Vec<&str> = lookup.targets.iter().map(|(table, _)| table.as_str()).collect();
            vec![("Targets", json!(targets))]
        }
        _ => Vec::new(),
    }
}

fn option_set(def: &TableDef, column: &ColumnDef) -> Option<Value> {
    let label = |text: String| json!({"UserLocalizedLabel": {"Label": text, "LanguageCode": 1033}});
    let options: Vec<Value> = match &column.kind {
        Kind::Choice(values) | Kind::Choices(values) => {
            values.iter().map(|v| json!({"Value": v, "Label": label(format!("Option {v}"))})).collect()
        }
        Kind::State => def
            .states
            .iter()
            .map(|s| {
                let default = s.statuses.first();
                json!({"Value": s.value, "Label": label(s.label.clone()), "DefaultStatus": default, "InvariantName": s.label})
            })
            .collect(),
        Kind::Status => def
            .states
            .iter()
            .flat_map(|s| s.statuses.iter().map(move |v| (s.value, *v)))
            .map(|(state, v)| json!({"Value": v, "State": state, "Label": label(format!("Reason {v}"))}))
            .collect(),
        _ => return None,
    };
    Some(
        json!({"MetadataId": metadata_id(&[&def.name, &column.name, "options"]), "IsGlobal": false, "Options": options}),
    )
}

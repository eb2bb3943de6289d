//! Metadata answers as the service writes them, whole and damaged.

use super::*;
use serde_json::json;

fn attribute(name: &str, kind: &str, type_name: &str) -> Json {
    json!({
        "LogicalName": name,
        "AttributeType": kind,
        "AttributeTypeName": {"Value": type_name},
        "AttributeOf": null,
        "IsValidForCreate": true,
        "IsValidForUpdate": name != "accountid",
        "IsSecured": name == "description",
    })
}

fn definition() -> Json {
    json!({
        "@odata.context": "...",
        "LogicalName": "account",
        "EntitySetName": "accounts",
        "PrimaryIdAttribute": "accountid",
        "PrimaryNameAttribute": "name",
        "IsOptimisticConcurrencyEnabled": true,
        "TableType": "Standard",
        "MetadataId": "70816501-edb9-4740-a16c-6a5efbc05d84",
        "Attributes": [
            attribute("accountid", "Uniqueidentifier", "UniqueidentifierType"),
            attribute("name", "String", "StringType"),
            attribute("description", "Memo", "MemoType"),
            attribute("new_flag", "Boolean", "BooleanType"),
            attribute("new_int", "Integer", "IntegerType"),
            attribute("versionnumber", "BigInt", "BigIntType"),
            attribute("new_decimal", "Decimal", "DecimalType"),
            attribute("new_double", "Double", "DoubleType"),
            attribute("revenue", "Money", "MoneyType"),
            attribute("new_day", "DateTime", "DateTimeType"),
            attribute("createdon", "DateTime", "DateTimeType"),
            attribute("new_tier", "Picklist", "PicklistType"),
            attribute("new_tags", "Virtual", "MultiSelectPicklistType"),
            attribute("entityimage", "Virtual", "ImageType"),
            attribute("new_file", "Virtual", "FileType"),
            attribute("statecode", "State", "StateType"),
            attribute("statuscode", "Status", "StatusType"),
            attribute("parentaccountid", "Lookup", "LookupType"),
            attribute("parentcustomerid", "Customer", "CustomerType"),
            attribute("ownerid", "Owner", "OwnerType"),
            attribute("owneridtype", "EntityName", "EntityNameType"),
            attribute("to", "PartyList", "PartyListType"),
            attribute("iscustomizable", "ManagedProperty", "ManagedPropertyType"),
            attribute("new_future", "Hologram", "HologramType"),
            {"LogicalName": "owneridname", "AttributeType": "String", "AttributeOf": "ownerid"},
        ],
        "Keys": [
            {"LogicalName": "new_key", "KeyAttributes": ["accountnumber", "new_int"], "EntityKeyIndexStatus": "Active"},
            {"LogicalName": "new_late", "KeyAttributes": ["name"], "EntityKeyIndexStatus": "InProgress"},
        ],
        "ManyToOneRelationships": [
            {
                "ReferencingAttribute": "parentaccountid",
                "ReferencedEntity": "account",
                "ReferencingEntityNavigationPropertyName": "parentaccountid",
            },
            {
                "ReferencingAttribute": "new_thing",
                "ReferencedEntity": "new_thing",
                "ReferencingEntityNavigationPropertyName": "new_ThingId",
            },
            {
                "ReferencingAttribute": "new_hidden",
                "ReferencedEntity": "x",
                "ReferencingEntityNavigationPropertyName": null,
            },
        ],
        "ManyToManyRelationships": [{
            "SchemaName": "new_Account_Contact",
            "Entity1LogicalName": "account",
            "Entity1NavigationPropertyName": "new_Account_Contact",
            "Entity2LogicalName": "contact",
            "Entity2NavigationPropertyName": "new_Contact_Account",
        }],
    })
}

#[test]
fn a_definition_becomes_a_schema() {
    let mut schema = table(&definition()).unwrap();
    dates(
        &mut schema,
        &json!({"value": [
            {"LogicalName": "new_day", "DateTimeBehavior": {"Value": "DateOnly"}},
            {"LogicalName": "createdon", "DateTimeBehavior": {"Value": "UserLocal"}},
            {"LogicalName": "name", "DateTimeBehavior": {"Value": "DateOnly"}},
            {"LogicalName": "nope", "DateTimeBehavior": null},
        ]}),
    )
    .unwrap();
    let kinds: Vec<(&str, ColumnKind)> =
        schema.columns.iter().map(|(name, column)| (name.as_str(), column.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("accountid", ColumnKind::Guid),
            ("createdon", ColumnKind::DateTime(DateBehavior::UserLocal)),
            ("description", ColumnKind::Text),
            ("entityimage", ColumnKind::Unsupported),
            ("iscustomizable", ColumnKind::Unsupported),
            ("name", ColumnKind::Text),
            ("new_day", ColumnKind::DateTime(DateBehavior::DateOnly)),
            ("new_decimal", ColumnKind::Decimal),
            ("new_double", ColumnKind::Double),
            ("new_file", ColumnKind::Unsupported),
            ("new_flag", ColumnKind::Boolean),
            ("new_future", ColumnKind::Unsupported),
            ("new_int", ColumnKind::Integer),
            ("new_tags", ColumnKind::Choices),
            ("new_tier", ColumnKind::Choice),
            ("ownerid", ColumnKind::Owner),
            ("owneridname", ColumnKind::Unsupported),
            ("owneridtype", ColumnKind::Unsupported),
            ("parentaccountid", ColumnKind::Lookup),
            ("parentcustomerid", ColumnKind::Lookup),
            ("revenue", ColumnKind::Money),
            ("statecode", ColumnKind::State),
            ("statuscode", ColumnKind::Status),
            ("to", ColumnKind::PartyList),
            ("versionnumber", ColumnKind::BigInt),
        ]
    );
    assert_eq!((schema.name.as_str(), schema.entity_set.as_str()), ("account", "accounts"));
    assert_eq!((schema.primary_id.as_str(), schema.primary_name.as_deref()), ("accountid", Some("name")));
    assert!(schema.optimistic_concurrency && !schema.elastic);
    let id = &schema.columns["accountid"];
    assert_eq!((id.creatable, id.updatable), (true, false));
    let navigations: Vec<_> = schema.lookups.iter().map(|lookup| lookup.navigation.as_str()).collect();
    assert_eq!(navigations, ["parentaccountid", "new_ThingId"]);
    let keys: Vec<_> = schema.keys.iter().map(|key| (key.name.as_str(), key.active)).collect();
    assert_eq!(keys, [("new_key", true), ("new_late", false)]);
    assert_eq!(schema.links[0].second, ("contact".to_owned(), "new_Contact_Account".to_owned()));
}

#[test]
fn what_every_table_has_must_be_there() {
    for part in [
        "LogicalName",
        "EntitySetName",
        "PrimaryIdAttribute",
        "Attributes",
        "Keys",
        "ManyToOneRelationships",
        "ManyToManyRelationships",
    ] {
        let mut json = definition();
        json.as_object_mut().unwrap().remove(part);
        assert_eq!(table(&json).unwrap_err().to_string(), format!("the metadata lacks {part}"));
    }
    let mut json = definition();
    json["TableType"] = json!("Elastic");
    json["PrimaryNameAttribute"] = json!(null);
    let schema = table(&json).unwrap();
    assert!(schema.elastic && !schema.external && schema.primary_name.is_none());
    assert_eq!(schema.files, ["entityimage", "new_file"].map(str::to_owned).into());
    assert_eq!(schema.secured, ["description"].map(str::to_owned).into());
    json["TableType"] = json!("Virtual");
    assert!(table(&json).unwrap().external);
}

#[test]
fn entity_sets_are_asked_for_together() {
    let path = entity_sets_path(&["account", "contact"]);
    assert_eq!(
        path,
        "EntityDefinitions?$select=LogicalName,EntitySetName\
         &$filter=LogicalName%20eq%20%27account%27%20or%20LogicalName%20eq%20%27contact%27"
    );
    let sets = entity_sets(&json!({"value": [{"LogicalName": "account", "EntitySetName": "accounts"}, {}]})).unwrap();
    assert_eq!(sets, [("account".to_owned(), "accounts".to_owned())].into());
}

//! Metadata as a client asks for it.

use super::*;

fn by<'a>(list: &'a Value, name: &str, value: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|item| item[name] == *value).expect("an entry")
}

#[tokio::test]
async fn a_table_tells_names_keys_and_navigation_properties() {
    let env = environment();
    let query = "EntityDefinitions(LogicalName='contact')?$select=LogicalName,EntitySetName,PrimaryIdAttribute\
        &$expand=ManyToOneRelationships($select=ReferencingAttribute,ReferencedEntity,ReferencingEntityNavigationPropertyName),\
        Keys($select=LogicalName,KeyAttributes,EntityKeyIndexStatus),\
        Attributes($select=LogicalName,AttributeType,AttributeTypeName,IsValidForCreate,IsValidForUpdate)";
    let back = get(&env, query).await;
    assert_eq!(back.status, 200, "{:?}", back.body);
    let body = back.body;
    assert_eq!(body["EntitySetName"], "contacts");
    assert!(body.get("SchemaName").is_none());
    let lookups = &body["ManyToOneRelationships"];
    let customer = by(lookups, "ReferencingEntityNavigationPropertyName", "parentcustomerid_account");
    assert_eq!(customer["ReferencedEntity"], "account");
    // The owner's relationship is to `owner`, not to users and teams.
    assert_eq!(by(lookups, "ReferencingAttribute", "ownerid")["ReferencedEntity"], "owner");
    assert_eq!(by(&body["Keys"], "LogicalName", "new_externalidkey")["EntityKeyIndexStatus"], "Active");
    let columns = &body["Attributes"];
    assert_eq!(by(columns, "LogicalName", "fullname")["IsValidForUpdate"], false);
    assert_eq!(by(columns, "LogicalName", "new_interests")["AttributeTypeName"]["Value"], "MultiSelectPicklistType");
    assert!(by(columns, "LogicalName", "firstname").get("MaxLength").is_none());
}

#[tokio::test]
async fn casts_tell_what_the_base_type_does_not_have() {
    let env = environment();
    let below = |rest: &str| format!("EntityDefinitions(LogicalName='contact')/Attributes{rest}");
    let dates =
        get(&env, &below("/Microsoft.Dynamics.CRM.DateTimeAttributeMetadata?$select=LogicalName,DateTimeBehavior"))
            .await
            .body;
    assert_eq!(by(&dates["value"], "LogicalName", "birthdate")["DateTimeBehavior"]["Value"], "DateOnly");
    assert_eq!(by(&dates["value"], "LogicalName", "createdon")["DateTimeBehavior"]["Value"], "UserLocal");
    let choices = get(
        &env,
        &below(
            "/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$select=LogicalName&$expand=OptionSet($select=Options)",
        ),
    )
    .await
    .body;
    let options = &by(&choices["value"], "LogicalName", "customertypecode")["OptionSet"]["Options"];
    assert_eq!(options.as_array().unwrap().len(), 3);
    let status = get(
        &env,
        &below("(LogicalName='statuscode')/Microsoft.Dynamics.CRM.StatusAttributeMetadata?$expand=OptionSet"),
    )
    .await
    .body;
    let reasons = status["OptionSet"]["Options"].as_array().unwrap();
    assert!(reasons.iter().any(|reason| reason["Value"] == 2 && reason["State"] == 1), "{reasons:?}");
}

#[tokio::test]
async fn unknown_names_in_metadata_are_refused() {
    let env = environment();
    for (query, status) in [
        ("EntityDefinitions(LogicalName='nosuch')", 404),
        ("EntityDefinitions(LogicalName='contact')/Attributes(LogicalName='nosuch')", 404),
        ("EntityDefinitions(LogicalName='contact')/Nosuch", 404),
        ("EntityDefinitions(LogicalName='contact')/Attributes/Microsoft.Dynamics.CRM.NoMetadata", 404),
        ("EntityDefinitions(LogicalName='contact')?$select=Nosuch", 400),
        ("EntityDefinitions(LogicalName='contact')?$expand=Nosuch", 400),
        ("EntityDefinitions(LogicalName='contact')/Attributes?$select=MaxLength", 400),
        ("EntityDefinitions(LogicalName='contact')?$expand=Attributes($select=Targets)", 400),
        ("EntityDefinitions(LogicalName='contact')/Attributes?$expand=OptionSet", 400),
        ("RelationshipDefinitions(SchemaName='nosuch')", 404),
    ] {
        assert_eq!(get(&env, query).await.status, status, "{query}");
    }
    assert_eq!(call(&env, "POST", "EntityDefinitions", &[], Some(json!({}))).await.status, 501);
}

#[tokio::test]
async fn tables_are_found_by_their_names() {
    let env = environment();
    for filter in [
        "LogicalName%20eq%20'account'%20or%20LogicalName%20eq%20'task'",
        "Microsoft.Dynamics.CRM.In(PropertyName='LogicalName',PropertyValues=['account','task'])",
    ] {
        let body = get(&env, &format!("EntityDefinitions?$select=LogicalName,IsActivity&$filter={filter}")).await.body;
        assert_eq!(body["value"].as_array().unwrap().len(), 2, "{filter}");
        assert_eq!(by(&body["value"], "LogicalName", "task")["IsActivity"], true);
    }
}

#[tokio::test]
async fn many_to_many_relationships_tell_both_sides() {
    let env = environment();
    let query = "RelationshipDefinitions(SchemaName='new_account_contact')/Microsoft.Dynamics.CRM.ManyToManyRelationshipMetadata";
    let one = get(&env, query).await.body;
    assert_eq!(one["Entity1LogicalName"], "account");
    let listed = get(&env, "EntityDefinitions(LogicalName='contact')/ManyToManyRelationships").await.body;
    let found = by(&listed["value"], "SchemaName", "new_account_contact");
    assert_eq!(found["Entity2NavigationPropertyName"], "new_account_contact");
}

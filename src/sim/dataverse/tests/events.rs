//! The events that steps raise. Expectations are those of facts/dataverse.md sections 1 to 4.

use super::*;
use crate::sim::dataverse::{Collector, Image, Message, RaisedEvent, Sink, Step};
use std::collections::BTreeSet;

/// An environment whose changes of a table are collected, with a full post-image.
fn watched(table: &str) -> (Environment, Collector) {
    let env = environment();
    let collector = Collector::default();
    let step = Step::new(id(0xe), table, Sink::Collect(collector.clone())).image(Image::All).pre_image(Image::All);
    env.subscribe(step.messages(&[
        Message::Create,
        Message::Update,
        Message::Delete,
        Message::Upsert,
        Message::Associate,
        Message::Disassociate,
    ]));
    (env, collector)
}

fn only(collector: &Collector) -> (RaisedEvent, Value) {
    let events = collector.take();
    assert_eq!(events.len(), 1);
    let body = serde_json::from_slice(&events[0].body).unwrap();
    (events[0].clone(), body)
}

/// The value of a key in a key/value array.
fn at<'a>(list: &'a Value, key: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|pair| pair["key"] == *key);
    &found.unwrap_or_else(|| panic!("no {key} in {list}"))["value"]
}

fn keys(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|pair| pair["key"].as_str().unwrap().to_owned()).collect()
}

fn target(body: &Value) -> &Value {
    at(&body["InputParameters"], "Target")
}

const TOP: [&str; 29] = [
    "BusinessUnitId",
    "CorrelationId",
    "Depth",
    "InitiatingUserAgent",
    "InitiatingUserAzureActiveDirectoryObjectId",
    "InitiatingUserId",
    "InputParameters",
    "IsExecutingOffline",
    "IsInTransaction",
    "IsOfflinePlayback",
    "IsolationMode",
    "MessageName",
    "Mode",
    "OperationCreatedOn",
    "OperationId",
    "OrganizationId",
    "OrganizationName",
    "OutputParameters",
    "OwningExtension",
    "ParentContext",
    "PostEntityImages",
    "PreEntityImages",
    "PrimaryEntityId",
    "PrimaryEntityName",
    "RequestId",
    "SecondaryEntityName",
    "SharedVariables",
    "Stage",
    "UserId",
];

#[tokio::test]
async fn a_create_has_the_documented_members() {
    let (env, collector) = watched("account");
    let path = format!("accounts({})?tag=sync", id(1));
    let sent = json!({"name": "Ä/B", "revenue": 4_800_000, "new_segments": "100000001,100000000"});
    call(&env, "PATCH", &path, &[], Some(sent)).await;
    let (event, body) = only(&collector);
    for member in TOP {
        assert!(body.get(member).is_some(), "{member}");
    }
    let text = std::str::from_utf8(&event.body).unwrap();
    assert!(
        text.contains(r#""Ä\/B""#)
            && text.contains(r#""__type":"Entity:http:\/\/schemas.microsoft.com\/xrm\/2011\/Contracts""#)
    );
    assert!(text.contains(r#"{"__type":"Money:"#), "__type comes first");
    assert_eq!(body["MessageName"], "Create");
    assert_eq!((body["Mode"].clone(), body["Stage"].clone(), body["Depth"].clone()), (json!(1), json!(40), json!(1)));
    assert_eq!(body["OperationCreatedOn"], "/Date(1767600000000+0000)/");
    assert_eq!(at(&body["OutputParameters"], "id"), &json!(id(1)));
    assert_eq!(at(&body["SharedVariables"], "tag"), "sync");
    assert_eq!(body["InitiatingUserId"], env.world().service.id.to_string());
    assert_eq!(body["OwningExtension"]["Id"], id(0xe).to_string());
    assert!(body["OwningExtension"].get("__type").is_none());
    assert_ne!(body["OperationId"], body["RequestId"]);

    let attributes = &target(&body)["Attributes"];
    assert_eq!(at(attributes, "accountid"), &json!(id(1)));
    assert_eq!(at(attributes, "createdon"), "/Date(1767600000000)/");
    assert_eq!(at(attributes, "revenue")["Value"].to_string(), "4800000.00");
    assert_eq!(at(attributes, "revenue_base")["Value"].to_string(), "4800000.0000");
    assert_eq!(at(attributes, "exchangerate").to_string(), "1.0000000000");
    assert_eq!(at(attributes, "statecode")["Value"], 0);
    assert_eq!(at(attributes, "new_segments")[1]["Value"], 100_000_001);
    assert_eq!(at(attributes, "ownerid")["LogicalName"], "systemuser");
    assert_eq!(at(attributes, "modifiedonbehalfby"), &Value::Null);

    // The parent context shows only what was sent.
    let parent = &body["ParentContext"];
    assert_eq!((parent["Stage"].clone(), parent["OperationId"].clone()), (json!(30), body["OperationId"].clone()));
    let sent: BTreeSet<String> = ["name", "revenue", "new_segments", "accountid"].map(String::from).into();
    assert_eq!(keys(&target(parent)["Attributes"]), sent);
    assert_eq!(at(&parent["SharedVariables"], "tag"), "sync");

    let image = at(&body["PostEntityImages"], "PostImage");
    assert!(image.get("__type").is_none());
    assert_eq!(at(&image["Attributes"], "versionnumber"), &json!(env.row("account", id(1)).unwrap().version));
    assert!(!keys(&image["Attributes"]).contains("modifiedonbehalfby"), "images hold no nulls");
    let name = at(&body["PostEntityImages"], "AsynchronousStepPrimaryName");
    assert_eq!(keys(&name["Attributes"]), ["accountid", "name"].map(String::from).into());
}

#[tokio::test]
async fn an_update_shows_what_was_sent_and_what_follows_from_it() {
    let (env, collector) = watched("contact");
    account(&env, 9).await;
    let path = format!("contacts({})", id(1));
    patch(&env, &path, json!({"firstname": "Zoë", "jobtitle": "x", "mobilephone": "1"})).await;
    let _ = collector.take();
    let sent = json!({
        "lastname": "B",
        "mobilephone": null,
        "birthdate": "1985-05-24",
        "parentcustomerid_account@odata.bind": format!("accounts({})", id(9)),
    });
    patch(&env, &path, sent).await;
    let (event, body) = only(&collector);
    let attributes = &target(&body)["Attributes"];
    let expected = [
        "birthdate",
        "contactid",
        "fullname",
        "lastname",
        "mobilephone",
        "modifiedby",
        "modifiedon",
        "modifiedonbehalfby",
        "parentcustomerid",
    ];
    assert_eq!(keys(attributes), expected.map(String::from).into());
    assert_eq!(at(attributes, "mobilephone"), &Value::Null);
    assert_eq!(at(attributes, "birthdate"), "/Date(485740800000)/");
    let lookup = at(attributes, "parentcustomerid");
    assert_eq!((lookup["Id"].clone(), lookup["LogicalName"].clone()), (json!(id(9)), json!("account")));
    assert_eq!((lookup["Name"].clone(), lookup["RowVersion"].clone()), (Value::Null, Value::Null));
    assert_eq!(body["OutputParameters"], json!([]));
    assert_eq!(at(&at(&body["PreEntityImages"], "PreImage")["Attributes"], "mobilephone"), "1");
    let image = at(&body["PostEntityImages"], "PostImage");
    assert_eq!(at(&image["Attributes"], "parentcustomerid")["Name"], "A9", "images show names");
    assert_eq!(event.message, Message::Update);
}

#[tokio::test]
async fn a_delete_names_the_row_and_shows_it_only_in_the_pre_image() {
    let (env, collector) = watched("account");
    let path = account(&env, 1).await;
    let _ = collector.take();
    delete(&env, &path).await;
    let (_, body) = only(&collector);
    assert!(target(&body)["__type"].as_str().unwrap().starts_with("EntityReference:"));
    assert_eq!(target(&body)["Id"], json!(id(1)));
    assert_eq!(body["PostEntityImages"], json!([]));
    assert_eq!(body["ParentContext"], Value::Null);
    assert_eq!(at(&at(&body["PreEntityImages"], "PreImage")["Attributes"], "name"), "A1");
}

#[tokio::test]
async fn links_name_relationship_and_both_rows() {
    let (env, collector) = watched("account");
    let person = env.person();
    let mut primary = BTreeSet::new();
    account(&env, 1).await;
    let _ = collector.take();
    for n in 10..30 {
        env.create(&person, "contact", &json!({"contactid": id(n)})).unwrap();
        env.associate(&person, "new_account_contact", "contact", id(n), id(1)).unwrap();
        let (event, body) = only(&collector);
        assert_eq!(
            (body["MessageName"].clone(), body["PrimaryEntityName"].clone()),
            (json!("Associate"), json!("none"))
        );
        assert_eq!(at(&body["InputParameters"], "Relationship")["SchemaName"], "new_account_contact");
        assert_eq!(target(&body)["LogicalName"], "contact");
        let related = &at(&body["InputParameters"], "RelatedEntities")[0];
        assert_eq!((related["LogicalName"].clone(), related["Id"].clone()), (json!("account"), json!(id(1))));
        primary.insert(body["PrimaryEntityId"] == json!(Uuid::nil()));
        assert!(event.webhook().headers.contains(&("x-ms-dynamics-entity-name", "none".to_owned())));
    }
    assert_eq!(primary.len(), 2, "both forms of PrimaryEntityId occur");
    env.disassociate(&person, "new_account_contact", "account", id(1), id(10)).unwrap();
    assert_eq!(only(&collector).1["MessageName"], "Disassociate");
    env.disassociate(&person, "new_account_contact", "account", id(1), id(10)).unwrap();
    assert!(collector.take().is_empty());
}

#[tokio::test]
async fn an_elastic_table_raises_upsert_and_parties_are_a_collection() {
    let (env, collector) = watched("new_reading");
    for _ in 0..2 {
        patch(&env, &format!("new_readings({})", id(1)), json!({"new_value": 1})).await;
        assert_eq!(only(&collector).1["MessageName"], "Upsert");
    }
    let (env, collector) = watched("appointment");
    patch(&env, &format!("contacts({})", id(2)), json!({})).await;
    let party = json!({"participationtypemask": 5, "partyid_contact@odata.bind": format!("contacts({})", id(2))});
    patch(&env, &format!("appointments({})", id(1)), json!({"appointment_activity_parties": [party]})).await;
    let (_, body) = only(&collector);
    let parties = at(&target(&body)["Attributes"], "requiredattendees");
    assert_eq!(parties["EntityName"], "activityparty");
    assert_eq!(at(&parties["Entities"][0]["Attributes"], "partyid")["Id"], json!(id(2)));
    assert!(parties["Entities"][0].get("__type").is_none());
}

#[tokio::test]
async fn every_event_has_an_id_of_its_own_and_a_chain_shares_one() {
    let (env, collector) = watched("account");
    let mut origin = env.person();
    origin.correlation = Some(id(0xc0));
    origin.depth = 2;
    for n in 1..=2 {
        env.create(&origin, "account", &json!({"accountid": id(n)})).unwrap();
    }
    let events = collector.take();
    assert_ne!(events[0].operation, events[1].operation);
    assert_eq!((events[0].correlation, events[1].correlation), (id(0xc0), id(0xc0)));
    assert!(events[0].sequence < events[1].sequence);
    let body: Value = serde_json::from_slice(&events[0].body).unwrap();
    assert_eq!((body["Depth"].clone(), body["CorrelationId"].clone()), (json!(2), json!(id(0xc0))));
}

#[tokio::test]
async fn refused_writes_and_bypassed_steps_raise_nothing() {
    let (env, collector) = watched("account");
    let path = format!("accounts({})", id(1));
    patch(&env, &path, json!({"name": 1})).await;
    patch(&env, &path, json!({"primarycontactid@odata.bind": format!("contacts({})", id(9))})).await;
    for (name, value) in [
        ("mscrm.bypassbusinesslogicexecution", "CustomSync,CustomAsync".to_owned()),
        ("mscrm.bypassbusinesslogicexecutionstepids", id(0xe).to_string()),
    ] {
        assert_eq!(call(&env, "PATCH", &path, &[(name, &value)], Some(json!({"name": "x"}))).await.status, 204);
    }
    assert!(collector.take().is_empty());
}

#[tokio::test]
async fn headers_and_properties_are_the_documented_ones() {
    let (env, collector) = watched("account");
    account(&env, 1).await;
    let (event, body) = only(&collector);
    let post = event.webhook();
    let header = |wanted: &str| post.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
    assert_eq!(header("x-ms-dynamics-organization"), Some(env.world().host()));
    assert_eq!(header("x-ms-dynamics-entity-name"), Some("account"));
    assert_eq!(header("x-ms-dynamics-request-name"), Some("Create"));
    assert_eq!(header("x-ms-correlation-request-id"), body["CorrelationId"].as_str());
    assert_eq!(header("x-ms-dynamics-msg-size-exceeded"), None);
    let message = event.queue().unwrap();
    let property = |name: &str| &message.properties[&format!("http://schemas.microsoft.com/xrm/2011/Claims/{name}")];
    assert_eq!(property("EntityLogicalName"), "account");
    assert_eq!(property("RequestName"), "Create");
    assert!(property("Organization").contains(env.world().host()));
    assert_eq!(message.body, event.body);
}

#[tokio::test]
async fn oversized_contexts_lose_their_parameters_but_not_their_ids() {
    let mut schema = sample_schema();
    let mut table = schema.tables.remove("account").unwrap();
    for name in ["description", "telephone1"] {
        table.columns.get_mut(name).unwrap().kind = crate::sim::dataverse::schema::Kind::Memo(400_000);
    }
    let env = Environment::new(Settings { schema: schema.with(table), ..settings() });
    let collector = Collector::default();
    env.subscribe(Step::new(id(0xe), "account", Sink::Collect(collector.clone())));
    let mut forms = BTreeSet::new();
    for n in 0..20 {
        // Target and parent context both hold the text.
        let body = json!({"accountid": id(n), "description": "x".repeat(110 * 1024)});
        env.create(&env.person(), "account", &body).unwrap();
        let (event, _) = only(&collector);
        assert_eq!(event.webhook().body, event.body, "within the webhook's limit");
        let message = event.queue().unwrap();
        assert!(message.properties.keys().any(|name| name.contains("MessageMaxSizeExceeded")));
        let stripped: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(stripped["PrimaryEntityId"], json!(id(n)));
        assert_eq!(at(&stripped["SharedVariables"], "IsAutoTransact"), true);
        assert_eq!(at(&stripped["OutputParameters"], "id"), &json!(id(n)));
        forms.insert(stripped.get("InputParameters").map(ToString::to_string));
    }
    assert_eq!(forms.len(), 3, "absent, null and empty all occur");
    let body = json!({"accountid": id(99), "description": "x".repeat(200 * 1024)});
    env.create(&env.person(), "account", &body).unwrap();
    let post = only(&collector).0.webhook();
    assert!(post.headers.contains(&("x-ms-dynamics-msg-size-exceeded", "true".to_owned())));
    assert!(post.body.len() < 10_000);
}

//! Values on their whole way: source row, event, decoding, mapping, body, target row.

use super::world::{World, deliver, redeliver, words};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn every_column_type_arrives_as_it_was() {
    let world = World::new(super::world::PLAIN);
    let instance = world.instance();
    // the euro has another GUID in each environment: it is found by its ISO code
    let euro = *world.source.rows("transactioncurrency").keys().next().unwrap();
    assert!(world.target.row("transactioncurrency", euro).is_none());
    let account = world.create(
        "account",
        json!({
            "name": "Alpenglühen & Söhne", "numberofemployees": 12, "revenue": 1234.56, "creditonhold": true,
            "industrycode": 7, "new_segments": "100000001,100000009", "new_rating": 1.2345, "new_score": 0.5,
            "new_sequence": 9_007_199_254_740_993_i64, "transactioncurrencyid@odata.bind": format!("transactioncurrencies({euro})"),
        }),
    );
    let contact = world.create(
        "contact",
        json!({
            "firstname": "Zoë", "lastname": "O'Neil", "birthdate": "1990-02-28",
            "lastusedincampaign": "2026-01-02T03:04:05Z",
            "parentcustomerid_account@odata.bind": format!("accounts({account})"),
        }),
    );
    world.update(
        "account",
        account,
        json!({ "primarycontactid@odata.bind": format!("contacts({contact})"), "description": null }),
    );
    world.update("account", account, json!({ "statecode": 1, "statuscode": 2 }));
    for event in world.events().await {
        redeliver(&instance, &event).await;
    }
    let found = dataverse_sync::sim::dataverse::difference(
        &world.source,
        &world.target,
        &["account", "contact"],
        &["ownerid", "transactioncurrencyid"],
    );
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_renamed_and_mapped_column_arrives_under_its_other_name_and_value() {
    let toml = r#"
        version = 1
        [tables.account.columns]
        rename = { telephone1 = "description" }
        values = { industrycode = { "1" = 2 } }
    "#;
    let world = World::new(toml);
    let instance = world.instance();
    let id = world.create("account", json!({ "name": "A", "telephone1": "555", "industrycode": 1 }));
    assert_eq!(words(&deliver(&instance, &world.events().await[0]).await.unwrap()), "applied: created");
    let row = world.target.row("account", id).unwrap();
    let text = |column: &str| format!("{:?}", row.get(column));
    assert_eq!((text("description"), text("telephone1")), ("Some(Text(\"555\"))".to_owned(), "None".to_owned()));
    assert!(text("industrycode").contains('2'), "{}", text("industrycode"));
}

#[tokio::test(start_paused = true)]
async fn owners_are_found_by_a_column_and_fall_back_to_the_default() {
    let team = "11111111-2222-3333-4444-555555555555";
    let toml = format!(
        "version = 1\n[tables.account.lookups]\nownerid = {{ by = \"azureactivedirectoryobjectid\", default = \"{team}\" }}\n"
    );
    let world = World::new(&toml);
    let instance = world.instance();
    let (person, service) = (world.source.person(), world.target.service());
    let entra = "99999999-0000-4000-8000-000000000001";
    let user = json!({ "fullname": "Ann", "azureactivedirectoryobjectid": entra });
    let there = world.source.create(&person, "systemuser", &user).unwrap();
    let here = world.target.create(&service, "systemuser", &user).unwrap();
    let id = world.create("account", json!({ "name": "A", "ownerid@odata.bind": format!("systemusers({there})") }));
    redeliver(&instance, &world.events().await[0]).await;
    let owner = format!("{:?}", world.target.row("account", id).unwrap().get("ownerid"));
    assert!(owner.contains(&here.to_string()), "{owner}");
}

#[tokio::test(start_paused = true)]
async fn keys_that_work_in_no_url_are_written_all_the_same() {
    let world = World::new("version = 1\n[tables.account]\nkey = [\"accountnumber\"]\n");
    let instance = world.instance();
    for key in ["A/1", "a%b", "O'Neil", "x&y?z", "plain", "ü 1"] {
        let id = world.create("account", json!({ "name": "first", "accountnumber": key }));
        world.update("account", id, json!({ "name": format!("second {key}") }));
        for event in world.events().await {
            redeliver(&instance, &event).await;
        }
    }
    let names: Vec<String> =
        world.target.rows("account").values().map(|row| format!("{:?}", row.get("name"))).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert!(names.iter().all(|name| name.contains("second")), "{names:?}");
}

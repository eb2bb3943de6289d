//! Upserts, keys, lookups, deletes and links.

use super::*;
use crate::sim::dataverse::schema::KeyStatus;
use crate::sim::dataverse::{Cell, difference};
use std::time::Duration;

#[tokio::test]
async fn an_upsert_creates_then_updates() {
    let env = environment();
    let path = account(&env, 1).await;
    let back = patch(&env, &path, json!({"telephone1": "1"})).await;
    assert_eq!(back.status, 204);
    assert_eq!(back.headers["odata-entityid"], format!("http://here/api/data/v9.2/{path}"));
    let row = env.row("account", id(1)).unwrap();
    assert_eq!(row.get("name"), Some(&Cell::Text("A1".into())));
    assert_eq!(row.get("telephone1"), Some(&Cell::Text("1".into())));
}

#[tokio::test]
async fn an_upsert_by_key_echoes_the_key_and_copies_it_into_the_row() {
    let env = environment();
    let path = "accounts(accountnumber='O''Brien%20%C3%A4')";
    let back = patch(&env, path, json!({"name": "x"})).await;
    assert_eq!((back.status, back.headers["odata-entityid"].ends_with(path)), (204, true));
    let rows = env.rows("account");
    assert_eq!(rows.values().next().unwrap().get("accountnumber"), Some(&Cell::Text("O'Brien ä".into())));
    // Case and trailing blanks make no other key.
    assert_eq!(patch(&env, "accounts(accountnumber='o''brien%20%C3%A4%20')", json!({"name": "y"})).await.status, 204);
    assert_eq!(env.rows("account").len(), 1);
}

#[tokio::test]
async fn a_key_column_in_the_body_wins_on_create_and_is_dropped_on_update() {
    let env = environment();
    let body = json!({"accountnumber": "B"});
    assert_eq!(patch(&env, "accounts(accountnumber='A')", body.clone()).await.status, 204);
    assert_eq!(get(&env, "accounts(accountnumber='A')").await.status, 404);
    assert_eq!(patch(&env, "accounts(accountnumber='B')", json!({"accountnumber": "C"})).await.status, 204);
    assert_eq!(get(&env, "accounts(accountnumber='B')").await.status, 200);
}

#[tokio::test]
async fn the_primary_key_is_never_changed() {
    let env = environment();
    let path = account(&env, 1).await;
    patch(&env, &path, json!({"accountnumber": "A"})).await;
    let other = json!({"accountid": id(2)});
    for path in [path.as_str(), "accounts(accountnumber='A')", &format!("accounts({})", id(3))] {
        assert_eq!(refused(&patch(&env, path, other.clone()).await), (400, "0x80040203".into()));
    }
    assert_eq!(patch(&env, &path, json!({"accountid": id(1), "name": "x"})).await.status, 204);
    // A free key takes the id of the body, if that is free too.
    assert_eq!(patch(&env, "accounts(accountnumber='B')", other.clone()).await.status, 204);
    let taken = patch(&env, "accounts(accountnumber='C')", other).await;
    assert_eq!(refused(&taken), (412, "0x80040237".into()));
}

#[tokio::test]
async fn representation_tells_create_from_update() {
    let env = environment();
    let prefer = [("prefer", "return=representation")];
    let path = format!("accounts({})?$select=accountid", id(1));
    let created = call(&env, "PATCH", &path, &prefer, Some(json!({"name": "x"}))).await;
    assert_eq!(created.status, 201);
    assert!(!created.headers.contains_key("odata-entityid"));
    assert_eq!(created.body["accountid"], id(1).to_string());
    assert!(created.body.get("name").is_none());
    let updated = call(&env, "PATCH", &path, &prefer, Some(json!({"name": "y"}))).await;
    assert_eq!(updated.status, 200);
    assert_eq!(updated.headers["etag"], updated.body["@odata.etag"].as_str().unwrap());
}

#[tokio::test]
async fn a_post_with_a_taken_id_is_a_duplicate() {
    let env = environment();
    account(&env, 1).await;
    let back = call(&env, "POST", "accounts", &[], Some(json!({"accountid": id(1), "name": "x"}))).await;
    assert_eq!(refused(&back), (412, "0x80040237".into()));
    let back = call(&env, "POST", "accounts", &[], Some(json!({"name": "x"}))).await;
    assert_eq!(back.status, 204);
    assert_eq!(env.rows("account").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_parallel_upserts_of_a_missing_row_race_by_id() {
    let env = Environment::new(Settings { race_window: Duration::from_millis(50), ..settings() });
    let path = format!("accounts({})", id(1));
    let (a, b) = tokio::join!(
        patch(&env, &path, json!({"name": "a"})),
        call(
            &env,
            "PATCH",
            &path,
            &[("prefer", "odata.include-annotations=\"Microsoft.PowerApps.CDS.ErrorDetails*\"")],
            Some(json!({"name": "b"}))
        )
    );
    assert_eq!(a.status, 204);
    assert_eq!(refused(&b), (412, "0x80040237".into()));
    let name = &b.body["error"]["@Microsoft.PowerApps.CDS.ErrorDetails.ApiExceptionMessageName"];
    assert_eq!(name, "DuplicateRecord");
    assert_eq!(patch(&env, &path, json!({"name": "b"})).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn two_parallel_upserts_of_a_missing_row_race_by_key() {
    let env = Environment::new(Settings { race_window: Duration::from_millis(50), ..settings() });
    let path = "accounts(accountnumber='A-1')";
    let (a, b) = tokio::join!(patch(&env, path, json!({"name": "a"})), patch(&env, path, json!({"name": "b"})));
    assert_eq!(a.status, 204);
    assert_eq!(refused(&b), (412, "0x80060892".into()));
    // Details only for those who ask.
    assert_eq!(b.body["error"].as_object().unwrap().len(), 2);
    assert_eq!(env.rows("account").len(), 1);
}

#[tokio::test]
async fn another_rows_key_is_named_but_not_that_row() {
    let env = environment();
    patch(&env, "accounts(accountnumber='A-1')", json!({})).await;
    let prefer = [("prefer", "odata.include-annotations=\"*\"")];
    let path = format!("accounts({})", id(7));
    let back = call(&env, "PATCH", &path, &prefer, Some(json!({"accountnumber": "a-1"}))).await;
    assert_eq!(refused(&back), (412, "0x80060892".into()));
    let details = |name: &str| back.body["error"][format!("@Microsoft.PowerApps.CDS.ErrorDetails.{name}")].to_string();
    assert!(details("DuplicateAttributes").contains("<accountnumber>a-1</accountnumber>"));
    assert!(details("DuplicateEntity").contains(&id(7).to_string()));
}

#[tokio::test]
async fn an_inactive_key_prevents_nothing() {
    for status in [KeyStatus::Pending, KeyStatus::InProgress, KeyStatus::Failed] {
        let mut schema = sample_schema();
        schema.tables.get_mut("account").unwrap().keys[0].status = status;
        let env = Environment::new(Settings { schema, ..settings() });
        for n in 1..3 {
            let back = patch(&env, &format!("accounts({})", id(n)), json!({"accountnumber": "A"})).await;
            assert_eq!(back.status, 204);
        }
        let back = patch(&env, "accounts(accountnumber='A')", json!({"name": "x"})).await;
        assert_eq!(refused(&back), (400, "0x8006089d".into()));
    }
}

#[tokio::test]
async fn addresses_by_key_are_checked() {
    let env = environment();
    for (path, status, code) in [
        ("accounts(name='x')", 400, "0x80060890"),
        ("accounts(nosuch='x')", 400, "0x80060888"),
        ("accounts(accountnumber=1)", 400, "0x80060888"),
        ("accounts(accountnumber='a%2Fb')", 400, "0x80060888"),
        ("accounts(accountnumber='a%26b')", 400, "0x80060888"),
        ("salesorderdetails(salesorderid=11111111-0000-4000-8000-000000000001,lineitemnumber=1)", 400, "0x80060888"),
        ("systemusers(systemuserid=11111111-0000-4000-8000-000000000001)", 400, "0x80060888"),
        ("nosuchset(accountnumber='x')", 404, "0x80060888"),
        ("Accounts(accountnumber='x')", 404, "0x80060888"),
        ("account(accountnumber='x')", 404, "0x80060888"),
    ] {
        assert_eq!(refused(&patch(&env, path, json!({})).await), (status, code.into()), "{path}");
    }
    let path = "contacts(firstname='Joe',emailaddress1='a@b')";
    assert_eq!(patch(&env, path, json!({"lastname": "x"})).await.status, 204);
    let order = format!("salesorders({})", id(1));
    patch(&env, &order, json!({"name": "o"})).await;
    let line = format!("salesorderdetails(_salesorderid_value={},lineitemnumber=1)", id(1));
    assert_eq!(patch(&env, &line, json!({"quantity": 2})).await.status, 204);
    assert_eq!(patch(&env, &line, json!({"quantity": 3})).await.status, 204);
    assert_eq!(env.rows("salesorderdetail").len(), 1);
}

#[tokio::test]
async fn lookups_are_bound_by_their_exact_navigation_property() {
    let env = environment();
    account(&env, 1).await;
    let contact = format!("contacts({})", id(2));
    let account = format!("/accounts({})", id(1));
    let order = format!("salesorders({})", id(3));
    for (path, body, status, code) in [
        (&contact, json!({"parentcustomerid_account@odata.bind": account}), 204, ""),
        (&order, json!({"new_ShipToId@odata.bind": format!("contacts({})", id(2))}), 204, ""),
        (&order, json!({"new_shiptoid@odata.bind": format!("contacts({})", id(2))}), 400, "0x80048d19"),
        (&contact, json!({"parentcustomerid@odata.bind": account}), 400, "0x80048d19"),
        (&contact, json!({"parentcustomerid_contact@odata.bind": account}), 400, "0x80048d19"),
        (&contact, json!({"parentcustomerid": id(1)}), 400, "0x80048d19"),
        (&contact, json!({"_parentcustomerid_value": id(1)}), 400, "0x80048d19"),
        (&contact, json!({"nosuchcolumn": 1}), 400, "0x80048d19"),
        (&contact, json!({"parentcustomerid_account@odata.bind": "accounts"}), 400, "0x80048d19"),
        (&contact, json!({"parentcustomerid_account@odata.bind": format!("/accounts({})", id(9))}), 404, "0x80040217"),
        (&contact, json!({"parentcustomerid_account@odata.bind": "accounts(accountnumber='no')"}), 404, "0x80060891"),
    ] {
        assert_eq!(refused(&patch(&env, path, body.clone()).await), (status, code.into()), "{body}");
    }
    let bound = |env: &Environment| env.row("contact", id(2)).unwrap().get("parentcustomerid").cloned();
    assert_eq!(bound(&env), Some(Cell::Lookup { table: "account".into(), id: id(1) }));
    assert_eq!(patch(&env, &contact, json!({"parentcustomerid_account": null})).await.status, 204);
    assert_eq!(bound(&env), None);
}

#[tokio::test]
async fn setting_one_target_of_a_lookup_clears_the_other() {
    let env = environment();
    account(&env, 1).await;
    patch(&env, &format!("contacts({})", id(2)), json!({})).await;
    let task = format!("tasks({})", id(3));
    let to_account = json!({"regardingobjectid_account_task@odata.bind": format!("accounts({})", id(1))});
    let to_contact = json!({
        "regardingobjectid_contact_task@odata.bind": format!("contacts({})", id(2)),
        "regardingobjectid_account_task": null,
    });
    for body in [to_account, to_contact] {
        assert_eq!(patch(&env, &task, body).await.status, 204);
    }
    let cell = env.row("task", id(3)).unwrap().get("regardingobjectid").cloned();
    assert_eq!(cell, Some(Cell::Lookup { table: "contact".into(), id: id(2) }));
}

#[tokio::test]
async fn owners_are_users_or_teams_and_never_nobody() {
    let env = environment();
    let path = account(&env, 1).await;
    let team = format!("/teams({})", env.world().team);
    assert_eq!(patch(&env, &path, json!({"ownerid@odata.bind": team})).await.status, 204);
    let row = env.row("account", id(1)).unwrap();
    assert!(row.get("owningteam").is_some() && row.get("owninguser").is_none());
    assert_eq!(refused(&patch(&env, &path, json!({"ownerid": null})).await), (400, "0x80040229".into()));
    let wrong = json!({"ownerid@odata.bind": format!("accounts({})", id(1))});
    assert_eq!(patch(&env, &path, wrong).await.status, 400);
}

#[tokio::test]
async fn deletes_unlink_cascade_or_are_refused() {
    let env = environment();
    let person = env.person();
    account(&env, 1).await;
    let bind = format!("accounts({})", id(1));
    env.create(&person, "contact", &json!({"contactid": id(2), "parentcustomerid_account@odata.bind": bind})).unwrap();
    env.create(&person, "product", &json!({"productid": id(3), "productnumber": "P"})).unwrap();
    env.create(&person, "salesorder", &json!({"salesorderid": id(4)})).unwrap();
    let line = json!({
        "salesorderdetailid": id(5),
        "salesorderid@odata.bind": format!("salesorders({})", id(4)),
        "productid@odata.bind": format!("products({})", id(3)),
    });
    env.create(&person, "salesorderdetail", &line).unwrap();
    let etag = env.row("contact", id(2)).unwrap().etag();

    assert_eq!(refused(&delete(&env, &format!("products({})", id(3))).await), (405, "0x80040227".into()));
    assert_eq!(delete(&env, &bind).await.status, 204);
    let contact = env.row("contact", id(2)).unwrap();
    assert!(contact.get("parentcustomerid").is_none() && contact.etag() != etag);
    assert_eq!(delete(&env, &format!("salesorders({})", id(4))).await.status, 204);
    assert!(env.rows("salesorderdetail").is_empty());
    assert_eq!(delete(&env, &format!("products({})", id(3))).await.status, 204);
    assert_eq!(refused(&delete(&env, &bind).await), (404, "0x80040217".into()));
    assert_eq!(refused(&delete(&env, "accounts(accountnumber='x')").await), (404, "0x80060891".into()));
}

#[tokio::test]
async fn links_are_made_once_and_removed() {
    let env = environment();
    account(&env, 1).await;
    patch(&env, &format!("contacts({})", id(2)), json!({})).await;
    let path = format!("accounts({})/new_account_contact/$ref", id(1));
    let body = |n| json!({"@odata.id": format!("http://here/api/data/v9.2/contacts({})", id(n))});
    let link = |body| call(&env, "POST", &path, &[], Some(body));
    assert_eq!(link(body(2)).await.status, 204);
    let again = link(body(2)).await;
    assert_eq!(refused(&again), (412, "0x80040237".into()));
    assert_eq!(again.body["error"]["message"], "Cannot insert duplicate key.");
    assert_eq!(link(body(9)).await.code(), "0x80040217");
    assert_eq!(link(json!({"@odata.id": format!("contacts({})", id(2))})).await.status, 400);
    let listed = get(&env, &format!("accounts({})/new_account_contact?$select=contactid", id(1))).await;
    assert_eq!(listed.body["value"][0]["contactid"], id(2).to_string());
    let listed = get(&env, &format!("contacts({})/new_account_contact?$select=accountid", id(2))).await;
    assert_eq!(listed.body["value"][0]["accountid"], id(1).to_string());

    let remove = format!("contacts({})/new_account_contact({})/$ref", id(2), id(1));
    assert_eq!(delete(&env, &remove).await.status, 204);
    assert_eq!(delete(&env, &remove).await.status, 204);
    assert!(env.links("new_account_contact").is_empty());
    link(body(2)).await;
    let by_query = format!("{path}?$id=http://here/api/data/v9.2/contacts({})", id(2));
    assert_eq!(delete(&env, &by_query).await.status, 204);
    assert!(env.links("new_account_contact").is_empty());
}

#[tokio::test]
async fn an_elastic_table_replaces_the_row() {
    let env = environment();
    let path = format!("new_readings({})", id(1));
    patch(&env, &path, json!({"new_name": "n", "new_value": 1.5})).await;
    patch(&env, &path, json!({"new_value": 2})).await;
    let row = env.row("new_reading", id(1)).unwrap();
    assert!(row.get("new_name").is_none());
    assert_eq!(row.get("new_value").unwrap().to_string(), "2.0000");
}

#[tokio::test]
async fn parties_are_replaced_as_a_whole() {
    let env = environment();
    for n in [1, 2] {
        patch(&env, &format!("contacts({})", id(n)), json!({})).await;
    }
    let party = |n: u128, mask: i64| json!({"participationtypemask": mask, "partyid_contact@odata.bind": format!("contacts({})", id(n))});
    let path = format!("appointments({})", id(3));
    let body = json!({"subject": "s", "appointment_activity_parties": [party(1, 5), party(2, 6)]});
    assert_eq!(patch(&env, &path, body).await.status, 204);
    assert_eq!(patch(&env, &path, json!({"appointment_activity_parties": [party(2, 5)]})).await.status, 204);
    let row = env.row("appointment", id(3)).unwrap();
    assert!(row.get("optionalattendees").is_none());
    assert_eq!(row.get("requiredattendees").unwrap().to_string(), format!("contact:{};", id(2)));
    assert_eq!(patch(&env, &path, json!({"appointment_activity_parties": [party(2, 1)]})).await.status, 400);
    assert_eq!(patch(&env, &path, json!({"requiredattendees": "x"})).await.status, 400);
}

#[tokio::test]
async fn differences_name_row_column_and_link() {
    let (one, two) = (environment(), Environment::new(Settings { seed: 2, ..settings() }));
    for env in [&one, &two] {
        account(env, 1).await;
    }
    let none = difference(&one, &two, &["account", "contact"], &["ownerid"]);
    assert_eq!(none, Vec::new());
    patch(&one, &format!("accounts({})", id(1)), json!({"name": "other"})).await;
    patch(&two, &format!("contacts({})", id(2)), json!({})).await;
    let found = difference(&one, &two, &["account", "contact"], &["ownerid"]);
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains("name: other / A1"));
    assert!(texts[1].contains("missing in the First"));
}

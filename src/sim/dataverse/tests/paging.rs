//! Pages, `In`, change tracking, the tables behind links.

use super::*;
use std::time::Duration;

const TRACK: (&str, &str) = ("prefer", "odata.track-changes, odata.maxpagesize=2");

fn below(link: &Value) -> Option<String> {
    link.as_str().map(|link| link.split_once("/v9.2/").unwrap().1.to_owned())
}

/// All pages from here on: ids (a deleted one with `-` in front), and the last body.
async fn all(env: &Environment, path: &str, id_column: &str, prefer: (&str, &str)) -> (Vec<String>, Value) {
    let (mut seen, mut next) = (Vec::new(), path.to_owned());
    loop {
        let back = call(env, "GET", &next, &[prefer], None).await;
        assert_eq!(back.status, 200, "{next}: {:?}", back.body);
        for row in back.body["value"].as_array().unwrap() {
            seen.push(match row[id_column].as_str() {
                Some(id) => id.to_owned(),
                None => {
                    assert!(row["@odata.context"].as_str().unwrap().ends_with("/$deletedEntity"));
                    assert_eq!(row["reason"], "deleted");
                    format!("-{}", row["id"].as_str().unwrap())
                }
            });
        }
        match below(&back.body["@odata.nextLink"]) {
            Some(link) => next = link,
            None => return (seen, back.body),
        }
    }
}

#[tokio::test]
async fn pages_by_primary_key_lose_nothing_when_rows_come_and_go_behind_them() {
    let env = environment();
    for n in [0x0100, 0x0001, 0x0203, 0x0300] {
        account(&env, n).await;
    }
    let prefer = [("prefer", "odata.maxpagesize=2")];
    let first = call(&env, "GET", "accounts?$select=name&$orderby=accountid", &prefer, None).await.body;
    assert_eq!(first["value"][0]["accountid"], id(0x0001).to_string());
    delete(&env, &format!("accounts({})", id(0x0001))).await;
    let second = call(&env, "GET", &below(&first["@odata.nextLink"]).unwrap(), &prefer, None).await.body;
    let ids: Vec<&str> = second["value"].as_array().unwrap().iter().map(|r| r["accountid"].as_str().unwrap()).collect();
    assert_eq!(ids, [id(0x0203).to_string(), id(0x0300).to_string()]);
    assert!(second.get("@odata.nextLink").is_none());
    assert_eq!(get(&env, "accounts?$skiptoken=2").await.status, 400);
}

#[tokio::test]
async fn rows_are_found_by_a_list_of_values() {
    let env = environment();
    for n in 1..=3 {
        patch(&env, &format!("accounts({})", id(n)), json!({"numberofemployees": n, "accountnumber": format!("A{n}")}))
            .await;
    }
    let found = async |filter: &str| {
        let filter = filter.replace(' ', "%20");
        let back = get(&env, &format!("accounts?$select=accountid&$filter=Microsoft.Dynamics.CRM.In({filter})")).await;
        back.body["value"].as_array().map(Vec::len)
    };
    let ids = format!("PropertyName='accountid',PropertyValues=['{}','{}','{}']", id(1), id(3), id(9));
    assert_eq!(found(&ids).await, Some(2));
    assert_eq!(found("PropertyName='numberofemployees',PropertyValues=['2','3']").await, Some(2));
    assert_eq!(found("PropertyName='accountnumber',PropertyValues=['a1']").await, Some(1));
    assert_eq!(found("PropertyName='numberofemployees',PropertyValues=[2]").await, None);
    assert_eq!(found("PropertyName='nosuch',PropertyValues=['2']").await, None);
}

#[tokio::test]
async fn a_delta_link_shows_what_changed_since_with_deletes_last() {
    let env = environment();
    for n in 1..=5 {
        account(&env, n).await;
    }
    let (seen, last) = all(&env, "accounts?$select=name", "accountid", TRACK).await;
    assert_eq!(seen.len(), 5);
    let link = below(&last["@odata.deltaLink"]).unwrap();
    delete(&env, &format!("accounts({})", id(1))).await;
    account(&env, 6).await;
    delete(&env, &format!("accounts({})", id(6))).await;
    for n in [2, 7, 8] {
        account(&env, n).await;
    }
    let plain = ("prefer", "odata.maxpagesize=2");
    let (seen, last) = all(&env, &link, "accountid", plain).await;
    let gone = |n| format!("-{}", id(n));
    assert_eq!(seen, [id(2).to_string(), id(7).to_string(), id(8).to_string(), gone(1), gone(6)]);
    let (seen, _) = all(&env, &below(&last["@odata.deltaLink"]).unwrap(), "accountid", plain).await;
    assert!(seen.is_empty(), "{seen:?}");
    // the old link still works, and says the same
    assert_eq!(all(&env, &link, "accountid", plain).await.0.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn change_tracking_refuses_what_it_does_not_take() {
    let mut schema = sample_schema();
    schema.tables.get_mut("contact").unwrap().change_tracking = false;
    let env = Environment::new(Settings { schema, ..settings() });
    account(&env, 1).await;
    for query in ["$filter=name%20eq%20'x'", "$orderby=name", "$top=1", "$count=true"] {
        let back = call(&env, "GET", &format!("accounts?$select=name&{query}"), &[TRACK], None).await;
        assert_eq!(back.status, 400, "{query}");
    }
    assert_eq!(call(&env, "GET", "contacts?$select=fullname", &[TRACK], None).await.status, 400);
    let (_, last) = all(&env, "accounts?$select=name", "accountid", TRACK).await;
    let link = below(&last["@odata.deltaLink"]).unwrap();
    tokio::time::sleep(Duration::from_secs(7 * 86_400 - 10)).await;
    assert_eq!(get(&env, &link).await.status, 200);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(refused(&get(&env, &link).await), (400, "0x80044352".to_owned()));
    assert_eq!(get(&env, "accounts?$deltatoken=nonsense").await.status, 400);
}

#[tokio::test]
async fn links_are_rows_of_a_table_of_their_own() {
    let env = environment();
    let mut expected = Vec::new();
    for n in 1..=3 {
        let path = account(&env, n).await;
        patch(&env, &format!("contacts({})", id(100 - n)), json!({"lastname": "c"})).await;
        let other = format!("http://here/api/data/v9.2/contacts({})", id(100 - n));
        let body = json!({"@odata.id": other});
        let back = call(&env, "POST", &format!("{path}/new_account_contact/$ref"), &[], Some(body)).await;
        assert_eq!(back.status, 204);
        expected.push(id(n).to_string());
    }
    let query = "new_account_contactset?$select=accountid,contactid&$orderby=accountid,contactid";
    let (seen, last) = all(&env, query, "accountid", ("prefer", "odata.maxpagesize=2")).await;
    assert_eq!(seen, expected);
    assert_eq!(last["value"][0]["contactid"], id(97).to_string());
    let names = "EntityDefinitions?$select=LogicalName,EntitySetName&$filter=LogicalName%20eq%20'new_account_contact'";
    assert_eq!(get(&env, names).await.body["value"][0]["EntitySetName"], "new_account_contactset");
    assert_eq!(call(&env, "GET", query, &[TRACK], None).await.status, 400);
    assert_eq!(get(&env, "new_account_contactset?$select=name").await.status, 400);
}

#[tokio::test]
async fn a_secured_column_reads_as_null() {
    let mut schema = sample_schema();
    let column = schema.tables.get_mut("account").unwrap().columns.get_mut("telephone1").unwrap();
    *column = column.clone().secured();
    let env = Environment::new(Settings { schema, ..settings() });
    patch(&env, &format!("accounts({})", id(1)), json!({"telephone1": "1", "name": "n"})).await;
    let body = get(&env, &format!("accounts({})?$select=name,telephone1", id(1))).await.body;
    assert_eq!((&body["name"], &body["telephone1"]), (&json!("n"), &Value::Null));
    let facts = "EntityDefinitions(LogicalName='account')/Attributes?$select=LogicalName,IsSecured";
    let all = get(&env, facts).await.body;
    let secured = all["value"].as_array().unwrap().iter().filter(|a| a["IsSecured"] == true);
    assert_eq!(secured.map(|a| a["LogicalName"].as_str().unwrap()).collect::<Vec<_>>(), ["telephone1"]);
}

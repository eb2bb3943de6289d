//! GET: columns, filters, pages, annotations.

use super::*;

#[tokio::test]
async fn a_row_is_shown_with_lookups_as_values() {
    let env = environment();
    account(&env, 1).await;
    let contact = json!({
        "firstname": "Zoë",
        "birthdate": "1985-05-24",
        "new_interests": "100000003,100000000",
        "lastusedincampaign": "2020-01-02T03:04:05.678+02:00",
        "parentcustomerid_account@odata.bind": format!("accounts({})", id(1)),
    });
    patch(&env, &format!("contacts({})", id(2)), contact).await;
    let body = get(&env, &format!("contacts({})", id(2))).await.body;
    assert_eq!(body["_parentcustomerid_value"], id(1).to_string());
    assert_eq!(body["birthdate"], "1985-05-24");
    assert_eq!(body["new_interests"], "100000000,100000003");
    assert_eq!(body["lastusedincampaign"], "2020-01-02T01:04:05Z");
    assert_eq!(body["jobtitle"], Value::Null);
    assert_eq!(body["statecode"], 0);
    let version = body["versionnumber"].as_i64().unwrap();
    assert_eq!(body["@odata.etag"], format!("W/\"{version}\""));
    assert!(body.get("parentcustomerid").is_none());
}

#[tokio::test]
async fn annotations_come_only_when_asked_for() {
    let env = environment();
    account(&env, 1).await;
    let contact = json!({"parentcustomerid_account@odata.bind": format!("accounts({})", id(1))});
    patch(&env, &format!("contacts({})", id(2)), contact).await;
    let path = format!("contacts({})?$select=_parentcustomerid_value", id(2));
    assert_eq!(get(&env, &path).await.body.as_object().unwrap().len(), 4);
    let prefer = [("prefer", "odata.include-annotations=\"Microsoft.Dynamics.CRM.*\"")];
    let body = call(&env, "GET", &path, &prefer, None).await.body;
    assert_eq!(body["_parentcustomerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"], "account");
    let navigation = "_parentcustomerid_value@Microsoft.Dynamics.CRM.associatednavigationproperty";
    assert_eq!(body[navigation], "parentcustomerid_account");
    assert!(body.get("_parentcustomerid_value@OData.Community.Display.V1.FormattedValue").is_none());
}

#[tokio::test]
async fn rows_are_filtered_ordered_and_paged() {
    let env = environment();
    for n in 1..=5 {
        let body = json!({"name": format!("A{n}"), "numberofemployees": n % 2});
        patch(&env, &format!("accounts({})", id(n)), body).await;
    }
    let names = |body: &Value| -> Vec<String> {
        body["value"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    let query =
        "accounts?$select=name&$filter=numberofemployees%20eq%201%20and%20name%20ne%20'a1'&$orderby=name%20desc";
    assert_eq!(names(&get(&env, query).await.body), ["A5", "A3"]);
    assert_eq!(names(&get(&env, "accounts?$select=name&$top=2").await.body), ["A1", "A2"]);
    let by_id = format!("accounts?$select=name&$filter=accountid+eq+{}", id(4));
    assert_eq!(names(&get(&env, &by_id).await.body), ["A4"]);

    let mut seen = Vec::new();
    let mut next = Some("accounts?$select=name&$count=true".to_owned());
    while let Some(path) = next {
        let body = call(&env, "GET", &path, &[("prefer", "odata.maxpagesize=2")], None).await.body;
        seen.extend(names(&body));
        next = body["@odata.nextLink"].as_str().map(|l| l.split_once("/v9.2/").unwrap().1.to_owned());
    }
    assert_eq!(seen, ["A1", "A2", "A3", "A4", "A5"]);
}

#[tokio::test]
async fn queries_on_what_is_not_there_are_refused() {
    let env = environment();
    for query in [
        "accounts?$select=nosuch",
        "accounts?$filter=nosuch%20eq%201",
        "accounts?$filter=primarycontactid%20eq%20null",
        "accounts?$filter=name%20eq%201",
        "accounts?$filter=numberofemployees%20eq%20'1'",
        "accounts?$orderby=nosuch",
        "accounts?$top=x",
        "accounts?whatever=1",
    ] {
        account(&env, 1).await;
        assert_eq!(refused(&get(&env, query).await), (400, "0x80060888".into()), "{query}");
    }
    assert_eq!(get(&env, "accounts?$expand=primarycontactid").await.status, 501);
    assert_eq!(get(&env, "accounts?$filter=contains(name,'x')").await.status, 501);
    assert_eq!(get(&env, "accounts?$filter=_primarycontactid_value%20eq%20null").await.status, 200);
}

#[tokio::test]
async fn users_and_currencies_are_found_by_what_is_alike_everywhere() {
    let (one, two) = (environment(), Environment::new(Settings { organization: id(0xfffe), ..settings() }));
    let query = format!(
        "systemusers?$select=systemuserid&$filter=azureactivedirectoryobjectid%20eq%20{}",
        one.world().person.object_id
    );
    let found = |body: Value| body["value"][0]["systemuserid"].as_str().unwrap().to_owned();
    let (first, second) = (found(get(&one, &query).await.body), found(get(&two, &query).await.body));
    assert_ne!(first, second);
    assert_eq!(first, one.world().person.id.to_string());
    let currency = get(&one, "transactioncurrencies?$filter=isocurrencycode%20eq%20'EUR'").await.body;
    assert_eq!(currency["value"][0]["transactioncurrencyid"], one.world().base_currency.to_string());
}

#[tokio::test]
async fn who_am_i_names_user_and_organization() {
    let env = environment();
    let back = get(&env, "WhoAmI").await;
    assert_eq!(back.body["OrganizationId"], id(0xffff).to_string());
    assert_eq!(back.body["UserId"], env.world().service.id.to_string());
    assert!(back.headers.contains_key("x-ms-dop-hint"));
}

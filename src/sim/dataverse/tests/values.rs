//! What values columns take.

use super::*;

/// Sets one column; the answer's status and code.
async fn check(set: &str, column: &str, value: Value, status: u16, code: &str) {
    let env = environment();
    let back = patch(&env, &format!("{set}({})", id(1)), json!({column: value})).await;
    assert_eq!(refused(&back), (status, code.to_owned()), "{column}");
}

#[tokio::test]
async fn values_of_the_wrong_type_are_refused() {
    let long = "x".repeat(161);
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for (set, column, value, status, code) in [
        ("accounts", "name", json!(1), 400, "0x80048d19"),
        ("accounts", "name", json!(long), 400, "0x80044331"),
        ("accounts", "name", json!("a\u{1}b"), 400, "0x80040278"),
        ("accounts", "description", json!("x".repeat(2_001)), 400, "0x80044331"),
        ("accounts", "numberofemployees", json!("1"), 400, "0x80048d19"),
        ("accounts", "numberofemployees", number("1.0"), 400, "0x80048d19"),
        ("accounts", "numberofemployees", json!(-1), 400, "0x8004432f"),
        ("accounts", "revenue", json!("1"), 400, "0x80048d19"),
        ("accounts", "revenue", number("922337203685478"), 400, "0x80044330"),
        ("accounts", "revenue", number("-922337203685478"), 400, "0x80044330"),
        ("accounts", "new_rating", number("1000.1"), 400, "0x80044330"),
        ("accounts", "new_score", number("-0.1"), 400, "0x80044330"),
        ("accounts", "new_sequence", number("9223372036854775807"), 204, ""),
        ("accounts", "new_sequence", number("9223372036854775808"), 400, "0x80048d19"),
        ("accounts", "creditonhold", json!(1), 400, "0x80048d19"),
        ("accounts", "industrycode", json!(34), 400, "0x8004431a"),
        ("accounts", "industrycode", json!("1"), 400, "0x80048d19"),
        ("accounts", "new_segments", json!([100_000_000]), 400, "0x80048d19"),
        ("accounts", "new_segments", json!("100000000, 100000001"), 400, "0x80048d19"),
        ("accounts", "new_segments", json!("100000000,7"), 400, "0x8004431a"),
        ("accounts", "new_segments", json!("100000001,100000000"), 204, ""),
        ("contacts", "birthdate", json!("2020-01-02"), 204, ""),
        ("contacts", "birthdate", json!("2020-01-02T00:00:00Z"), 400, "0x80048d19"),
        ("contacts", "birthdate", json!("2020-1-2"), 400, "0x80048d19"),
        ("contacts", "birthdate", json!("1700-01-02"), 400, "0x80040239"),
        ("contacts", "lastusedincampaign", json!("2020-01-02"), 400, "0x80048d19"),
        ("contacts", "lastusedincampaign", json!("2020-01-02T03:04:05"), 400, "0x80048d19"),
        ("contacts", "lastusedincampaign", json!("2020-01-02T03:04:05+02:00"), 204, ""),
        ("contacts", "new_appointmentlocal", json!("2020-01-02T03:04:05Z"), 204, ""),
        (
            "systemusers",
            "azureactivedirectoryobjectid",
            json!("{11111111-0000-4000-8000-0000000000aa}"),
            400,
            "0x80048d19",
        ),
    ] {
        check(set, column, value, status, code).await;
    }
}

#[tokio::test]
async fn more_values_than_a_choice_may_have_are_refused() {
    let many: Vec<String> = (100_000_000..100_000_151).map(|v: i64| v.to_string()).collect();
    check("accounts", "new_segments", json!(many.join(",")), 400, "0x80040203").await;
}

#[tokio::test]
async fn columns_that_the_platform_owns_cannot_be_set() {
    for column in ["createdon", "modifiedon", "exchangerate", "revenue_base"] {
        let value = if column.ends_with("on") { json!("2020-01-02T03:04:05Z") } else { json!(1) };
        check("accounts", column, value, 400, "0x80040203").await;
    }
    check("accounts", "versionnumber", json!(1), 400, "0x80048d19").await;
    check("contacts", "fullname", json!("x"), 400, "0x80040203").await;
    let env = environment();
    let path = format!("salesorders({})", id(1));
    assert_eq!(patch(&env, &path, json!({"ordernumber": "1"})).await.status, 204);
    assert_eq!(refused(&patch(&env, &path, json!({"ordernumber": "2"})).await), (400, "0x80040203".into()));
}

#[tokio::test]
async fn required_columns_must_have_a_value() {
    let env = environment();
    let path = format!("products({})", id(1));
    assert_eq!(refused(&patch(&env, &path, json!({"name": "x"})).await), (400, "0x80040200".into()));
    assert_eq!(patch(&env, &path, json!({"productnumber": "P"})).await.status, 204);
    assert_eq!(refused(&patch(&env, &path, json!({"productnumber": ""})).await), (400, "0x80040200".into()));
}

#[tokio::test]
async fn state_and_status_belong_together() {
    let env = environment();
    let path = account(&env, 1).await;
    for (body, status, code) in [
        (json!({"statecode": 0, "statuscode": 2}), 400, "0x80048408"),
        (json!({"statuscode": 2}), 400, "0x80048408"),
        (json!({"statecode": 5}), 400, "0x8004431a"),
        (json!({"statecode": 1, "statuscode": 2}), 204, ""),
        (json!({"statecode": 0}), 204, ""),
        (json!({"statecode": null}), 400, "0x80040200"),
    ] {
        assert_eq!(refused(&patch(&env, &path, body.clone()).await), (status, code.into()), "{body}");
    }
    assert_eq!(env.row("account", id(1)).unwrap().get("statuscode").unwrap().to_string(), "1");
}

#[tokio::test]
async fn a_row_is_born_in_the_first_state_whatever_the_create_says() {
    let env = environment();
    let path = format!("accounts({})", id(7));
    let inactive = json!({"name": "x", "statecode": 1, "statuscode": 2});
    assert_eq!(refused(&patch(&env, &path, inactive.clone()).await), (400, "0x80048408".into()));
    assert_eq!(patch(&env, &path, json!({"name": "x", "statecode": 1})).await.status, 204);
    assert_eq!(env.row("account", id(7)).unwrap().get("statecode").unwrap().to_string(), "0");
    assert_eq!(patch(&env, &path, inactive).await.status, 204);
}

#[tokio::test]
async fn a_read_only_state_refuses_everything_but_another_state() {
    let env = environment();
    let path = format!("salesorders({})", id(1));
    patch(&env, &path, json!({"name": "S"})).await;
    patch(&env, &path, json!({"statecode": 3, "statuscode": 100_001})).await;
    assert_eq!(refused(&patch(&env, &path, json!({"name": "x"})).await), (400, "0x8004022e".into()));
    assert_eq!(patch(&env, &path, json!({"statecode": 0, "statuscode": 1, "name": "x"})).await.status, 204);
}

#[tokio::test]
async fn amounts_are_exact_and_bring_their_base_amount() {
    let env = environment();
    let dollar = env
        .create(&env.person(), "transactioncurrency", &json!({"isocurrencycode": "USD", "exchangerate": 1.0842}))
        .unwrap();
    let path = account(&env, 1).await;
    let body =
        format!(r#"{{"revenue": 12500.755, "transactioncurrencyid@odata.bind": "transactioncurrencies({dollar})"}}"#);
    assert_eq!(patch(&env, &path, serde_json::from_str(&body).unwrap()).await.status, 204);
    let shown = get(&env, &format!("{path}?$select=revenue,revenue_base,exchangerate")).await.body;
    assert_eq!(shown["revenue"].to_string(), "12500.76");
    assert_eq!(shown["exchangerate"].to_string(), "1.0842000000");
    assert_eq!(shown["revenue_base"].to_string(), "11529.9391");
    patch(&env, &path, json!({"revenue": null})).await;
    assert!(env.row("account", id(1)).unwrap().get("revenue_base").is_none());
    // Without a currency of its own a row takes the organization's.
    patch(&env, &format!("accounts({})", id(2)), json!({"revenue": 3})).await;
    let row = env.row("account", id(2)).unwrap();
    assert_eq!(row.get("transactioncurrencyid").unwrap().to_string(), env.world().base_currency.to_string());
}

#[tokio::test]
async fn an_empty_text_is_null_and_names_follow_their_parts() {
    let env = environment();
    let path = format!("contacts({})", id(1));
    patch(&env, &path, json!({"firstname": "Zoë", "lastname": "B", "jobtitle": "x"})).await;
    patch(&env, &path, json!({"lastname": "C", "jobtitle": ""})).await;
    let row = env.row("contact", id(1)).unwrap();
    assert_eq!(row.get("fullname").unwrap().to_string(), "Zoë C");
    assert!(row.get("jobtitle").is_none());
}

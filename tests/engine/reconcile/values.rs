//! What is the same although it is written differently, and what cannot be compared at all.

use super::twins::{Twins, id, options, table};
use dataverse_sync::sim::dataverse::Cell;
use dataverse_sync::sim::dataverse::schema::{Behavior, Kind, column};
use serde_json::json;
use std::time::Duration;

const MAPPED: &str = r#"version = 1
[tables.account]
key = ["accountnumber"]
[tables.account.columns]
rename = { telephone1 = "emailaddress1" }
values = { industrycode = { "1" = 11, "2" = 12 } }
[tables.account.lookups]
ownerid = { by = "azureactivedirectoryobjectid" }
"#;

#[tokio::test(start_paused = true)]
async fn rows_known_by_a_key_are_compared_by_it_with_renames_value_maps_and_owners() {
    let twins = Twins::new(MAPPED);
    let (here, there) = (twins.source.world().person.id, twins.target.world().person.id);
    for n in 0..30_u32 {
        let number = format!("{}-{n}", if n.is_multiple_of(2) { "a" } else { "A" });
        let owner = format!("systemusers({here})");
        let body = json!({"accountnumber": number, "telephone1": "1", "industrycode": 1, "ownerid@odata.bind": owner});
        twins.at_source("account", id(n), body);
        let owner = format!("systemusers({there})");
        let number = format!("A-{n}");
        let body =
            json!({"accountnumber": number, "emailaddress1": "1", "industrycode": 11, "ownerid@odata.bind": owner});
        // its own ids
        twins.at_target("account", id(500 + n), body);
    }
    twins.at_source("account", id(90), json!({"name": "no key"}));
    twins.at_target("account", id(600), json!({"accountnumber": "A-99"}));
    twins.at_source("account", id(91), json!({"accountnumber": "A-91", "industrycode": 7}));
    twins.at_source("account", id(3), json!({"telephone1": "3"}));
    let found = twins.compare().await;
    let accounts = table(&found, "account");
    // the numbers differ in case: that is the same key
    assert_eq!((accounts.missing, accounts.extra, accounts.different), (1, 1, 1), "{accounts:#?}");
    assert_eq!(accounts.by_column["emailaddress1"], 1);
    assert_eq!(accounts.cannot["key_missing: (row)"].rows, 1);
    assert_eq!(accounts.cannot["value_unmapped: industrycode"].rows, 1);
    let mended = twins.mend_all().await;
    assert!(mended.is_done(), "{mended:#?}");
    assert_eq!(twins.target.rows("account").len(), 32);
    let left = twins.compare().await;
    let accounts = table(&left, "account");
    assert_eq!((accounts.missing, accounts.extra, accounts.different), (0, 1, 0), "{accounts:#?}");
}

const CONTACTS: &str = "version = 1\n[tables.contact]\n[tables.contact.columns]\nexclude = [\"jobtitle\"]\n";

#[tokio::test(start_paused = true)]
async fn dates_zones_orders_and_rounding_are_no_differences() {
    let other = |schema: &mut dataverse_sync::sim::dataverse::schema::Schema| {
        let contact = schema.tables.get_mut("contact").unwrap();
        *contact = contact.clone().with(column("anniversary", Kind::Date(Behavior::UserLocal)));
    };
    let twins = Twins::with(CONTACTS, |_| {}, other);
    twins.at_source(
        "contact",
        id(1),
        json!({"lastname": "L", "lastusedincampaign": "2020-01-02T03:04:05+02:00", "anniversary": "2020-02-29",
            "birthdate": "1985-05-24", "new_interests": "100000003,100000001", "jobtitle": "excluded",
            "new_appointmentlocal": "2020-01-02T09:00:00Z", "description": ""}),
    );
    twins.at_target(
        "contact",
        id(1),
        json!({"lastname": "L", "lastusedincampaign": "2020-01-02T01:04:05Z", "anniversary": "2020-02-29T00:00:00Z",
            "birthdate": "1985-05-24", "new_interests": "100000001,100000003", "jobtitle": "other",
            "new_appointmentlocal": "2020-01-02T09:00:00Z"}),
    );
    let found = twins.compare().await;
    assert!(found.is_equal(), "{found:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_compared_is_named_and_a_hidden_value_is_not_cleared() {
    let secure = |schema: &mut dataverse_sync::sim::dataverse::schema::Schema| {
        let account = schema.tables.get_mut("account").unwrap();
        let phone = account.columns["telephone1"].clone().secured();
        *account = account.clone().with(phone).with(column("new_sum", Kind::Int(0, 100)).calculated());
        account.change_tracking = false;
    };
    let lacks = |schema: &mut dataverse_sync::sim::dataverse::schema::Schema| {
        let account = schema.tables.get_mut("account").unwrap();
        account.columns.remove("new_sequence");
        let score = account.columns["new_score"].clone().read_only();
        *account = account.clone().with(score);
    };
    let twins = Twins::with("version = 1\n[tables.account]\n[tables.new_reading]\n", secure, lacks);
    twins.at_source("account", id(1), json!({"name": "A", "telephone1": "secret"}));
    twins.at_target("account", id(1), json!({"name": "B", "telephone1": "kept"}));
    let found = twins.compare().await;
    let accounts = table(&found, "account");
    let why = |what: &str| accounts.not_compared.iter().find(|not| not.what == what).map(|not| not.why.as_str());
    assert!(why("new_sequence").unwrap().starts_with("not_in_target"));
    assert!(why("new_score").unwrap().starts_with("not_writable"));
    assert_eq!(accounts.cannot["secured: telephone1"].rows, 1, "{accounts:#?}");
    assert_eq!(accounts.by_column.keys().collect::<Vec<_>>(), ["name"]);
    let readings = table(&found, "new_reading");
    assert!(readings.trouble.is_some() && readings.not_compared[0].why.starts_with("elastic_table"), "{readings:#?}");

    let mended = twins.mend(&options()).await;
    let accounts = table(&mended, "account");
    assert!(accounts.because.as_ref().unwrap().contains("does not track changes"), "{accounts:#?}");
    let row = twins.target.row("account", id(1)).unwrap();
    assert_eq!(row.get("name"), Some(&Cell::Text("A".to_owned())));
    assert_eq!(row.get("telephone1"), Some(&Cell::Text("kept".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_lookup_to_a_row_that_will_never_come_is_no_difference() {
    let twins = Twins::new("version = 1\n[tables.contact]\n");
    twins.at_source("account", id(1), json!({"name": "not synchronised"}));
    let parent = format!("accounts({})", id(1));
    twins.at_source("contact", id(2), json!({"lastname": "L", "parentcustomerid_account@odata.bind": parent}));
    twins.at_target("contact", id(2), json!({"lastname": "L"}));
    let found = twins.compare().await;
    let contacts = table(&found, "contact");
    assert!(found.is_equal(), "{contacts:#?}");
    assert_eq!(contacts.cannot["lookup_missing: parentcustomerid"].rows, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mended = twins.mend_all().await;
    assert!(mended.is_done() && table(&mended, "contact").done.is_empty(), "{mended:#?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_out_without_being_named() {
    let sum = || column("new_sum", Kind::Int(0, 100));
    let at_source = move |schema: &mut dataverse_sync::sim::dataverse::schema::Schema| {
        let account = schema.tables.get_mut("account").unwrap();
        let phone = account.columns["telephone1"].clone().secured();
        *account =
            account.clone().with(phone).with(sum().calculated()).with(column("new_both", Kind::Int(0, 9)).calculated());
        account.change_tracking = false;
        schema.tables.get_mut("contact").unwrap().external = true;
    };
    let at_target = move |schema: &mut dataverse_sync::sim::dataverse::schema::Schema| {
        let account = schema.tables.get_mut("account").unwrap();
        *account = account.clone().with(sum()).with(column("new_both", Kind::Int(0, 9)).calculated());
        schema.tables.get_mut("product").unwrap().external = true;
    };
    let toml = "version = 1\n[tables.account]\n[tables.appointment]\n[tables.contact]\n[tables.product]\n[tables.new_reading]\n";
    let twins = Twins::with(toml, at_source, at_target);
    let subject =
        json!({"subject": "S", "scheduledstart": "2026-01-05T08:00:00Z", "scheduledend": "2026-01-05T09:00:00Z"});
    twins.both("appointment", id(1), subject);
    let found = twins.compare().await;
    for (name, what, word) in [
        ("account", "new_sum", "computed"),
        ("account", "new_both", "not_writable"),
        ("account", "telephone1", "secured"),
        ("account", "(changes)", "no_change_tracking"),
        ("appointment", "requiredattendees", "parties"),
        ("product", "", "virtual_table"),
        ("contact", "(events)", "virtual_table"),
        ("new_reading", "", "elastic_table"),
    ] {
        let named = &table(&found, name).not_compared;
        let why = named.iter().find(|not| not.what == what).map(|not| not.why.split(':').next().unwrap());
        assert_eq!(why, Some(word), "{name}.{what}: {named:#?}");
    }
    assert!(table(&found, "product").trouble.is_some() && !found.is_equal());
    assert_eq!(table(&found, "appointment").equal, 1, "{found:#?}");
}

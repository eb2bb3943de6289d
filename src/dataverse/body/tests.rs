//! Bodies for every kind of column.

use super::*;
use crate::dataverse::literal;
use crate::dataverse::script::{every_kind, guid};
use crate::domain::value::Number;
use serde_json::json;

fn columns(list: &[(&str, Value)]) -> Columns {
    list.iter().map(|(column, value)| ((*column).to_owned(), value.clone())).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(text: &str) -> Value {
    Value::Number(Number::parse(text).unwrap())
}

fn moment(text: &str) -> Value {
    Value::DateTime(literal::parse_instant(text).unwrap())
}

fn lookup(table: &str, digit: u128) -> Value {
    Value::Lookup(Reference { table: table.to_owned(), row: RowRef::Id(guid(digit)), name: None })
}

fn lookups() -> ResolvedLookups {
    let plain = |set: &str| Referenced { entity_set: set.to_owned(), schema: None };
    let account = Referenced { entity_set: "accounts".to_owned(), schema: Some(Arc::new(every_kind())) };
    let tables = [
        ("account", account),
        ("contact", plain("contacts")),
        ("systemuser", plain("systemusers")),
        ("team", plain("teams")),
        ("task", plain("tasks")),
    ];
    ResolvedLookups { tables: tables.into_iter().map(|(table, referenced)| (table.to_owned(), referenced)).collect() }
}

fn encoded(list: &[(&str, Value)]) -> Result<String, EncodeError> {
    let body = encode(&every_kind(), &columns(list), Mode::Upsert, &Address::Id(guid(1)), &lookups())?;
    Ok(serde_json::to_string(&body).unwrap())
}

#[test]
fn every_kind_is_written_as_the_web_api_wants_it() {
    let (a, b) = (guid(0xa), guid(0xb));
    for (column, value, expected) in [
        ("name", text("Ä \"x\""), r#"{"name":"Ä \"x\""}"#.to_owned()),
        ("name", Value::Null, r#"{"name":null}"#.to_owned()),
        ("new_flag", Value::Bool(true), r#"{"new_flag":true}"#.to_owned()),
        ("new_int", number("3.0"), r#"{"new_int":3}"#.to_owned()),
        ("new_big", number("9223372036854775807"), r#"{"new_big":9223372036854775807}"#.to_owned()),
        ("new_big", text("9223372036854775807"), r#"{"new_big":9223372036854775807}"#.to_owned()),
        ("new_decimal", number("1.0000000000"), r#"{"new_decimal":1.0000000000}"#.to_owned()),
        ("new_decimal", number("12345678901.1234567891"), r#"{"new_decimal":12345678901.1234567891}"#.to_owned()),
        ("new_decimal", number("1e-2"), r#"{"new_decimal":0.01}"#.to_owned()),
        ("revenue", number("2154.32"), r#"{"revenue":2154.32}"#.to_owned()),
        ("revenue", text("10.10"), r#"{"revenue":10.10}"#.to_owned()),
        ("new_double", number("2365.12"), r#"{"new_double":2365.12}"#.to_owned()),
        ("new_day", moment("2024-05-06T23:59:59Z"), r#"{"new_day":"2024-05-06"}"#.to_owned()),
        ("new_day", text("2024-05-06"), r#"{"new_day":"2024-05-06"}"#.to_owned()),
        ("new_local", moment("2024-05-06T01:02:03Z"), r#"{"new_local":"2024-05-06T01:02:03Z"}"#.to_owned()),
        ("new_local", text("2024-05-06T01:02:03+02:00"), r#"{"new_local":"2024-05-05T23:02:03Z"}"#.to_owned()),
        ("new_zoneless", moment("2024-05-06T01:02:03Z"), r#"{"new_zoneless":"2024-05-06T01:02:03Z"}"#.to_owned()),
        ("new_tier", Value::Choice(7), r#"{"new_tier":7}"#.to_owned()),
        ("new_tier", number("7"), r#"{"new_tier":7}"#.to_owned()),
        ("new_tags", Value::Choices(vec![1, 9]), r#"{"new_tags":"1,9"}"#.to_owned()),
        ("new_tags", Value::Choices(vec![]), r#"{"new_tags":null}"#.to_owned()),
        ("new_tags", text("9, 1"), r#"{"new_tags":"9,1"}"#.to_owned()),
        ("statecode", Value::Choice(1), r#"{"statecode":1}"#.to_owned()),
        ("statuscode", Value::Choice(2), r#"{"statuscode":2}"#.to_owned()),
        ("new_ref", text(&format!("{{{}}}", a.to_string().to_uppercase())), format!(r#"{{"new_ref":"{a}"}}"#)),
        ("parentid", lookup("account", 0xa), format!(r#"{{"new_ParentId@odata.bind":"/accounts({a})"}}"#)),
        ("parentid", Value::Null, r#"{"new_ParentId":null}"#.to_owned()),
        ("customerid", lookup("contact", 0xb), format!(r#"{{"customerid_contact@odata.bind":"/contacts({b})"}}"#)),
        ("customerid", Value::Null, r#"{"customerid_account":null}"#.to_owned()),
        ("ownerid", lookup("systemuser", 0xa), format!(r#"{{"ownerid@odata.bind":"/systemusers({a})"}}"#)),
        ("ownerid", lookup("team", 0xa), format!(r#"{{"ownerid@odata.bind":"/teams({a})"}}"#)),
    ] {
        assert_eq!(encoded(&[(column, value.clone())]), Ok(expected), "{column} {value:?}");
    }
}

#[test]
fn what_would_lose_something_is_refused_by_column_and_kind() {
    for (column, value, expected) in [
        ("nope", Value::Null, "table account has no column nope"),
        ("entityimage", text("x"), "column account.entityimage cannot be written (Upsert)"),
        ("name", number("1"), "column account.name holds Text and cannot take a number"),
        ("new_flag", number("1"), "column account.new_flag holds Boolean and cannot take a number"),
        ("new_int", number("1.5"), "column account.new_int holds Integer and cannot take a number"),
        ("new_int", number("2147483648"), "column account.new_int holds Integer and cannot take a number"),
        ("new_big", number("9223372036854775808"), "column account.new_big holds BigInt and cannot take a number"),
        ("new_decimal", text("1,5"), "column account.new_decimal holds Decimal and cannot take text"),
        (
            "new_local",
            text("2024-05-06T01:02:03"),
            "column account.new_local holds DateTime(UserLocal) and cannot take text",
        ),
        ("new_tier", text("gold"), "column account.new_tier holds Choice and cannot take text"),
        ("new_tags", Value::Choices(vec![0; 151]), "column account.new_tags has more than 150 entries"),
        ("new_tags", text("1,,2"), "column account.new_tags holds Choices and cannot take text"),
        ("new_ref", lookup("account", 1), "column account.new_ref holds Guid and cannot take a lookup"),
        ("parentid", text("x"), "column account.parentid holds Lookup and cannot take text"),
        ("parentid", lookup("contact", 1), "lookup account.parentid cannot point to table contact"),
        ("new_loose", Value::Null, "lookup account.new_loose cannot point to table any"),
        ("ownerid", Value::Null, "column account.ownerid holds Owner and cannot take null"),
        ("ownerid", lookup("account", 1), "lookup account.ownerid cannot point to table account"),
        ("to", text("x"), "column account.to holds PartyList and cannot take text"),
        ("to", Value::Parties(vec![Columns::new()]), "column account.to holds PartyList and cannot take null"),
    ] {
        let error = encoded(&[(column, value.clone())]).unwrap_err().to_string();
        assert_eq!(error, expected, "{column} {value:?}");
    }
}

#[test]
fn the_primary_key_and_the_key_of_the_address_stay_out_of_the_body() {
    let all = columns(&[("accountid", text("x")), ("accountnumber", text("A-1")), ("name", text("n"))]);
    let key = Address::Key(KeyParts::from([("accountnumber".to_owned(), KeyPart::Text("A-1".to_owned()))]));
    let by_key = encode(&every_kind(), &all, Mode::Upsert, &key, &lookups()).unwrap();
    assert_eq!(Json::Object(by_key), json!({"name": "n"}));
    let by_id = encode(&every_kind(), &all, Mode::Upsert, &Address::Id(guid(1)), &lookups()).unwrap();
    assert_eq!(Json::Object(by_id), json!({"accountnumber": "A-1", "name": "n"}));
}

#[test]
fn a_key_that_no_address_can_hold_goes_into_the_body_of_a_post() {
    let parts = KeyParts::from([
        ("accountnumber".to_owned(), KeyPart::Text("a/b".to_owned())),
        ("parentid".to_owned(), KeyPart::Guid(guid(2))),
    ]);
    let mut body = Map::from_iter([("name".to_owned(), json!("n"))]);
    add_key(&every_kind(), &mut body, &parts, &lookups()).unwrap();
    let bind = format!("/accounts({})", guid(2));
    assert_eq!(Json::Object(body), json!({"name": "n", "accountnumber": "a/b", "new_ParentId@odata.bind": bind}));
}

#[test]
fn columns_are_written_only_where_the_metadata_allows_it() {
    let mut schema = every_kind();
    for (creatable, updatable, allowed) in
        [(true, false, [true, false, true]), (false, true, [false, true, true]), (false, false, [false, false, false])]
    {
        let column = schema.columns.get_mut("name").unwrap();
        (column.creatable, column.updatable) = (creatable, updatable);
        let written = [Mode::Create, Mode::Update, Mode::Upsert].map(|mode| {
            encode(&schema, &columns(&[("name", text("n"))]), mode, &Address::Id(guid(1)), &lookups()).is_ok()
        });
        assert_eq!(written, allowed);
    }
}

#[test]
fn a_reference_by_key_needs_the_metadata_of_its_table() {
    let by_key = |table: &str, value: &str| {
        let row = RowRef::Key(KeyParts::from([("accountnumber".to_owned(), KeyPart::Text(value.to_owned()))]));
        Value::Lookup(Reference { table: table.to_owned(), row, name: None })
    };
    assert_eq!(
        encoded(&[("parentid", by_key("account", "O'N"))]).unwrap(),
        r#"{"new_ParentId@odata.bind":"/accounts(accountnumber='O%27%27N')"}"#
    );
    assert!(matches!(
        encoded(&[("parentid", by_key("account", "a/b"))]),
        Err(EncodeError::Reference { reason: UrlError::NeedsQuery { .. }, .. })
    ));
    assert!(matches!(encoded(&[("customerid", by_key("contact", "a"))]), Err(EncodeError::NotResolved { .. })));
    let nobody = ResolvedLookups::default();
    let plain = columns(&[("parentid", lookup("account", 1))]);
    let error = encode(&every_kind(), &plain, Mode::Upsert, &Address::Id(guid(1)), &nobody).unwrap_err();
    assert_eq!(error.to_string(), "table account, which account.parentid points to, was not resolved");
}

#[test]
fn parties_of_all_columns_become_one_collection_with_roles() {
    let party =
        |table: &str, digit| columns(&[("partyid", lookup(table, digit)), ("participationtypemask", number("99"))]);
    let unresolved = columns(&[("addressused", text("a@b.c"))]);
    let body = encoded(&[
        ("from", Value::Parties(vec![party("systemuser", 1)])),
        ("to", Value::Parties(vec![party("contact", 2), unresolved])),
    ]);
    let expected = json!({"account_activity_parties": [
        {"participationtypemask": 1, "partyid_systemuser@odata.bind": format!("/systemusers({})", guid(1))},
        {"participationtypemask": 2, "partyid_contact@odata.bind": format!("/contacts({})", guid(2))},
        {"participationtypemask": 2, "addressused": "a@b.c"},
    ]});
    assert_eq!(serde_json::from_str::<Json>(&body.unwrap()).unwrap(), expected);
    assert_eq!(encoded(&[("to", Value::Null)]).unwrap(), r#"{"account_activity_parties":[]}"#);
}

#[test]
fn the_tables_that_a_body_needs_are_known_beforehand() {
    let party = columns(&[("partyid", lookup("lead", 1))]);
    let all = columns(&[
        ("parentid", lookup("account", 1)),
        ("customerid", lookup("contact", 1)),
        ("to", Value::Parties(vec![party])),
        ("name", text("account")),
    ]);
    assert_eq!(referenced_tables(&all).into_iter().collect::<Vec<_>>(), ["account", "contact", "lead"]);
}

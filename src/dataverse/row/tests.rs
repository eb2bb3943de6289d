//! Rows as the service returns them, read back into values.

use super::*;
use crate::dataverse::script::{every_kind, guid};
use serde_json::json;

fn read(asked: &[&str], row: Json) -> Result<TargetRow, RowError> {
    let asked = asked.iter().map(|column| (*column).to_owned()).collect();
    decode(&every_kind(), &asked, row.as_object().unwrap())
}

fn value_of(column: &str, property: &str, json: Json) -> Value {
    let row = read(&[column], json!({"accountid": guid(1), property: json})).unwrap();
    row.columns[column].clone()
}

#[test]
fn every_kind_is_read_as_the_web_api_sends_it() {
    let number = |text: &str| Value::Number(Number::parse(text).unwrap());
    let moment = |text: &str| Value::DateTime(literal::parse_instant(text).unwrap());
    for (column, json, expected) in [
        ("name", r#""n""#, Value::Text("n".to_owned())),
        ("name", "null", Value::Null),
        ("new_flag", "false", Value::Bool(false)),
        ("new_int", "7", number("7")),
        ("new_big", "9223372036854775807", number("9223372036854775807")),
        ("new_big", r#""9223372036854775807""#, number("9223372036854775807")),
        ("new_decimal", "12345678901.1234567891", number("12345678901.1234567891")),
        ("new_double", "1.5e-7", number("1.5e-7")),
        ("revenue", "10.0100", number("10.0100")),
        ("new_day", r#""2024-05-06""#, moment("2024-05-06T00:00:00Z")),
        ("new_local", r#""2024-05-06T01:02:03Z""#, moment("2024-05-06T01:02:03Z")),
        ("new_tier", "3", Value::Choice(3)),
        ("new_tags", r#""1,9""#, Value::Choices(vec![1, 9])),
        ("statecode", "0", Value::Choice(0)),
        ("statuscode", "1", Value::Choice(1)),
    ] {
        let given: Json = serde_json::from_str(json).unwrap();
        assert_eq!(value_of(column, column, given), expected, "{column} {json}");
    }
    // numbers keep their text, not only their value
    let Value::Number(exact) = value_of("revenue", "revenue", serde_json::from_str("10.0100").unwrap()) else {
        panic!()
    };
    assert_eq!(exact.as_str(), "10.0100");
}

#[test]
fn a_lookup_comes_with_its_table_or_points_to_one_only() {
    let id = guid(2);
    let row = read(
        &["customerid", "parentid", "ownerid"],
        json!({
            "accountid": guid(1),
            "@odata.etag": "W/\"5\"",
            "_customerid_value": id,
            "_customerid_value@Microsoft.Dynamics.CRM.lookuplogicalname": "contact",
            "_customerid_value@OData.Community.Display.V1.FormattedValue": "Ann",
            "_parentid_value": id,
            "_ownerid_value": null,
        }),
    )
    .unwrap();
    assert_eq!((row.id, row.etag.as_deref()), (guid(1), Some("W/\"5\"")));
    let lookup = |table: &str, name: Option<&str>| {
        Value::Lookup(Reference { table: table.to_owned(), row: RowRef::Id(id), name: name.map(str::to_owned) })
    };
    assert_eq!(row.columns["customerid"], lookup("contact", Some("Ann")));
    assert_eq!(row.columns["parentid"], lookup("account", None));
    assert_eq!(row.columns["ownerid"], Value::Null);
    let nameless = read(&["customerid"], json!({"accountid": guid(1), "_customerid_value": id})).unwrap_err();
    assert_eq!(nameless.to_string(), "the value of account.customerid is not of kind Lookup");
}

#[test]
fn parties_are_sorted_to_their_columns_by_role() {
    let contact = |mask| {
        json!({
            "participationtypemask": mask,
            "_partyid_value": guid(2),
            "_partyid_value@Microsoft.Dynamics.CRM.lookuplogicalname": "contact",
        })
    };
    let row = read(
        &["to", "from"],
        json!({
            "accountid": guid(1),
            "account_activity_parties": [contact(1), contact(9), {"participationtypemask": 2, "addressused": "a@b.c"}],
        }),
    )
    .unwrap();
    let reference = Reference { table: "contact".to_owned(), row: RowRef::Id(guid(2)), name: None };
    let from = Columns::from([
        ("participationtypemask".to_owned(), Value::Choice(1)),
        ("partyid".to_owned(), Value::Lookup(reference)),
    ]);
    let to = Columns::from([
        ("participationtypemask".to_owned(), Value::Choice(2)),
        ("addressused".to_owned(), Value::Text("a@b.c".to_owned())),
    ]);
    assert_eq!(row.columns["from"], Value::Parties(vec![from]));
    assert_eq!(row.columns["to"], Value::Parties(vec![to]));
}

#[test]
fn an_answer_that_does_not_fit_the_metadata_is_an_error_by_column() {
    for (column, json, expected) in [
        ("name", json!({"accountid": guid(1), "name": 5}), "the value of account.name is not of kind Text"),
        (
            "new_int",
            json!({"accountid": guid(1), "new_int": "x"}),
            "the value of account.new_int is not of kind Integer",
        ),
        ("name", json!({"name": "n"}), "a row of account came without its primary key"),
    ] {
        assert_eq!(read(&[column], json).unwrap_err().to_string(), expected);
    }
    // what is not asked for, or cannot be written anyway, is not looked at
    let row = read(&["entityimage", "nope"], json!({"accountid": guid(1), "entityimage": 5})).unwrap();
    assert!(row.columns.is_empty());
}

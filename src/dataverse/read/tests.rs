//! Reads against scripted answers.

use super::*;
use crate::dataverse::script::{Bench, answer, every_kind, guid, refusal};
use crate::domain::value::{KeyPart, Value};
use serde_json::json;

fn names(columns: &[&str]) -> BTreeSet<String> {
    columns.iter().map(|column| (*column).to_owned()).collect()
}

fn number(value: &str) -> KeyParts {
    KeyParts::from([("accountnumber".to_owned(), KeyPart::Text(value.to_owned()))])
}

#[tokio::test]
async fn a_row_is_read_with_the_columns_asked_for_or_is_not_there() {
    let schema = every_kind();
    let body = json!({"@odata.etag": "W/\"1\"", "accountid": guid(1), "name": "n"}).to_string();
    let bench = Bench::new([
        answer(200, &[], &body),
        refusal(404, "0x80060891", "A record with the specified key values does not exist in account entity"),
        answer(200, &[], "[]"),
        answer(404, &[], "<html>"),
    ]);
    let call = bench.call();
    let id = Address::Id(guid(1));
    let row = bench.client.read(&call, &schema, &id, &names(&["name", "ownerid"])).await.unwrap().unwrap();
    assert_eq!(row.columns["name"], Value::Text("n".to_owned()));
    assert_eq!(row.columns["ownerid"], Value::Null);
    let key = Address::Key(number("A-1"));
    assert_eq!(bench.client.read(&call, &schema, &key, &names(&["to"])).await.unwrap(), None);
    for _ in 0..2 {
        let error = bench.client.read(&call, &schema, &id, &names(&[])).await.unwrap_err();
        assert_eq!(*error.kind(), Kind::Protocol);
    }
    assert_eq!(
        bench.lines()[..2],
        [
            format!("GET accounts({})?$select=accountid,name,_ownerid_value", guid(1)),
            "GET accounts(accountnumber='A-1')?$select=accountid&$expand=account_activity_parties\
             ($select=_partyid_value,participationtypemask,addressused)"
                .to_owned(),
        ]
    );
    let error = bench.client.read(&call, &schema, &id, &names(&["nope"])).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Address(UrlError::ColumnUnknown { .. })));
}

#[tokio::test]
async fn the_row_behind_a_key_is_found_by_filter() {
    let schema = every_kind();
    let rows = |ids: &[u128]| {
        let rows: Vec<_> = ids.iter().map(|id| json!({"accountid": guid(*id)})).collect();
        answer(200, &[], &json!({"value": rows}).to_string())
    };
    let bench = Bench::new([rows(&[]), rows(&[7]), rows(&[7, 8]), answer(200, &[], "{}")]);
    let call = bench.call();
    for expected in [Match::Missing, Match::Found(guid(7)), Match::Ambiguous] {
        assert_eq!(bench.client.resolve_key(&call, &schema, &number("a/b & O'C")).await.unwrap(), expected);
    }
    let error = bench.client.resolve_key(&call, &schema, &number("a")).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Protocol);
    assert_eq!(bench.lines()[0], "GET accounts?$select=accountid&$filter=accountnumber eq 'a/b & O''C'&$top=2");
    assert!(bench.requests()[0].url.ends_with("$filter=accountnumber%20eq%20%27a%2Fb%20%26%20O%27%27C%27&$top=2"));
}

#[tokio::test]
async fn only_an_enforced_key_identifies_a_row() {
    let schema = every_kind();
    let bench = Bench::new([]);
    let call = bench.call();
    let inactive = KeyParts::from([("name".to_owned(), KeyPart::Text("n".to_owned()))]);
    let error = bench.client.resolve_key(&call, &schema, &inactive).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Address(UrlError::KeyInactive { .. })));
    let error = bench.client.find(&call, &schema, &KeyParts::new(), &names(&[]), 5).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Address(UrlError::KeyUnknown { .. })));
}

#[tokio::test]
async fn an_identity_without_ids_is_no_answer_of_dataverse() {
    let bench = Bench::new([answer(200, &[], r#"{"UserId":"x"}"#), answer(200, &[], "hello")]);
    for _ in 0..2 {
        assert_eq!(*bench.client.whoami(&bench.call()).await.unwrap_err().kind(), Kind::Protocol);
    }
}

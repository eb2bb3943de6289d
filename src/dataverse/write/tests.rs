//! Writes against scripted answers: conditions, representations, refusals.

use super::*;
use crate::dataverse::link::{LinkRequest, Linked};
use crate::dataverse::script::{Bench, answer, every_kind, guid, header, refusal};
use crate::domain::value::KeyPart;
use serde_json::json;

fn by_key(value: &str) -> Address {
    Address::Key([("accountnumber".to_owned(), KeyPart::Text(value.to_owned()))].into())
}

fn request<'a>(schema: &'a TableSchema, address: &'a Address, precondition: Precondition) -> WriteRequest<'a> {
    let body = Map::from_iter([("name".to_owned(), json!("n"))]);
    WriteRequest { schema, address, body, precondition, tag: Some("sync 1"), return_representation: false }
}

#[tokio::test]
async fn a_write_by_guid_carries_its_condition_and_its_tag() {
    let schema = every_kind();
    let address = Address::Id(guid(1));
    for (precondition, if_match, if_none_match, created) in [
        (Precondition::None, None, Some("null"), None),
        (Precondition::Exists, Some("*"), None, Some(false)),
        (Precondition::Etag("W/\"7\"".to_owned()), Some("W/\"7\""), None, Some(false)),
        (Precondition::Absent, None, Some("*"), Some(true)),
    ] {
        let bench = Bench::new([answer(204, &[], "")]);
        let written = bench.client.write(&bench.call(), request(&schema, &address, precondition)).await.unwrap();
        assert_eq!(written, Written { id: Some(guid(1)), created, etag: None });
        assert_eq!(bench.lines(), [format!("PATCH accounts({})?tag=sync 1", guid(1))]);
        assert_eq!(bench.body(0), json!({"name": "n"}));
        let requests = bench.requests();
        assert_eq!(header(&requests[0], "if-match"), if_match);
        assert_eq!(header(&requests[0], "if-none-match"), if_none_match);
        assert_eq!(header(&requests[0], "content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn a_representation_tells_guid_etag_and_whether_the_row_is_new() {
    let schema = every_kind();
    let address = by_key("A-1");
    let body = json!({"@odata.etag": "W/\"9\"", "accountid": guid(2)}).to_string();
    for (status, created) in [(201, true), (200, false)] {
        let bench = Bench::new([answer(status, &[], &body)]);
        let asked = WriteRequest { return_representation: true, ..request(&schema, &address, Precondition::None) };
        let written = bench.client.write(&bench.call(), asked).await.unwrap();
        assert_eq!(written, Written { id: Some(guid(2)), created: Some(created), etag: Some("W/\"9\"".to_owned()) });
        assert_eq!(bench.lines(), ["PATCH accounts(accountnumber='A-1')?$select=accountid&tag=sync 1"]);
        assert!(header(&bench.requests()[0], "prefer").unwrap().starts_with("return=representation,"));
    }
}

#[tokio::test]
async fn the_echoed_key_of_an_answer_is_not_taken_for_a_guid() {
    let schema = every_kind();
    let api = "https://org.crm4.dynamics.com/api/data/v9.2";
    for (address, echoed, expected) in [
        (by_key("A-1"), format!("{api}/accounts(accountnumber='A-1')"), None),
        (by_key("A-1"), format!("{api}/accounts({})", guid(5)), Some(guid(5))),
        (Address::New, format!("{api}/accounts({})", guid(5)), Some(guid(5))),
    ] {
        let bench = Bench::new([answer(204, &[("odata-entityid", &echoed)], "")]);
        let written = bench.client.write(&bench.call(), request(&schema, &address, Precondition::None)).await.unwrap();
        assert_eq!(written.id, expected);
    }
}

#[tokio::test]
async fn a_new_row_is_posted_and_knows_no_condition() {
    let schema = every_kind();
    let bench = Bench::new([answer(204, &[], "")]);
    let written = bench.client.write(&bench.call(), request(&schema, &Address::New, Precondition::None)).await.unwrap();
    assert_eq!(written.created, Some(true));
    assert_eq!(bench.lines(), ["POST accounts?tag=sync 1"]);
    let error = bench.client.write(&bench.call(), request(&schema, &Address::New, Precondition::Exists)).await;
    assert_eq!(*error.unwrap_err().kind(), Kind::Address(UrlError::NoRow));
}

#[tokio::test]
async fn a_key_that_works_in_no_address_is_not_sent() {
    let schema = every_kind();
    let bench = Bench::new([]);
    let error = bench.client.write(&bench.call(), request(&schema, &by_key("a/b"), Precondition::None)).await;
    assert!(matches!(error.unwrap_err().kind(), Kind::Address(UrlError::NeedsQuery { .. })));
}

#[tokio::test]
async fn a_write_that_binds_lookups_knows_that_a_parent_may_be_missing() {
    let schema = every_kind();
    let address = Address::Id(guid(1));
    let message = "contact With Id = 22222222-2222-2222-2222-222222222222 Does Not Exist";
    let bench = Bench::new([refusal(404, "0x80040217", message)]);
    let mut asked = request(&schema, &address, Precondition::Exists);
    asked.body.insert("customerid_contact@odata.bind".to_owned(), json!("/contacts(...)"));
    let error = bench.client.write(&bench.call(), asked).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::ParentMissing { id: Some(id), .. } if *id == guid(2)), "{error:?}");
}

#[tokio::test]
async fn deleting_a_row_that_is_gone_is_no_error() {
    let schema = every_kind();
    let gone = format!("account With Id = {} Does Not Exist", guid(1));
    let bench = Bench::new([
        answer(204, &[], ""),
        refusal(404, "0x80040217", &gone),
        answer(404, &[], "<html>not here</html>"),
        refusal(412, "0x80060882", "The version of the existing record doesn't match"),
    ]);
    let delete = |etag: Option<&str>| DeleteRequest {
        schema: &schema,
        id: guid(1),
        etag: etag.map(str::to_owned),
        tag: Some("t"),
    };
    let call = bench.call();
    assert_eq!(bench.client.delete(&call, delete(None)).await.unwrap(), Deleted::Deleted);
    assert_eq!(bench.client.delete(&call, delete(None)).await.unwrap(), Deleted::WasMissing);
    // a page of something else than Dataverse does not mean that the row is gone
    assert_eq!(*bench.client.delete(&call, delete(None)).await.unwrap_err().kind(), Kind::Protocol);
    let error = bench.client.delete(&call, delete(Some("W/\"3\""))).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::VersionMismatch);
    assert_eq!(bench.lines()[0], format!("DELETE accounts({})?tag=t", guid(1)));
    assert_eq!(header(&bench.requests()[3], "if-match"), Some("W/\"3\""));
}

#[tokio::test]
async fn links_are_idempotent() {
    let gone = format!("account With Id = {} Does Not Exist", guid(1));
    let bench = Bench::new([
        answer(204, &[], ""),
        refusal(412, "0x80040237", "Cannot insert duplicate key."),
        refusal(404, "0x80040217", &gone),
        answer(204, &[], ""),
        refusal(404, "0x80040217", &gone),
    ]);
    let link = LinkRequest {
        table: "account",
        entity_set: "accounts",
        id: guid(1),
        navigation: "new_Account_Contact",
        other_set: "contacts",
        other_id: guid(2),
        tag: None,
    };
    let call = bench.call();
    assert_eq!(bench.client.associate(&call, link).await.unwrap(), Linked::Changed);
    assert_eq!(bench.client.associate(&call, link).await.unwrap(), Linked::AlreadySo);
    assert_eq!(*bench.client.associate(&call, link).await.unwrap_err().kind(), Kind::RowMissing);
    assert_eq!(bench.client.disassociate(&call, link).await.unwrap(), Linked::Changed);
    assert_eq!(bench.client.disassociate(&call, link).await.unwrap(), Linked::AlreadySo);
    let (a, b) = (guid(1), guid(2));
    assert_eq!(bench.lines()[0], format!("POST accounts({a})/new_Account_Contact/$ref"));
    assert_eq!(bench.lines()[3], format!("DELETE accounts({a})/new_Account_Contact({b})/$ref"));
    assert_eq!(
        bench.body(0),
        json!({"@odata.id": format!("https://org.crm4.dynamics.com/api/data/v9.2/contacts({b})")})
    );
}

#[tokio::test]
async fn an_elastic_table_takes_updates_but_no_partial_upserts() {
    let schema = TableSchema { elastic: true, ..every_kind() };
    let address = Address::Id(guid(1));
    let bench = Bench::new([answer(204, &[], "")]);
    for precondition in [Precondition::None, Precondition::Absent] {
        let error = bench.client.write(&bench.call(), request(&schema, &address, precondition)).await.unwrap_err();
        assert_eq!(*error.kind(), Kind::Misconfigured);
    }
    assert!(bench.client.write(&bench.call(), request(&schema, &address, Precondition::Exists)).await.is_ok());
}

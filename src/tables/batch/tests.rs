//! Bodies and answers of transactions. The answers follow the service's documented samples.

use super::*;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn entity(row: &str) -> Entity {
    Entity::new(key("p"), key(row)).with("a", 1)
}

fn two() -> Vec<Op> {
    vec![Op::Insert(entity("1")), Op::Delete(key("p"), key("2"), When::Always)]
}

fn answer(parts: &[&str]) -> String {
    let mut text =
        "--batchresponse_b\r\nContent-Type: multipart/mixed; boundary=changesetresponse_c\r\n\r\n".to_owned();
    for part in parts {
        text += "--changesetresponse_c\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n";
        text += part;
        text += "\r\n";
    }
    text + "--changesetresponse_c--\r\n--batchresponse_b--\r\n"
}

const CREATED: &str = "HTTP/1.1 204 No Content\r\nDataServiceVersion: 3.0;\r\nETag: W/\"datetime'2026'\"\r\n\r\n";
const GONE: &str = "HTTP/1.1 204 No Content\r\nDataServiceVersion: 3.0;\r\n\r\n";

fn refused(status: &str, code: &str, message: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json;odata=nometadata\r\n\r\n\
         {{\"odata.error\":{{\"code\":\"{code}\",\"message\":{{\"lang\":\"en-US\",\"value\":\"{message}\"}}}}}}"
    )
}

#[test]
fn a_body_is_the_documented_multipart() {
    let ops = vec![
        Op::Insert(entity("1")),
        Op::Merge(entity("a''b"), When::Is(Etag::new("W/\"x\"").unwrap())),
        Op::Delete(key("p"), key("3"), When::Exists),
    ];
    let body = body("https://acc.table.core.windows.net", "t1x", &key("p"), &ops, "B").unwrap();
    let text = std::str::from_utf8(&body).unwrap();
    assert!(
        text.starts_with("--batch_B\r\nContent-Type: multipart/mixed; boundary=changeset_B\r\n\r\n--changeset_B\r\n")
    );
    assert!(text.contains("POST https://acc.table.core.windows.net/t1x HTTP/1.1\r\n"));
    assert!(
        text.contains(
            "PATCH https://acc.table.core.windows.net/t1x(PartitionKey='p',RowKey='a%27%27%27%27b') HTTP/1.1"
        )
    );
    assert!(text.contains("If-Match: W/\"x\"\r\nContent-Type: application/json\r\n\r\n{\"PartitionKey\":\"p\""));
    assert!(text.contains("RowKey='3') HTTP/1.1\r\n"));
    assert!(text.contains("If-Match: *\r\n\r\n--changeset_B--\r\n--batch_B--\r\n"));
    assert!(!text.replace("\r\n", "").contains('\n'));
}

#[test]
fn what_cannot_be_one_transaction_is_not_sent() {
    let check = |ops: &[Op], expected: &str| {
        let error = body("https://h", "table", &key("p"), ops, "B").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&[], "0 operations");
    check(&vec![Op::Insert(entity("1")); 101], "101 operations");
    check(&[Op::Insert(entity("1")), Op::Delete(key("p"), key("1"), When::Exists)], "operation 1 writes a row");
    check(&[Op::Insert(Entity::new(key("q"), key("1")))], "operation 0 is in another partition");
    let large: Vec<Op> = (0..100).map(|n| Op::Insert(entity(&n.to_string()).with("b", vec![0u8; 40_000]))).collect();
    check(&large, "larger than 4194304");
}

#[test]
fn a_success_needs_every_part() {
    let Verdict::Done(etags) = verdict(answer(&[CREATED, GONE]).as_bytes(), &two()) else { panic!() };
    assert_eq!(etags, [Some(Etag::new("W/\"datetime'2026'\"").unwrap()), None]);
    let cut = answer(&[CREATED, GONE]);
    let cut = cut.split_at(cut.rfind("HTTP/1.1").unwrap() + 12).0.to_owned();
    for text in [String::new(), answer(&[CREATED]), answer(&[GONE, GONE]), answer(&[CREATED, GONE, GONE]), cut] {
        let verdict = verdict(text.as_bytes(), &two());
        assert!(matches!(verdict, Verdict::Failed(TablesError::Unknown { .. })), "{text}: {verdict:?}");
    }
}

#[test]
fn a_failure_names_its_operation() {
    let check = |part: String, expected: &str| {
        let verdict = format!("{:?}", verdict(answer(&[&part]).as_bytes(), &two()));
        assert!(verdict.starts_with(expected), "{verdict}");
    };
    check(
        refused("409 Conflict", "EntityAlreadyExists", "1:The specified entity already exists."),
        "Failed(Conflict { index: Some(1) })",
    );
    check(refused("412 Precondition Failed", "UpdateConditionNotSatisfied", "0:x"), "Failed(Stale { index: Some(0) })");
    check(refused("404 Not Found", "ResourceNotFound", "no index"), "Failed(NotFound { index: None })");
    check(refused("404 Not Found", "ResourceNotFound", "7:index too large"), "Failed(NotFound { index: None })");
    check(refused("404 Not Found", "TableNotFound", "0:x"), "NoTable");
    check(
        refused("400 Bad Request", "InvalidInput", "1:secret values"),
        "Failed(Rejected { status: 400, code: \"InvalidInput\", index: Some(1) })",
    );
}

#[test]
fn a_failure_between_successes_is_a_failure() {
    let failed = refused("409 Conflict", "EntityAlreadyExists", "1:x");
    let verdict = verdict(answer(&[CREATED, &failed]).as_bytes(), &two());
    assert!(matches!(verdict, Verdict::Failed(TablesError::Conflict { index: Some(1) })));
}

#[test]
fn errors_are_read_from_json_and_xml() {
    let xml = br#"<?xml version="1.0"?><error xmlns="m"><code>TableNotFound</code><message xml:lang="en-US">The table</message></error>"#;
    assert_eq!(error_of(xml), ("TableNotFound".to_owned(), "The table".to_owned()));
    assert_eq!(error_of(b"<html>Bad gateway</html>"), (String::new(), String::new()));
    assert_eq!(error_of(b"\xff\xfe"), (String::new(), String::new()));
}

proptest::proptest! {
    #[test]
    fn no_answer_makes_it_panic_or_succeed(text in "(--[a-c]{1,3}|\\r\\n|\n|HTTP/1.1 |204|409|ETag: W/|\\{|.){0,40}") {
        let text = text.replace("\\r", "\r").replace("\\n", "\n");
        if let Verdict::Done(etags) = verdict(text.as_bytes(), &two()) {
            proptest::prop_assert!(etags.len() == 2 && etags[0].is_some());
        }
        error_of(text.as_bytes());
    }
}

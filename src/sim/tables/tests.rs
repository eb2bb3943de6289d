//! The table stand-in from outside: requests in, answers and effects out.

use super::answer::Refusal;
use super::*;
use base64::Engine as _;
use hmac::Mac as _;
use http::StatusCode;
use serde_json::{Value as Json, json};

struct Client(TableService);

struct Answer {
    status: u16,
    code: String,
    etag: String,
    headers: http::HeaderMap,
    body: String,
}

impl Client {
    async fn new() -> Self {
        let mut settings = Settings::default();
        settings.keys.bearer = Some("token".into());
        let client = Self(TableService::new(settings));
        assert_eq!(client.send("POST", "/Tables", &[], r#"{"TableName": "people"}"#).await.status, 201);
        client
    }

    fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Bytes> {
        let mut all = vec![
            ("authorization", "Bearer token"),
            ("x-ms-version", "2022-11-02"),
            ("dataserviceversion", "3.0"),
            ("accept", "application/json;odata=nometadata"),
            ("content-type", "application/json"),
        ];
        all.retain(|(name, _)| !headers.iter().any(|(given, _)| given == name));
        let mut request = Request::builder().method(method).uri(format!("/devstoreaccount1{path}"));
        for (name, value) in all.iter().chain(headers).filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    async fn reply(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.0.handle(Self::request(method, path, headers, body)).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let Reply::Answer(answer) = self.reply(method, path, headers, body).await else { panic!("hung up") };
        let header = |n: &str| answer.headers().get(n).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        Answer {
            status: answer.status().as_u16(),
            code: header("x-ms-error-code"),
            etag: header("etag"),
            headers: answer.headers().clone(),
            body: String::from_utf8(answer.body().to_vec()).unwrap(),
        }
    }

    async fn insert(&self, entity: &Json) -> Answer {
        self.send("POST", "/people", &[("prefer", "return-no-content")], &entity.to_string()).await
    }

    async fn batch(&self, operations: &[(&str, &str, &str, &str)]) -> Answer {
        let mut body = String::from("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n");
        for (method, path, header, entity) in operations {
            body += "--c\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n";
            body += &format!("{method} http://host/devstoreaccount1{path} HTTP/1.1\r\nDataServiceVersion: 3.0\r\n");
            body += &format!("Content-Type: application/json\r\nPrefer: return-no-content\r\n{header}\r\n{entity}\r\n");
        }
        body += "--c--\r\n--b--\r\n";
        self.send("POST", "/$batch", &[("content-type", "multipart/mixed; boundary=b")], &body).await
    }
}

fn at(partition: &str, row: &str) -> String {
    format!("/people(PartitionKey='{partition}',RowKey='{row}')")
}

fn entity(partition: &str, row: &str) -> Json {
    json!({"PartitionKey": partition, "RowKey": row, "v": 1})
}

#[tokio::test(start_paused = true)]
async fn an_entity_is_inserted_once_and_read_with_its_types() {
    let client = Client::new().await;
    let e = json!({"PartitionKey": "p", "RowKey": "r", "s": "x", "i": 5, "f": 1.5, "b": true, "none": null,
        "l": "123", "l@odata.type": "Edm.Int64", "t": "2026-01-15T10:00:00.1234567Z", "t@odata.type": "Edm.DateTime",
        "bin": "AQID", "bin@odata.type": "Edm.Binary", "Timestamp": "2000-01-01T00:00:00Z"});
    assert_eq!(client.insert(&e).await.status, 204);
    let again = client.insert(&e).await;
    assert_eq!((again.status, again.code.as_str()), (409, "EntityAlreadyExists"));
    let plain: Json = serde_json::from_str(&client.send("GET", &at("p", "r"), &[], "").await.body).unwrap();
    assert_eq!(plain["l"], "123");
    assert!(plain.get("l@odata.type").is_none() && plain.get("none").is_none());
    let typed = client.send("GET", &at("p", "r"), &[("accept", "application/json;odata=minimalmetadata")], "").await;
    let json: Json = serde_json::from_str(&typed.body).unwrap();
    assert_eq!(json["l@odata.type"], "Edm.Int64");
    assert_eq!(json["t"], "2026-01-15T10:00:00.1234567Z");
    assert_eq!(json["odata.etag"], typed.etag.as_str());
}

#[tokio::test(start_paused = true)]
async fn preconditions_decide_about_writes() {
    let client = Client::new().await;
    let old = client.insert(&entity("p", "r")).await.etag;
    let merged = client.send("PATCH", &at("p", "r"), &[("if-match", &old)], r#"{"w": 2}"#).await;
    assert_eq!(merged.status, 204);
    assert_ne!(merged.etag, old, "every write has an ETag of its own, even at the same moment");
    for method in ["PATCH", "PUT", "MERGE", "DELETE"] {
        let stale = client.send(method, &at("p", "r"), &[("if-match", &old)], r#"{"w": 3}"#).await;
        assert_eq!((stale.status, stale.code.as_str()), (412, "UpdateConditionNotSatisfied"), "{method}");
        let missing = client.send(method, &at("p", "none"), &[("if-match", "*")], r#"{"w": 3}"#).await;
        assert_eq!((missing.status, missing.code.as_str()), (404, "ResourceNotFound"), "{method}");
    }
    assert_eq!(client.0.entities("people")[0].properties.len(), 2);
    assert_eq!(client.send("PUT", &at("p", "r"), &[("if-match", &merged.etag)], r#"{"w": 4}"#).await.status, 204);
    assert_eq!(client.0.entities("people")[0].properties.len(), 1);
    assert_eq!(client.send("PATCH", &at("p", "new"), &[], r#"{"w": 4}"#).await.status, 204);
    assert_eq!(client.send("DELETE", &at("p", "new"), &[], "").await.code, "MissingRequiredHeader");
    assert_eq!(client.send("DELETE", &at("p", "new"), &[("if-match", "*")], "").await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_happens_whole_or_not_at_all() {
    let client = Client::new().await;
    let etag = client.insert(&entity("p", "0")).await.etag;
    let one = entity("p", "1").to_string();
    let good = format!("If-Match: {etag}\r\n");
    let failed = client
        .batch(&[
            ("PATCH", &at("p", "0"), &good, r#"{"v": 9}"#),
            ("POST", "/people", "", &one),
            ("DELETE", &at("p", "x"), "If-Match: *\r\n", ""),
        ])
        .await;
    assert_eq!(failed.status, 202);
    assert!(failed.body.contains("HTTP/1.1 404 Not Found") && failed.body.contains("2:The specified resource"));
    assert_eq!(client.0.entities("people").len(), 1);
    assert_eq!(client.0.entities("people")[0].etag(), etag, "rolled back to the very version");
    let done = client.batch(&[("PATCH", &at("p", "0"), &good, r#"{"v": 9}"#), ("POST", "/people", "", &one)]).await;
    assert_eq!(done.body.matches("HTTP/1.1 204 No Content").count(), 2, "{}", done.body);
    assert_eq!(done.body.matches("etag: W/").count(), 2);
    let conflict = client.batch(&[("POST", "/people", "", &one)]).await;
    assert!(conflict.body.contains("409 Conflict") && conflict.body.contains("0:The specified entity already exists."));
    let stale = client.batch(&[("PATCH", &at("p", "0"), &good, r#"{"v": 1}"#)]).await;
    assert!(stale.body.contains("412 Precondition Failed"));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_breaks_a_rule_is_refused_with_its_code() {
    let client = Client::new().await;
    let rows: Vec<String> = (0..101).map(|i| entity("p", &i.to_string()).to_string()).collect();
    let many: Vec<_> = rows.iter().map(|r| ("POST", "/people", "", r.as_str())).collect();
    assert!(client.batch(&many).await.body.contains("exceeds the maximum 100"));
    assert!(client.batch(&many[..100]).await.body.contains("204 No Content"));
    let other = entity("q", "1").to_string();
    let mixed = client.batch(&[("POST", "/people", "", &other), many[0]]).await;
    assert!(mixed.body.contains("CommandsInBatchActOnDifferentPartitions"));
    let twice = client.batch(&[("PUT", &at("q", "1"), "", "{}"), ("PATCH", &at("q", "1"), "", "{}")]).await;
    assert!(twice.body.contains("InvalidDuplicateRow") && twice.body.contains("\"1:An entity"));
    assert!(client.batch(&[("GET", &at("p", "1"), "", "")]).await.body.contains("405 Method Not Allowed"));
    assert!(client.batch(&[("POST", "/people", "", "{nope")]).await.body.contains("\"0:body is no JSON"));
    let empty = client.batch(&[]).await;
    assert_eq!((empty.status, empty.code.as_str()), (400, "InvalidInput"));
    let large = json!({"PartitionKey": "q", "RowKey": "1", "s": "x".repeat(5 << 20)}).to_string();
    assert_eq!(client.batch(&[("POST", "/people", "", &large)]).await.code, "RequestBodyTooLarge");
    assert!(client.0.entities("people").iter().all(|e| e.key.partition == "p"));
}

#[tokio::test(start_paused = true)]
async fn limits_and_shapes_are_enforced() {
    let client = Client::new().await;
    let check = async |change: Json, code: &str| {
        let mut e = entity("p", "r");
        e.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = client.insert(&e).await;
        assert_eq!((answer.status, answer.code.as_str()), (400, code), "{}", answer.body);
    };
    for key in ["a/b", "a\\b", "a#b", "a?b", "a\u{1}b", "a\u{85}b"] {
        check(json!({"RowKey": key}), "OutOfRangeInput").await;
    }
    check(json!({"RowKey": "k".repeat(513)}), "KeyValueTooLarge").await;
    check(json!({"RowKey": 1}), "InvalidInput").await;
    check(json!({"RowKey": null}), "InvalidInput").await;
    check(json!({"s": "x".repeat(32 * 1024 + 1)}), "PropertyValueTooLarge").await;
    check(json!({"a-b": 1}), "PropertyNameInvalid").await;
    check(json!({"n".repeat(256): 1}), "PropertyNameTooLong").await;
    check(json!({"o": {"a": 1}}), "InvalidInput").await;
    check(json!({"l": "x", "l@odata.type": "Edm.Int64"}), "InvalidInput").await;
    check(json!({"l": 5, "l@odata.type": "Edm.Int64"}), "InvalidInput").await;
    check(json!({"l": 5_000_000_000_i64}), "InvalidInput").await;
    check(json!({"l": "x", "l@odata.type": "Edm.Nope"}), "InvalidInput").await;
    let many: serde_json::Map<String, Json> = (0..252).map(|i| (format!("p{i}"), json!(1))).collect();
    check(Json::Object(many), "TooManyProperties").await;
    let large: serde_json::Map<String, Json> = (0..17).map(|i| (format!("p{i}"), json!("x".repeat(32_000)))).collect();
    check(Json::Object(large), "EntityTooLarge").await;
    assert_eq!(client.insert(&json!({"PartitionKey": "p"})).await.code, "PropertiesNeedValue");
    let fits = json!({"PartitionKey": "p", "RowKey": "k".repeat(512), "s": "x".repeat(32 * 1024)});
    assert_eq!(client.insert(&fits).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn pages_end_with_a_token_that_continues_them() {
    let client = Client::new().await;
    for i in 0..1001 {
        client.insert(&entity("p", &format!("{i:04}"))).await;
    }
    let path = "/people()?$filter=PartitionKey%20eq%20'p'&$select=RowKey";
    let first = client.send("GET", path, &[], "").await;
    let header = |name: &str| first.headers.get(name).unwrap().to_str().unwrap().to_owned();
    let escape = |t: String| t.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let (partition, row) = (header("x-ms-continuation-nextpartitionkey"), header("x-ms-continuation-nextrowkey"));
    let next = format!("{path}&NextPartitionKey={}&NextRowKey={}", escape(partition), escape(row));
    let second = client.send("GET", &next, &[], "").await;
    let count = |body: &str| serde_json::from_str::<Json>(body).unwrap()["value"].as_array().unwrap().len();
    assert_eq!((count(&first.body), count(&second.body)), (1000, 1));
    assert_eq!(second.body, r#"{"value":[{"RowKey":"1000"}]}"#);
    assert!(second.headers.get("x-ms-continuation-nextrowkey").is_none());
    assert_eq!(client.send("GET", "/people()?NextPartitionKey=p", &[], "").await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn odd_keys_come_back_as_they_were() {
    let client = Client::new().await;
    for key in ["a'b", "a''b", "a b", "ä€😀", "a%25b", "%", "a+b", "a(b),c='d'", "a;b&c=d", "", "A", "a"] {
        assert_eq!(client.insert(&entity("odd", key)).await.status, 204, "{key}");
        let quoted = key.replace('\'', "''");
        let escaped = percent_encoding::utf8_percent_encode(&quoted, percent_encoding::NON_ALPHANUMERIC);
        let found = client.send("GET", &at("odd", &escaped.to_string()), &[], "").await;
        assert_eq!(serde_json::from_str::<Json>(&found.body).unwrap()["RowKey"], key);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_authorized_are_served() {
    let client = Client::new().await;
    let check = async |path: &str, authorization: &str, expected: (u16, &str)| {
        let headers = [("authorization", authorization), ("x-ms-date", "Thu, 15 Jan 2026 10:00:00 GMT")];
        let answer = client.send("GET", path, &headers, "").await;
        assert_eq!((answer.status, answer.code.as_str()), expected, "{path} {authorization}");
    };
    let sign = |text: &str| {
        let key = base64::engine::general_purpose::STANDARD.decode(DEVELOPMENT_KEY).unwrap();
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(text.as_bytes());
        base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
    };
    let resource = "/devstoreaccount1/devstoreaccount1/Tables";
    let lite = sign(&format!("Thu, 15 Jan 2026 10:00:00 GMT\n{resource}"));
    let full = sign(&format!("GET\n\napplication/json\nThu, 15 Jan 2026 10:00:00 GMT\n{resource}"));
    check("/Tables", &format!("SharedKeyLite devstoreaccount1:{lite}"), (200, "")).await;
    check("/Tables", &format!("SharedKey devstoreaccount1:{full}"), (200, "")).await;
    check("/Tables", &format!("SharedKey devstoreaccount1:{lite}"), (403, "AuthenticationFailed")).await;
    check("/Tables?sv=2019-02-02&sig=abc", "", (200, "")).await;
    check("/Tables", "Bearer other", (403, "AuthenticationFailed")).await;
    check("/Tables", "", (401, "NoAuthenticationInformation")).await;
}

#[tokio::test(start_paused = true)]
async fn headers_that_json_needs_are_missed() {
    let client = Client::new().await;
    let check = async |header: &str, value: &str, expected: (u16, &str)| {
        let answer = client.send("POST", "/people", &[(header, value)], &entity("p", "r").to_string()).await;
        assert_eq!((answer.status, answer.code.as_str()), expected, "{header}");
    };
    check("x-ms-version", "", (400, "InvalidHeaderValue")).await;
    check("dataserviceversion", "", (400, "InvalidHeaderValue")).await;
    check("content-type", "text/plain", (415, "UnsupportedMediaType")).await;
    check("accept", "", (415, "AtomFormatNotSupported")).await;
    assert!(client.0.entities("people").is_empty());
    let xml = client.send("GET", "/nosuch()", &[("accept", "")], "").await;
    assert!(xml.body.starts_with("<?xml"));
}

#[tokio::test(start_paused = true)]
async fn faults_strike_before_or_after_the_effect() {
    let client = Client::new().await;
    let busy = Refusal::busy();
    client.0.add_fault(Rule::new(When::Nth(1), Fault::Status(busy.status, busy.code)).on(Operation::Insert));
    client.0.add_fault(Rule::new(When::Nth(2), Fault::HangupBefore).on(Operation::Insert));
    client.0.add_fault(Rule::new(When::Nth(3), Fault::HangupAfter).on(Operation::Insert));
    client.0.add_fault(Rule::new(When::Nth(4), Fault::Late(Duration::from_secs(60))).on(Operation::Insert));
    let first = client.insert(&entity("p", "1")).await;
    assert_eq!((first.status, first.code.as_str()), (503, "ServerBusy"));
    for (row, effect) in [("2", 0), ("3", 1), ("4", 1)] {
        let reply = client.reply("POST", "/people", &[], &entity("p", row).to_string()).await;
        assert!(matches!(reply, Reply::Hangup));
        assert_eq!(client.0.entities("people").len(), effect, "row {row}");
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(client.0.entities("people").len(), 2, "the late one happened after all");
    assert_eq!(client.insert(&entity("p", "5")).await.status, 204);
    assert_eq!(client.0.faults_drawn(), 4);
    assert_eq!(client.0.counts()[&Operation::Insert], 5);
    client.0.clear_faults();
    client.0.add_fault(Rule::new(When::Always, Fault::HangupBefore).containing("needle"));
    let needle = client.reply("POST", "/people", &[], &entity("p", "needle").to_string()).await;
    assert!(matches!(needle, Reply::Hangup));
    assert_eq!(client.insert(&entity("p", "other")).await.status, 204);
}

#[tokio::test]
async fn it_is_reachable_over_a_socket() {
    let server = serve(TableService::new(Settings::default()), 0).await.unwrap();
    let mut request = Client::request("GET", "/Tables?sv=2019-02-02&sig=abc", &[("authorization", "")], "");
    *request.uri_mut() = format!("{}{}", server.url(), request.uri()).parse().unwrap();
    let answer = crate::sim::http::Sender::default().send(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

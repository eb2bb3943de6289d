//! What the client sends and how it reads answers, without a service: tokens, signatures, odd answers.

use super::*;
use crate::clock::SystemClock;
use crate::identity::{Credential, TokenLimits, TokenSource};
use crate::outbound::transport::TransportError;
use crate::secret::Secret;
use async_trait::async_trait;
use std::sync::Mutex;

/// Status and body for a request.
type Answers = fn(&Request) -> (u16, &'static str);

/// Answers `/token` with `t1`, `t2`, ..., anything else with what `answer` says; remembers every request.
#[derive(Debug)]
struct Service {
    answer: Answers,
    seen: Mutex<Vec<Request>>,
}

#[async_trait]
impl Transport for Service {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let mut seen = self.seen.lock().unwrap();
        let (status, body) = if request.url.ends_with("/token") {
            let number = seen.iter().filter(|request| request.url.ends_with("/token")).count() + 1;
            (200, format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#))
        } else {
            let (status, body) = (self.answer)(&request);
            (status, body.to_owned())
        };
        seen.push(request);
        let mut headers = HeaderMap::new();
        if status == 204 {
            headers.insert(ETAG, HeaderValue::from_static("W/\"1\""));
        }
        Ok(Response { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from(body) })
    }
}

fn service(answer: Answers) -> Arc<Service> {
    Arc::new(Service { answer, seen: Mutex::default() })
}

fn client(service: &Arc<Service>, auth: Auth) -> TableClient {
    let transport = Arc::clone(service) as Arc<dyn Transport>;
    let clock = Arc::new(SystemClock::default());
    let endpoint = "https://acc.table.core.windows.net/";
    TableClient::new(endpoint, "ledger", auth, transport, clock, TableLimits::default()).unwrap()
}

fn entity() -> Entity {
    Entity::new(Key::new("p").unwrap(), Key::new("r").unwrap())
}

fn sas() -> Auth {
    Auth::Sas(Secret::new("sv=2022-11-02&sig=a%3D"))
}

#[tokio::test]
async fn a_bearer_token_is_sent_and_replaced_once_when_refused() {
    let service = service(|request| match request.headers.get("authorization") {
        Some(value) if value == "Bearer t2" => (204, ""),
        _ => (401, ""),
    });
    let credential = Credential::client_secret(None, "tenant", "client", Secret::new("s")).unwrap();
    let transport = Arc::clone(&service) as Arc<dyn Transport>;
    let tokens = TokenSource::new(credential, transport, Arc::new(SystemClock::default()), TokenLimits::default());
    client(&service, Auth::Bearer(tokens)).insert(entity()).await.unwrap();
    let seen = service.seen.lock().unwrap();
    assert_eq!(seen.len(), 4);
    assert!(std::str::from_utf8(&seen[0].body).unwrap().contains("scope=https%3A%2F%2Fstorage.azure.com%2F.default"));
    assert_eq!(seen[3].url, "https://acc.table.core.windows.net/ledger");
    for name in ["x-ms-date", "x-ms-version", "dataserviceversion", "accept", "prefer"] {
        assert!(seen[3].headers.contains_key(name), "{name}");
    }
    assert!(!format!("{:?}", seen[3]).contains("t2"), "a token shows in the debug output");
}

#[tokio::test]
async fn a_signature_follows_whatever_query_there_is() {
    let service = service(|_| (200, r#"{"value":[]}"#));
    let client = client(&service, sas());
    client.query(&Query { top: Some(1), ..Query::default() }, None).await.unwrap();
    client.query(&Query::default(), None).await.unwrap();
    let seen = service.seen.lock().unwrap();
    assert_eq!(seen[0].url, "https://acc.table.core.windows.net/ledger()?$top=1&sv=2022-11-02&sig=a%3D");
    assert_eq!(seen[1].url, "https://acc.table.core.windows.net/ledger()?sv=2022-11-02&sig=a%3D");
    assert!(!seen[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_answer_to_a_write_that_proves_nothing_is_unknown() {
    let answers: [Answers; 5] =
        [|_| (200, ""), |_| (201, "{}"), |_| (500, ""), |_| (503, "<html>gateway</html>"), |_| (408, "")];
    for answer in answers {
        let service = service(answer);
        let client = client(&service, sas());
        let single = client.insert(entity()).await.unwrap_err();
        assert!(matches!(single, TablesError::Unknown { .. }), "{single:?}");
        let several = client.transact(&entity().partition, vec![Op::Insert(entity())]).await.unwrap_err();
        assert!(matches!(several, TablesError::Unknown { .. }), "{several:?}");
        assert_eq!(service.seen.lock().unwrap().len(), 2, "a write was repeated");
    }
}

#[tokio::test]
async fn a_table_that_stays_missing_is_a_rejection() {
    let service = service(|request| match request.url.contains("/Tables") {
        true => (204, ""),
        false => (404, r#"{"odata.error":{"code":"TableNotFound","message":{"value":"0:x"}}}"#),
    });
    let client = client(&service, sas());
    let single = client.insert(entity()).await.unwrap_err();
    let several = client.transact(&entity().partition, vec![Op::Insert(entity())]).await.unwrap_err();
    let read = client.get(&entity().partition, &entity().row).await.unwrap_err();
    for error in [single, several, read] {
        assert!(
            matches!(&error, TablesError::Rejected { status: 404, code, .. } if code == TABLE_NOT_FOUND),
            "{error:?}"
        );
    }
    assert_eq!(service.seen.lock().unwrap().len(), 9);
}

#[tokio::test]
async fn a_read_that_cannot_be_understood_is_an_error_and_no_missing_row() {
    let answers: [Answers; 4] =
        [|_| (200, ""), |_| (200, "[]"), |_| (200, "{}"), |_| (200, r#"{"value":[{"PartitionKey":"p"}]}"#)];
    for answer in answers {
        let client = client(&service(answer), sas());
        let get = client.get(&entity().partition, &entity().row).await.unwrap_err();
        assert!(matches!(get, TablesError::Decode { .. }), "{get:?}");
        let query = client.query(&Query::default(), None).await.unwrap_err();
        assert!(matches!(query, TablesError::Decode { .. }), "{query:?}");
    }
}

#[test]
fn names_that_cannot_be_are_refused_before_anything_is_sent() {
    let service = service(|_| (500, ""));
    let make = |endpoint: &str, table: &str| {
        let transport = Arc::clone(&service) as Arc<dyn Transport>;
        TableClient::new(endpoint, table, sas(), transport, Arc::new(SystemClock::default()), TableLimits::default())
    };
    for table in ["", "ab", "1abc", "a-bc", "a/bc", &"a".repeat(64)] {
        assert!(make("https://h", table).is_err(), "{table}");
    }
    for endpoint in ["", "h", "/h", "https://"] {
        assert!(make(endpoint, "table").is_err(), "{endpoint}");
    }
}

//! Claims in HTTP's words, against a ledger in memory and a clock that moves when told.

use super::*;
use crate::clock::Clock;
use crate::host::route::Parameters;
use crate::host::{Arrived, Headers};
use crate::ledger::memory::MemoryStore;
use chrono::Utc;
use std::sync::atomic::{AtomicI64, Ordering};

#[derive(Clone, Debug, Default)]
struct Told(Arc<AtomicI64>);

impl Told {
    fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

impl Clock for Told {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_768_471_200_000 + self.0.load(Ordering::SeqCst)).unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

struct Desk {
    function: Box<dyn HttpFunction>,
    clock: Told,
}

fn desk() -> Desk {
    let clock = Told::default();
    let store = Arc::new(MemoryStore::default());
    let flows = Flows::new(store, Arc::new(clock.clone()), Duration::from_secs(5));
    let Kind::Http { function, .. } = Claims::function(Some(Arc::new(flows))).kind else { panic!("not HTTP") };
    Desk { function, clock }
}

impl Desk {
    async fn call(&self, method: Method, owner: Option<&str>, body: &str) -> (u16, Value, HttpAnswer) {
        let mut headers = Headers::new();
        headers.extend(owner.map(|owner| (OWNER_HEADER.to_owned(), owner.to_owned())));
        self.call_with(method, headers, body).await
    }

    async fn call_with(&self, method: Method, headers: Headers, body: &str) -> (u16, Value, HttpAnswer) {
        let answer = self
            .function
            .answer(HttpRequest {
                method,
                path: "/api/claims/order-1".to_owned(),
                parameters: [("id".to_owned(), "order-1".to_owned())].into(),
                query: Parameters::new(),
                headers,
                body: body.to_owned().into(),
                arrived: Arrived { invocation: "i".to_owned(), traceparent: None, at_ms: 0 },
            })
            .await;
        (answer.status.as_u16(), serde_json::from_str(&answer.body).unwrap(), answer)
    }

    async fn post(&self, owner: &str) -> (u16, Value) {
        let (status, body, _) = self.call(Method::POST, Some(owner), "").await;
        (status, body)
    }

    async fn put(&self, owner: &str, body: &str) -> (u16, Value) {
        let (status, body, _) = self.call(Method::PUT, Some(owner), body).await;
        (status, body)
    }

    async fn delete(&self, owner: &str) -> (u16, Value) {
        let (status, body, _) = self.call(Method::DELETE, Some(owner), "").await;
        (status, body)
    }
}

#[tokio::test]
async fn a_status_is_enough_to_know_what_to_do() {
    let desk = desk();
    let (status, body) = desk.post("run-1").await;
    let held = json!({"claim": "order-1", "state": "held", "owner": "run-1", "until": "2026-01-15T10:05:00.000Z",
        "lease_seconds": 300, "attempt": 1});
    assert_eq!((status, body), (201, held.clone()));
    assert_eq!(desk.post("run-1").await, (201, held), "an answer that was lost comes again");
    let (status, body, answer) = desk.call(Method::POST, Some("run-2"), "").await;
    assert_eq!((status, &body["state"], &body["until"]), (409, &json!("held"), &json!("2026-01-15T10:05:00.000Z")));
    assert_eq!(answer.into_response().headers()[RETRY_AFTER], "305");
    let (status, body) = desk.put("run-1", "{\"result\": {\"id\": 4.20}}").await;
    assert_eq!((status, body), (200, json!({"claim": "order-1", "state": "done"})));
    for owner in ["run-1", "run-2"] {
        let (status, body, answer) = desk.call(Method::POST, Some(owner), "").await;
        assert_eq!((status, &body["state"]), (200, &json!("done")), "{owner}");
        assert_eq!(body["done_at"], json!("2026-01-15T10:00:00.000Z"));
        assert!(answer.body.contains("\"result\":{\"id\":4.20}"), "exact: {}", answer.body);
    }
}

#[tokio::test]
async fn who_lost_the_claim_is_told_so_and_changes_nothing() {
    let desk = desk();
    assert_eq!(desk.put("run-1", "").await.0, 404);
    assert_eq!(desk.delete("run-1").await.0, 404);
    assert_eq!(desk.post("run-1").await.0, 201);
    desk.clock.advance(304);
    assert_eq!(desk.post("run-2").await.0, 409, "clocks may differ");
    desk.clock.advance(1);
    let (status, body) = desk.post("run-2").await;
    assert_eq!((status, &body["attempt"]), (201, &json!(2)));
    for (status, body) in [desk.put("run-1", "{\"result\": 1}").await, desk.delete("run-1").await] {
        assert_eq!((status, &body["state"]), (409, &json!("overtaken")));
    }
    assert_eq!(desk.put("run-2", "{\"result\": 2}").await.0, 200);
    assert_eq!(desk.put("run-2", "{\"result\": 2}").await.0, 200);
    let (status, body) = desk.put("run-2", "{\"result\": 3}").await;
    assert_eq!((status, &body["state"]), (409, &json!("done")));
    assert_eq!(desk.delete("run-2").await.0, 409);
    assert_eq!(desk.post("run-1").await.1["result"], json!(2));
}

#[tokio::test]
async fn what_is_given_back_is_there_for_the_next() {
    let desk = desk();
    desk.post("run-1").await;
    let expected = json!({"claim": "order-1", "state": "free"});
    assert_eq!(desk.delete("run-1").await, (200, expected.clone()));
    assert_eq!(desk.delete("run-1").await, (200, expected));
    let (status, body) = desk.put("run-1", "").await;
    assert_eq!((status, &body["state"]), (409, &json!("free")));
    assert_eq!(desk.post("run-2").await.0, 201);
}

#[tokio::test]
async fn without_an_owner_one_is_drawn_and_nothing_else_is_done() {
    let desk = desk();
    let (status, body, _) = desk.call(Method::POST, None, "{\"lease_seconds\": 60}").await;
    assert_eq!((status, &body["lease_seconds"]), (201, &json!(60)));
    let owner = body["owner"].as_str().unwrap().to_owned();
    assert_eq!(owner.len(), 36);
    for method in [Method::PUT, Method::DELETE] {
        let (status, body, _) = desk.call(method, None, "").await;
        assert_eq!((status, &body["path"]), (400, &json!("header x-claim-owner")));
    }
    assert_eq!(desk.put(&owner, "").await.0, 200);
    assert_eq!(desk.post("run-2").await.1["result"], Value::Null);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_and_claims_nothing() {
    let desk = desk();
    let check = async |method: &Method, owner: &str, body: &str, status: u16, place: &str| {
        let (got, problem, _) = desk.call(method.clone(), Some(owner), body).await;
        assert_eq!((got, &problem["status"]), (status, &json!(status)), "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(place), "{problem}");
    };
    let (post, put) = (&Method::POST, &Method::PUT);
    check(post, "a\u{7}", "", 400, "header x-claim-owner").await;
    check(post, &"x".repeat(129), "", 400, "header x-claim-owner").await;
    check(post, "o", "{", 400, "not JSON").await;
    check(post, "o", "[]", 400, "must be an object").await;
    check(post, "o", "{\"lease\": 5}", 400, "$.lease: not known").await;
    for lease in ["9", "86401", "-1", "60.5", "\"60\""] {
        check(post, "o", &format!("{{\"lease_seconds\": {lease}}}"), 400, "$.lease_seconds").await;
    }
    check(put, "o", "{\"n\": 1}", 400, "$.n: not known here, there may be `result`").await;
    check(put, "o", &json!({"result": "x".repeat(RESULT_BYTES_MAX)}).to_string(), 413, "$.result").await;
    check(put, "o", &" ".repeat(BODY_BYTES_MAX + 1), 413, "the body").await;
    check(&Method::DELETE, "o", "{\"result\": 1}", 400, "no body").await;
    let headers = [("content-type".to_owned(), "text/plain".to_owned())].into();
    assert_eq!(desk.call_with(Method::POST, headers, "{}").await.0, 415);
    assert_eq!(desk.post("first").await.1["attempt"], json!(1));
}

#[tokio::test]
async fn without_a_ledger_the_caller_is_asked_to_come_again() {
    let Kind::Http { function, .. } = Claims::function(None).kind else { panic!("not HTTP") };
    let desk = Desk { function, clock: Told::default() };
    let (status, _, answer) = desk.call(Method::POST, Some("o"), "").await;
    assert_eq!(status, 503);
    assert!(answer.into_response().headers().contains_key(RETRY_AFTER));
}

//! Rows changed and deleted by their address.

use super::{Answer, Mode, World};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::{Uuid, uuid};

const MAPPING: &str = "version = 1\n[limits]\nwebhook_deadline = \"2s\"\nduplicate_wait = \"1s\"\n\
    [tables.account]\n[tables.contact]\nkey = [\"new_externalid\"]\n";
const ID: Uuid = uuid!("6a1ee5f0-0001-4b3c-9d2e-000000000001");

fn at(second: u32) -> String {
    format!("2026-01-05T08:00:{second:02}Z")
}

/// A change with an id, at a time.
async fn change(world: &World, method: &str, path: &str, id: &str, second: u32, body: &Value) -> Answer {
    let time = at(second);
    let headers = [("content-type", "application/json"), ("idempotency-key", id), ("ce-time", time.as_str())];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.send(method, path, &headers, &body).await
}

/// Status, outcome and detail.
fn came_to(answer: &Answer) -> (u16, String, String) {
    let body = answer.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("outcome"), text("detail"))
}

async fn a_life(mode: Mode) {
    let world = World::new(mode, 1, MAPPING, &[]).await;
    let path = format!("/api/Rows/Account/{ID}");
    let check = async |method: &str, id: &str, second: u32, body: Value, expected: (u16, &str, &str)| {
        let answer = change(&world, method, &path, id, second, &body).await;
        let (status, outcome, detail) = came_to(&answer);
        assert_eq!((status, outcome.as_str(), detail.as_str()), expected, "{mode:?} {id}: {}", answer.text);
        answer.json()
    };
    let told = check("PATCH", "e1", 1, json!({"name": "Contoso", "revenue": 12.50}), (200, "applied", "created")).await;
    assert_eq!((&told["table"], &told["row"], &told["event_id"]), (&json!("account"), &json!(ID), &json!("e1")));
    check("PATCH", "e1", 1, json!({"revenue": 12.500, "name": "Contoso"}), (200, "duplicate", "applied: created"))
        .await;
    let long = json!({"columns": {"name": "Fabrikam"}, "version": at(5)});
    check("PATCH", "e5", 0, long, (200, "applied", "updated")).await;
    check("PATCH", "e3", 3, json!({"name": "late"}), (200, "stale", "")).await;
    assert!(world.there("account", ID, "name").unwrap().contains("Fabrikam"));
    let reused = change(&world, "PATCH", &path, "e1", 1, &json!({"name": "other"})).await;
    assert_eq!((reused.status, &reused.json()["event_id"]), (422, &json!("e1")));
    check("DELETE", "e6", 6, Value::Null, (200, "applied", "deleted")).await;
    check("DELETE", "e6", 6, Value::Null, (200, "duplicate", "applied: deleted")).await;
    assert!(world.target.row("account", ID).is_none());
    check("PATCH", "e7", 4, json!({"name": "before the delete"}), (200, "stale", "")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_lives_and_dies_by_its_address_behind_a_host_that_proxies() {
    a_life(Mode::Proxying).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_lives_and_dies_by_its_address_behind_a_host_that_forwards() {
    a_life(Mode::Forwarding).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_lives_and_dies_by_its_address_behind_a_host_that_wraps() {
    a_life(Mode::Envelope).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_key_identifies_are_named_by_it() {
    let world = World::new(Mode::Proxying, 1, MAPPING, &[]).await;
    let check = async |path: &str, id: &str, second: u32, body: Value, detail: &str| {
        let answer = change(&world, "PATCH", path, id, second, &body).await;
        assert_eq!(came_to(&answer), (200, "applied".to_owned(), detail.to_owned()), "{path}: {}", answer.text);
    };
    check("/api/rows/contact/A-1", "c1", 1, json!({"lastname": "One"}), "created").await;
    check("/api/rows/contact/new_externalid='a-1'", "c2", 2, json!({"lastname": "Two"}), "updated").await;
    check("/api/rows/contact/new_externalid%3DA-1", "c3", 3, json!({"lastname": "Three"}), "updated").await;
    check("/api/rows/contact/'O''Brien,%20J=1'", "c4", 4, json!({"lastname": "Four"}), "created").await;
    check("/api/rows/contact/4711", "c5", 5, json!({"lastname": "Five"}), "created").await;
    let rows = world.target.rows("contact");
    let mut seen: Vec<String> =
        rows.values().map(|row| format!("{:?} {:?}", row.get("new_externalid"), row.get("lastname"))).collect();
    seen.sort();
    assert_eq!(seen.len(), 3, "{seen:?}");
    for (seen, (key, name)) in seen.iter().zip([("4711", "Five"), ("A-1", "Three"), ("O'Brien, J=1", "Four")]) {
        assert!(seen.contains(key) && seen.contains(name), "{seen}");
    }
    let answer = change(&world, "DELETE", "/api/rows/contact/a-1", "c9", 9, &Value::Null).await;
    assert_eq!(came_to(&answer), (200, "applied".to_owned(), "deleted".to_owned()), "{}", answer.text);
    assert_eq!(world.target.rows("contact").len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_several_columns_are_named_column_by_column() {
    let mapping = MAPPING.replace("\"new_externalid\"", "\"firstname\", \"emailaddress1\"");
    let world = World::new(Mode::Proxying, 1, &mapping, &[]).await;
    let paths = ["firstname='Joe',emailaddress1='a@b.c'", "emailaddress1=a@b.c,%20firstname=Joe"];
    for (n, (path, detail)) in paths.into_iter().zip(["created", "updated"]).enumerate() {
        let path = format!("/api/rows/contact/{path}");
        let body = json!({ "lastname": detail });
        let answer = change(&world, "PATCH", &path, &format!("c{n}"), u32::try_from(n).unwrap(), &body).await;
        assert_eq!(came_to(&answer), (200, "applied".to_owned(), detail.to_owned()), "{path}: {}", answer.text);
    }
    let bare = change(&world, "PATCH", "/api/rows/contact/Joe", "c3", 3, &json!({"lastname": "x"})).await;
    assert_eq!((bare.status, world.target.rows("contact").len()), (400, 1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_meant_is_refused_and_changes_nothing() {
    let world = World::new(Mode::Proxying, 1, MAPPING, &[("WEBHOOK_SECRETS", "old,new")]).await;
    let path = format!("/api/rows/account/{ID}");
    let json = ("content-type", "application/json");
    let secret = ("x-webhook-secret", "new");
    let id = ("idempotency-key", "e1");
    let check = async |method: &str, path: &str, headers: &[(&str, &str)], body: &str, status: u16, place: &str| {
        let answer = world.send(method, path, headers, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        if !place.is_empty() {
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert!(answer.text.contains(place), "{path}: {}", answer.text);
        }
    };
    let good = [json, secret, id];
    assert_eq!(world.send_as(None, "PATCH", &path, &good, "{}").await.status, 401, "the host asks for the key");
    check("PATCH", &path, &[json, id], "{}", 401, "x-webhook-secret").await;
    check("PATCH", &path, &[json, secret], "{\"name\": 1}", 400, "event without identity").await;
    check("DELETE", &path, &[secret], "", 400, "event without identity").await;
    check("PATCH", &path, &[json, secret, id, ("if-match", "*")], "{}", 400, "header if-match").await;
    check("DELETE", &path, &[secret, id, ("if-none-match", "*")], "", 400, "header if-none-match").await;
    check("PATCH", &path, &good, "{", 400, "not JSON").await;
    check("PATCH", &path, &good, "", 400, "not JSON").await;
    check("PATCH", &path, &good, "{\"name\": \"A\", \"version\": 1}", 400, "$.version").await;
    check("PATCH", &path, &[("content-type", "text/csv"), secret, id], "{}", 415, "media type").await;
    check("PATCH", &path, &good, &format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 20)), 413, "1048576").await;
    check("PATCH", "/api/rows/account/A-1", &good, "{}", 400, "must be a GUID or column=value").await;
    check("PATCH", "/api/rows/a%20b/x=1", &good, "{}", 400, "logical name").await;
    check("PATCH", "/api/rows/contact/a%2Fb", &good, "{}", 400, "has a slash").await;
    check("PATCH", "/api/rows/contact/%C3%28", &good, "{}", 400, "is not UTF-8").await;
    check("PATCH", &format!("/api/rows/contact/{}", "x".repeat(1_100)), &good, "{}", 400, "more than 1024 bytes").await;
    // the host answers these itself
    check("POST", &path, &good, "{}", 404, "").await;
    check("PATCH", "/api/rows/account", &good, "{}", 404, "").await;
    check("PATCH", &format!("{path}/more"), &good, "{}", 404, "").await;
    assert_eq!((world.target.commits(), world.tables.entities("syncinbox").len()), (0, 0));
    let answer = world.send("PATCH", "/api/rows/lead/x=1", &good, "{\"name\": \"A\"}").await;
    assert_eq!((answer.status, &answer.json()["detail"]), (200, &json!("table_not_configured")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_applied_now_is_kept_and_applied_later() {
    let world = World::new(Mode::Proxying, 1, MAPPING, &[]).await;
    world.target.faults().outage(Duration::from_secs(3));
    let path = format!("/api/rows/account/{ID}");
    let answer = change(&world, "PATCH", &path, "e1", 1, &json!({"name": "Contoso"})).await;
    assert_eq!((answer.status, &answer.json()["outcome"]), (202, &json!("deferred")), "{}", answer.text);
    assert!(world.target.row("account", ID).is_none());
    assert_eq!(world.send("GET", "/api/status", &[], "").await.json()["owed"], json!(1));
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.host.fire("sweep").await.unwrap();
        if world.target.row("account", ID).is_some() {
            break;
        }
    }
    assert!(world.there("account", ID, "name").is_some_and(|name| name.contains("Contoso")), "the sweep brings it");
    let answer = change(&world, "PATCH", &path, "e1", 1, &json!({"name": "Contoso"})).await;
    assert_eq!(came_to(&answer), (200, "duplicate".to_owned(), "applied: created".to_owned()));
    world.stop().await;
}

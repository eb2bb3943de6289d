//! The console, as a browser and a script ask for it.

use super::{KEY, Mode, World};
use dataverse_sync::sim::dataverse::{Effect, Rule, When};
use serde_json::json;
use uuid::{Uuid, uuid};

const MAPPING: &str = "version = 1\n[tables.account]\n[tables.contact]\n";
const ID: Uuid = uuid!("6a1ee5f0-0001-4b3c-9d2e-000000000001");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_shows_in_a_minute_what_happened_to_one_row_and_why() {
    let world = World::new(Mode::Proxying, 1, MAPPING, &[]).await;
    let path = format!("/api/rows/account/{ID}");
    let kind = ("content-type", "application/json");
    let first = [kind, ("idempotency-key", "e1"), ("ce-time", "2026-01-05T08:00:01Z")];
    assert_eq!(world.send("PATCH", &path, &first, r#"{"name": "Very Secret Name"}"#).await.status, 200);
    let refused = Effect::Status { status: 400, code: "0x80040265".to_owned(), retry_after: None };
    world.target.faults().add(Rule::new(When::Always, refused).writes());
    let second = [kind, ("idempotency-key", "<b>e2</b>"), ("ce-time", "2026-01-05T08:00:02Z")];
    let parked = world.send("PATCH", &path, &second, r#"{"name": "Other Secret Name"}"#).await;
    assert_eq!((parked.status, &parked.json()["outcome"]), (202, &json!("parked")), "{}", parked.text);

    let address = format!("/api/console?code={KEY}&table=account&row={ID}");
    let browser = [("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")];
    assert_eq!(world.send_as(None, "GET", "/api/console", &browser, "").await.status, 401);
    let page = world.send_as(None, "GET", &address, &browser, "").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none';"));
    let others = ["cache-control", "referrer-policy", "x-content-type-options"].map(|name| page.header(name));
    assert_eq!(others, ["no-store", "no-referrer", "nosniff"]);
    for expected in [
        "1 event is parked",
        "plugin_refused",
        "<b>What to do:</b>",
        "applied</span> created",
        "in the target still",
        "&lt;b&gt;e2&lt;/b&gt;",
        "carries name",
        &format!("<code>account:{ID}</code>"),
        &format!("name=\"code\" value=\"{KEY}\""),
    ] {
        assert!(page.text.contains(expected), "{expected}: {}", page.text);
    }
    assert!(!page.text.contains("Secret Name") && !page.text.contains("<script"), "{}", page.text);

    let script =
        world.send("GET", &format!("/api/console?table=account&row={ID}"), &[("accept", "application/json")], "").await;
    let view = script.json();
    assert_eq!(
        (script.status, &view["status"]["parked"], &view["tables"]),
        (200, &json!(1), &json!(["account", "contact"]))
    );
    assert_eq!(view["parked"]["shown"][0]["row"], json!(ID));
    let outcomes: Vec<_> =
        view["history"]["events"].as_array().unwrap().iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes, ["applied", "parked"]);
    assert!(!script.text.contains("Secret Name"));

    let unknown = world.send("GET", "/api/console?table=lead&row=x", &browser, "").await;
    assert_eq!(unknown.status, 200);
    assert!(unknown.text.contains("no table lead in the mapping"), "{}", unknown.text);
    let nothing = world.send("GET", "/api/console", &[("accept", "application/json")], "").await;
    assert!(nothing.json().get("history").is_none());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_there_when_the_ledger_is_not() {
    let away = "AccountName=nobody1;AccountKey=bm90IGEgc2VjcmV0IQ==;TableEndpoint=http://127.0.0.1:9/nobody1";
    let world = World::new(Mode::Proxying, 1, MAPPING, &[("AzureWebJobsStorage", away)]).await;
    let page = world.send("GET", &format!("/api/console?table=account&row={ID}"), &[], "").await;
    assert_eq!((page.status, page.header("retry-after")), (503, "10"));
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(
        page.text.matches("This cannot be read now").count() == 2 && page.text.contains("</html>"),
        "{}",
        page.text
    );
    world.stop().await;
}

//! Claims on ids by programs that know nothing but HTTP.

use super::{Mode, World};
use futures_util::future::join_all;
use serde_json::{Value, json};

const MAPPING: &str = "version = 1\n[tables.account]\n";

async fn claimed_once(mode: Mode) {
    let world = World::new(mode, 2, MAPPING, &[]).await;
    let path = "/api/Claims/mail%20to%3A%20order-4711";
    // ten runs of a flow begin at the same moment, on two instances
    let runs: Vec<String> = (0..10).map(|n| format!("run-{n}")).collect();
    let asked = runs.iter().map(async |run| world.send("POST", path, &[("x-claim-owner", run.as_str())], "").await);
    let answers = join_all(asked).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let winner = statuses.iter().position(|status| *status == 201).unwrap_or_else(|| panic!("{statuses:?}"));
    for (n, answer) in answers.iter().enumerate() {
        let body = answer.json();
        assert_eq!(body["claim"], json!("mail to: order-4711"), "{mode:?} {body}");
        if n != winner {
            assert_eq!((answer.status, &body["state"]), (409, &json!("held")), "{body}");
            let seconds: u64 = answer.header("retry-after").parse().unwrap();
            assert!((290..=305).contains(&seconds), "{seconds}");
        }
    }
    let (owner, other) = (("x-claim-owner", runs[winner].as_str()), ("x-claim-owner", "somebody"));
    assert_eq!(world.send("POST", path, &[owner], "").await.status, 201, "asking again is safe");
    let kind = ("content-type", "application/json");
    let result = r#"{"result": {"mail": "AAMk", "n": 1.50}}"#;
    assert_eq!(world.send("PUT", path, &[other, kind], result).await.status, 409);
    assert_eq!(world.send("DELETE", path, &[other], "").await.status, 409);
    assert_eq!(world.send("PUT", path, &[kind], result).await.status, 400);
    for _ in 0..2 {
        let done = world.send("PUT", path, &[owner, kind], result).await;
        assert_eq!((done.status, done.json()), (200, json!({"claim": "mail to: order-4711", "state": "done"})));
    }
    for run in [owner, other] {
        let told = world.send("POST", path, &[run], "").await;
        assert_eq!((told.status, &told.json()["state"]), (200, &json!("done")));
        assert_eq!(told.json()["result"].to_string(), r#"{"mail":"AAMk","n":1.50}"#);
    }
    assert_eq!(world.send("DELETE", path, &[owner], "").await.status, 409);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_runs_one_does_the_work_and_all_get_its_result() {
    claimed_once(Mode::Proxying).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_runs_behind_an_older_host_one_does_the_work() {
    claimed_once(Mode::Envelope).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_outlives_its_instance_and_is_refused_without_the_key() {
    let world = World::new(Mode::Forwarding, 1, MAPPING, &[]).await;
    let (path, owner) = ("/api/claims/order-1", ("x-claim-owner", "run-1"));
    assert_eq!(world.send_as(None, "POST", path, &[owner], "").await.status, 401);
    let body = json!({"lease_seconds": 60}).to_string();
    let taken = world.send("POST", path, &[owner, ("content-type", "application/json")], &body).await;
    assert_eq!((taken.status, &taken.json()["lease_seconds"]), (201, &json!(60)), "{}", taken.text);
    world.host.kill(0).await.unwrap();
    world.host.ready(0).await.unwrap();
    assert_eq!(world.send("POST", path, &[("x-claim-owner", "run-2")], "").await.status, 409);
    assert_eq!(world.send("DELETE", path, &[owner], "").await.status, 200);
    let next = world.send("POST", path, &[], "").await;
    assert_eq!((next.status, &next.json()["attempt"]), (201, &json!(2)));
    assert!(next.json()["owner"].as_str().is_some_and(|owner| owner.len() == 36));
    let refused = world.send("POST", "/api/claims/a%2fb", &[owner], "").await;
    assert_eq!((refused.status, refused.json()["status"].clone()), (400, Value::from(400)));
    world.stop().await;
}

//! Faults, service protection, the log, and that effects do not depend on who waits for them.

use super::*;
use crate::sim::dataverse::{Effect, Protection, Rule, When};
use http::Method;
use std::time::Duration;
use tokio::time::{advance, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

async fn try_patch(env: &Environment, n: u128) -> Option<Back> {
    try_call(env, "PATCH", &format!("accounts({})", id(n)), &[], Some(json!({"name": "x"}))).await
}

#[tokio::test(start_paused = true)]
async fn a_late_effect_lands_after_the_client_has_given_up() {
    let env = environment();
    let effect = Effect::Late { lands_after: 90 * SECOND, silent_for: 120 * SECOND };
    let rule = env.faults().add(Rule::new(When::Nth(1), effect).writes());
    assert!(timeout(30 * SECOND, try_patch(&env, 1)).await.is_err());
    assert!(env.rows("account").is_empty());
    sleep(59 * SECOND).await;
    assert!(env.rows("account").is_empty());
    env.idle().await;
    assert_eq!(env.elapsed(), 90 * SECOND);
    assert_eq!(env.rows("account").len(), 1);
    assert_eq!(env.faults().hits(rule), 1);
    assert_eq!(try_patch(&env, 2).await.unwrap().status, 204);
}

#[tokio::test(start_paused = true)]
async fn an_effect_survives_a_client_that_leaves() {
    let env = environment();
    env.faults().add(Rule::new(When::Always, Effect::Slow { before: 5 * SECOND, after: 5 * SECOND }));
    assert!(timeout(SECOND, try_patch(&env, 1)).await.is_err());
    env.idle().await;
    assert_eq!(env.rows("account").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hanging_up_before_has_no_effect_and_after_has() {
    let env = environment();
    env.faults().add(Rule::new(When::Nth(1), Effect::HangupBefore));
    assert!(try_patch(&env, 1).await.is_none());
    assert!(env.rows("account").is_empty());
    env.faults().clear();
    env.faults().add(Rule::new(When::Nth(1), Effect::HangupAfter));
    assert!(try_patch(&env, 1).await.is_none());
    assert_eq!(env.rows("account").len(), 1);
    let counts = env.requests().counts();
    assert_eq!(counts[&("PATCH".to_owned(), Some("account".to_owned()), None)], 2);
}

#[tokio::test]
async fn a_gateway_may_give_up_on_what_then_works() {
    let env = environment();
    env.faults().add(Rule::new(When::Nth(1), Effect::StatusAfter(504)));
    let back = try_patch(&env, 1).await.unwrap();
    assert_eq!((back.status, back.headers["content-type"].as_str(), back.body), (504, "text/html", Value::Null));
    assert_eq!(env.rows("account").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn outages_and_throttling_end() {
    let env = environment();
    env.faults().outage(10 * SECOND);
    assert!(try_patch(&env, 1).await.is_none());
    sleep(10 * SECOND).await;
    assert_eq!(try_patch(&env, 1).await.unwrap().status, 204);
    env.faults().throttle(10 * SECOND, Duration::from_millis(2_500));
    let back = try_patch(&env, 2).await.unwrap();
    assert_eq!((back.status, back.headers["retry-after"].as_str()), (429, "3"));
    sleep(10 * SECOND).await;
    assert_eq!(try_patch(&env, 2).await.unwrap().status, 204);
}

#[tokio::test]
async fn rules_hit_whom_they_aim_at() {
    let env = environment();
    let status = |status| Effect::Status { status, code: "0x80044150".to_owned(), retry_after: None };
    env.faults().add(Rule::new(When::Every(2), status(503)).table("contact").method(Method::PATCH));
    let contact = format!("contacts({})", id(1));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(patch(&env, &contact, json!({})).await.status);
        assert_eq!(get(&env, "contacts").await.status, 200);
        assert_eq!(try_patch(&env, 1).await.unwrap().status, 204);
    }
    assert_eq!(seen, [204, 503, 204, 503]);
    env.faults().clear();
    let rule = env.faults().add_seeded(Rule::new(When::Probability(0.3), status(500)).writes(), 7);
    for _ in 0..200 {
        patch(&env, &contact, json!({})).await;
    }
    assert!((30..90).contains(&env.faults().hits(rule)));
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_are_refused_with_a_time_to_wait() {
    let protection = Protection { requests_max: 3, window: 10 * SECOND, ..Protection::default() };
    let env = Environment::new(Settings { protection: Some(protection), ..settings() });
    for n in 0..3 {
        assert_eq!(try_patch(&env, n).await.unwrap().status, 204);
        advance(SECOND).await;
    }
    let back = try_patch(&env, 3).await.unwrap();
    assert_eq!(refused(&back), (429, "0x80072322".into()));
    assert_eq!(back.headers["retry-after"], "7");
    sleep(7 * SECOND).await;
    let back = try_patch(&env, 3).await.unwrap();
    assert_eq!((back.status, back.headers["x-ms-ratelimit-burst-remaining-xrm-requests"].as_str()), (204, "0"));
}

#[tokio::test(start_paused = true)]
async fn too_many_at_once_are_refused() {
    let protection = Protection { concurrent_max: 2, ..Protection::default() };
    let env = Environment::new(Settings { protection: Some(protection), latency: (SECOND, SECOND), ..settings() });
    let (a, b, c) = tokio::join!(try_patch(&env, 1), try_patch(&env, 2), try_patch(&env, 3));
    let statuses = [a, b, c].map(|back| refused(&back.unwrap()));
    assert_eq!(statuses, [(204, "".into()), (204, "".into()), (429, "0x80072326".into())]);
    assert_eq!(env.gate().under_way_most(), 2);
    assert_eq!(try_patch(&env, 3).await.unwrap().status, 204, "those that ended make room");
}

#[tokio::test]
async fn the_log_counts_everything_and_keeps_the_last() {
    let env = Environment::new(Settings { log_entries_max: 2, ..settings() });
    for n in 0..3 {
        call(&env, "PATCH", &format!("accounts({})?tag=mine", id(n)), &[("traceparent", "t")], Some(json!({}))).await;
    }
    patch(&env, "accounts(name='x')", json!({})).await;
    get(&env, "WhoAmI").await;
    let log = env.requests();
    assert_eq!((log.count(), log.count_writes(), log.last().len()), (5, 4, 2));
    let counts = log.counts();
    assert_eq!(counts[&("PATCH".to_owned(), Some("account".to_owned()), Some(204))], 3);
    assert_eq!(counts[&("GET".to_owned(), None, Some(200))], 1);
    let refused = &log.last()[0];
    assert_eq!((refused.code.as_deref(), refused.writes()), (Some("0x80060890"), true));
}

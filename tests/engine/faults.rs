//! Answers that are lost, effects that come late, throttling, instances that die.

use super::world::{PLAIN, World, account, deliver, redeliver, words};
use dataverse_sync::sim::dataverse::{Effect, Rule, When};
use serde_json::json;
use std::time::Duration;

const ETAG: &str = "version = 1\n[defaults]\nguard = \"etag\"\n[tables.account]\n";

fn late() -> Effect {
    Effect::Late { lands_after: Duration::from_secs(90), silent_for: Duration::from_secs(600) }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_not_taken_as_done_before_it_was_confirmed() {
    for effect in [Effect::HangupBefore, Effect::HangupAfter] {
        let world = World::new(PLAIN);
        let instance = world.instance();
        world.create("account", account("A"));
        world.target.faults().add(Rule::new(When::Nth(1), effect.clone()).writes());
        let events = world.events().await;
        redeliver(&instance, &events[0]).await;
        world.assert_equal();
        // repeated at once, and once more by whoever took the row over when the first could not land any more (R3)
        assert_eq!(world.target_writes(), 3, "{effect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_lands_after_its_time_out_does_not_overwrite_a_newer_event() {
    for toml in [PLAIN, ETAG] {
        let world = World::new(toml);
        let instances = [world.instance(), world.instance()];
        let id = world.create("account", account("A"));
        redeliver(&instances[0], &world.events().await[0]).await;
        world.update("account", id, json!({ "name": "B" }));
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.update("account", id, json!({ "name": "C" }));
        let events = world.events().await;
        world.target.faults().add(Rule::new(When::Nth(1), late()).writes());
        // the first event's PATCH times out after 30 s and lands after 90 s; the second event comes at once
        let both = [redeliver(&instances[0], &events[0]), redeliver(&instances[1], &events[1])];
        futures_util::future::join_all(both).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_dies_at_any_moment_loses_nothing() {
    for ms in (0..400).step_by(7) {
        let world = World::with(PLAIN, |settings| {
            settings.latency = (Duration::from_millis(20), Duration::from_millis(100));
        });
        let id = world.create("account", account("A"));
        world.update("account", id, json!({ "name": "B" }));
        let events = world.events().await;
        let doomed = world.instance();
        // dropping the future is what a kill is for the rest of the world: nothing of it runs any more
        let work = futures_util::future::join(deliver(&doomed, &events[0]), deliver(&doomed, &events[1]));
        let _ = tokio::time::timeout(Duration::from_millis(ms), work).await;
        let survivor = world.instance();
        for event in &events {
            redeliver(&survivor, event).await;
        }
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_waits_for_metadata_while_the_target_asks_for_a_pause() {
    let world = World::new(PLAIN);
    // nobody knows any table yet, as after a start
    let instances = [world.instance(), world.instance()];
    world.create("account", account("A"));
    world.create("account", account("B"));
    let events = world.events().await;
    world.target.faults().throttle(Duration::from_secs(3), Duration::from_secs(2));
    let deliveries = events.iter().flat_map(|event| instances.iter().map(move |instance| deliver(instance, event)));
    for handled in futures_util::future::join_all(deliveries).await {
        assert!(handled.is_ok(), "{handled:?}");
    }
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_by_every_call_of_the_instance() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    world.create("account", account("warm"));
    redeliver(&instance, &world.events().await[0]).await;
    for n in 0..5 {
        world.create("account", account(&format!("A{n}")));
    }
    let events = world.events().await;
    let throttled =
        Effect::Status { status: 429, code: "0x80072322".to_owned(), retry_after: Some(Duration::from_secs(20)) };
    world.target.faults().add(Rule::new(When::Nth(1), throttled));
    let start = world.target.elapsed();
    // the first is refused; the others come while the pause runs
    let later = |n: usize| Duration::from_secs(u64::try_from(n).unwrap());
    let instance = &instance;
    let work = events.iter().enumerate().map(|(n, event)| async move {
        tokio::time::sleep(later(n)).await;
        redeliver(instance, event).await
    });
    futures_util::future::join_all(work).await;
    let log = world.target.requests().last();
    let refused = log.iter().find(|record| record.status == Some(429)).unwrap().at;
    assert!(refused >= start);
    let early =
        log.iter().filter(|record| record.at > refused && record.at < refused + Duration::from_secs(20)).count();
    assert_eq!(early, 0, "no call started before Retry-After had passed");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_queue_deadline_costs_no_redelivery() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    world.create("account", account("warm"));
    redeliver(&instance, &world.events().await[0]).await;
    world.create("account", account("A"));
    let down = Effect::Status { status: 503, code: String::new(), retry_after: None };
    world.target.faults().add(Rule::new(When::Always, down).during(Duration::ZERO, Duration::from_secs(30)));
    let events = world.events().await;
    assert_eq!(words(&deliver(&instance, &events[0]).await.unwrap()), "applied: created");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn with_the_etag_guard_a_change_by_others_between_read_and_write_is_seen() {
    let world = World::with(ETAG, |settings| {
        settings.latency = (Duration::from_millis(50), Duration::from_millis(50));
    });
    let instance = world.instance();
    let id = world.create("account", account("A"));
    redeliver(&instance, &world.events().await[0]).await;
    world.update("account", id, json!({ "name": "B" }));
    let events = world.events().await;
    let (target, service) = (world.target.clone(), world.target.service());
    let other = async move {
        tokio::time::sleep(Duration::from_millis(60)).await;
        target.update(&service, "account", id, &json!({ "telephone1": "theirs" })).unwrap();
    };
    let (report, ()) = futures_util::future::join(redeliver(&instance, &events[0]), other).await;
    assert_eq!(words(&report), "applied: updated");
    let log = world.target.requests().last();
    assert!(log.iter().any(|record| record.status == Some(412)), "the other's change was met");
    let row = world.target.row("account", id).unwrap();
    assert_eq!(format!("{:?}", row.get("name").unwrap()), "Text(\"B\")");
    assert_eq!(format!("{:?}", row.get("telephone1").unwrap()), "Text(\"theirs\")");
}

#[tokio::test(start_paused = true)]
async fn a_late_delete_takes_what_a_crashed_worker_had_written() {
    let world = World::new(PLAIN);
    let wait = || tokio::time::sleep(Duration::from_secs(2));
    let id = world.create("account", json!({ "name": "A" }));
    wait().await;
    world.update("account", id, json!({ "description": "of the former life" }));
    wait().await;
    world.delete("account", id);
    wait().await;
    world.create("account", json!({ "accountid": id, "name": "again" }));
    let events = world.events().await;
    let survivor = world.instance();
    redeliver(&survivor, &events[3]).await;
    // the old update is written, and its worker dies before it can say so
    let slow = Effect::Slow { before: Duration::ZERO, after: Duration::from_secs(20) };
    let rule = world.target.faults().add(Rule::new(When::Nth(1), slow).writes());
    let doomed = world.instance();
    assert!(tokio::time::timeout(Duration::from_secs(10), deliver(&doomed, &events[1])).await.is_err());
    assert_eq!(world.target.faults().hits(rule), 1);
    assert!(world.target.row("account", id).unwrap().get("description").is_some(), "it was written");
    for which in [2, 1, 0] {
        redeliver(&survivor, &events[which]).await;
    }
    world.assert_equal();
}

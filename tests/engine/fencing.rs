//! What keeps a worker from doing harm after its time: leases that cover every request, settling, guards, owners.

use super::world::{PLAIN, World, account, deliver, redeliver, words};
use crate::support::clock::TokioClock;
use chrono::{DateTime, Utc};
use dataverse_sync::clock::Clock;
use dataverse_sync::ledger::store::Store;
use dataverse_sync::sim::dataverse::{Effect, RaisedEvent, Record, Rule, When};
use dataverse_sync::sync::engine::Engine;
use http::Method;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const ETAG: &str = "version = 1\n[defaults]\nguard = \"etag\"\n[tables.account]\n";
const SECOND: Duration = Duration::from_secs(1);

/// Never answered, and lands after 90 s: the client's time-out is 30 s.
fn late() -> Effect {
    Effect::Late { lands_after: 90 * SECOND, silent_for: 600 * SECOND }
}

/// A plug-in says no.
fn refused() -> Effect {
    Effect::Status { status: 400, code: "0x80040265".to_owned(), retry_after: None }
}

/// A row that both sides have, and two changes of it that are not delivered yet.
async fn two_changes(world: &World, instance: &Engine) -> Vec<RaisedEvent> {
    let id = world.create("account", account("A"));
    redeliver(instance, &world.events().await[0]).await;
    world.update("account", id, json!({ "name": "B" }));
    tokio::time::sleep(SECOND).await;
    world.update("account", id, json!({ "name": "C" }));
    world.events().await
}

/// Requests that write accounts, in the order in which they were answered.
fn writes(world: &World) -> Vec<Record> {
    world.target.requests().last().into_iter().filter(Record::writes).collect()
}

/// The clock of a process that can be suspended: its monotonic clock stands still meanwhile.
#[derive(Clone, Debug)]
struct Suspendable {
    clock: TokioClock,
    stood_ms: Arc<AtomicU64>,
}

impl Suspendable {
    fn new(world: &World) -> Self {
        Self { clock: world.clock.clone(), stood_ms: Arc::default() }
    }

    fn stood_still(&self, time: Duration) {
        self.stood_ms.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Suspendable {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic() - Duration::from_millis(self.stood_ms.load(Ordering::SeqCst))
    }
}

/// An instance is suspended for five minutes while its write of "B" is under way and meets `effect`; another one handles
/// "C" meanwhile. Ends after both have gone on, with what the suspended one said of its event.
async fn suspended(toml: &str, effect: Effect) -> (World, Result<String, String>, RaisedEvent) {
    let world = World::with(toml, |settings| settings.latency = (SECOND / 20, SECOND / 20));
    let clock = Suspendable::new(&world);
    let slow = world.instance_at(Arc::clone(&world.store) as Arc<dyn Store>, Arc::new(clock.clone()));
    let events = two_changes(&world, &slow).await;
    world.target.faults().add(Rule::new(When::Nth(1), effect).method(Method::PATCH));
    let mut work = Box::pin(deliver(&slow, &events[0]));
    assert!(tokio::time::timeout(SECOND / 5, &mut work).await.is_err(), "it waits for its answer");
    let since = tokio::time::Instant::now();
    let quick = world.instance();
    assert_eq!(words(&redeliver(&quick, &events[1]).await), "applied: updated");
    tokio::time::sleep_until(since + 300 * SECOND).await;
    clock.stood_still(since.elapsed());
    let said = work.await.map(|report| words(&report)).map_err(|error| error.to_string());
    let row = world.target.rows("account").into_values().next().unwrap();
    assert_eq!(format!("{:?}", row.get("name").unwrap()), "Text(\"C\")");
    (world, said, events[0].clone())
}

#[tokio::test(start_paused = true)]
async fn with_the_etag_guard_a_worker_whose_process_stood_still_writes_nothing_any_more() {
    // the write arrives after the other one's, with an ETag from before
    let effect = Effect::Slow { before: 250 * SECOND, after: Duration::ZERO };
    let (world, said, event) = suspended(ETAG, effect).await;
    assert!(said.unwrap_err().contains("overtaken"));
    assert_eq!(writes(&world).iter().filter(|record| record.status == Some(412)).count(), 1);
    assert_eq!(words(&redeliver(&world.instance(), &event).await), "stale: ");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_overtaken_does_not_acknowledge_its_event() {
    // the write has its effect at once; its answer comes after the row has changed hands
    let effect = Effect::Slow { before: Duration::ZERO, after: 250 * SECOND };
    let (world, said, event) = suspended(PLAIN, effect).await;
    assert!(said.unwrap_err().contains("overtaken"));
    assert_eq!(words(&redeliver(&world.instance(), &event).await), "stale: ");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn every_write_is_covered_by_the_lease_for_as_long_as_it_may_take_effect() {
    let world = World::with(PLAIN, |settings| settings.latency = (SECOND / 20, SECOND / 20));
    let instance = world.instance();
    let events = two_changes(&world, &instance).await;
    let start = tokio::time::Instant::now() - world.target.elapsed();
    let down = Effect::Status { status: 503, code: String::new(), retry_after: None };
    world.target.faults().add(Rule::new(When::Always, down).during(Duration::ZERO, 30 * SECOND));
    let begun = world.target.elapsed();
    deliver(&instance, &events[0]).await.unwrap();
    let limits = &world.mapping.limits;
    let epoch_ms = world.clock.now().timestamp_millis() - i64::try_from(world.clock.monotonic().as_millis()).unwrap();
    let sent: Vec<Duration> = writes(&world).iter().map(|record| record.at).filter(|at| *at >= begun).collect();
    assert!(sent.iter().any(|at| *at > begun + 30 * SECOND), "it took longer than one lease leaves room for: {sent:?}");
    for at in sent {
        let held = world.store.leases().into_iter().rfind(|(when, _)| *when <= start + at);
        let until_ms = held.and_then(|(_, until_ms)| until_ms).expect("a write without a lease");
        let until = Duration::from_millis(u64::try_from(until_ms - epoch_ms).unwrap());
        assert!(until >= at + limits.settle + limits.clock_skew, "sent at {at:?}, leased until {until:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_lands_after_its_time_out_does_not_take_the_row_that_was_made_anew() {
    let world = World::new(PLAIN);
    let instances = [world.instance(), world.instance()];
    let id = world.create("account", account("A"));
    redeliver(&instances[0], &world.events().await[0]).await;
    tokio::time::sleep(2 * SECOND).await;
    world.delete("account", id);
    tokio::time::sleep(2 * SECOND).await;
    world.create("account", json!({ "accountid": id, "name": "again" }));
    let events = world.events().await;
    let rule = world.target.faults().add(Rule::new(When::Nth(1), late()).method(Method::DELETE));
    let both = [redeliver(&instances[0], &events[0]), redeliver(&instances[1], &events[1])];
    futures_util::future::join_all(both).await;
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(world.target.faults().hits(rule), 1);
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_unanswered_request_does_not_free_the_row_before_that_can_land() {
    let world = World::new(PLAIN);
    let instances = [world.instance(), world.instance()];
    let events = two_changes(&world, &instances[0]).await;
    for (n, effect) in [(1, late()), (2, refused())] {
        world.target.faults().add(Rule::new(When::Nth(n), effect).writes());
    }
    let both = [redeliver(&instances[0], &events[0]), redeliver(&instances[1], &events[1])];
    futures_util::future::join_all(both).await;
    tokio::time::sleep(600 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_written_does_not_hold_up_its_row() {
    let world = World::new(PLAIN);
    let instances = [world.instance(), world.instance()];
    let events = two_changes(&world, &instances[1]).await;
    // warm, so that only the row can be waited for
    world.create("account", account("other"));
    redeliver(&instances[0], &world.events().await[0]).await;
    world.target.faults().add(Rule::new(When::Nth(1), refused()).writes());
    assert!(deliver(&instances[0], &events[0]).await.is_err());
    let start = tokio::time::Instant::now();
    assert_eq!(words(&deliver(&instances[1], &events[1]).await.unwrap()), "applied: updated");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

/// Runs the event while somebody else does something between its read and its write.
async fn between_read_and_write(world: &World, instance: &Engine, event: &RaisedEvent, other: impl FnOnce()) -> String {
    let other = async move {
        tokio::time::sleep(Duration::from_millis(60)).await;
        other();
    };
    let (report, ()) = futures_util::future::join(redeliver(instance, event), other).await;
    let met = writes(world).iter().filter(|record| record.status == Some(412)).count();
    assert_eq!(met, 1, "what the other did was met");
    words(&report)
}

fn etag_world() -> World {
    World::with(ETAG, |settings| settings.latency = (SECOND / 20, SECOND / 20))
}

#[tokio::test(start_paused = true)]
async fn with_the_etag_guard_a_row_that_appears_between_read_and_write_is_read_again() {
    let world = etag_world();
    let instance = world.instance();
    world.create("account", account("warm"));
    redeliver(&instance, &world.events().await[0]).await;
    let id = world.create("account", account("A"));
    let events = world.events().await;
    let (target, service) = (world.target.clone(), world.target.service());
    let rival = move || {
        target.create(&service, "account", &json!({ "accountid": id, "name": "theirs" })).unwrap();
    };
    assert_eq!(between_read_and_write(&world, &instance, &events[0], rival).await, "applied: updated");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn with_the_etag_guard_a_delete_meets_a_change_by_others() {
    let world = etag_world();
    let instance = world.instance();
    let id = world.create("account", account("A"));
    redeliver(&instance, &world.events().await[0]).await;
    world.delete("account", id);
    let events = world.events().await;
    let (target, service) = (world.target.clone(), world.target.service());
    let rival = move || {
        target.update(&service, "account", id, &json!({ "name": "theirs" })).unwrap();
    };
    assert_eq!(between_read_and_write(&world, &instance, &events[0], rival).await, "applied: deleted");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_known_row_is_only_ever_updated_so_that_a_late_update_brings_nothing_back() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let id = world.create("account", account("A"));
    redeliver(&instance, &world.events().await[0]).await;
    world.target.delete(&world.target.service(), "account", id).unwrap();
    world.update("account", id, json!({ "name": "B" }));
    let before = writes(&world).len();
    // somebody else deleted the row, which no event of ours says: it is met, and then made anew
    assert_eq!(words(&deliver(&instance, &world.events().await[0]).await.unwrap()), "applied: created");
    let log = writes(&world).split_off(before);
    let told: Vec<_> = log.iter().map(|r| (r.headers.get("if-match").map(String::as_str), r.status)).collect();
    assert_eq!(told, [(Some("*"), Some(404)), (None, Some(201))]);
}

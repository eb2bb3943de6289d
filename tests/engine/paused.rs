//! What people have paused is stored and waits, whatever comes, and is applied when they resume.

use super::keeping::{Keeping, MINUTE, bring, post};
use super::world::{PLAIN, account, decoded, delivery};
use async_trait::async_trait;
use dataverse_sync::domain::delivery::{Channel, Delivery};
use dataverse_sync::domain::mapping::Mapping;
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::store::{Etag, Expect, StoreError, Stored};
use dataverse_sync::ledger::system::StateStore;
use dataverse_sync::operate::pause::{self, PauseError, Paused};
use dataverse_sync::sim::dataverse::{Effect, Rule, When};
use dataverse_sync::sync::HandleEvent;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

async fn hold(keeping: &Keeping, table: Option<&str>) -> Paused {
    pause::pause(&keeping.system(), &keeping.world.mapping, table).await.unwrap()
}

async fn resume(keeping: &Keeping, table: Option<&str>) -> usize {
    let left = pause::resume(&keeping.system(), &keeping.world.mapping, table).await.unwrap();
    tokio::time::sleep(pause::KNOWN_FOR).await;
    pause::release(&keeping.inbox(), &keeping.world.clock, &left).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn events_of_a_paused_table_are_stored_and_applied_when_it_is_resumed() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    hold(&keeping, Some("account")).await;
    keeping.world.create("account", account("A"));
    keeping.world.create("account", account("B"));
    keeping.world.create("contact", json!({ "lastname": "C" }));
    let events = keeping.world.events().await;
    let by_webhook = post(&instance, &events[0]).await.unwrap().outcome;
    let by_queue = bring(&instance, &events[1]).await.unwrap().outcome;
    for outcome in [by_webhook, by_queue] {
        assert_eq!((outcome.name(), outcome.detail()), ("deferred", "paused"));
    }
    assert_eq!(keeping.world.target.requests().count(), 0);
    assert_eq!(bring(&instance, &events[2]).await.unwrap().outcome.name(), "applied");
    // a second delivery is stored as well, not bounced and not applied
    let again = instance.handle(decoded(&events[1]), &delivery(2)).await.unwrap().outcome;
    assert_eq!((again.name(), again.detail()), ("deferred", "paused"));
    let sweeper = keeping.sweeper();
    for _ in 0..130 {
        tokio::time::sleep(MINUTE).await;
        sweeper.sweep("sweep").await.unwrap();
    }
    assert_eq!(keeping.world.target_writes(), 1);
    assert!(keeping.owed().await.iter().all(|entry| entry.attempts == 0 && entry.reason == "paused"));
    assert!(resume(&keeping, Some("account")).await >= 2);
    sweeper.sweep("sweep").await.unwrap();
    keeping.world.assert_equal();
    assert!(keeping.owed().await.is_empty(), "{:?}", keeping.owed().await);
    assert_eq!(keeping.world.target_writes(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_pause_longer_than_every_limit_parks_nothing() {
    let toml = format!("{PLAIN}[limits]\nage_max = \"2d\"\nattempts_max = 20\n");
    let keeping = Keeping::new(&toml);
    let instance = keeping.world.instance();
    hold(&keeping, None).await;
    keeping.world.create("account", account("A"));
    post(&instance, &keeping.world.events().await[0]).await.unwrap();
    let sweeper = keeping.sweeper();
    for _ in 0..(24 * 5) {
        tokio::time::sleep(HOUR).await;
        sweeper.sweep("sweep").await.unwrap();
    }
    assert_eq!((keeping.parked().await.len(), keeping.owed().await.len()), (0, 1));
    // nor does the first trouble after it
    let down = Effect::Status { status: 503, code: String::new(), retry_after: None };
    keeping.world.target.faults().add(Rule::new(When::Always, down).during(Duration::ZERO, MINUTE));
    resume(&keeping, None).await;
    let swept = sweeper.sweep("sweep").await.unwrap();
    assert_eq!((swept.deferred, keeping.parked().await.len()), (1, 0));
    keeping.sweep_up().await;
    keeping.world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_sweep_puts_what_is_paused_off_without_a_look_at_its_event() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    for n in 0..40 {
        keeping.world.create("account", account(&format!("A{n}")));
    }
    let events = keeping.world.events().await;
    let down = Effect::Status { status: 503, code: String::new(), retry_after: None };
    keeping.world.target.faults().add(Rule::new(When::Always, down).during(Duration::ZERO, MINUTE));
    for answer in futures_util::future::join_all(events.iter().map(|event| post(&instance, event))).await {
        assert_eq!(answer.unwrap().outcome.name(), "deferred");
    }
    hold(&keeping, None).await;
    tokio::time::sleep(20 * MINUTE).await;
    let sweeper = keeping.sweeper();
    let before = keeping.world.store.round_trips();
    let swept = sweeper.sweep("sweep").await.unwrap();
    assert_eq!((swept.paused, swept.deferred, swept.ended), (40, 0, 0), "{swept:?}");
    assert_eq!(keeping.world.store.round_trips(), before, "the ledger was asked about single events");
    assert_eq!(sweeper.sweep("sweep").await.unwrap().paused, 0, "they are out of the way");
    assert_eq!(resume(&keeping, None).await, 40);
    sweeper.sweep("sweep").await.unwrap();
    keeping.world.assert_equal();
}

/// States that count how often they are read, and cannot be read on command.
#[derive(Debug, Default)]
struct Watched {
    inner: MemoryStore,
    reads: AtomicUsize,
    away: AtomicBool,
}

#[async_trait]
impl StateStore for Watched {
    async fn state(&self, name: &str) -> Result<Option<Stored<String>>, StoreError> {
        self.reads.fetch_add(usize::from(name == "pause"), Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { reason: "away".to_owned(), after: None });
        }
        self.inner.state(name).await
    }

    async fn put_state(&self, name: &str, text: &str, expect: &Expect) -> Result<Etag, StoreError> {
        self.inner.put_state(name, text, expect).await
    }
}

fn watched() -> (Keeping, Arc<Watched>) {
    let (mut keeping, states) = (Keeping::new(PLAIN), Arc::new(Watched::default()));
    keeping.world.states = Some(states.clone());
    (keeping, states)
}

/// Writes the state behind the instance's back.
async fn write(states: &Watched, mapping: &Mapping, keeping: &Keeping, table: Option<&str>) {
    let clock = Arc::new(keeping.world.clock.skewed(0));
    let system = dataverse_sync::ledger::system::System::new(
        Arc::new(MemoryStore::default()),
        clock.clone(),
        mapping.limits.clock_skew,
    );
    let paused = pause::pause(&system, mapping, table).await.unwrap();
    let found = states.inner.state("pause").await.unwrap();
    let expect = Expect::unchanged(found.as_ref());
    states.inner.put_state("pause", &serde_json::to_string(&paused).unwrap(), &expect).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_paused_is_known_within_seconds_and_costs_a_read_in_five() {
    let (keeping, states) = watched();
    let instance = keeping.world.instance();
    for n in 0..30 {
        keeping.world.create("account", account(&format!("A{n}")));
    }
    let events = keeping.world.events().await;
    let (first, rest) = events.split_at(20);
    for answer in futures_util::future::join_all(first.iter().map(|event| bring(&instance, event))).await {
        assert_eq!(answer.unwrap().outcome.name(), "applied");
    }
    assert_eq!(states.reads.load(Ordering::SeqCst), 1);
    write(&states, &keeping.world.mapping, &keeping, None).await;
    tokio::time::sleep(pause::KNOWN_FOR).await;
    for event in rest {
        assert_eq!(bring(&instance, event).await.unwrap().outcome.detail(), "paused");
    }
    assert_eq!(states.reads.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn while_the_state_cannot_be_read_what_was_known_last_holds() {
    let (keeping, states) = watched();
    let (paused, free) = (keeping.world.instance(), keeping.world.instance());
    for n in 0..5 {
        keeping.world.create("account", account(&format!("A{n}")));
    }
    let events = keeping.world.events().await;
    assert_eq!(bring(&free, &events[0]).await.unwrap().outcome.name(), "applied");
    write(&states, &keeping.world.mapping, &keeping, Some("account")).await;
    assert_eq!(bring(&paused, &events[1]).await.unwrap().outcome.detail(), "paused");
    states.away.store(true, Ordering::SeqCst);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(bring(&paused, &events[2]).await.unwrap().outcome.detail(), "paused");
    assert_eq!(bring(&free, &events[3]).await.unwrap().outcome.name(), "applied");
    // an instance that never knew does not apply anything: it asks until its time is over, and the sender keeps the event
    let started = tokio::time::Instant::now();
    assert!(bring(&keeping.world.instance(), &events[4]).await.is_err());
    assert!(started.elapsed() > Duration::from_secs(30), "given back to the broker at once");
    let webhook = Delivery { channel: Channel::Webhook, ..delivery(1) };
    assert!(keeping.world.instance().handle(decoded(&events[4]), &webhook).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn tables_are_paused_and_resumed_one_by_one_or_all_together() {
    let keeping = Keeping::new("version = 1\n[tables.account]\ntarget = \"contact\"\n[tables.salesorder]\n");
    let (system, mapping) = (keeping.system(), &keeping.world.mapping);
    assert_eq!(hold(&keeping, Some("Account")).await.tables.len(), 1);
    // by the target's name it is the same table
    assert_eq!(hold(&keeping, Some("contact")).await.tables.len(), 1);
    assert_eq!(hold(&keeping, Some("salesorder")).await.tables.len(), 2);
    let error = pause::pause(&system, mapping, Some("lead")).await.unwrap_err();
    assert_eq!(error.to_string(), "no table lead in the mapping; it has account, salesorder");
    let left = pause::resume(&system, mapping, Some("account")).await.unwrap();
    assert!(!left.holds("account") && left.holds("salesorder"));
    hold(&keeping, None).await;
    let refused = pause::resume(&system, mapping, Some("account")).await;
    assert!(matches!(refused, Err(PauseError::AllPaused { .. })), "{refused:?}");
    assert_eq!(pause::resume(&system, mapping, None).await.unwrap(), Paused::default());
}

//! What a person does with parked events: each comes to exactly one end, wherever the person's process dies.

use super::keeping::{Keeping, MINUTE, bring, post, webhook};
use super::world::{PLAIN, account, decoded, delivery};
use crate::support::process::killed_after;
use dataverse_sync::clock::Clock;
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::inbox::Inbox;
use dataverse_sync::ledger::claim::{Ledger, LedgerLimits};
use dataverse_sync::ledger::record::Phase;
use dataverse_sync::ledger::store::Store;
use dataverse_sync::operate::history::history;
use dataverse_sync::operate::parked::{self, Desk, Done, ParkedFilter, Treated};
use dataverse_sync::sim::dataverse::{Effect, RaisedEvent, Rule, When};
use dataverse_sync::sync::{HandleEvent, RawEvent, Unusable};
use std::sync::Arc;
use std::time::Duration;

/// A person's process.
struct Person {
    ledger: Ledger,
    inbox: Inbox,
    clock: Arc<dyn Clock>,
}

impl Person {
    fn at(keeping: &Keeping) -> Self {
        let limits = &keeping.world.mapping.limits;
        let limits = LedgerLimits { lease: limits.lease, clock_skew: limits.clock_skew };
        let clock: Arc<dyn Clock> = Arc::new(keeping.world.clock.skewed(0));
        let store = Arc::clone(&keeping.world.store) as Arc<dyn Store>;
        Self { ledger: Ledger::new(store, Arc::clone(&clock), limits), inbox: keeping.inbox(), clock }
    }

    fn desk(&self) -> Desk<'_> {
        Desk { ledger: &self.ledger, inbox: &self.inbox, clock: self.clock.as_ref() }
    }

    async fn replay(&self, id: &str) -> Treated {
        parked::replay(&self.desk(), id).await.unwrap()
    }

    async fn discard(&self, id: &str) -> Treated {
        parked::discard(&self.desk(), id).await.unwrap()
    }
}

/// A world with one parked event, whose cause is mended.
async fn with_one_parked() -> (Keeping, RaisedEvent, String) {
    let keeping = Keeping::new(PLAIN);
    keeping.world.create("account", account("A"));
    let event = keeping.world.events().await.remove(0);
    let refused = Effect::Status { status: 400, code: "0x80040265".to_owned(), retry_after: None };
    keeping.world.target.faults().add(Rule::new(When::Always, refused).writes().during(Duration::ZERO, MINUTE));
    let report = post(&keeping.world.instance(), &event).await.unwrap();
    assert_eq!(report.outcome.name(), "parked", "{report:?}");
    tokio::time::sleep(10 * MINUTE).await;
    // the entry beside the claim, written before anything was sent
    keeping.sweep_up().await;
    let parked = keeping.parked().await;
    assert_eq!((parked.len(), parked[0].word()), (1, "plugin_refused"));
    (keeping, event, parked[0].id.clone())
}

/// Nothing owed, nothing parked, written once.
async fn is_applied_once(keeping: &Keeping, event: &ChangeEvent, writes_before: usize) {
    keeping.sweep_up().await;
    keeping.world.assert_equal();
    assert!(keeping.parked().await.is_empty());
    assert_eq!(keeping.record(event).await.unwrap().phase, Phase::Done);
    assert_eq!(keeping.world.target_writes() - writes_before, 1);
}

#[tokio::test(start_paused = true)]
async fn a_replayed_event_runs_once_and_its_redelivery_does_not() {
    let (keeping, event, id) = with_one_parked().await;
    let (person, writes) = (Person::at(&keeping), keeping.world.target_writes());
    let instance = keeping.world.instance();
    // parked is an outcome: a redelivery is a duplicate
    assert_eq!(bring(&instance, &event).await.unwrap().outcome.name(), "duplicate");
    assert_eq!(person.replay(&id).await.done, Done::Replayed);
    assert_eq!(person.replay(&id).await.done, Done::Missing);
    is_applied_once(&keeping, &decoded(&event), writes).await;
    for instance in [&instance, &keeping.world.instance()] {
        assert_eq!(bring(instance, &event).await.unwrap().outcome.name(), "duplicate");
    }
    assert_eq!(keeping.record(&decoded(&event)).await.unwrap().replays, 1);
    assert_eq!(keeping.world.target_writes() - writes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_dies_at_any_step_is_repeated_and_the_event_runs_once() {
    for polls in 0..100 {
        let (keeping, event, id) = with_one_parked().await;
        let (person, writes) = (Person::at(&keeping), keeping.world.target_writes());
        let desk = person.desk();
        let ended = killed_after(polls, parked::replay(&desk, &id)).await;
        if ended.is_some() {
            assert!(polls >= 5, "it died at {polls} places only");
            return;
        }
        // in between the event is found by the person again, or is owed
        let found = !keeping.parked().await.is_empty() || !keeping.owed().await.is_empty();
        assert!(found, "neither parked nor owed after {polls} polls");
        let again = person.replay(&id).await.done;
        assert!(matches!(again, Done::Replayed | Done::Missing), "{again:?}");
        is_applied_once(&keeping, &decoded(&event), writes).await;
    }
    panic!("never ended");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_leaves_the_event_where_it_is_found() {
    for failing in 0..3 {
        let (keeping, event, id) = with_one_parked().await;
        let (person, writes) = (Person::at(&keeping), keeping.world.target_writes());
        keeping.shaky.fail(failing..failing + 1);
        let first = parked::replay(&person.desk(), &id).await;
        assert_eq!(first.is_err(), failing < 2, "{first:?}");
        keeping.shaky.fail(usize::MAX - 1..usize::MAX);
        assert!(!keeping.parked().await.is_empty() || !keeping.owed().await.is_empty());
        person.replay(&id).await;
        is_applied_once(&keeping, &decoded(&event), writes).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_discarded_event_is_gone_and_stays_known() {
    let (keeping, event, id) = with_one_parked().await;
    let (person, writes) = (Person::at(&keeping), keeping.world.target_writes());
    assert_eq!(person.discard(&id).await.done, Done::Discarded);
    assert!(keeping.parked().await.is_empty() && keeping.owed().await.is_empty());
    let record = keeping.record(&decoded(&event)).await.unwrap();
    assert_eq!((record.phase, record.payload), (Phase::Done, None));
    assert!(record.outcome.unwrap().detail().starts_with("discarded: plugin_refused"));
    assert_eq!(bring(&keeping.world.instance(), &event).await.unwrap().outcome.name(), "duplicate");
    assert_eq!(person.discard(&id).await.done, Done::Missing);
    assert_eq!(keeping.world.target_writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn a_discard_that_dies_at_any_step_can_be_repeated() {
    for polls in 0..100 {
        let (keeping, event, id) = with_one_parked().await;
        let person = Person::at(&keeping);
        let desk = person.desk();
        if killed_after(polls, parked::discard(&desk, &id)).await.is_some() {
            assert!(polls > 2);
            return;
        }
        assert!(matches!(person.discard(&id).await.done, Done::Discarded | Done::Missing));
        assert!(keeping.parked().await.is_empty());
        assert_eq!(keeping.record(&decoded(&event)).await.unwrap().payload, None);
    }
    panic!("never ended");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_decoded_is_decoded_again_and_goes_through_the_engine() {
    let keeping = Keeping::new(PLAIN);
    let (instance, person) = (keeping.world.instance(), Person::at(&keeping));
    keeping.world.create("account", account("A"));
    let event = keeping.world.events().await.remove(0);
    let message = event.queue().unwrap();
    let headers =
        vec![("Content-Type".to_owned(), message.content_type.to_owned()), ("message-id".to_owned(), "m".to_owned())];
    // what an older version could not read
    for body in [message.body.to_vec(), b"no event".to_vec()] {
        let (headers, problem) = (headers.clone(), "an unknown shape".to_owned());
        let raw = RawEvent { why: Unusable::Undecodable, body, headers, problem };
        instance.keep_raw(raw, &delivery(1)).await.unwrap();
    }
    let listing = parked::list(&person.inbox, &ParkedFilter::default(), 10).await.unwrap();
    let mut done = Vec::new();
    for entry in &listing.found {
        done.push((entry.raw.as_ref().unwrap().bytes > 100, person.replay(&entry.id).await));
    }
    done.sort_by_key(|(good, _)| *good);
    assert_eq!(done[0].1.done, Done::Kept);
    assert!(done[0].1.detail.starts_with("still not understood: "), "{}", done[0].1.detail);
    assert_eq!(done[1].1.done, Done::Replayed);
    keeping.sweep_up().await;
    keeping.world.assert_equal();
    assert_eq!(keeping.parked().await.len(), 1);
    assert_eq!(person.discard(&keeping.parked().await[0].id).await.done, Done::Discarded);
    assert!(keeping.parked().await.is_empty());
    // the event itself comes late
    assert_eq!(bring(&instance, &event).await.unwrap().outcome.name(), "duplicate");
}

#[tokio::test(start_paused = true)]
async fn an_impostor_that_is_replayed_runs_although_its_id_was_handled() {
    let keeping = Keeping::new(PLAIN);
    let (instance, person) = (keeping.world.instance(), Person::at(&keeping));
    let id = keeping.world.create("account", account("A"));
    let first = decoded(&keeping.world.events().await[0]);
    assert_eq!(instance.handle(first.clone(), &webhook()).await.unwrap().outcome.name(), "applied");
    tokio::time::sleep(Duration::from_secs(2)).await;
    keeping.world.update("account", id, account("B"));
    let second = ChangeEvent { id: first.id.clone(), ..decoded(&keeping.world.events().await[0]) };
    assert!(instance.handle(second.clone(), &webhook()).await.is_err());
    keeping.sweep_up().await;
    let parked = keeping.parked().await;
    assert_eq!((parked.len(), parked[0].word()), (1, "id_reused"));
    assert_eq!(person.replay(&parked[0].id).await.done, Done::Replayed);
    is_applied_once(&keeping, &second, 1).await;
    // now the first content is the impostor
    assert!(keeping.world.instance().handle(first, &webhook()).await.is_err());
    assert_eq!(keeping.parked().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rows_history_tells_the_story_in_the_order_of_handling() {
    let (keeping, event, id) = with_one_parked().await;
    let (person, event) = (Person::at(&keeping), decoded(&event));
    let row = event.row.to_string();
    let told = async || {
        let now_ms = keeping.world.clock.now().timestamp_millis();
        history(&person.ledger, &keeping.world.mapping, "ACCOUNT", &row, now_ms).await.unwrap()
    };
    let before = told().await;
    assert_eq!(before.row, format!("account:{row}"));
    assert_eq!((before.events.len(), before.events[0].outcome.as_str()), (1, "parked"));
    assert!(before.events[0].detail.starts_with("plugin_refused"), "{before:?}");
    assert!(before.events[0].columns.contains(&"telephone1".to_owned()));
    person.replay(&id).await;
    keeping.sweep_up().await;
    tokio::time::sleep(MINUTE).await;
    keeping.world.update("account", row.parse().unwrap(), serde_json::json!({ "telephone1": "2" }));
    let update = keeping.world.events().await.remove(0);
    bring(&keeping.world.instance(), &update).await.unwrap();
    let after = told().await;
    let lines: Vec<_> = after.events.iter().map(|line| (line.operation.as_str(), line.outcome.as_str())).collect();
    assert_eq!(lines, [("create", "applied"), ("update", "applied")]);
    assert_eq!((after.events[0].replays, after.events[0].attempts), (1, 1));
    assert_eq!(after.events[1].holds, ["telephone1"]);
    assert!(after.events[0].holds.contains(&"name".to_owned()));
    let state = after.state.unwrap();
    assert!(state.exists && !state.is_deleted && state.lease.is_none() && !state.ambiguous);
    assert_eq!(state.columns["telephone1"], after.events[1].version.clone().unwrap());
    assert!(!serde_json::to_string(&after.events).unwrap().contains("\"A\""), "a row's value is told");
}

//! What cannot be finished is kept: nobody redelivers here, only the sweep comes back.

use super::keeping::{Keeping, MINUTE, bring, post, webhook};
use super::world::{PLAIN, account, decoded, delivery, words};
use crate::support::process::killed_after;
use dataverse_sync::clock::Clock;
use dataverse_sync::domain::delivery::{Channel, Delivery, NotHandled};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::outcome::Outcome;
use dataverse_sync::domain::partition::Partition;
use dataverse_sync::domain::value::{KeyPart, RowRef};
use dataverse_sync::ledger::purge::{Expiring, Expiry, ScanStart};
use dataverse_sync::ledger::record::Phase;
use dataverse_sync::ledger::store::Store;
use dataverse_sync::sim::dataverse::{Effect, RaisedEvent, Rule, When};
use dataverse_sync::sync::HandleEvent;
use dataverse_sync::sync::engine::Engine;
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn down() -> Effect {
    Effect::Status { status: 503, code: String::new(), retry_after: None }
}

fn read_only() -> Effect {
    Effect::Status { status: 400, code: "0x8004022e".to_owned(), retry_after: None }
}

fn plug_in_says_no() -> Effect {
    Effect::Status { status: 400, code: "0x80040265".to_owned(), retry_after: None }
}

/// Posts one event to an instance that dies on the way; whether it was kept, and whether it was answered.
async fn one_death(dies: impl AsyncFnOnce(&Engine, &RaisedEvent) -> bool) -> (bool, bool) {
    let keeping = Keeping::new(PLAIN);
    keeping.world.create("account", account("A"));
    let events = keeping.world.events().await;
    let doomed = keeping.world.instance();
    let answered = dies(&doomed, &events[0]).await;
    drop(doomed);
    let event = decoded(&events[0]);
    let kept = keeping.record(&event).await.is_some() && !keeping.owed().await.is_empty();
    if answered || keeping.world.target_writes() > 0 {
        assert!(kept, "answered or written before it was kept");
    }
    if kept {
        keeping.sweep_up().await;
        keeping.world.assert_equal();
        assert_eq!(keeping.record(&event).await.unwrap().phase, Phase::Done);
    }
    (kept, answered)
}

#[tokio::test(start_paused = true)]
async fn a_webhook_whose_instance_dies_at_any_moment_is_finished_by_the_sweep() {
    // at any await point
    let mut swept_up = 0;
    for polls in 0..500 {
        let dies =
            async |doomed: &Engine, event: &RaisedEvent| killed_after(polls, post(doomed, event)).await.is_some();
        let (kept, answered) = one_death(dies).await;
        swept_up += u32::from(kept);
        if answered {
            break;
        }
        assert!(polls < 499, "never answered");
    }
    assert!(swept_up >= 2, "{swept_up}");
    // at any time, the requests that were sent landing or not
    for ms in (0..400).step_by(5) {
        let dies = async |doomed: &Engine, event: &RaisedEvent| {
            tokio::time::timeout(Duration::from_millis(ms), post(doomed, event)).await.is_ok()
        };
        let (kept, _) = one_death(dies).await;
        swept_up += u32::from(kept);
    }
    assert!(swept_up > 10, "{swept_up}");
}

#[tokio::test(start_paused = true)]
async fn a_deferred_event_is_applied_by_the_sweep_and_its_entry_goes() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    keeping.world.create("account", account("A"));
    let events = keeping.world.events().await;
    keeping.world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, 10 * MINUTE));
    for delivery in [webhook(), delivery(1)] {
        match instance.handle(decoded(&events[0]), &delivery).await.unwrap().outcome {
            Outcome::Deferred { retry_at, .. } => assert!(retry_at > keeping.world.clock.now()),
            other => panic!("{other:?}"),
        }
    }
    let swept = keeping.sweep_up().await;
    assert!(swept.deferred > 0 && swept.ended >= 1, "{swept:?}");
    keeping.world.assert_equal();
    assert!(keeping.parked().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_target_fails_no_message() {
    let keeping = Keeping::new(PLAIN);
    let instances = [keeping.world.instance(), keeping.world.instance()];
    let id = keeping.world.create("account", account("A"));
    bring(&instances[0], &keeping.world.events().await[0]).await.unwrap();
    for n in 0..6 {
        keeping.world.create("account", account(&format!("B{n}")));
        tokio::time::sleep(SECOND).await;
        keeping.world.update("account", id, json!({ "name": format!("C{n}") }));
    }
    let events = keeping.world.events().await;
    keeping.world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, 60 * MINUTE));
    let all = events.iter().enumerate().map(|(n, event)| bring(&instances[n % 2], event));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.unwrap().outcome.name(), "deferred");
    }
    keeping.sweep_up().await;
    keeping.world.assert_equal();
    assert!(keeping.parked().await.is_empty(), "{:?}", keeping.parked().await);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_work_is_parked_with_its_payload_and_the_message_completes() {
    for channel in [Channel::Queue, Channel::Webhook] {
        let keeping = Keeping::new(PLAIN);
        let instance = keeping.world.instance();
        keeping.world.create("account", account("A"));
        let events = keeping.world.events().await;
        keeping.world.target.faults().add(Rule::new(When::Always, plug_in_says_no()).writes());
        let delivery = Delivery { channel, ..delivery(1) };
        let report = instance.handle(decoded(&events[0]), &delivery).await.unwrap();
        assert_eq!(report.outcome.name(), "parked", "{report:?}");
        let parked = keeping.parked().await;
        assert_eq!(parked.len(), 1);
        let record = keeping.record(&decoded(&events[0])).await.unwrap();
        assert_eq!((record.phase, record.payload.is_some()), (Phase::Parked, true));
        assert_eq!(
            (parked[0].partition.as_str(), parked[0].attempts),
            (Partition::of("account", &decoded(&events[0]).row).key(), 0)
        );
        // a redelivery is a duplicate, and no sweep tries it again
        assert_eq!(bring(&instance, &events[0]).await.unwrap().outcome.name(), "duplicate");
        let writes = keeping.world.target_writes();
        tokio::time::sleep(10 * MINUTE).await;
        keeping.sweeper().sweep("sweep").await.unwrap();
        assert_eq!(keeping.world.target_writes(), writes);
        assert_eq!(keeping.owed().await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_attempts_and_too_old_are_parked() {
    // an outage alone is never too many attempts
    for (limit, effect, word) in
        [("attempts_max = 3", read_only(), "attempts_exhausted"), ("age_max = \"20m\"", down(), "too_old")]
    {
        let keeping = Keeping::new(&format!("{PLAIN}[limits]\n{limit}\n"));
        let instance = keeping.world.instance();
        keeping.world.create("account", account("A"));
        let events = keeping.world.events().await;
        keeping.world.target.faults().add(Rule::new(When::Always, effect).writes());
        assert_eq!(post(&instance, &events[0]).await.unwrap().outcome.name(), "deferred");
        keeping.sweep_up().await;
        let parked = keeping.parked().await;
        assert_eq!(parked.len(), 1);
        assert_eq!(parked[0].word(), word);
        // it is found again by a redelivery: parked is its outcome, wherever it waits
        assert_eq!(post(&instance, &events[0]).await.unwrap().outcome.name(), "duplicate");
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_row_is_no_attempt_and_a_second_delivery_is_deferred() {
    let keeping = Keeping::new(PLAIN);
    let (first, second) = (keeping.world.instance(), keeping.world.instance());
    keeping.world.create("account", account("A"));
    let events = keeping.world.events().await;
    // metadata must be known to both, so that only the row is waited for
    keeping.world.create("account", account("warm"));
    let warm = keeping.world.events().await;
    bring(&first, &warm[0]).await.unwrap();
    bring(&second, &warm[0]).await.unwrap();
    keeping.world.create("account", account("warm too"));
    bring(&second, &keeping.world.events().await[0]).await.unwrap();
    let slow = Effect::Slow { before: 20 * SECOND, after: Duration::ZERO };
    keeping.world.target.faults().add(Rule::new(When::Nth(1), slow).writes());
    let later = async {
        tokio::time::sleep(SECOND).await;
        let started = tokio::time::Instant::now();
        let answer = bring(&second, &events[0]).await;
        (answer, started.elapsed())
    };
    let (one, (two, waited)) = futures_util::future::join(bring(&first, &events[0]), later).await;
    assert_eq!(words(&one.unwrap()), "applied: created");
    let two = two.unwrap();
    assert_eq!(two.outcome.name(), "deferred");
    assert!(two.outcome.detail().starts_with("event_busy"), "{two:?}");
    assert!(waited <= keeping.world.mapping.limits.duplicate_wait + SECOND, "{waited:?}");
    assert_eq!(keeping.owed().await.iter().map(|entry| entry.attempts).collect::<Vec<_>>(), [0]);
    keeping.sweep_up().await;
    keeping.world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn an_impostor_is_parked_beside_the_event_whose_id_it_uses() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    keeping.world.create("account", account("A"));
    let events = keeping.world.events().await;
    keeping.world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, 5 * MINUTE));
    assert_eq!(post(&instance, &events[0]).await.unwrap().outcome.name(), "deferred");
    let mut impostor = decoded(&events[0]);
    let name = impostor.columns.keys().find(|name| *name == "telephone1").cloned().unwrap();
    impostor.columns.remove(&name);
    match instance.handle(impostor, &webhook()).await {
        Err(NotHandled::IdReused { stored: true, .. }) => {}
        other => panic!("{other:?}"),
    }
    let parked = keeping.parked().await;
    assert_eq!((parked.len(), parked[0].word(), parked[0].raw.is_some()), (1, "id_reused", true));
    keeping.sweep_up().await;
    keeping.world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_synchronous_steps_user_does_not_wait_for_the_target() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    keeping.world.create("account", account("A"));
    let events = keeping.world.events().await;
    let synchronous = ChangeEvent { synchronous: true, ..decoded(&events[0]) };
    let report = instance.handle(synchronous, &webhook()).await.unwrap();
    assert_eq!(report.outcome.name(), "deferred");
    assert_eq!(keeping.world.target.requests().count(), 0);
    keeping.sweep_up().await;
    keeping.world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn what_waited_without_its_row_is_finished_there_and_in_its_row() {
    // which row it is only the target's metadata tells: the key's type is not known without it
    let keeping = Keeping::new("version = 1\n[tables.account]\nkey = [\"accountnumber\"]\n");
    let instance = keeping.world.instance();
    keeping.world.create("account", json!({ "name": "A", "accountnumber": "A-1" }));
    let events = keeping.world.events().await;
    keeping.world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, 5 * MINUTE));
    post(&instance, &events[0]).await.unwrap();
    let event = decoded(&events[0]);
    let waits = keeping.owed().await;
    assert_eq!(waits.len(), 1);
    assert!(waits[0].partition.starts_with("wait:"), "{waits:?}");
    keeping.sweep_up().await;
    let key = [("accountnumber".to_owned(), KeyPart::Text("A-1".to_owned()))];
    let partition = Partition::of("account", &RowRef::Key(key.into()));
    let (mut row, mut events) = keeping.ledger.history(partition.key(), 10).await.unwrap();
    // the key leads to the row that has it
    if let Some(home) = row.as_ref().and_then(|row| row.state.moved.clone()) {
        (row, events) = keeping.ledger.history(&home, 10).await.unwrap();
    }
    assert!(row.unwrap().state.exists);
    assert_eq!((events.len(), &events[0].id, events[0].phase), (1, &event.id, Phase::Done));
    let waiting = keeping.ledger.read(&waits[0].partition, &waits[0].event_key).await.unwrap();
    assert_eq!(waiting.event.unwrap().record.phase, Phase::Done);
}

#[tokio::test(start_paused = true)]
async fn an_event_without_a_row_that_could_not_be_kept_leaves_nothing_behind() {
    for failing in 0..2 {
        let keeping = Keeping::new("version = 1\n[tables.account]\nkey = [\"accountnumber\"]\n");
        let instance = keeping.world.instance();
        keeping.world.create("account", json!({ "name": "A", "accountnumber": "A-1" }));
        let events = keeping.world.events().await;
        keeping.world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, 5 * MINUTE));
        keeping.shaky.fail(failing..failing + 1);
        post(&instance, &events[0]).await.unwrap_err();
        // its sender brings it again when its row can be known
        tokio::time::sleep(6 * MINUTE).await;
        let ended = post(&instance, &events[0]).await.unwrap().outcome;
        assert_eq!(ended.name(), "applied", "{failing}: {ended:?}");
        keeping.sweep_up().await;
        let scanned = keeping.ledger.scan(&ScanStart::Beginning, None, 1_000).await.unwrap().found;
        let waits: Vec<_> = scanned.iter().filter(|record| record.partition.contains("wait")).collect();
        assert!(waits.iter().all(|record| record.expiry != Expiry::Never), "{failing}: {waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_deferred_before_the_target_was_asked_is_in_its_rows_history() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    keeping.world.create("account", account("A"));
    let events = keeping.world.events().await;
    keeping.world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, 5 * MINUTE));
    post(&instance, &events[0]).await.unwrap();
    let event = decoded(&events[0]);
    assert_eq!(keeping.record(&event).await.unwrap().phase, Phase::Owed);
    keeping.sweep_up().await;
    keeping.world.assert_equal();
    assert_eq!(keeping.record(&event).await.unwrap().phase, Phase::Done);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_turns_out_not_to_be_for_us_is_owed_no_more() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    let id = keeping.world.create("account", account("A"));
    bring(&instance, &keeping.world.events().await[0]).await.unwrap();
    keeping.world.update("account", id, json!({ "name": "B" }));
    let mut event = decoded(&keeping.world.events().await[0]);
    let fresh = keeping.world.instance();
    keeping.world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, 5 * MINUTE));
    let name = event.columns.remove("name").unwrap();
    event.columns.clear();
    event.columns.insert("only_the_source_has_it".to_owned(), name);
    assert_eq!(fresh.handle(event, &webhook()).await.unwrap().outcome.name(), "deferred");
    let waits = keeping.owed().await;
    keeping.sweep_up().await;
    let waiting = keeping.ledger.read(&waits[0].partition, &waits[0].event_key).await.unwrap();
    assert_eq!(waiting.event.unwrap().record.phase, Phase::Done);
}

#[tokio::test(start_paused = true)]
async fn two_sweeps_at_once_handle_each_entry_once() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    for n in 0..20 {
        keeping.world.create("account", account(&format!("A{n}")));
    }
    let events = keeping.world.events().await;
    keeping.world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, MINUTE));
    for answer in futures_util::future::join_all(events.iter().map(|event| post(&instance, event))).await {
        assert_eq!(answer.unwrap().outcome.name(), "deferred");
    }
    tokio::time::sleep(5 * MINUTE).await;
    let before = keeping.world.target_writes();
    let (one, two) = (keeping.sweeper(), keeping.sweeper());
    let (one, two) = futures_util::future::join(one.sweep("one"), two.sweep("two")).await;
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.ended + two.ended, 20, "{one:?} {two:?}");
    assert_eq!(keeping.world.target_writes() - before, 20);
    keeping.world.assert_equal();
    assert_eq!(keeping.owed().await, []);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_that_is_not_kept_whichever_write_fails() {
    for (effect, name) in [(down(), "deferred"), (plug_in_says_no(), "parked")] {
        let mut refused = 0;
        for failing in 0..6 {
            let keeping = Keeping::new(PLAIN);
            let instance = keeping.world.instance();
            keeping.world.create("account", account("warm"));
            bring(&instance, &keeping.world.events().await[0]).await.unwrap();
            keeping.world.create("account", account("A"));
            let events = keeping.world.events().await;
            keeping.world.target.faults().add(Rule::new(When::Always, effect.clone()).writes());
            keeping.shaky.fail(failing..failing + 3);
            let answer = post(&instance, &events[0]).await;
            keeping.shaky.fail(0..0);
            let record = keeping.record(&decoded(&events[0])).await;
            match answer {
                Ok(report) => {
                    assert_eq!(report.outcome.name(), name, "write {failing}");
                    let record = record.expect("acknowledged and not stored");
                    assert!(record.payload.is_some());
                    let (owed, parked) = (keeping.owed().await, keeping.parked().await);
                    let there = if name == "deferred" { !owed.is_empty() } else { !parked.is_empty() };
                    assert!(there, "write {failing}: {owed:?} {parked:?}");
                }
                Err(NotHandled::Unfinished(_)) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(refused > 0, "no failing write was met");
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_not_sent_to_the_target_before_it_is_kept() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    keeping.world.create("account", account("A"));
    let events = keeping.world.events().await;
    keeping.shaky.fail(0..100);
    assert!(matches!(post(&instance, &events[0]).await, Err(NotHandled::Unfinished(_))));
    assert_eq!(keeping.world.target_writes(), 0);
    // the queue's first delivery needs no entry, its second does
    assert!(matches!(instance.handle(decoded(&events[0]), &delivery(2)).await, Err(NotHandled::Unfinished(_))));
    assert_eq!(keeping.world.target_writes(), 0);
    assert_eq!(words(&bring(&instance, &events[0]).await.unwrap()), "applied: created");
    keeping.world.assert_equal();
}

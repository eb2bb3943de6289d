//! Events of one row that come together: one claim, one write, one finish for all of them, and each ends for itself.

use super::keeping::Keeping;
use super::world::{PLAIN, World, account, decoded, delivery, redeliver, words};
use crate::support::lossy_store::{Fault, LossyStore};
use dataverse_sync::domain::delivery::{Delivery, NotHandled, Report};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::value::{RowRef, Value};
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::record::{EventRecord, Phase};
use dataverse_sync::ledger::store::Store;
use dataverse_sync::operate::history::history;
use dataverse_sync::sim::dataverse::{Effect, RaisedEvent, Rule, When};
use dataverse_sync::sync::HandleEvent;
use dataverse_sync::sync::engine::Engine;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn as_messages(events: &[RaisedEvent]) -> Vec<(ChangeEvent, Delivery)> {
    events.iter().map(|event| (decoded(event), delivery(1))).collect()
}

async fn together(instance: &Engine, events: &[RaisedEvent]) -> Vec<Result<Report, NotHandled>> {
    instance.handle_row(as_messages(events)).await
}

fn told(reports: &[Result<Report, NotHandled>]) -> Vec<String> {
    reports.iter().map(|report| words(report.as_ref().unwrap())).collect()
}

async fn records(world: &World, event: &RaisedEvent) -> Vec<EventRecord> {
    let event = decoded(event);
    let partition = dataverse_sync::domain::partition::Partition::of(&event.table, &event.row);
    world.store.history(partition.key(), 1_000).await.unwrap().1
}

/// Ledger round trips and requests to the target so far.
fn cost(world: &World) -> (usize, usize, usize) {
    let (reads, writes) = world.store.round_trips();
    (reads, writes, usize::try_from(world.target.requests().count()).unwrap())
}

/// An instance that knows the table's metadata.
async fn warm(world: &World) -> Engine {
    let instance = world.instance();
    world.create("account", account("first"));
    together(&instance, &world.events().await).await;
    instance
}

#[tokio::test(start_paused = true)]
async fn sixty_four_changes_of_a_row_are_one_claim_one_write_and_one_finish() {
    let world = World::new(PLAIN);
    let instance = warm(&world).await;
    let id = world.create("account", account("A"));
    for n in 0..63 {
        tokio::time::sleep(SECOND).await;
        world.update("account", id, json!({ "name": format!("n{n}") }));
    }
    let events = world.events().await;
    assert_eq!(events.len(), 64);

    let before = cost(&world);
    let reports = together(&instance, &events).await;
    let after = cost(&world);
    assert_eq!((after.0 - before.0, after.1 - before.1, after.2 - before.2), (1, 2, 1), "reads, writes, target: cold");
    world.assert_equal();
    let ended = told(&reports);
    assert_eq!(ended.first().unwrap(), "applied: created", "its other columns are nobody else's");
    assert_eq!(ended.last().unwrap(), "applied: updated");
    assert!(ended[1..63].iter().all(|words| words == "stale: "), "{ended:?}");
    for record in records(&world, &events[0]).await {
        assert_eq!((record.phase, record.folded, record.attempts), (Phase::Done, 64, 1));
    }

    // what people are told of it
    let ledger = &instance.parts().ledger;
    let found = history(ledger, &world.mapping, "account", &id.to_string(), 0).await.unwrap();
    assert!(found.events.iter().all(|event| event.folded_with == 63 && event.attempts == 1));
    let holds: usize =
        found.events.iter().filter(|event| event.outcome == "stale").map(|event| event.holds.len()).sum();
    assert_eq!((found.events.len(), holds), (64, 0), "what is still in the target is of those that were applied");

    // warm, in any order; and again
    for n in 0..64 {
        tokio::time::sleep(SECOND).await;
        world.update("account", id, json!({ "telephone1": format!("t{n}") }));
    }
    let mut events = world.events().await;
    events.reverse();
    let before = cost(&world);
    together(&instance, &events).await;
    let after = cost(&world);
    assert_eq!((after.0 - before.0, after.1 - before.1, after.2 - before.2), (0, 2, 1), "reads, writes, target: warm");
    world.assert_equal();
    let again = together(&instance, &events).await;
    assert!(told(&again).iter().all(|words| words.starts_with("duplicate")));
    assert_eq!(cost(&world), after, "duplicates that this instance finished cost nothing");
}

#[tokio::test(start_paused = true)]
async fn events_of_a_fold_that_are_known_end_by_themselves_and_the_others_stay_together() {
    let world = World::new(PLAIN);
    let instance = warm(&world).await;
    let id = world.create("account", account("A"));
    for n in 0..20 {
        tokio::time::sleep(SECOND).await;
        world.update("account", id, json!({ "name": format!("n{n}"), "description": format!("d{n}") }));
    }
    let events = world.events().await;
    // another instance had some of them
    let other = world.instance();
    for n in [0, 3, 7] {
        other.handle(decoded(&events[n]), &delivery(1)).await.unwrap();
    }
    let before = world.target_writes();
    let ended = told(&together(&instance, &events).await);
    assert_eq!(world.target_writes() - before, 1);
    for (n, words) in ended.iter().enumerate() {
        assert_eq!(words.starts_with("duplicate"), [0, 3, 7].contains(&n), "{n}: {words}");
    }
    // one and the same message twice in one batch
    tokio::time::sleep(SECOND).await;
    world.update("account", id, json!({ "name": "x" }));
    tokio::time::sleep(SECOND).await;
    world.update("account", id, json!({ "name": "y" }));
    let two = world.events().await;
    let twice: Vec<RaisedEvent> = [&two[0], &two[1], &two[0], &two[1]].map(Clone::clone).into();
    let ended = told(&together(&instance, &twice).await);
    assert_eq!(ended, ["stale: ", "applied: updated", "duplicate: stale", "duplicate: applied: updated"]);
    // the same id with other content, in the fold
    tokio::time::sleep(SECOND).await;
    world.update("account", id, json!({ "name": "z" }));
    tokio::time::sleep(SECOND).await;
    world.update("account", id, json!({ "telephone1": "7" }));
    let mut messages = as_messages(&world.events().await);
    messages.push((ChangeEvent { id: decoded(&two[0]).id, ..messages[0].0.clone() }, delivery(1)));
    let ended = instance.handle_row(messages).await;
    assert!(ended[..2].iter().all(Result::is_ok) && matches!(ended[2], Err(NotHandled::IdReused { .. })), "{ended:?}");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn deletes_go_at_their_place_and_a_row_that_lives_again_is_whole() {
    let world = World::new(PLAIN);
    let instance = warm(&world).await;
    let id = world.create("account", account("A"));
    world.update("account", id, json!({ "name": "B" }));
    tokio::time::sleep(2 * SECOND).await;
    world.delete("account", id);
    tokio::time::sleep(2 * SECOND).await;
    world.create("account", json!({ "accountid": id, "name": "again" }));
    world.update("account", id, json!({ "telephone1": "9" }));
    let events = world.events().await;
    let before = cost(&world);
    let ended = told(&together(&instance, &events).await);
    assert_eq!(ended[2], "applied: deleted");
    let after = cost(&world);
    assert_eq!((after.1 - before.1, after.2 - before.2), (6, 3), "three claims, three finishes, three requests");
    world.assert_equal();
    let mut backwards = events;
    backwards.reverse();
    assert!(told(&together(&world.instance(), &backwards).await).iter().all(|words| words.starts_with("duplicate")));
}

#[tokio::test(start_paused = true)]
async fn signals_of_a_row_are_one_read_of_the_source_and_one_write() {
    let world = World::new("version = 1\n[tables.account]\nread = \"source\"\n");
    let instance = warm(&world).await;
    let id = world.create("account", account("A"));
    for n in 0..9 {
        tokio::time::sleep(SECOND).await;
        world.update("account", id, json!({ "name": format!("n{n}") }));
    }
    let events = world.events().await;
    let (before, asked) = (cost(&world), world.source.requests().count());
    let ended = told(&together(&instance, &events).await);
    let after = cost(&world);
    assert_eq!((after.1 - before.1, after.2 - before.2), (2, 1));
    assert_eq!(world.source.requests().count() - asked, 1);
    assert!(ended.iter().all(|words| words.starts_with("applied")), "{ended:?}");
    assert_eq!(ended.iter().filter(|words| *words == "applied: created").count(), 1, "{ended:?}");
    world.assert_equal();
    // gone at the source: nothing is written
    world.update("account", id, json!({ "name": "x" }));
    world.update("account", id, json!({ "name": "y" }));
    let events = world.events().await;
    world.delete("account", id);
    let writes = world.target_writes();
    assert_eq!(told(&together(&instance, &events).await), ["stale: ", "stale: "]);
    assert_eq!(world.target_writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn a_tie_within_a_fold_is_settled_by_the_source_and_without_one_by_arrival() {
    for has_source in [true, false] {
        let unused = LossyStore::new(Arc::new(MemoryStore::default()), &[]);
        let mut world = World::whose_events(None, unused, PLAIN, |_| {});
        world.has_source = has_source;
        let instance = warm(&world).await;
        let id = world.create("account", account("A"));
        tokio::time::sleep(2 * SECOND).await;
        world.update("account", id, json!({ "name": "B" }));
        world.update("account", id, json!({ "name": "C" }));
        world.update("account", id, json!({ "telephone1": "5" }));
        let mut messages = as_messages(&world.events().await);
        for (n, (_, delivery)) in messages.iter_mut().enumerate() {
            delivery.arrival_ms += i64::try_from(n).unwrap();
        }
        messages.reverse();
        let writes = world.target_writes();
        let reports = instance.handle_row(messages).await;
        assert!(reports.iter().all(Result::is_ok), "{reports:?}");
        assert_eq!(world.target_writes() - writes, 1, "with a source: {has_source}");
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn one_event_that_cannot_be_applied_is_parked_without_its_neighbours() {
    let keeping = Keeping::new(PLAIN);
    let world = &keeping.world;
    let instance = world.instance();
    let id = world.create("account", account("A"));
    together(&instance, &world.events().await).await;
    for n in 0..6 {
        tokio::time::sleep(SECOND).await;
        let body = if n == 3 { json!({ "name": "poison" }) } else { json!({ "telephone1": format!("t{n}") }) };
        world.update("account", id, body);
    }
    let mut messages = as_messages(&world.events().await);
    // the target refuses a text of that length
    messages[3].0.columns.insert("name".to_owned(), Value::Text("x".repeat(5_000)));
    let reports = instance.handle_row(messages).await;
    let ended = told(&reports);
    for (n, words) in ended.iter().enumerate() {
        assert_eq!(words.starts_with("parked"), n == 3, "{n}: {words}");
    }
    assert_eq!(keeping.parked().await.len(), 1);
    assert_eq!(keeping.owed().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_away_defers_every_event_of_a_fold_and_fails_none() {
    let keeping = Keeping::new(PLAIN);
    let world = &keeping.world;
    let instance = world.instance();
    let id = world.create("account", account("A"));
    together(&instance, &world.events().await).await;
    let down = Effect::Status { status: 503, code: String::new(), retry_after: None };
    world.target.faults().add(Rule::new(When::Always, down).writes());
    for n in 0..5 {
        tokio::time::sleep(SECOND).await;
        world.update("account", id, json!({ "name": format!("n{n}") }));
    }
    let events = world.events().await;
    let mut messages = as_messages(&events);
    let begun = tokio::time::Instant::now();
    messages.iter_mut().for_each(|(_, delivery)| delivery.until = instance.batch_until());
    let reports = instance.handle_row(messages).await;
    assert!(told(&reports).iter().all(|words| words.starts_with("deferred")), "{reports:?}");
    assert!(begun.elapsed() <= 31 * SECOND, "{:?}", begun.elapsed());
    let owed = keeping.owed().await;
    assert_eq!((owed.len(), owed.iter().filter(|entry| entry.attempts == 1).count()), (5, 5), "each was tried");
    for record in records(world, &events[0]).await.iter().filter(|record| record.phase != Phase::Done) {
        assert_eq!(record.phase, Phase::Owed);
        assert!(record.payload.is_some());
    }
    world.target.faults().clear();
    keeping.sweep_up().await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_write_of_a_fold_keeps_the_row_and_defers_each_event_until_it_can_no_longer_land() {
    let keeping = Keeping::new(PLAIN);
    let world = &keeping.world;
    let instance = world.instance();
    let id = world.create("account", account("A"));
    together(&instance, &world.events().await).await;
    let late = Effect::Late { lands_after: 100 * SECOND, silent_for: 300 * SECOND };
    world.target.faults().add(Rule::new(When::Nth(1), late).writes());
    for n in 0..3 {
        tokio::time::sleep(SECOND).await;
        world.update("account", id, json!({ "name": format!("n{n}") }));
    }
    let reports = instance.handle_row(as_messages(&world.events().await)).await;
    assert!(told(&reports).iter().all(|words| words.starts_with("deferred")), "{reports:?}");
    assert_eq!(keeping.owed().await.len(), 3);
    // what is newer waits for it, and is not overwritten by it
    tokio::time::sleep(SECOND).await;
    world.update("account", id, json!({ "name": "newest" }));
    let newer = instance.handle_row(as_messages(&world.events().await)).await;
    assert!(told(&newer)[0].starts_with("deferred: row_busy"), "{newer:?}");
    keeping.sweep_up().await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_fold_whose_answers_are_lost_ends_once() {
    // claim and finish, each lost before and after its effect
    for faults in [
        vec![Fault::AfterEffect],
        vec![Fault::BeforeEffect],
        vec![Fault::None, Fault::AfterEffect],
        vec![Fault::None, Fault::BeforeEffect],
    ] {
        let mut plan = vec![Fault::None; 2];
        plan.extend(faults.clone());
        let world = World::on(LossyStore::new(Arc::new(MemoryStore::default()), &plan), PLAIN, |_| {});
        let instance = warm(&world).await;
        let id = world.create("account", account("A"));
        for n in 0..5 {
            tokio::time::sleep(SECOND).await;
            world.update("account", id, json!({ "name": format!("n{n}") }));
        }
        let events = world.events().await;
        let writes = world.target_writes();
        let reports = together(&instance, &events).await;
        assert!(reports.iter().all(Result::is_ok), "{faults:?} {reports:?}");
        assert_eq!(world.target_writes() - writes, 1, "{faults:?}");
        for record in records(&world, &events[0]).await {
            assert_eq!((record.phase, record.folded), (Phase::Done, 6), "{faults:?}");
        }
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_in_a_fold_is_as_old_as_the_event_that_set_it() {
    // the parent was deleted after the lookup was set and before another column of the row changed
    let world = World::new(PLAIN);
    let instance = warm(&world).await;
    let parent = world.create("account", account("parent"));
    tokio::time::sleep(2 * SECOND).await;
    let child = world.create("account", account("child"));
    let mut before = world.events().await;
    tokio::time::sleep(2 * SECOND).await;
    let bind = json!({ "parentaccountid@odata.bind": format!("accounts({parent})"), "name": "bound" });
    world.update("account", child, bind);
    before.retain(|event| decoded(event).row == RowRef::Id(parent));
    let bound = world.events().await;
    tokio::time::sleep(2 * SECOND).await;
    world.delete("account", parent);
    let deleted = world.events().await;
    tokio::time::sleep(2 * SECOND).await;
    world.update("account", child, json!({ "telephone1": "later" }));
    let later = world.events().await;
    let mut messages = as_messages(&before);
    messages.extend(deleted.iter().filter(|event| event.table == "account").map(|event| (decoded(event), delivery(1))));
    let of_parent = |event: &ChangeEvent| event.row == RowRef::Id(parent);
    messages.retain(|(event, _)| of_parent(event));
    assert!(instance.handle_row(messages).await.iter().all(Result::is_ok));
    let of_child = bound.iter().chain(&later).map(|event| (decoded(event), delivery(1)));
    let of_child: Vec<_> = of_child.filter(|(event, _)| !of_parent(event)).collect();
    assert!(of_child.len() >= 2);
    let reports = instance.handle_row(of_child).await;
    assert!(reports.iter().all(Result::is_ok), "{reports:?}");
    let rows = world.target.rows("account");
    assert!(rows.contains_key(&child) && !rows.contains_key(&parent), "a deleted parent is not brought back");
}

/// Work that stands still once, after so many polls, for longer than its lease.
async fn standing_still<F: Future>(work: F, after: usize) -> F::Output {
    let (mut work, mut polled, mut until) = (Box::pin(work), 0, None);
    std::future::poll_fn(|context| {
        if polled == after {
            let until = until.get_or_insert_with(|| Box::pin(tokio::time::sleep(250 * SECOND)));
            if until.as_mut().poll(context).is_pending() {
                return std::task::Poll::Pending;
            }
        }
        polled += 1;
        work.as_mut().poll(context)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_fold_that_was_overtaken_acknowledges_nothing_that_is_not_done() {
    for after in 1..30 {
        let keeping = Keeping::new(PLAIN);
        let world = &keeping.world;
        let (slow, other) = (world.instance(), world.instance());
        let id = world.create("account", account("A"));
        together(&slow, &world.events().await).await;
        for n in 0..3 {
            tokio::time::sleep(SECOND).await;
            world.update("account", id, json!({ "name": format!("n{n}") }));
        }
        let events = world.events().await;
        let work = standing_still(slow.handle_row(as_messages(&events)), after);
        let taker = async {
            tokio::time::sleep(200 * SECOND).await;
            other.handle(decoded(&events[1]), &delivery(1)).await
        };
        let (reports, taken) = futures_util::future::join(work, taker).await;
        assert!(taken.is_ok(), "{after}: {taken:?}");
        for (event, report) in events.iter().zip(reports) {
            if report.is_err() {
                redeliver(&other, event).await;
            }
        }
        keeping.sweep_up().await;
        for event in &events {
            let record = keeping.record(&decoded(event)).await.unwrap();
            assert_eq!(record.phase, Phase::Done, "{after} polls: acknowledged and not done");
        }
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_delivered_before_goes_by_itself() {
    let keeping = Keeping::new(PLAIN);
    let world = &keeping.world;
    let instance = world.instance();
    let id = world.create("account", account("A"));
    for n in 0..3 {
        tokio::time::sleep(SECOND).await;
        world.update("account", id, json!({ "name": format!("n{n}") }));
    }
    let events = world.events().await;
    let again: Vec<_> = events.iter().map(|event| (decoded(event), delivery(2))).collect();
    assert!(instance.handle_row(again).await.iter().all(Result::is_ok));
    for event in &events {
        assert_eq!(keeping.record(&decoded(event)).await.unwrap().folded, 0);
    }
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn what_has_not_begun_in_time_is_stored_without_being_tried() {
    let keeping = Keeping::new(PLAIN);
    let world = &keeping.world;
    let instance = world.instance();
    let id = world.create("account", account("A"));
    together(&instance, &world.events().await).await;
    tokio::time::sleep(SECOND).await;
    world.update("account", id, json!({ "name": "B" }));
    world.update("account", id, json!({ "telephone1": "7" }));
    let mut messages = as_messages(&world.events().await);
    messages.iter_mut().for_each(|(_, delivery)| delivery.until = instance.batch_until());
    tokio::time::sleep(40 * SECOND).await;
    let (requests, begun) = (world.target.requests().count(), tokio::time::Instant::now());
    let ended = told(&instance.handle_row(messages).await);
    assert!(ended.iter().all(|words| words.starts_with("deferred: not_begun")), "{ended:?}");
    assert!(begun.elapsed() < SECOND && world.target.requests().count() == requests);
    assert_eq!(keeping.owed().await.iter().map(|entry| entry.attempts).sum::<u32>(), 0, "that is no attempt");
    keeping.sweep_up().await;
    world.assert_equal();
}

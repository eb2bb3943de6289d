//! The cases of several events under one claim ([`dataverse_sync::ledger::fold`]).

use super::cases::{LEASE, SKEW, UPDATED, World, state_with};
use crate::support::events::update;
use crate::support::lossy_store::{Fault, LossyStore};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::outcome::Outcome;
use dataverse_sync::domain::value::Value;
use dataverse_sync::ledger::claim::{Claim, Claimed, Finished, Ledger, LedgerError};
use dataverse_sync::ledger::fold::{FOLD_BYTES_MAX, FOLD_EVENTS_MAX, FoldClaimed, FoldEvent, FoldRequest};
use dataverse_sync::ledger::record::{EventRecord, Phase};
use dataverse_sync::ledger::store::Store;
use std::sync::Arc;
use uuid::Uuid;

fn events(world: &World, count: usize) -> Vec<ChangeEvent> {
    (0..count).map(|n| world.event(&format!("e{n:03}"))).collect()
}

fn written(worker: &Ledger, events: &[ChangeEvent]) -> Vec<FoldEvent> {
    events.iter().map(|event| worker.fold_event(event, 7).unwrap()).collect()
}

async fn fold_as(
    world: &World,
    worker: &Ledger,
    events: &[ChangeEvent],
    token: Uuid,
) -> Result<FoldClaimed, LedgerError> {
    let events = written(worker, events);
    let request = FoldRequest { partition: &world.partition, events: &events, token };
    worker.claim_fold(&request, &|_, places| places.iter().map(|n| format!("c{n}")).collect()).await
}

async fn must_fold(world: &World, worker: &Ledger, events: &[ChangeEvent]) -> (Claim, Vec<usize>) {
    match fold_as(world, worker, events, Uuid::new_v4()).await.unwrap() {
        FoldClaimed::Acquired { claim, taken } => (*claim, taken),
        other => panic!("expected the claim, got {other:?}"),
    }
}

async fn records(world: &World) -> Vec<EventRecord> {
    world.store.history(&world.partition, 1_000).await.unwrap().1
}

fn on_lossy(world: &World, faults: &[Fault]) -> (Arc<LossyStore>, Ledger) {
    let store = LossyStore::new(Arc::clone(&world.store), faults);
    let worker = world.worker_on(Arc::clone(&store) as Arc<dyn Store>, world.clock.clone());
    (store, worker)
}

pub async fn a_fold_is_one_transaction_to_begin_and_one_to_end(world: World) {
    let (store, worker) = on_lossy(&world, &[]);
    let events = events(&world, FOLD_EVENTS_MAX);
    let (mut claim, taken) = must_fold(&world, &worker, &events).await;
    assert_eq!(taken, (0..FOLD_EVENTS_MAX).collect::<Vec<_>>());
    assert_eq!(claim.state.touched.len(), FOLD_EVENTS_MAX, "the claim notes what they may write");
    assert!(claim.state_before().touched.is_empty());
    let outcomes: Vec<Outcome> = taken.iter().map(|n| if *n == 0 { UPDATED } else { Outcome::Stale }).collect();
    assert_eq!(worker.finish_all(&mut claim, state_with("name"), &outcomes).await.unwrap(), Finished::Done);
    assert_eq!(store.round_trips(), (1, 2));
    let other = world.worker();
    for (n, event) in events.iter().enumerate() {
        let known = world.claim(&other, event).await.unwrap();
        assert!(matches!(known, Claimed::Duplicate(outcome) if (outcome == UPDATED) == (n == 0)));
    }
    for record in records(&world).await {
        assert_eq!((record.phase, record.payload, record.folded, record.attempts), (Phase::Done, None, 64, 1));
    }
    let next = world.must_claim(&other, &world.event("next")).await;
    assert_eq!(next.state.values, state_with("name").values);
    assert!(worker.finish_all(&mut claim, state_with("x"), &outcomes[1..]).await.is_err(), "an outcome for each");
}

pub async fn events_that_are_known_are_left_out_of_a_fold(world: World) {
    let (worker, events) = (world.worker(), events(&world, 30));
    let mut done = world.must_claim(&worker, &events[2]).await;
    worker.finish(&mut done, state_with("name"), &UPDATED).await.unwrap();
    worker.owe(&world.partition, &events[17], 1).await.unwrap();
    let mut again = events.clone();
    again.push(events[4].clone());
    again.push(update("e000", world.row, "name", "other content", 1));
    let cold = world.worker();
    let (mut claim, taken) = must_fold(&world, &cold, &again).await;
    let expected: Vec<usize> = (0..30).filter(|n| ![2, 17].contains(n)).collect();
    assert_eq!(taken, expected);
    assert_eq!(world.phase(&events[17]).await, Some(Phase::Owed), "what is known is as it was");
    assert_eq!(world.phase(&events[2]).await, Some(Phase::Done));
    assert_eq!(cold.give_up(&mut claim, false).await.unwrap(), Finished::Done);
    // once seen all of them are known
    for worker in [worker, cold] {
        let apart = fold_as(&world, &worker, &again, Uuid::new_v4()).await.unwrap();
        assert!(matches!(apart, FoldClaimed::Apart), "{apart:?}");
    }
}

pub async fn a_row_has_one_owner_whether_it_is_folded_or_not(world: World) {
    let (one, two, events) = (world.worker(), world.worker(), events(&world, 4));
    let (_claim, _) = must_fold(&world, &one, &events[..2]).await;
    let busy = world.claim(&two, &events[3]).await.unwrap();
    assert!(matches!(busy, Claimed::Busy { same_event: false, .. }), "{busy:?}");
    let busy = world.claim(&two, &events[1]).await.unwrap();
    assert!(matches!(busy, Claimed::Busy { same_event: true, .. }), "{busy:?}");
    let busy = fold_as(&world, &two, &events[2..], Uuid::new_v4()).await.unwrap();
    assert!(matches!(busy, FoldClaimed::Busy { .. }), "{busy:?}");
    assert_eq!(world.phase(&events[3]).await, None, "nothing was written");
    // and the other way round
    world.clock.advance(LEASE + SKEW + SKEW);
    let _held = world.must_claim(&two, &world.event("single")).await;
    let busy = fold_as(&world, &one, &events[2..], Uuid::new_v4()).await.unwrap();
    assert!(matches!(busy, FoldClaimed::Busy { .. }), "{busy:?}");
}

pub async fn a_fold_whose_claims_answer_was_lost_is_found_to_be_ours(world: World) {
    for (n, fault) in [Fault::AfterEffect, Fault::BeforeEffect].into_iter().enumerate() {
        let (store, worker) = on_lossy(&world, &[fault]);
        let events: Vec<_> = (0..20).map(|m| world.event(&format!("{n}-{m}"))).collect();
        let (mut claim, taken) = must_fold(&world, &worker, &events).await;
        assert_eq!(taken.len(), 20, "{fault:?}");
        let writes = store.round_trips().1;
        assert_eq!(writes, if fault == Fault::AfterEffect { 1 } else { 2 }, "nothing is inserted again blindly");
        let outcomes = vec![UPDATED; 20];
        assert_eq!(worker.finish_all(&mut claim, state_with("name"), &outcomes).await.unwrap(), Finished::Done);
    }
    let all = records(&world).await;
    assert_eq!(all.len(), 40);
    assert!(all.iter().all(|record| record.phase == Phase::Done && record.attempts == 1));
}

pub async fn a_folds_finish_or_release_whose_answer_was_lost_worked(world: World) {
    for (n, fault) in [Fault::AfterEffect, Fault::BeforeEffect].into_iter().enumerate() {
        let (_, worker) = on_lossy(&world, &[Fault::None, fault, Fault::None, fault]);
        let batch = |name: &str| -> Vec<_> { (0..15).map(|m| world.event(&format!("{name}{n}-{m}"))).collect() };
        let (done, left) = (batch("done"), batch("left"));
        let (mut claim, _) = must_fold(&world, &worker, &done).await;
        let outcomes = vec![UPDATED; 15];
        assert_eq!(worker.finish_all(&mut claim, state_with("name"), &outcomes).await.unwrap(), Finished::Done);
        let (mut claim, _) = must_fold(&world, &worker, &left).await;
        assert_eq!(worker.give_up(&mut claim, true).await.unwrap(), Finished::Done, "{fault:?}");
        for event in &left {
            assert_eq!(world.phase(event).await, Some(Phase::Owed), "{fault:?}");
        }
    }
}

pub async fn a_late_finish_of_an_overtaken_fold_changes_nothing(world: World) {
    let (slow, taker, events) = (world.worker(), world.worker(), events(&world, 3));
    let (mut claim, _) = must_fold(&world, &slow, &events).await;
    world.clock.advance(LEASE + SKEW + SKEW);
    let mut taken = world.must_claim(&taker, &events[0]).await;
    assert_eq!(taken.attempts, 2);
    let late = slow.finish_all(&mut claim, state_with("slow"), &vec![UPDATED; 3]).await.unwrap();
    assert_eq!(late, Finished::Overtaken, "the row is somebody else's");
    taker.finish(&mut taken, state_with("taker"), &UPDATED).await.unwrap();
    let late = slow.finish_all(&mut claim, state_with("slow"), &vec![UPDATED; 3]).await.unwrap();
    assert_eq!(late, Finished::Overtaken, "one of them is done, and not by us: the others are not");
    assert_eq!(slow.give_up(&mut claim, false).await.unwrap(), Finished::Overtaken);
    assert!(matches!(world.phase(&events[1]).await, Some(Phase::Claimed(_))), "as it was");
    let next = world.must_claim(&taker, &events[1]).await;
    assert_eq!(next.state.values, state_with("taker").values);
    // it is an orphan's, and came back whole
    assert_eq!((next.attempts, next.arrival_ms), (2, 7));
}

pub async fn a_late_release_of_an_overtaken_fold_frees_nothing(world: World) {
    let (slow, taker, events) = (world.worker(), world.worker(), events(&world, 3));
    let (mut claim, _) = must_fold(&world, &slow, &events).await;
    world.clock.advance(LEASE + SKEW + SKEW);
    let _taken = must_fold(&world, &taker, &[world.event("x"), world.event("y")]).await;
    assert_eq!(slow.give_up(&mut claim, false).await.unwrap(), Finished::Overtaken);
    assert_eq!(slow.renew(&mut claim).await.unwrap(), Finished::Overtaken);
    let busy = world.claim(&world.worker(), &events[0]).await.unwrap();
    assert!(matches!(busy, Claimed::Busy { .. }), "{busy:?}");
}

pub async fn a_given_up_fold_leaves_every_event_owed_with_its_payload(world: World) {
    let (worker, events) = (world.worker(), events(&world, 20));
    let (mut claim, _) = must_fold(&world, &worker, &events).await;
    assert_eq!(worker.give_up(&mut claim, false).await.unwrap(), Finished::Done);
    for event in &events {
        let record = worker.event(&world.partition, &dataverse_sync::ledger::record::event_key(&event.id)).await;
        let record = record.unwrap().unwrap();
        assert_eq!((record.phase, record.event().unwrap().as_ref()), (Phase::Owed, Some(event)));
    }
    let alone = world.must_claim(&world.worker(), &events[3]).await;
    assert_eq!((alone.attempts, alone.state.touched.len()), (2, 1), "what was not sent is not touched after all");
}

pub async fn a_fold_on_a_remembered_row_that_changed_reads_again(world: World) {
    let (store, worker) = on_lossy(&world, &[]);
    let mut claim = world.must_claim(&worker, &world.event("first")).await;
    worker.finish(&mut claim, state_with("old"), &UPDATED).await.unwrap();
    let other = world.worker();
    let mut claim = world.must_claim(&other, &world.event("second")).await;
    other.finish(&mut claim, state_with("new"), &UPDATED).await.unwrap();
    let before = store.round_trips();
    let (claim, taken) = must_fold(&world, &worker, &events(&world, 5)).await;
    assert_eq!((claim.state.values, taken.len()), (state_with("new").values, 5));
    let after = store.round_trips();
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 2), "refused, read, taken");
}

pub async fn the_largest_fold_fits_into_a_transaction(world: World) {
    let worker = world.worker();
    // quotes grow fourfold on their way into an entity
    let text = "\"".repeat(FOLD_BYTES_MAX / FOLD_EVENTS_MAX / 2 - 300);
    let large: Vec<ChangeEvent> = events(&world, 3 * FOLD_EVENTS_MAX)
        .into_iter()
        .map(|mut event| {
            event.columns.insert("name".to_owned(), Value::Text(text.clone()));
            event
        })
        .collect();
    let groups = FoldEvent::cut(written(&worker, &large));
    assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [FOLD_EVENTS_MAX; 3]);
    let (mut claim, taken) = must_fold(&world, &worker, &large[..FOLD_EVENTS_MAX]).await;
    assert_eq!(taken.len(), FOLD_EVENTS_MAX);
    assert_eq!(worker.give_up(&mut claim, true).await.unwrap(), Finished::Done);
    let mut huge = events(&world, 5);
    for event in &mut huge {
        event.columns.insert("name".to_owned(), Value::Text("x".repeat(FOLD_BYTES_MAX / 2 - 1_000)));
    }
    assert_eq!(FoldEvent::cut(written(&worker, &huge)).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
}

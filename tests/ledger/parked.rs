//! Parked, replayed, discarded.

use super::cases::{LEASE, SKEW, UPDATED, World, state_with};
use crate::support::lossy_store::{Fault, LossyStore};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::outcome::Outcome;
use dataverse_sync::domain::row::RowState;
use dataverse_sync::domain::value::{Columns, Value};
use dataverse_sync::ledger::claim::{Claimed, Finished, Ledger};
use dataverse_sync::ledger::parked::{Discarded, Parking, Replayed};
use dataverse_sync::ledger::record::{EventRecord, Phase, event_key};
use std::sync::Arc;

fn parked_as(reason: &str) -> Outcome {
    Outcome::Parked { reason: reason.to_owned() }
}

async fn park(world: &World, worker: &Ledger, event: &ChangeEvent) {
    let mut claim = world.must_claim(worker, event).await;
    assert_eq!(worker.park(&mut claim, "why", false).await.unwrap(), Finished::Done);
}

async fn replay(world: &World, worker: &Ledger, event: &ChangeEvent) -> EventRecord {
    match worker.replay(&world.partition, &event_key(&event.id)).await.unwrap() {
        Replayed::Owed(record) => *record,
        other => panic!("{other:?}"),
    }
}

async fn is_parked(world: &World, worker: &Ledger, event: &ChangeEvent) -> bool {
    match world.claim(worker, event).await.unwrap() {
        Claimed::Duplicate(outcome) => outcome == parked_as("why"),
        _ => false,
    }
}

pub async fn a_parked_event_is_a_duplicate_and_frees_the_row_and_keeps_its_payload(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let mut before = world.must_claim(&worker, &world.event("before")).await;
    worker.finish(&mut before, state_with("kept"), &UPDATED).await.unwrap();
    park(&world, &worker, &event).await;
    for ledger in [&worker, &world.worker()] {
        assert!(is_parked(&world, ledger, &event).await);
    }
    let record = worker.event(&world.partition, "event:e").await.unwrap().unwrap();
    assert_eq!((record.phase, record.event().unwrap()), (Phase::Parked, Some(event)));
    let next = world.must_claim(&world.worker(), &world.event("f")).await;
    assert_eq!(next.state.values, state_with("kept").values, "parking changes nothing that is known of the row");
    assert!(!next.state.touched.contains("kept"));
}

pub async fn a_replay_runs_and_its_redelivery_does_not(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    park(&world, &worker, &event).await;
    let owed = replay(&world, &worker, &event).await;
    assert_eq!((owed.phase, owed.replays, owed.attempts, owed.arrival_ms), (Phase::Owed, 1, 0, 7));
    assert_eq!(owed.event().unwrap().as_ref(), Some(&event));
    let mut claim = world.must_claim(&worker, &event).await;
    assert_eq!(claim.attempts, 1, "attempts begin anew");
    assert!(matches!(world.claim(&world.worker(), &event).await.unwrap(), Claimed::Busy { same_event: true, .. }));
    worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    assert!(matches!(world.claim(&world.worker(), &event).await.unwrap(), Claimed::Duplicate(UPDATED)));
    let record = worker.event(&world.partition, "event:e").await.unwrap().unwrap();
    assert_eq!((record.phase, record.replays), (Phase::Done, 1));
}

pub async fn a_replay_is_seen_by_workers_that_remember_the_old_outcome(world: World) {
    let (one, two, event) = (world.worker(), world.worker(), world.event("e"));
    park(&world, &one, &event).await;
    for worker in [&one, &two] {
        assert!(is_parked(&world, worker, &event).await);
    }
    replay(&world, &two, &event).await;
    let mut claim = world.must_claim(&one, &event).await;
    one.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    // a done event that is run on purpose: whoever comes by its inbox entry asks for the event first
    two.replay_as(&world.partition, &event, 1).await.unwrap();
    one.event(&world.partition, "event:e").await.unwrap();
    let _claim = world.must_claim(&one, &event).await;
}

pub async fn a_replay_repeated_after_a_crash_or_a_lost_answer_counts_once(world: World) {
    for fault in [Fault::AfterEffect, Fault::BeforeEffect] {
        let event = world.event(&format!("{fault:?}"));
        park(&world, &world.worker(), &event).await;
        let worker = world.worker_on(LossyStore::new(Arc::clone(&world.store), &[fault]), world.clock.clone());
        assert_eq!(replay(&world, &worker, &event).await.replays, 1, "{fault:?}");
        assert_eq!(replay(&world, &world.worker(), &event).await.replays, 1, "still owed: nothing to do but to say so");
    }
}

pub async fn an_event_that_is_done_has_nothing_to_replay_but_other_content_runs_on_purpose(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let mut claim = world.must_claim(&worker, &event).await;
    worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    assert_eq!(worker.replay(&world.partition, "event:e").await.unwrap(), Replayed::NoPayload(UPDATED));
    assert_eq!(worker.replay(&world.partition, "event:unknown").await.unwrap(), Replayed::Missing);
    let mut impostor = event.clone();
    impostor.columns = Columns::from([("name".to_owned(), Value::Text("other".to_owned()))]);
    assert!(matches!(world.claim(&worker, &impostor).await.unwrap(), Claimed::IdReused));
    assert!(matches!(worker.replay_as(&world.partition, &impostor, 9).await.unwrap(), Replayed::Owed(_)));
    let mut claim = world.must_claim(&worker, &impostor).await;
    assert_eq!(claim.arrival_ms, 7, "the id's first sight");
    worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    let fresh = world.event("fresh");
    assert!(matches!(worker.replay_as(&world.partition, &fresh, 9).await.unwrap(), Replayed::Owed(_)));
    assert_eq!(world.must_claim(&worker, &fresh).await.arrival_ms, 9);
}

pub async fn content_of_an_impostor_waits_for_the_owed_original(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    worker.owe(&world.partition, &event, 1).await.unwrap();
    let mut impostor = event.clone();
    impostor.columns = Columns::from([("name".to_owned(), Value::Text("other".to_owned()))]);
    assert_eq!(worker.replay_as(&world.partition, &impostor, 1).await.unwrap(), Replayed::Pending);
    let kept = worker.event(&world.partition, "event:e").await.unwrap().unwrap();
    assert_eq!(kept.event().unwrap(), Some(event));
}

pub async fn a_live_claim_cannot_be_parked_by_others_but_an_orphan_can(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let other = world.worker();
    assert_eq!(other.park_event(&world.partition, "event:e", "why").await.unwrap(), Parking::Missing);
    let _dead = world.must_claim(&worker, &event).await;
    let busy = other.park_event(&world.partition, "event:e", "why").await.unwrap();
    assert!(matches!(busy, Parking::Busy { .. }), "{busy:?}");
    world.clock.advance(LEASE + SKEW);
    for _ in 0..2 {
        assert_eq!(other.park_event(&world.partition, "event:e", "why").await.unwrap(), Parking::Parked);
    }
    assert!(is_parked(&world, &other, &event).await);
    let mut claim = world.must_claim(&other, &world.event("f")).await;
    other.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    assert_eq!(other.park_event(&world.partition, "event:f", "why").await.unwrap(), Parking::Done(UPDATED));
}

pub async fn a_late_finish_of_an_orphan_that_was_parked_and_replayed_by_others_is_overtaken(world: World) {
    let (slow, quick, event) = (world.worker(), world.worker(), world.event("e"));
    let mut stale = world.must_claim(&slow, &event).await;
    world.clock.advance(LEASE + SKEW);
    quick.park_event(&world.partition, "event:e", "why").await.unwrap();
    replay(&world, &quick, &event).await;
    let mut claim = world.must_claim(&quick, &event).await;
    assert_eq!(slow.finish(&mut stale, state_with("wrong"), &UPDATED).await.unwrap(), Finished::Overtaken);
    assert_eq!(slow.park(&mut stale, "why", true).await.unwrap(), Finished::Overtaken);
    assert_eq!(quick.finish(&mut claim, state_with("right"), &UPDATED).await.unwrap(), Finished::Done);
}

pub async fn parking_a_claim_whose_answer_was_lost_is_parked(world: World) {
    for fault in [Fault::AfterEffect, Fault::BeforeEffect] {
        let store = LossyStore::new(Arc::clone(&world.store), &[Fault::None, fault]);
        let worker = world.worker_on(store, world.clock.clone());
        let event = world.event(&format!("{fault:?}"));
        park(&world, &worker, &event).await;
        assert!(is_parked(&world, &world.worker(), &event).await, "{fault:?}");
        let mut next = world.must_claim(&world.worker(), &world.event(&format!("next {fault:?}"))).await;
        world.worker().give_up(&mut next, false).await.unwrap();
    }
}

pub async fn a_worker_that_was_overtaken_cannot_park(world: World) {
    let (slow, quick, event) = (world.worker(), world.worker(), world.event("e"));
    let mut stale = world.must_claim(&slow, &event).await;
    world.clock.advance(LEASE + SKEW);
    let mut claim = world.must_claim(&quick, &event).await;
    assert_eq!(slow.park(&mut stale, "why", false).await.unwrap(), Finished::Overtaken);
    assert!(matches!(world.phase(&event).await, Some(Phase::Claimed(_))));
    quick.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    assert_eq!(slow.park(&mut stale, "why", false).await.unwrap(), Finished::Done, "it is done, by somebody else");
    assert_eq!(world.phase(&event).await, Some(Phase::Done));
}

pub async fn a_discarded_event_stays_known_and_cannot_be_replayed(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let discard = || async { worker.discard(&world.partition, "event:e").await.unwrap() };
    assert_eq!(discard().await, Discarded::Missing);
    worker.owe(&world.partition, &event, 1).await.unwrap();
    assert_eq!(discard().await, Discarded::Pending);
    park(&world, &worker, &event).await;
    for _ in 0..2 {
        assert_eq!(discard().await, Discarded::Recorded);
    }
    let outcome = parked_as("discarded: why");
    assert_eq!(worker.replay(&world.partition, "event:e").await.unwrap(), Replayed::NoPayload(outcome.clone()));
    match world.claim(&world.worker(), &event).await.unwrap() {
        Claimed::Duplicate(then) => assert_eq!(then, outcome),
        other => panic!("{other:?}"),
    }
}

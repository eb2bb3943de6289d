//! Events that are stored without being worked on.

use super::cases::{LEASE, SKEW, UPDATED, World, state_with};
use crate::support::lossy_store::{Fault, LossyStore};
use dataverse_sync::domain::row::RowState;
use dataverse_sync::domain::value::{Columns, Value};
use dataverse_sync::ledger::claim::{Claimed, Finished, LedgerError};
use dataverse_sync::ledger::owed::Owed;
use dataverse_sync::ledger::record::{Phase, event_key};
use dataverse_sync::ledger::store::StoreError;
use std::sync::Arc;

const OWED: Owed = Owed::Known { phase: Phase::Owed, outcome: None };

pub async fn an_event_that_cannot_be_claimed_is_stored_beside_a_busy_row(world: World) {
    let mut claim = world.must_claim(&world.worker(), &world.event("e")).await;
    let other = world.event("f");
    let counted = LossyStore::new(Arc::clone(&world.store), &[]);
    let worker = world.worker_on(counted.clone(), world.clock.clone());
    assert_eq!(worker.owe(&world.partition, &other, 3).await.unwrap(), Owed::New);
    assert_eq!(counted.round_trips(), (0, 1));
    assert!(matches!(world.claim(&worker, &other).await.unwrap(), Claimed::Busy { same_event: false, .. }));
    world.worker().finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    assert_eq!(world.must_claim(&worker, &other).await.arrival_ms, 3);
}

pub async fn owing_a_known_event_changes_nothing_and_tells_how_far_it_is(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    assert_eq!(worker.owe(&world.partition, &event, 1).await.unwrap(), Owed::New);
    assert_eq!(worker.owe(&world.partition, &event, 2).await.unwrap(), OWED);
    let mut claim = world.must_claim(&worker, &event).await;
    let known = worker.owe(&world.partition, &event, 3).await.unwrap();
    assert!(matches!(known, Owed::Known { phase: Phase::Claimed(_), outcome: None }), "{known:?}");
    assert_eq!(worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap(), Finished::Done);
    let known = worker.owe(&world.partition, &event, 4).await.unwrap();
    assert_eq!(known, Owed::Known { phase: Phase::Done, outcome: Some(UPDATED) });
}

pub async fn owing_another_content_under_the_same_id_is_refused(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    worker.owe(&world.partition, &event, 1).await.unwrap();
    let mut impostor = event.clone();
    impostor.columns = Columns::from([("name".to_owned(), Value::Text("other".to_owned()))]);
    assert_eq!(worker.owe(&world.partition, &impostor, 1).await.unwrap(), Owed::IdReused);
    let kept = worker.event(&world.partition, "event:e").await.unwrap().unwrap();
    assert_eq!(kept.event().unwrap().unwrap(), event);
}

pub async fn an_owed_event_whose_answer_was_lost_is_stored_once(world: World) {
    for (fault, expected) in [(Fault::AfterEffect, OWED), (Fault::BeforeEffect, Owed::New)] {
        let event = world.event(&format!("{fault:?}"));
        let worker = world.worker_on(LossyStore::new(Arc::clone(&world.store), &[fault]), world.clock.clone());
        assert_eq!(worker.owe(&world.partition, &event, 1).await.unwrap(), expected);
        assert_eq!(world.phase(&event).await, Some(Phase::Owed));
    }
    let lost = LossyStore::new(Arc::clone(&world.store), &[Fault::BeforeEffect; 100]);
    let worker = world.worker_on(lost, world.clock.clone());
    let error = worker.owe(&world.partition, &world.event("never"), 1).await.unwrap_err();
    assert_eq!(error, LedgerError::Contended, "an error, because nobody knows that it is stored");
}

pub async fn an_owed_event_is_claimed_with_the_arrival_of_its_first_sight(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    worker.owe(&world.partition, &event, 42).await.unwrap();
    let claim = world.must_claim(&worker, &event).await;
    assert_eq!((claim.arrival_ms, claim.attempts), (42, 1));
}

pub async fn owing_beside_a_worker_does_not_stop_its_finish(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let mut claim = world.must_claim(&worker, &event).await;
    world.worker().owe(&world.partition, &event, 1).await.unwrap();
    world.worker().owe(&world.partition, &world.event("f"), 1).await.unwrap();
    assert_eq!(worker.finish(&mut claim, state_with("x"), &UPDATED).await.unwrap(), Finished::Done);
    world.clock.advance(LEASE + SKEW);
    assert!(matches!(world.claim(&worker, &event).await.unwrap(), Claimed::Duplicate(UPDATED)));
}

pub async fn what_cannot_be_stored_is_too_large_and_not_owed(world: World) {
    let mut event = world.event("e");
    let text = (0..2_000_000u32).filter_map(|n| char::from_u32(0x4e00 + (n.wrapping_mul(2_654_435_761) >> 7) % 20_000));
    event.columns.insert("description".to_owned(), Value::Text(text.collect()));
    let error = world.worker().owe(&world.partition, &event, 1).await.unwrap_err();
    assert!(matches!(error, LedgerError::Store(StoreError::TooLarge(_))), "{error}");
    assert_eq!(world.phase(&event).await, None);
}

pub async fn the_payload_comes_back_whole(world: World) {
    let mut event = world.event("odd/#? id");
    event.columns = Columns::from([
        ("name".to_owned(), Value::Text("\u{0} é 𝒳 \" \\".to_owned())),
        ("none".to_owned(), Value::Null),
    ]);
    let worker = world.worker();
    worker.owe(&world.partition, &event, 1).await.unwrap();
    let record = worker.event(&world.partition, &event_key(&event.id)).await.unwrap().unwrap();
    assert_eq!(record.event().unwrap(), Some(event.clone()));
    let mut claim = world.must_claim(&worker, &event).await;
    worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    let record = worker.event(&world.partition, &event_key(&event.id)).await.unwrap().unwrap();
    assert_eq!(record.event().unwrap(), None, "done: nothing is kept of it but its outcome");
}

pub async fn a_payload_of_a_mebibyte_comes_back_whole(world: World) {
    let mut event = world.event("large");
    // hexadecimal digits by chance: it compresses to half, which is more than ten properties hold
    let (mut text, mut state) = (String::new(), 1u64);
    while text.len() < 1 << 20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}", state ^ (state >> 29)));
    }
    event.columns = Columns::from([("description".to_owned(), Value::Text(text))]);
    let worker = world.worker();
    worker.owe(&world.partition, &event, 1).await.unwrap();
    let mut claim = world.must_claim(&worker, &event).await;
    worker.give_up(&mut claim, true).await.unwrap();
    let record = worker.event(&world.partition, &event_key(&event.id)).await.unwrap().unwrap();
    assert_eq!(record.event().unwrap(), Some(event));
}

pub async fn an_unknown_event_is_none(world: World) {
    assert_eq!(world.worker().event(&world.partition, "event:unknown").await.unwrap(), None);
}

//! The cases. Each gets a fresh partition in a store that others use at the same time.

use crate::support::clock::TestClock;
use crate::support::events::update;
use crate::support::lossy_store::{Fault, LossyStore};
use crate::support::slow_store::SlowStore;
use dataverse_sync::clock::Clock;
use dataverse_sync::domain::event::{ChangeEvent, EventId};
use dataverse_sync::domain::outcome::{Applied, Outcome};
use dataverse_sync::domain::row::RowState;
use dataverse_sync::domain::value::{Columns, Value};
use dataverse_sync::domain::version::{Rank, Stamp, Version};
use dataverse_sync::ledger::claim::{Claim, ClaimRequest, Claimed, Finished, Ledger, LedgerError, LedgerLimits};
use dataverse_sync::ledger::flow::FlowStore;
use dataverse_sync::ledger::hold::{Hold, Holding};
use dataverse_sync::ledger::purge::Expiring;
use dataverse_sync::ledger::record::{Phase, event_key};
use dataverse_sync::ledger::store::{Store, StoreError};
use dataverse_sync::ledger::system::StateStore;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub const LEASE: Duration = Duration::from_secs(180);
pub const SKEW: Duration = Duration::from_secs(5);
pub const UPDATED: Outcome = Outcome::Applied(Applied::Updated);

/// Overwrites a stored record with text that cannot be read: `(partition, key, text)`.
pub type Damage = Arc<dyn Fn(String, String, String) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync>;

/// A store, a row in it, and the time.
#[derive(Clone)]
pub struct World {
    pub store: Arc<dyn Store>,
    pub states: Arc<dyn StateStore>,
    pub expiring: Arc<dyn Expiring>,
    pub flows: Arc<dyn FlowStore>,
    pub damage: Damage,
    pub clock: TestClock,
    pub partition: String,
    pub row: Uuid,
}

impl World {
    pub fn new<S: Store + StateStore + Expiring + FlowStore + 'static>(store: Arc<S>, damage: Damage) -> Self {
        let row = Uuid::new_v4();
        let (states, expiring, flows) = (Arc::clone(&store), Arc::clone(&store), Arc::clone(&store));
        Self {
            store,
            states,
            expiring,
            flows,
            damage,
            clock: TestClock::default(),
            partition: format!("ab:account:{row}"),
            row,
        }
    }

    /// A worker: a ledger with caches of its own.
    pub fn worker(&self) -> Ledger {
        self.worker_on(Arc::clone(&self.store), self.clock.clone())
    }

    pub fn worker_on(&self, store: Arc<dyn Store>, clock: TestClock) -> Ledger {
        Ledger::new(store, Arc::new(clock), LedgerLimits { lease: LEASE, clock_skew: SKEW })
    }

    pub fn event(&self, id: &str) -> ChangeEvent {
        update(id, self.row, "name", id, 1)
    }

    pub async fn claim(&self, worker: &Ledger, event: &ChangeEvent) -> Result<Claimed, LedgerError> {
        self.claim_as(worker, event, Uuid::new_v4()).await
    }

    pub async fn claim_as(&self, worker: &Ledger, event: &ChangeEvent, token: Uuid) -> Result<Claimed, LedgerError> {
        let request = ClaimRequest { partition: &self.partition, event, arrival_ms: 7, token };
        let columns: BTreeSet<String> = event.columns.keys().cloned().collect();
        worker.claim(&request, &|_, _| columns.clone()).await
    }

    pub async fn must_claim(&self, worker: &Ledger, event: &ChangeEvent) -> Claim {
        match self.claim(worker, event).await.unwrap() {
            Claimed::Acquired(claim) => *claim,
            other => panic!("expected the claim, got {other:?}"),
        }
    }

    pub async fn phase(&self, event: &ChangeEvent) -> Option<Phase> {
        let snapshot = self.store.read(&self.partition, &event_key(&event.id)).await.unwrap();
        snapshot.event.map(|stored| stored.record.phase)
    }
}

pub fn state_with(column: &str) -> RowState {
    let mut state = RowState::default();
    state.values.insert(column.to_owned(), Value::Text(column.to_owned()));
    state
}

pub async fn a_finished_event_is_a_duplicate_and_frees_the_row(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let mut claim = world.must_claim(&worker, &event).await;
    assert_eq!(claim.state.touched, ["name".to_owned()].into(), "the claim notes what it may write");
    assert_eq!((claim.attempts, claim.arrival_ms), (1, 7));
    assert_eq!(worker.finish(&mut claim, state_with("name"), &UPDATED).await.unwrap(), Finished::Done);
    for ledger in [&worker, &world.worker()] {
        assert!(matches!(world.claim(ledger, &event).await.unwrap(), Claimed::Duplicate(UPDATED)));
    }
    let next = world.must_claim(&world.worker(), &world.event("f")).await;
    assert_eq!(next.state.values, state_with("name").values, "versions advance at finish");
}

pub async fn two_workers_cannot_hold_one_row(world: World) {
    let (one, two) = (world.worker(), world.worker());
    let _claim = world.must_claim(&one, &world.event("e")).await;
    let busy = world.claim(&two, &world.event("f")).await.unwrap();
    assert!(matches!(busy, Claimed::Busy { same_event: false, .. }), "{busy:?}");
    let busy = world.claim(&two, &world.event("e")).await.unwrap();
    assert!(matches!(busy, Claimed::Busy { same_event: true, .. }), "{busy:?}");
}

pub async fn of_many_claims_at_once_one_wins(world: World) {
    let event = world.event("e");
    let claims = (0..8).map(|_| {
        let (world, event) = (world.clone(), event.clone());
        async move {
            let worker = world.worker();
            match world.claim(&worker, &event).await.unwrap() {
                Claimed::Acquired(_) => 1,
                Claimed::Busy { same_event: true, .. } => 0,
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(futures_util::future::join_all(claims).await.iter().sum::<i32>(), 1);
}

pub async fn giving_up_leaves_the_event_owed_and_the_row_free(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let mut claim = world.must_claim(&worker, &event).await;
    assert_eq!(worker.give_up(&mut claim, false).await.unwrap(), Finished::Done);
    assert_eq!(world.phase(&event).await, Some(Phase::Owed));
    let again = world.must_claim(&world.worker(), &event).await;
    assert_eq!(again.attempts, 2);
    assert_eq!(again.arrival_ms, 7, "arrival is stamped once");
}

pub async fn the_arrival_of_the_first_sight_counts_for_every_later_claim(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let mut claim = world.must_claim(&worker, &event).await;
    worker.give_up(&mut claim, false).await.unwrap();
    for ledger in [&worker, &world.worker()] {
        let request =
            ClaimRequest { partition: &world.partition, event: &event, arrival_ms: 99, token: Uuid::new_v4() };
        let Claimed::Acquired(mut again) = ledger.claim(&request, &|_, _| BTreeSet::new()).await.unwrap() else {
            panic!("the row is free")
        };
        assert_eq!(again.arrival_ms, 7);
        ledger.give_up(&mut again, false).await.unwrap();
    }
}

pub async fn a_remembered_row_does_not_make_a_known_event_new(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    for attempt in 1..=3 {
        let mut claim = world.must_claim(&worker, &event).await;
        assert_eq!(claim.attempts, attempt);
        worker.give_up(&mut claim, false).await.unwrap();
    }
}

pub async fn a_lease_counts_from_before_its_write_was_sent(world: World) {
    let takes = Duration::from_secs(10);
    let store = SlowStore { inner: Arc::clone(&world.store), clock: world.clock.clone(), commit_takes: takes };
    let worker = world.worker_on(Arc::new(store), world.clock.clone());
    let mut claim = world.must_claim(&worker, &world.event("e")).await;
    assert_eq!(claim.holds_for(world.clock.monotonic()), LEASE - takes);
    assert_eq!(worker.renew(&mut claim).await.unwrap(), Finished::Done);
    assert_eq!(claim.holds_for(world.clock.monotonic()), LEASE - takes);
}

pub async fn what_was_sent_stays_touched_after_giving_up(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    for (sent, touched) in [(false, 0), (true, 1)] {
        let mut claim = world.must_claim(&worker, &event).await;
        worker.give_up(&mut claim, sent).await.unwrap();
        let stored = world.store.read(&world.partition, "event:e").await.unwrap().row.unwrap();
        assert_eq!(stored.record.state.touched.len(), touched, "sent: {sent}");
    }
}

pub async fn a_dead_workers_event_is_taken_over_after_the_lease_and_the_skew(world: World) {
    let event = world.event("e");
    let _dead = world.must_claim(&world.worker(), &event).await;
    world.clock.advance(LEASE + SKEW - Duration::from_millis(1));
    assert!(matches!(world.claim(&world.worker(), &event).await.unwrap(), Claimed::Busy { .. }));
    world.clock.advance(Duration::from_millis(1));
    let taken = world.must_claim(&world.worker(), &event).await;
    assert_eq!(taken.attempts, 2);
}

pub async fn clocks_that_differ_by_seconds_do_not_make_two_owners(world: World) {
    let fast = world.clock.skewed(4_999);
    let holder = world.worker();
    let mut claim = world.must_claim(&holder, &world.event("e")).await;
    world.clock.advance(LEASE - Duration::from_millis(1));
    assert!(claim.holds_for(world.clock.monotonic()) > Duration::ZERO, "the holder still may");
    let taker = world.worker_on(Arc::clone(&world.store), fast);
    assert!(matches!(world.claim(&taker, &world.event("f")).await.unwrap(), Claimed::Busy { .. }));
    assert_eq!(holder.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap(), Finished::Done);
}

pub async fn a_late_finish_of_an_overtaken_worker_changes_nothing(world: World) {
    let (slow, event) = (world.worker(), world.event("e"));
    let mut stale = world.must_claim(&slow, &event).await;
    world.clock.advance(LEASE + SKEW);
    let quick = world.worker();
    let mut taken = world.must_claim(&quick, &event).await;
    assert_eq!(slow.finish(&mut stale, state_with("wrong"), &UPDATED).await.unwrap(), Finished::Overtaken);
    assert!(matches!(world.phase(&event).await, Some(Phase::Claimed(_))), "the taker still holds it");
    assert_eq!(quick.finish(&mut taken, state_with("right"), &UPDATED).await.unwrap(), Finished::Done);
    let row = world.store.read(&world.partition, "event:e").await.unwrap().row.unwrap().record;
    assert_eq!(row.state.values, state_with("right").values);
}

pub async fn a_late_finish_leaves_the_row_to_whoever_took_it_for_another_event(world: World) {
    let slow = world.worker();
    let mut stale = world.must_claim(&slow, &world.event("e")).await;
    world.clock.advance(LEASE + SKEW);
    let quick = world.worker();
    let mut taken = world.must_claim(&quick, &world.event("f")).await;
    // nobody touched the slow worker's event: only the row tells it that it was overtaken
    assert_eq!(slow.finish(&mut stale, state_with("wrong"), &UPDATED).await.unwrap(), Finished::Overtaken);
    assert_eq!(slow.give_up(&mut stale, true).await.unwrap(), Finished::Overtaken);
    assert_eq!(slow.renew(&mut stale).await.unwrap(), Finished::Overtaken);
    assert_eq!(quick.finish(&mut taken, state_with("right"), &UPDATED).await.unwrap(), Finished::Done);
    let row = world.store.read(&world.partition, "event:f").await.unwrap().row.unwrap().record;
    assert_eq!(row.state.values, state_with("right").values);
}

pub async fn a_finish_after_the_taker_is_done_reads_done_and_writes_nothing(world: World) {
    let (slow, event) = (world.worker(), world.event("e"));
    let mut stale = world.must_claim(&slow, &event).await;
    world.clock.advance(LEASE + SKEW);
    let quick = world.worker();
    let mut taken = world.must_claim(&quick, &event).await;
    quick.finish(&mut taken, state_with("right"), &UPDATED).await.unwrap();
    assert_eq!(slow.finish(&mut stale, state_with("wrong"), &Outcome::Stale).await.unwrap(), Finished::Done);
    let (row, events) = slow.history(&world.partition, 10).await.unwrap();
    assert_eq!(row.unwrap().state.values, state_with("right").values);
    assert_eq!(events[0].outcome, Some(UPDATED));
}

pub async fn a_late_failure_of_an_overtaken_worker_frees_nothing(world: World) {
    let (slow, event) = (world.worker(), world.event("e"));
    let mut stale = world.must_claim(&slow, &event).await;
    world.clock.advance(LEASE + SKEW);
    let _taken = world.must_claim(&world.worker(), &event).await;
    assert_eq!(slow.give_up(&mut stale, true).await.unwrap(), Finished::Overtaken);
    assert!(matches!(world.claim(&world.worker(), &event).await.unwrap(), Claimed::Busy { .. }));
}

pub async fn two_takers_of_one_expired_lease_are_one_owner(world: World) {
    let event = world.event("e");
    let _dead = world.must_claim(&world.worker(), &event).await;
    world.clock.advance(LEASE + SKEW);
    let (one, two) = (world.worker(), world.worker());
    let (a, b) = futures_util::future::join(world.claim(&one, &event), world.claim(&two, &event)).await;
    let won = [a, b].into_iter().filter(|claimed| matches!(claimed.as_ref().unwrap(), Claimed::Acquired(_))).count();
    assert_eq!(won, 1);
}

pub async fn a_claim_on_a_stale_snapshot_reads_again(world: World) {
    let (one, two) = (world.worker(), world.worker());
    let mut first = world.must_claim(&one, &world.event("e")).await;
    one.finish(&mut first, state_with("one"), &UPDATED).await.unwrap();
    let mut second = world.must_claim(&two, &world.event("f")).await;
    two.finish(&mut second, state_with("two"), &UPDATED).await.unwrap();
    // what `one` remembers of the row is stale now
    let third = world.must_claim(&one, &world.event("g")).await;
    assert_eq!(third.state.values, state_with("two").values);
}

pub async fn a_remembered_row_does_not_hide_that_the_event_is_done(world: World) {
    let (one, two, event) = (world.worker(), world.worker(), world.event("f"));
    let mut first = world.must_claim(&one, &world.event("e")).await;
    one.finish(&mut first, RowState::default(), &UPDATED).await.unwrap();
    let mut other = world.must_claim(&two, &event).await;
    two.finish(&mut other, RowState::default(), &UPDATED).await.unwrap();
    assert!(matches!(world.claim(&one, &event).await.unwrap(), Claimed::Duplicate(UPDATED)));
}

pub async fn the_same_id_with_other_content_is_refused(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let mut impostor = event.clone();
    impostor.columns = Columns::from([("name".to_owned(), Value::Text("other".to_owned()))]);
    let mut claim = world.must_claim(&worker, &event).await;
    assert!(matches!(world.claim(&world.worker(), &impostor).await.unwrap(), Claimed::IdReused));
    worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    for ledger in [&worker, &world.worker()] {
        assert!(matches!(world.claim(ledger, &impostor).await.unwrap(), Claimed::IdReused));
    }
}

pub async fn a_claim_whose_answer_was_lost_is_found_to_be_ours(world: World) {
    for fault in [Fault::AfterEffect, Fault::BeforeEffect] {
        let store = LossyStore::new(Arc::clone(&world.store), &[fault]);
        let worker = world.worker_on(store.clone(), world.clock.clone());
        let event = world.event(&format!("{fault:?}"));
        let mut claim = world.must_claim(&worker, &event).await;
        assert_eq!(claim.attempts, 1, "{fault:?}");
        assert_eq!(worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap(), Finished::Done);
    }
}

pub async fn a_finish_whose_answer_was_lost_is_done(world: World) {
    for fault in [Fault::AfterEffect, Fault::BeforeEffect] {
        let store = LossyStore::new(Arc::clone(&world.store), &[Fault::None, fault]);
        let worker = world.worker_on(store, world.clock.clone());
        let event = world.event(&format!("{fault:?}"));
        let mut claim = world.must_claim(&worker, &event).await;
        assert_eq!(worker.finish(&mut claim, state_with("x"), &UPDATED).await.unwrap(), Finished::Done, "{fault:?}");
        assert_eq!(world.phase(&event).await, Some(Phase::Done), "{fault:?}");
        let _next = world.must_claim(&world.worker(), &world.event(&format!("next {fault:?}"))).await;
        world.clock.advance(LEASE + SKEW);
    }
}

pub async fn a_renewal_or_release_whose_answer_was_lost_keeps_the_claim_whole(world: World) {
    let store =
        LossyStore::new(Arc::clone(&world.store), &[Fault::None, Fault::AfterEffect, Fault::None, Fault::AfterEffect]);
    let worker = world.worker_on(store, world.clock.clone());
    let mut claim = world.must_claim(&worker, &world.event("e")).await;
    world.clock.advance(LEASE / 2);
    assert_eq!(worker.renew(&mut claim).await.unwrap(), Finished::Done);
    assert_eq!(claim.holds_for(world.clock.monotonic()), LEASE);
    assert_eq!(worker.give_up(&mut claim, true).await.unwrap(), Finished::Done);
    let _next = world.must_claim(&world.worker(), &world.event("f")).await;
}

pub async fn a_renewed_lease_holds_from_the_renewal_on(world: World) {
    let worker = world.worker();
    let mut claim = world.must_claim(&worker, &world.event("e")).await;
    world.clock.advance(LEASE - Duration::from_secs(1));
    assert_eq!(worker.renew(&mut claim).await.unwrap(), Finished::Done);
    world.clock.advance(LEASE - Duration::from_secs(1));
    assert!(matches!(world.claim(&world.worker(), &world.event("f")).await.unwrap(), Claimed::Busy { .. }));
    world.clock.advance(SKEW + Duration::from_secs(1));
    let _taken = world.must_claim(&world.worker(), &world.event("f")).await;
    assert_eq!(worker.renew(&mut claim).await.unwrap(), Finished::Overtaken);
}

pub async fn a_finish_without_a_claim_is_overtaken(world: World) {
    // the claim was given up, so nothing is ours any more
    let (worker, event) = (world.worker(), world.event("e"));
    let mut claim = world.must_claim(&worker, &event).await;
    worker.give_up(&mut claim, false).await.unwrap();
    assert_eq!(worker.finish(&mut claim, state_with("wrong"), &UPDATED).await.unwrap(), Finished::Overtaken);
    assert_eq!(world.phase(&event).await, Some(Phase::Owed));
}

/// A hold for a child whose version is 5.
async fn must_hold(world: &World, worker: &Ledger) -> Hold {
    match worker.hold(&world.partition, 5).await.unwrap() {
        Holding::Acquired(hold) => *hold,
        other => panic!("expected the hold, got {other:?}"),
    }
}

pub async fn a_row_that_is_worked_on_is_not_held_and_a_held_one_is_not_claimed(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let mut claim = world.must_claim(&worker, &event).await;
    assert!(matches!(world.worker().hold(&world.partition, 5).await.unwrap(), Holding::Busy));
    worker.give_up(&mut claim, false).await.unwrap();
    let hold = must_hold(&world, &worker).await;
    for other in [&worker, &world.worker()] {
        assert!(matches!(world.claim(other, &event).await.unwrap(), Claimed::Busy { same_event: false, .. }));
        assert!(matches!(other.hold(&world.partition, 5).await.unwrap(), Holding::Busy));
    }
    worker.release(hold).await.unwrap();
    let next = world.must_claim(&world.worker(), &event).await;
    assert_eq!(next.state.alive_at, Some(5), "a child of this version refers to the row");
}

pub async fn a_hold_whose_time_is_over_gives_nothing_back(world: World) {
    let slow = world.worker();
    let hold = must_hold(&world, &slow).await;
    world.clock.advance(LEASE + SKEW);
    let _taken = world.must_claim(&world.worker(), &world.event("e")).await;
    slow.release(hold).await.unwrap();
    assert!(matches!(world.claim(&world.worker(), &world.event("f")).await.unwrap(), Claimed::Busy { .. }));
}

pub async fn a_hold_whose_answer_was_lost_is_found_to_be_ours(world: World) {
    let store = LossyStore::new(Arc::clone(&world.store), &[Fault::AfterEffect, Fault::BeforeEffect]);
    let worker = world.worker_on(store, world.clock.clone());
    let hold = must_hold(&world, &worker).await;
    worker.release(hold).await.unwrap();
    let _free = world.must_claim(&world.worker(), &world.event("e")).await;
}

pub async fn a_row_known_as_deleted_is_held_only_for_a_newer_reference(world: World) {
    let (worker, event) = (world.worker(), world.event("e"));
    let mut claim = world.must_claim(&worker, &event).await;
    let at = |at| Stamp { at: Some(at), ..Stamp::default() };
    let tombstone = Some(Version::of(&at(5), None, Rank::Delete, 0, "d"));
    worker.finish(&mut claim, RowState { tombstone, ..RowState::default() }, &UPDATED).await.unwrap();
    for (alive_at, deleted) in [(4, true), (5, true), (6, false)] {
        let answer = world.worker().hold(&world.partition, alive_at).await.unwrap();
        assert_eq!(matches!(answer, Holding::Deleted), deleted, "{alive_at}");
    }
}

pub async fn large_payloads_and_rows_are_stored_whole(world: World) {
    let worker = world.worker();
    let mut event = world.event("e");
    // more than one property holds, not compressible to nothing, outside ASCII
    let text: String = (0..60_000u32).filter_map(|n| char::from_u32(0x4e00 + (n * 7919) % 20_000)).collect();
    event.columns.insert("description".to_owned(), Value::Text(text.clone()));
    let mut claim = world.must_claim(&worker, &event).await;
    let stored = world.store.read(&world.partition, "event:e").await.unwrap().event.unwrap().record;
    assert_eq!(serde_json::from_str::<ChangeEvent>(&stored.payload.unwrap()).unwrap(), event);
    let mut state = RowState::default();
    state.values.insert("description".to_owned(), Value::Text(text));
    worker.finish(&mut claim, state.clone(), &UPDATED).await.unwrap();
    assert_eq!(world.must_claim(&world.worker(), &world.event("f")).await.state.values, state.values);
}

pub async fn what_cannot_be_stored_is_an_error_and_leaves_no_claim(world: World) {
    let mut event = world.event("e");
    let text: String = (0..2_000_000u32)
        .filter_map(|n| char::from_u32(0x4e00 + (n.wrapping_mul(2_654_435_761) >> 7) % 20_000))
        .collect();
    event.columns.insert("description".to_owned(), Value::Text(text));
    let error = world.claim(&world.worker(), &event).await.unwrap_err();
    assert!(matches!(error, LedgerError::Store(StoreError::TooLarge(_))), "{error}");
    let _free = world.must_claim(&world.worker(), &world.event("f")).await;
}

pub async fn odd_ids_and_ids_that_differ_only_in_case_are_different_events(world: World) {
    let worker = world.worker();
    let long = "x".repeat(1_000);
    let odd = [
        "a",
        "A",
        "a/b",
        "a\\b",
        "a#b",
        "a?b",
        "a''b",
        "a'b",
        "a%2Fb",
        "a b",
        " a",
        "a ",
        "é",
        "e\u{301}",
        "日本",
        "a|b",
        "\u{1}",
        "event:a",
        "row",
        "~",
        "a\tb",
        "𝒳",
        long.as_str(),
    ];
    let ids: Vec<EventId> = odd
        .iter()
        .flat_map(|id| [EventId::new(None, id), EventId::new(Some("urn:s"), id), EventId::new(Some("urn:S"), id)])
        .map(Result::unwrap)
        .collect();
    for id in &ids {
        let event = ChangeEvent { id: id.clone(), ..world.event("e") };
        let mut claim = world.must_claim(&worker, &event).await;
        worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    }
    let (_, events) = worker.history(&world.partition, 1_000).await.unwrap();
    assert_eq!(events.len(), ids.len());
    let known: BTreeSet<&EventId> = events.iter().map(|event| &event.id).collect();
    assert_eq!(known.len(), ids.len(), "history gives every id back as it came");
}

pub async fn odd_partitions_and_partitions_that_differ_only_in_case_are_different_rows(world: World) {
    let odd = ["k", "K", "k/1", "k\\1", "k#1", "k?1", "k'1", "k%1", "k 1", "ключ", "k\u{7f}1"];
    for key in odd {
        let world = World { partition: format!("{}:{key}", world.partition), ..world.clone() };
        // were two of them the same row, the second claim would be busy
        let _claim = world.must_claim(&world.worker(), &world.event("e")).await;
    }
}

pub async fn a_corrupt_row_is_an_error_and_no_second_owner(world: World) {
    let worker = world.worker();
    let mut claim = world.must_claim(&worker, &world.event("e")).await;
    (world.damage)(world.partition.clone(), "row".to_owned(), "{\"state\":".to_owned()).await;
    for event in [world.event("e"), world.event("f")] {
        let error = world.claim(&world.worker(), &event).await.unwrap_err();
        assert!(matches!(error, LedgerError::Store(StoreError::Corrupt(_))), "{error}");
    }
    let finish = worker.finish(&mut claim, RowState::default(), &UPDATED).await;
    assert!(matches!(finish, Err(LedgerError::Store(StoreError::Corrupt(_)))), "{finish:?}");
}

pub async fn a_corrupt_event_is_an_error_and_does_not_stop_other_events(world: World) {
    let worker = world.worker();
    let mut claim = world.must_claim(&worker, &world.event("e")).await;
    worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    (world.damage)(world.partition.clone(), "event:e".to_owned(), "{}".to_owned()).await;
    let error = world.claim(&world.worker(), &world.event("e")).await.unwrap_err();
    assert!(matches!(error, LedgerError::Store(StoreError::Corrupt(_))), "{error}");
    let _other = world.must_claim(&world.worker(), &world.event("f")).await;
}

pub async fn warm_events_cost_two_round_trips_cold_ones_three_duplicates_at_most_one(world: World) {
    let store = LossyStore::new(Arc::clone(&world.store), &[]);
    let worker = world.worker_on(store.clone(), world.clock.clone());
    let mut claim = world.must_claim(&worker, &world.event("cold")).await;
    worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    assert_eq!(store.round_trips(), (1, 2), "cold");
    let mut claim = world.must_claim(&worker, &world.event("warm")).await;
    worker.finish(&mut claim, RowState::default(), &UPDATED).await.unwrap();
    assert_eq!(store.round_trips(), (1, 4), "warm");
    world.claim(&worker, &world.event("warm")).await.unwrap();
    assert_eq!(store.round_trips(), (1, 4), "a duplicate that this instance finished");
    let other = world.worker_on(store.clone(), world.clock.clone());
    world.claim(&other, &world.event("warm")).await.unwrap();
    assert_eq!(store.round_trips(), (2, 4), "a duplicate that another instance finished");
}

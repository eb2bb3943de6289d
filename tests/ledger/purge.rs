//! What is forgotten, and what never is. Each case has a table of its own.

use super::cases::{SKEW, UPDATED, World};
use dataverse_sync::clock::Clock;
use dataverse_sync::domain::digest;
use dataverse_sync::domain::row::{RowState, Written};
use dataverse_sync::domain::value::Value;
use dataverse_sync::domain::version::{Rank, Stamp, Version};
use dataverse_sync::ledger::purge::{PurgeRequest, Purged, ScanStart, purge};
use dataverse_sync::ledger::record::event_key;
use dataverse_sync::ledger::store::Expect;
use dataverse_sync::ledger::system::System;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

impl World {
    /// Another row of the same table.
    fn another(&self, name: &str) -> Self {
        Self { partition: format!("{}:{name}", self.partition), ..self.clone() }
    }

    async fn done(&self, id: &str, state: RowState) {
        let worker = self.worker();
        let mut claim = self.must_claim(&worker, &self.event(id)).await;
        worker.finish(&mut claim, state, &UPDATED).await.unwrap();
    }

    async fn purge(&self, start: ScanStart, scanned_max: usize) -> Purged {
        let ago = |days: i64| self.clock.now().timestamp_millis() - days * 86_400_000;
        let request = PurgeRequest {
            start,
            events_before_ms: ago(14),
            rows_before_ms: ago(180),
            scanned_max,
            deadline: Duration::MAX,
        };
        purge(self.expiring.as_ref(), &self.clock, &request).await.unwrap()
    }

    async fn events(&self) -> Vec<String> {
        let (_, events) = self.worker().history(&self.partition, 10_000).await.unwrap();
        events.into_iter().map(|event| event.id.id().to_owned()).collect()
    }

    async fn knows_the_row(&self) -> bool {
        self.worker().history(&self.partition, 1).await.unwrap().0.is_some()
    }
}

fn deleted(world: &World) -> RowState {
    let arrival_ms = world.clock.now().timestamp_millis();
    let tombstone = Version::of(&Stamp::default(), None, Rank::Delete, arrival_ms, "e");
    RowState { tombstone: Some(tombstone), ..RowState::default() }
}

pub async fn only_events_that_are_done_for_long_are_forgotten(world: World) {
    let worker = world.worker();
    world.done("old", RowState::default()).await;
    let mut claim = world.must_claim(&worker, &world.event("parked")).await;
    worker.park(&mut claim, "why", false).await.unwrap();
    worker.owe(&world.partition, &world.event("owed"), 1).await.unwrap();
    let other = world.another("claimed");
    let _claim = other.must_claim(&worker, &world.event("claimed")).await;
    world.clock.advance(DAY * 13);
    world.done("new", RowState::default()).await;
    assert_eq!(world.purge(ScanStart::Beginning, 1_000).await.events, 0);
    world.clock.advance(DAY * 2);
    let purged = world.purge(ScanStart::Beginning, 1_000).await;
    assert_eq!((purged.events, purged.rows, purged.conflicts, purged.next), (1, 0, 0, ScanStart::Beginning));
    assert_eq!(world.events().await, ["new", "owed", "parked"]);
    assert!(world.knows_the_row().await, "a row that lives is remembered for ever");
    world.clock.advance(DAY * 1_000);
    assert_eq!(world.purge(ScanStart::Beginning, 1_000).await.events, 1);
    assert_eq!(world.events().await, ["owed", "parked"]);
    assert_eq!(other.events().await, ["claimed"]);
}

pub async fn links_that_are_gone_and_events_that_waited_are_forgotten_too(world: World) {
    let linked = |present: bool| {
        let arrival_ms = world.clock.now().timestamp_millis();
        let version = Version::of(&Stamp::default(), None, Rank::Update, arrival_ms, "e");
        let written = Written { version, digest: digest::value(&Value::Bool(present)) };
        RowState { columns: BTreeMap::from([("linked".to_owned(), written)]), ..RowState::default() }
    };
    let (gone, there) = (world.another("gone"), world.another("there"));
    gone.done("unlink", linked(false)).await;
    there.done("link", linked(true)).await;
    // an event that waited without its row, in a partition without one
    let waits = world.another("wait:1");
    let (worker, event) = (world.worker(), world.event("w"));
    worker.owe(&waits.partition, &event, 1).await.unwrap();
    world.clock.advance(DAY * 200);
    assert_eq!(world.purge(ScanStart::Beginning, 1_000).await.rows, 1, "the link that is gone");
    assert_eq!(waits.events().await, ["w"], "still owed");
    worker.end_waiting(&waits.partition, &event_key(&event.id), &UPDATED).await.unwrap();
    world.clock.advance(DAY * 15);
    assert_eq!(world.purge(ScanStart::Beginning, 1_000).await.events, 1);
    assert!(waits.events().await.is_empty());
    assert!(!gone.knows_the_row().await && there.knows_the_row().await);
}

pub async fn a_tombstone_goes_last_and_only_when_it_is_old(world: World) {
    world.done("delete", deleted(&world)).await;
    let waits = world.another("waits");
    waits.done("delete", deleted(&world)).await;
    world.clock.advance(DAY * 20);
    let purged = world.purge(ScanStart::Beginning, 1_000).await;
    assert_eq!((purged.events, purged.rows), (2, 0));
    assert!(world.knows_the_row().await, "a late event must find the tombstone");
    waits.worker().owe(&waits.partition, &waits.event("late"), 1).await.unwrap();
    world.clock.advance(DAY * 170);
    let purged = world.purge(ScanStart::Beginning, 1_000).await;
    assert_eq!((purged.events, purged.rows), (0, 1));
    assert!(!world.knows_the_row().await);
    assert!(waits.knows_the_row().await, "an event waits for it");
}

pub async fn pointers_of_keys_that_were_let_go_are_forgotten_and_no_others(world: World) {
    let worker = world.worker();
    let key = |name: &str| world.another(&format!("key='{name}'"));
    let (now, old, left, kept, again) = (key("Now"), key("Old"), key("Left"), key("Kept"), key("Again"));
    let (waiting, busy, unsure, orphan) = (key("Waiting"), key("Busy"), key("Unsure"), key("Orphan"));
    let home = |name: &str| world.another(name);
    let state =
        RowState { key: Some(now.partition.clone()), wanted: Some(waiting.partition.clone()), ..RowState::default() };
    let row = home("row");
    row.done("e", state).await;
    let worked_on = home("busy");
    let doubtful = home("unsure");
    let touched = RowState { touched: ["accountnumber".to_owned()].into(), ..RowState::default() };
    doubtful.done("e", touched).await;
    let pointers = [
        (&now, &row),
        (&old, &row),
        (&left, &row),
        (&kept, &row),
        (&again, &row),
        (&waiting, &row),
        (&busy, &worked_on),
        (&unsure, &doubtful),
        (&orphan, &home("gone")),
    ];
    for (key, home) in pointers {
        assert!(worker.point(&key.partition, None, &home.partition).await.unwrap());
        if *key.partition != kept.partition {
            worker.note_let_go(&key.partition, &home.partition).await.unwrap();
        }
    }
    // it is another row's by now, and once more this one's
    worker.note_let_go(&left.partition, &worked_on.partition).await.unwrap();
    let found = worker.row(&again.partition).await.unwrap();
    assert!(worker.point(&again.partition, found.as_ref(), &row.partition).await.unwrap());
    world.clock.advance(DAY * 170);
    assert_eq!(world.purge(ScanStart::Beginning, 1_000).await.pointers, 0, "as long as tombstones");
    world.clock.advance(DAY * 20);
    let _claim = worked_on.must_claim(&worker, &worked_on.event("e")).await;
    assert_eq!(world.purge(ScanStart::Beginning, 1_000).await.pointers, 3);
    for (key, stays) in [(&old, false), (&left, false), (&orphan, false)]
        .into_iter()
        .chain([&now, &kept, &again, &waiting, &busy, &unsure].map(|key| (key, true)))
    {
        assert_eq!(key.knows_the_row().await, stays, "{}", key.partition);
    }
}

pub async fn a_bounded_purge_goes_on_where_it_stopped_and_comes_round(world: World) {
    for n in 0..12 {
        world.another(&format!("row {n}")).done("e", deleted(&world)).await;
    }
    world.clock.advance(DAY * 200);
    let (mut start, mut events, mut rows, mut rounds) = (ScanStart::Beginning, 0, 0, 0);
    loop {
        let purged = world.purge(start, 3).await;
        assert!(purged.scanned <= 6, "{purged:?}");
        (events, rows, rounds) = (events + purged.events, rows + purged.rows, rounds + 1);
        // the cursor is kept as text between ticks
        start = serde_json::from_str(&serde_json::to_string(&purged.next).unwrap()).unwrap();
        if start == ScanStart::Beginning {
            break;
        }
    }
    assert_eq!((events, rows), (12, 12));
    assert!(rounds > 4, "{rounds}");
}

pub async fn a_partition_larger_than_the_budget_does_not_hold_up_the_scan(world: World) {
    // more than a page, which is where a scan looks at its budget
    let owed = (0..1_050).map(|n| {
        let world = world.clone();
        async move { world.worker().owe(&world.partition, &world.event(&format!("{n:04}")), 1).await.unwrap() }
    });
    let owed: Vec<_> = owed.collect();
    let mut owed = owed.into_iter();
    loop {
        let some: Vec<_> = owed.by_ref().take(50).collect();
        if some.is_empty() {
            break;
        }
        futures_util::future::join_all(some).await;
    }
    let after = world.another("after");
    after.done("e", RowState::default()).await;
    world.clock.advance(DAY * 20);
    let (mut start, mut events) = (ScanStart::Beginning, 0);
    for _ in 0..5 {
        let purged = world.purge(start, 100).await;
        events += purged.events;
        start = purged.next;
        if start == ScanStart::Beginning {
            break;
        }
    }
    assert_eq!((events, start), (1, ScanStart::Beginning));
    assert_eq!(world.events().await.len(), 1_050);
}

pub async fn leases_and_states_of_the_system_are_never_purged(world: World) {
    let system = System::new(Arc::clone(&world.states), Arc::new(world.clock.clone()), SKEW);
    system.put_state("cursor", &1, &Expect::Absent).await.unwrap();
    system.lease("shard", uuid::Uuid::new_v4(), DAY).await.unwrap();
    world.clock.advance(DAY * 1_000);
    let purged = world.purge(ScanStart::Beginning, 1_000).await;
    assert_eq!((purged.scanned, purged.events, purged.rows), (2, 0, 0));
    assert!(system.state::<u32>("cursor").await.unwrap().is_some());
}

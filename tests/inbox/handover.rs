//! Entries that are handed over: moved on condition, named, found again.

use super::due::entry;
use super::lossy::{Fault, Lossy};
use super::stores::World;
use dataverse_sync::inbox::{Entry, Inbox, Slip};
use std::collections::BTreeSet;

const NOW: i64 = 1_790_000_000_000;
const LATER: i64 = NOW + 300_000;

/// So many events of one row: all in one shard.
async fn owed(inbox: &Inbox, count: usize) -> Vec<(Slip, Entry)> {
    let entries: Vec<Entry> = (0..count).map(|n| entry("r", &format!("e{n}"), NOW - 1_000)).collect();
    for some in entries.chunks(50) {
        futures_util::future::try_join_all(some.iter().map(|entry| inbox.owe(entry))).await.unwrap();
    }
    let found = inbox.due_in(entries[0].shard(), NOW, 1_000, None).await.unwrap();
    assert_eq!(found.len(), count);
    found
}

fn events(entries: &[(Slip, Entry)]) -> BTreeSet<String> {
    entries.iter().map(|(_, entry)| entry.event_key.clone()).collect()
}

pub async fn what_is_handed_over_is_due_at_its_new_time_only_and_counted(world: World) {
    let lossy = Lossy::new(&world.store, &[]);
    let inbox = lossy.inbox();
    let found = owed(&inbox, 120).await;
    lossy.calls();
    let done = inbox.hand_over(&found, LATER).await;
    assert_eq!((lossy.calls(), &done.failed), (3, &None), "fifty a round trip");
    assert_eq!(events(&done.moved), events(&found));
    assert_eq!(inbox.due(LATER - 1, 1_000).await.unwrap(), []);
    let later = inbox.due(LATER, 1_000).await.unwrap();
    assert_eq!(later.len(), 120);
    assert!(later.iter().all(|(_, entry)| entry.handed == 1 && entry.attempts == 2 && entry.due_ms == LATER));
    for (slip, entry) in done.moved {
        assert_eq!(inbox.named(&entry.name()).await.unwrap(), Some((slip.clone(), entry)));
        inbox.settle(&slip).await.unwrap();
    }
    assert_eq!(inbox.due(i64::MAX - 1, 1_000).await.unwrap(), []);
}

pub async fn of_two_sweeps_that_saw_the_same_entries_one_gets_each(world: World) {
    let inbox = world.inbox();
    let found = owed(&inbox, 60).await;
    let (one, two) = (inbox.hand_over(&found, LATER), inbox.hand_over(&found, LATER + 1));
    let (one, two) = futures_util::future::join(one, two).await;
    assert_eq!((&one.failed, &two.failed), (&None, &None));
    assert_eq!(one.moved.len() + two.moved.len(), 60);
    assert!(events(&one.moved).is_disjoint(&events(&two.moved)));
    assert_eq!(inbox.due(LATER + 1, 1_000).await.unwrap().len(), 60, "none is there twice");
}

pub async fn what_changed_since_it_was_read_is_passed_over_and_the_others_are_moved(world: World) {
    let inbox = world.inbox();
    let found = owed(&inbox, 20).await;
    inbox.settle(&found[3].0).await.unwrap();
    inbox.owe(&found[11].1).await.unwrap();
    let moved = inbox.reschedule(&found[19].0, &found[19].1.again(NOW + 9_000, 5, "busy")).await.unwrap();
    let done = inbox.hand_over(&found, LATER).await;
    assert_eq!((done.moved.len(), done.failed), (17, None));
    let due = inbox.due(NOW, 100).await.unwrap();
    assert_eq!(events(&due), BTreeSet::from([found[11].1.event_key.clone()]), "owed again: it stays as it was");
    let (slip, entry) = inbox.due(NOW + 9_000, 100).await.unwrap().pop().unwrap();
    assert!(slip == moved && entry.attempts == 5 && entry.handed == 0, "{entry:?}");
}

pub async fn of_two_entries_of_one_event_one_is_moved_and_the_other_goes(world: World) {
    let inbox = world.inbox();
    let found = owed(&inbox, 3).await;
    // a delivery that was deferred beside the first
    let (_, entry) = &found[1];
    let twin = Entry { first_ms: entry.first_ms - 5_000, ..entry.again(NOW - 500, 7, "busy") };
    inbox.owe(&twin).await.unwrap();
    let found = inbox.due_in(entry.shard(), NOW, 100, None).await.unwrap();
    assert_eq!(found.len(), 4);
    let done = inbox.hand_over(&found, LATER).await;
    assert_eq!((done.moved.len(), &done.failed), (3, &None));
    assert_eq!(inbox.due(NOW, 100).await.unwrap(), []);
    let later = inbox.due(LATER, 100).await.unwrap();
    assert_eq!((later.len(), events(&later)), (3, events(&found)));
    let (slip, moved) = later.into_iter().find(|(_, moved)| moved.is_about(&twin)).unwrap();
    assert_eq!((moved.attempts, moved.first_ms, moved.handed), (7, twin.first_ms, 1), "what is known of both");
    assert!(done.moved.contains(&(slip, moved)));
}

pub async fn a_twin_stays_if_the_other_was_not_moved(world: World) {
    let inbox = world.inbox();
    let found = owed(&inbox, 1).await;
    let twin = found[0].1.again(NOW - 500, 7, "busy");
    inbox.owe(&twin).await.unwrap();
    let found = inbox.due_in(twin.shard(), NOW, 100, None).await.unwrap();
    let lossy = Lossy::new(&world.store, &[Fault::Refused]);
    let done = lossy.inbox().hand_over(&found, LATER).await;
    assert_eq!((done.moved.len(), done.left.len(), done.failed.is_some()), (0, 1, true));
    assert_eq!(inbox.due(NOW, 100).await.unwrap().len(), 2);
}

pub async fn an_entry_is_put_off_unless_somebody_else_moved_it(world: World) {
    let inbox = world.inbox();
    let found = owed(&inbox, 1).await;
    let (slip, entry) = &found[0];
    let later = entry.again(NOW + 2_000, entry.attempts + 1, "the ledger is away");
    let lossy = Lossy::new(&world.store, &[Fault::BeforeEffect]);
    let moved = lossy.inbox().put_off(slip, &later).await.unwrap().unwrap();
    assert_eq!(inbox.due(LATER, 100).await.unwrap(), [(moved.clone(), later.clone())]);
    // who comes late moves nothing, and nothing comes back that is done
    assert_eq!(inbox.put_off(slip, &entry.again(NOW + 5_000, 9, "late")).await.unwrap(), None);
    inbox.settle(&moved).await.unwrap();
    assert_eq!(inbox.put_off(&moved, &later.again(NOW + 5_000, 9, "late")).await.unwrap(), None);
    assert_eq!(inbox.due(i64::MAX - 1, 100).await.unwrap(), []);
}

pub async fn a_lost_answer_to_a_hand_over_loses_no_entry_and_hands_none_over(world: World) {
    for fault in [Fault::AfterEffect, Fault::BeforeEffect, Fault::Refused] {
        let inbox = world.inbox();
        let found = owed(&inbox, 70).await;
        let lossy = Lossy::new(&world.store, &[Fault::None, fault]);
        let done = lossy.inbox().hand_over(&found, LATER).await;
        assert_eq!((done.moved.len(), done.failed.is_some()), (50, true), "{fault:?}");
        let all = inbox.due(LATER, 1_000).await.unwrap();
        assert_eq!((all.len(), events(&all)), (70, events(&found)), "{fault:?}");
        for (slip, _) in all {
            inbox.settle(&slip).await.unwrap();
        }
    }
}

pub async fn a_name_means_its_entry_and_nothing_after_that(world: World) {
    let inbox = world.inbox();
    let found = owed(&inbox, 2).await;
    let (slip, entry) = found[0].clone();
    assert_eq!(inbox.named(&entry.name()).await.unwrap(), Some((slip.clone(), entry.clone())));
    let deferred = inbox.reschedule(&slip, &entry.again(NOW, 3, "busy")).await.unwrap();
    assert_eq!(inbox.named(&entry.name()).await.unwrap(), None, "moved");
    let mut forged = found[1].1.name();
    forged.event_key = entry.event_key.clone();
    forged.due_ms = NOW;
    assert_eq!(inbox.named(&forged).await.unwrap().map(|(slip, _)| slip), Some(deferred.clone()));
    inbox.settle(&deferred).await.unwrap();
    assert_eq!(inbox.named(&forged).await.unwrap(), None, "settled");
}

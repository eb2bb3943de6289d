//! Entries that may go, many at a time.

use super::due::entry;
use super::lossy::{Fault, Lossy};
use super::stores::World;
use dataverse_sync::inbox::store::{REMOVED_AT_ONCE, Slip};
use dataverse_sync::inbox::{Entry, Inbox, LEAVES_WITHIN};
use std::time::Duration;

const NOW: i64 = 1_790_000_000_000;
const START: Duration = Duration::from_secs(1_000);

/// Owes so many events of one row.
async fn owed(inbox: &Inbox, count: usize) -> Vec<(Slip, Entry)> {
    let mut owed = Vec::new();
    for n in 0..count {
        let entry = entry("r", &format!("e{n}"), NOW);
        owed.push((inbox.owe(&entry).await.unwrap(), entry));
    }
    owed
}

async fn still_there(world: &World) -> Vec<Entry> {
    world.inbox().due(NOW, 1_000).await.unwrap().into_iter().map(|(_, entry)| entry).collect()
}

pub async fn a_hundred_entries_of_a_shard_go_with_one_request(world: World) {
    let counted = Lossy::new(&world.store, &[]);
    let inbox = counted.inbox();
    let owed = owed(&inbox, REMOVED_AT_ONCE).await;
    counted.calls();
    for (n, (slip, _)) in owed.iter().enumerate() {
        assert_eq!(counted.calls(), 0, "{n}");
        inbox.settle_soon(slip, START).await;
    }
    assert_eq!(counted.calls(), 1);
    assert_eq!(still_there(&world).await, []);
    inbox.settle_now(owed[0].1.shard()).await;
    assert_eq!(counted.calls(), 0, "nothing is left to remove");
}

pub async fn of_entries_that_leave_together_one_that_was_written_anew_stays_and_one_that_is_gone_is_no_matter(
    world: World,
) {
    let inbox = world.inbox();
    let owed = owed(&inbox, 9).await;
    let again = Entry { reason: "replayed".to_owned(), ..owed[3].1.clone() };
    inbox.owe(&again).await.unwrap();
    inbox.settle(&owed[5].0).await.unwrap();
    for (slip, _) in &owed {
        inbox.settle_soon(slip, START).await;
        inbox.settle_soon(slip, START).await;
    }
    inbox.settle_all().await;
    assert_eq!(still_there(&world).await, [again]);
}

pub async fn what_waits_to_leave_goes_after_a_while_with_whoever_passes_by(world: World) {
    let counted = Lossy::new(&world.store, &[]);
    let inbox = counted.inbox();
    let owed = owed(&inbox, 3).await;
    for (n, (slip, _)) in owed.iter().enumerate() {
        inbox.settle_soon(slip, START + Duration::from_secs(u64::try_from(n).unwrap())).await;
    }
    counted.calls();
    inbox.settle_old(START + LEAVES_WITHIN - Duration::from_millis(1)).await;
    assert_eq!((counted.calls(), still_there(&world).await.len()), (0, 3));
    inbox.settle_old(START + LEAVES_WITHIN).await;
    assert_eq!((counted.calls(), still_there(&world).await.len()), (1, 0));
}

pub async fn a_lost_answer_to_a_removal_of_many_leaves_none_and_a_refused_one_leaves_all(world: World) {
    for (fault, left) in [(Fault::AfterEffect, 0), (Fault::BeforeEffect, 0), (Fault::Refused, 5)] {
        let lossy = Lossy::new(&world.store, &[&[Fault::None; 5][..], &[fault]].concat());
        let inbox = lossy.inbox();
        for (slip, _) in owed(&inbox, 5).await {
            inbox.settle_soon(&slip, START).await;
        }
        inbox.settle_all().await;
        assert_eq!(still_there(&world).await.len(), left, "{fault:?}");
    }
}

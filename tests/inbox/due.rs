//! Entries that are due.

use super::lossy::{Fault, Lossy};
use super::stores::World;
use dataverse_sync::domain::delivery::Channel;
use dataverse_sync::inbox::entry::{REASON_BYTES_MAX, SHARDS};
use dataverse_sync::inbox::store::{Place, Shelf, Slip};
use dataverse_sync::inbox::{Entry, Inbox, InboxError};
use std::collections::BTreeSet;

const NOW: i64 = 1_790_000_000_000;

pub fn entry(row: &str, event: &str, due_ms: i64) -> Entry {
    Entry {
        partition: format!("ab12-account:{row}"),
        event_key: format!("event:{event}"),
        due_ms,
        first_ms: NOW - 5_000,
        attempts: 2,
        reason: "target_unreachable".to_owned(),
        table: "account".to_owned(),
        channel: Channel::Webhook,
        handed: 0,
    }
}

async fn due(inbox: &Inbox) -> Vec<Entry> {
    inbox.due(NOW, 100).await.unwrap().into_iter().map(|(_, entry)| entry).collect()
}

/// The only entry that is due.
async fn only(inbox: &Inbox) -> (Slip, Entry) {
    let mut found = inbox.due(NOW, 100).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Writes many entries, some at a time.
async fn owe_all(inbox: &Inbox, entries: Vec<Entry>) {
    for some in entries.chunks(50) {
        futures_util::future::try_join_all(some.iter().map(|entry| inbox.owe(entry))).await.unwrap();
    }
}

pub async fn what_is_owed_is_due_until_it_is_settled(world: World) {
    let inbox = world.inbox();
    let owed = entry("r", "e", NOW);
    let slip = inbox.owe(&owed).await.unwrap();
    let (found, same) = only(&inbox).await;
    assert_eq!((&found, &same), (&slip, &owed));
    assert_eq!(inbox.due_in(owed.shard(), NOW, 10, None).await.unwrap(), [(slip.clone(), owed.clone())]);
    assert_eq!(inbox.due_in(owed.shard(), NOW, 10, Some(&slip)).await.unwrap(), []);
    assert_eq!(inbox.due_in((owed.shard() + 1) % SHARDS, NOW, 10, None).await.unwrap(), []);
    inbox.settle(&slip).await.unwrap();
    assert_eq!(due(&inbox).await, []);
}

pub async fn settling_twice_or_what_is_gone_is_success(world: World) {
    let inbox = world.inbox();
    let slip = inbox.owe(&entry("r", "e", NOW)).await.unwrap();
    for _ in 0..3 {
        inbox.settle(&slip).await.unwrap();
    }
}

pub async fn what_is_due_later_is_not_due_now(world: World) {
    let inbox = world.inbox();
    for (event, due_ms) in [("before", NOW - 1), ("now", NOW), ("after", NOW + 1), ("long ago", 0), ("never", i64::MAX)]
    {
        inbox.owe(&entry("r", event, due_ms)).await.unwrap();
    }
    let events: Vec<String> = due(&inbox).await.into_iter().map(|entry| entry.event_key).collect();
    assert_eq!(events, ["event:long ago", "event:before", "event:now"]);
}

pub async fn a_moved_entry_is_due_at_its_new_time_only(world: World) {
    let inbox = world.inbox();
    let first = entry("r", "e", NOW);
    let slip = inbox.owe(&first).await.unwrap();
    let later = first.again(NOW + 60_000, 3, "throttled");
    let moved = inbox.reschedule(&slip, &later).await.unwrap();
    assert_eq!(due(&inbox).await, []);
    assert_eq!(inbox.due(NOW + 60_000, 10).await.unwrap(), [(moved, later.clone())]);
    assert_eq!((later.first_ms, later.attempts, later.reason.as_str()), (first.first_ms, 3, "throttled"));
}

pub async fn moving_to_the_same_time_keeps_the_entry(world: World) {
    let inbox = world.inbox();
    let first = entry("r", "e", NOW);
    let slip = inbox.owe(&first).await.unwrap();
    let moved = inbox.reschedule(&slip, &first.again(NOW, 3, "again")).await.unwrap();
    let (slip, kept) = only(&inbox).await;
    assert_eq!((slip, kept.attempts), (moved, 3));
}

pub async fn a_crash_while_moving_leaves_two_entries_and_never_none(world: World) {
    // to another shard the new one is written first; the removal of the old one is refused, as if the mover had died in between
    let first = entry("r", "e", NOW - 10);
    let slip = world.inbox().owe(&first).await.unwrap();
    let far = (0..100).map(|n| entry(&format!("r{n}"), "e", NOW)).find(|far| far.shard() != first.shard()).unwrap();
    let dying = Lossy::new(&world.store, &[Fault::None, Fault::Refused]).inbox();
    let moved = dying.reschedule(&slip, &far).await.unwrap();
    assert_eq!(due(&world.inbox()).await.len(), 2);
    world.inbox().settle(&moved).await.unwrap();
    // within the shard both is one step: refused, the old entry is still there
    let dying = Lossy::new(&world.store, &[Fault::Refused]).inbox();
    dying.reschedule(&slip, &first.again(NOW + 1, 4, "again")).await.unwrap_err();
    assert_eq!(only(&world.inbox()).await.1, first);
    // and if somebody has settled it, the event is owed all the same
    world.inbox().settle(&slip).await.unwrap();
    world.inbox().reschedule(&slip, &first.again(NOW, 4, "again")).await.unwrap();
    assert_eq!(only(&world.inbox()).await.1.attempts, 4);
}

pub async fn two_sweepers_see_the_same_entries_and_may_both_move_them(world: World) {
    let (one, two) = (world.inbox(), world.inbox());
    let first = entry("r", "e", NOW - 10);
    one.owe(&first).await.unwrap();
    let (a, b) = (only(&one).await, only(&two).await);
    assert_eq!(a, b);
    one.reschedule(&a.0, &first.again(NOW - 5, 3, "one")).await.unwrap();
    two.reschedule(&b.0, &first.again(NOW - 4, 3, "two")).await.unwrap();
    let left = one.due(NOW, 10).await.unwrap();
    assert_eq!(left.len(), 2);
    for (slip, _) in left {
        futures_util::future::try_join(one.settle(&slip), two.settle(&slip)).await.unwrap();
    }
    assert_eq!(due(&one).await, []);
}

pub async fn a_late_settle_spares_an_entry_that_was_owed_again(world: World) {
    let inbox = world.inbox();
    let first = entry("r", "e", NOW);
    let old = inbox.owe(&first).await.unwrap();
    let new = inbox.owe(&first).await.unwrap();
    assert_eq!(old.place, new.place);
    inbox.settle(&old).await.unwrap();
    assert_eq!(only(&inbox).await.0, new);
    inbox.settle(&new).await.unwrap();
    assert_eq!(due(&inbox).await, []);
}

pub async fn a_lost_answer_to_any_write_loses_and_doubles_nothing(world: World) {
    for fault in [Fault::AfterEffect, Fault::BeforeEffect] {
        let first = entry("r", "e", NOW);
        let slip = Lossy::new(&world.store, &[fault]).inbox().owe(&first).await.unwrap();
        assert_eq!(only(&world.inbox()).await, (slip.clone(), first.clone()), "{fault:?}");
        for faults in [&[fault][..], &[Fault::None, fault]] {
            let (slip, at) = only(&world.inbox()).await;
            let later = at.again(at.due_ms - 1, at.attempts + 1, "again");
            let moved = Lossy::new(&world.store, faults).inbox().reschedule(&slip, &later).await.unwrap();
            assert_eq!(only(&world.inbox()).await, (moved, later), "{faults:?}");
        }
        let (slip, _) = only(&world.inbox()).await;
        Lossy::new(&world.store, &[fault]).inbox().settle(&slip).await.unwrap();
        assert_eq!(due(&world.inbox()).await, [], "{fault:?}");
    }
}

pub async fn a_write_that_never_is_answered_is_an_error(world: World) {
    let inbox = Lossy::new(&world.store, &[Fault::BeforeEffect; 50]).inbox();
    let error = inbox.owe(&entry("r", "e", NOW)).await.unwrap_err();
    assert!(matches!(error, InboxError::Unknown(_)), "{error}");
    assert_eq!(due(&world.inbox()).await, []);
    let refusing = Lossy::new(&world.store, &[Fault::Refused]);
    let error = refusing.inbox().owe(&entry("r", "e", NOW)).await.unwrap_err();
    assert!(matches!(error, InboxError::Unavailable { .. }), "{error}");
    assert_eq!(refusing.calls(), 1, "a refusal is the caller's to judge");
}

pub async fn more_than_a_page_of_entries_is_listed_oldest_first_in_each_shard(world: World) {
    let inbox = world.inbox();
    let entries: Vec<Entry> = (0..1_100).map(|n| entry(&format!("row {}", n % 40), &format!("{n}"), NOW - n)).collect();
    owe_all(&inbox, entries.clone()).await;
    let found = inbox.due(NOW, 5_000).await.unwrap();
    let keys: BTreeSet<String> = found.iter().map(|(_, entry)| entry.event_key.clone()).collect();
    assert_eq!((found.len(), keys.len()), (1_100, 1_100));
    for shard in 0..SHARDS {
        let times: Vec<i64> = found
            .iter()
            .map(|(_, entry)| entry)
            .filter(|entry| entry.shard() == shard)
            .map(|entry| entry.due_ms)
            .collect();
        assert!(times.is_sorted(), "shard {shard}");
        let (mut paged, mut after): (Vec<i64>, Option<Slip>) = (Vec::new(), None);
        loop {
            let page = inbox.due_in(shard, NOW, 7, after.as_ref()).await.unwrap();
            paged.extend(page.iter().map(|(_, entry)| entry.due_ms));
            match page.into_iter().next_back() {
                Some((slip, _)) => after = Some(slip),
                None => break,
            }
        }
        assert_eq!(paged, times, "page by page");
    }
    let some = inbox.due(NOW, 1_050).await.unwrap();
    assert_eq!(some.len(), 1_050, "a bound is filled while there is enough");
}

pub async fn a_full_shard_does_not_keep_others_waiting(world: World) {
    let inbox = world.inbox();
    // the flooded shard is the first, and its entries are the oldest
    let flooded = (0..).map(|n| format!("row {n}")).find(|row| entry(row, "e", NOW).shard() == 0).unwrap();
    owe_all(&inbox, (0..300).map(|n| entry(&flooded, &format!("{n}"), NOW - 1_000_000 + n)).collect()).await;
    let others: Vec<Entry> = (0..60).map(|n| entry(&format!("other {n}"), "e", NOW)).collect();
    owe_all(&inbox, others.clone()).await;
    let shards: BTreeSet<u8> = others.iter().map(Entry::shard).collect();
    let found = inbox.due(NOW, 64).await.unwrap();
    assert_eq!(found.len(), 64);
    let served: BTreeSet<u8> = found.iter().map(|(_, entry)| entry.shard()).collect();
    assert_eq!(served, shards.into_iter().chain([0]).collect(), "every shard with work has a turn");
    assert_eq!(found[0].1.event_key, "event:0", "the oldest of all comes first");
}

pub async fn nothing_due_costs_one_round_trip(world: World) {
    let inbox = world.inbox();
    for n in 0..40 {
        inbox.owe(&entry(&format!("row {n}"), "e", NOW + 1)).await.unwrap();
    }
    let counted = Lossy::new(&world.store, &[]);
    assert_eq!(counted.inbox().due(NOW, 100).await.unwrap(), []);
    assert_eq!(counted.calls(), 1);
    let slip = counted.inbox().owe(&entry("r", "e", NOW)).await.unwrap();
    counted.inbox().settle(&slip).await.unwrap();
    assert_eq!(counted.calls(), 2);
}

pub async fn odd_characters_come_back_and_make_different_entries(world: World) {
    let inbox = world.inbox();
    let odd = [
        "", " ", "a", "A", "a/b", "a\\b", "a#b", "a?b", "a'b", "a''b", "é", "e\u{301}", "𝒳", "a\u{1}b", "a\tb", "~",
        ":", "a:b",
    ];
    let mut entries = Vec::new();
    for text in odd {
        let mut some = entry(text, text, NOW);
        (some.reason, some.table) = (text.to_owned(), text.to_owned());
        inbox.owe(&some).await.unwrap();
        entries.push(some);
    }
    let sorted = |mut entries: Vec<Entry>| {
        entries.sort_by(|a, b| a.event_key.cmp(&b.event_key));
        entries
    };
    assert_eq!(sorted(due(&inbox).await), sorted(entries));
}

pub async fn what_is_too_large_is_an_error_that_says_so(world: World) {
    let inbox = world.inbox();
    let mut large = entry(&"é".repeat(2_000), "e", NOW);
    let error = inbox.owe(&large).await.unwrap_err();
    assert!(error.to_string().starts_with("too large for the inbox: the partition of an entry has 40"), "{error}");
    inbox.park(&large, "why", NOW).await.unwrap_err();
    large.partition = "p".to_owned();
    large.reason = "\"é".repeat(100_000);
    inbox.owe(&large).await.unwrap();
    let (_, kept) = only(&inbox).await;
    assert!(large.reason.starts_with(&kept.reason) && kept.reason.len() <= REASON_BYTES_MAX, "a reason is cut");
}

pub async fn a_damaged_entry_hides_no_other(world: World) {
    let inbox = world.inbox();
    let good = entry("r", "good", NOW);
    let place = |key: &str| Place { shelf: Shelf::Due, shard: good.shard(), key: key.to_owned() };
    for (n, text) in ["", "{", "{}", "null", "\"x\""].into_iter().enumerate() {
        world.store.put(&place(&format!("000000000000000000{n}:damaged")), text, None).await.unwrap();
    }
    inbox.owe(&good).await.unwrap();
    assert_eq!(due(&inbox).await, std::slice::from_ref(&good));
    let first = inbox.due(NOW, 1).await.unwrap();
    assert_eq!(first.len(), 1, "damaged ones take nobody's place");
    assert_eq!(inbox.due_in(good.shard(), NOW, 1, None).await.unwrap(), first);
    let counts = inbox.counts(NOW, 100).await.unwrap();
    assert_eq!((counts.owed, counts.unreadable), (6, 5));
}

pub async fn counts_say_when_they_are_lower_bounds(world: World) {
    let inbox = world.inbox();
    let empty = inbox.counts(NOW, 10).await.unwrap();
    assert_eq!((empty.owed, empty.parked, empty.oldest_ms, empty.at_least), (0, 0, None, false));
    for n in 0..6 {
        let mut some = entry(&format!("row {n}"), "e", NOW + n - 2);
        some.first_ms = NOW - n;
        inbox.owe(&some).await.unwrap();
    }
    inbox.park(&entry("r", "parked", NOW), "why", NOW).await.unwrap();
    let counts = inbox.counts(NOW, 10).await.unwrap();
    assert_eq!((counts.owed, counts.due, counts.parked, counts.at_least), (6, 3, 1, false));
    assert_eq!(counts.oldest_ms, Some(NOW - 5));
    let some = inbox.counts(NOW, 4).await.unwrap();
    assert_eq!((some.owed, some.parked, some.at_least), (4, 1, true));
    let all = inbox.counts(NOW, 6).await.unwrap();
    assert_eq!((all.owed, all.at_least), (6, false));
}

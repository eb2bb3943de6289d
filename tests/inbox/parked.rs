//! Entries that need a person.

use super::due::entry;
use super::lossy::{Fault, Lossy};
use super::stores::World;
use dataverse_sync::domain::delivery::Channel;
use dataverse_sync::inbox::entry::RAW_BYTES_MAX;
use dataverse_sync::inbox::{Entry, Inbox, InboxError, Parked, ParkedFilter, Raw, Slip};
use std::collections::BTreeSet;

const NOW: i64 = 1_790_000_000_000;

fn event(name: &str) -> Entry {
    entry(&format!("row of {name}"), name, NOW)
}

fn raw(bytes: Vec<u8>) -> Raw {
    Raw {
        bytes,
        headers: vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("ce-id".to_owned(), "é 1".to_owned()),
        ],
        channel: Channel::Queue,
        first_ms: NOW - 9,
        attempts: 3,
        table: String::new(),
        event: None,
    }
}

async fn parked(inbox: &Inbox, filter: &ParkedFilter) -> Vec<(Slip, Parked)> {
    let page = inbox.parked(filter, None, 1_000).await.unwrap();
    assert_eq!((page.next, page.unreadable), (None, 0));
    page.found
}

async fn all(inbox: &Inbox) -> Vec<(Slip, Parked)> {
    parked(inbox, &ParkedFilter::default()).await
}

/// Bytes that no compression makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

pub async fn a_parked_event_is_listed_shown_and_taken_back(world: World) {
    let inbox = world.inbox();
    let slip = inbox.park(&event("e"), "column_missing: the target's account has no column x", NOW).await.unwrap();
    let [(listed, found)] = &all(&inbox).await[..] else { panic!("one") };
    assert_eq!(listed, &slip);
    assert_eq!((found.partition.as_str(), found.event_key.as_str()), ("ab12-account:row of e", "event:e"));
    assert_eq!((found.word(), found.table.as_str(), found.attempts), ("column_missing", "account", 2));
    assert_eq!((found.first_ms, found.parked_ms, found.raw.clone()), (NOW - 5_000, NOW, None));
    let shown = inbox.parked_by_id(&found.id).await.unwrap().unwrap();
    assert_eq!(shown, (slip.clone(), found.clone(), None));
    assert_eq!(inbox.due(i64::MAX - 1, 10).await.unwrap(), [], "what is parked is not due");
    for _ in 0..2 {
        inbox.unpark(&slip).await.unwrap();
    }
    assert_eq!(inbox.parked_by_id(&found.id).await.unwrap(), None);
    assert_eq!(all(&inbox).await, []);
}

pub async fn parking_again_is_one_entry_with_the_new_reason(world: World) {
    let inbox = world.inbox();
    inbox.park(&event("e"), "first", NOW).await.unwrap();
    inbox.park(&event("e").again(NOW + 9, 5, "x"), "second", NOW + 1).await.unwrap();
    let [(_, found)] = &all(&inbox).await[..] else { panic!("one") };
    assert_eq!((found.reason.as_str(), found.parked_ms, found.attempts), ("second", NOW + 1, 5));
}

pub async fn an_entry_parked_again_since_it_was_read_is_not_taken_back(world: World) {
    let inbox = world.inbox();
    let read = inbox.park(&event("e"), "first", NOW).await.unwrap();
    // its replay ran before the old entry was removed, and it was parked again
    let again = inbox.park(&event("e"), "second", NOW + 1).await.unwrap();
    inbox.unpark(&read).await.unwrap();
    let [(left, _)] = &all(&inbox).await[..] else { panic!("still parked") };
    assert_eq!(left, &again);
}

pub async fn filters_by_reason_and_table_find_exactly_those(world: World) {
    let inbox = world.inbox();
    for (name, reason, table) in [
        ("a", "column_missing: x", "account"),
        ("b", "column_missing: y", "contact"),
        ("c", "key_conflict", "contact"),
        ("d", "column_missing_too", "account"),
    ] {
        let some = Entry { table: table.to_owned(), ..event(name) };
        inbox.park(&some, reason, NOW).await.unwrap();
    }
    let check = async |reason: Option<&str>, table: Option<&str>, expected: &[&str]| {
        let filter = ParkedFilter { reason: reason.map(str::to_owned), table: table.map(str::to_owned) };
        let found: BTreeSet<String> =
            parked(&inbox, &filter).await.into_iter().map(|(_, found)| found.event_key).collect();
        assert_eq!(found, expected.iter().map(|name| format!("event:{name}")).collect(), "{filter:?}");
    };
    check(None, None, &["a", "b", "c", "d"]).await;
    check(Some("column_missing"), None, &["a", "b"]).await;
    check(Some("column_missing: y"), None, &["b"]).await;
    check(Some("key_conflict"), Some("Contact"), &["c"]).await;
    check(None, Some("account"), &["a", "d"]).await;
    check(Some("column"), None, &[]).await;
}

pub async fn raw_payloads_of_any_bytes_up_to_a_mebibyte_come_back(world: World) {
    let inbox = world.inbox();
    for bytes in [vec![], vec![0], b"{\"x\": 1".to_vec(), noise(64 << 10), noise((64 << 10) + 1), noise(RAW_BYTES_MAX)]
    {
        let payload = raw(bytes.clone());
        let slip = inbox.park_raw(&payload, "undecodable: at line 1", NOW).await.unwrap();
        let [(listed, found)] = &all(&inbox).await[..] else { panic!("one, its pieces not among the entries") };
        assert_eq!(listed, &slip);
        let facts = found.raw.clone().unwrap();
        assert_eq!((facts.bytes, facts.headers), (bytes.len(), payload.headers));
        assert_eq!((found.channel, found.attempts, found.first_ms), (Channel::Queue, 3, NOW - 9));
        let (slip, shown, kept) = inbox.parked_by_id(&found.id).await.unwrap().unwrap();
        assert_eq!(&shown, found);
        assert!(kept.as_ref() == Some(&bytes), "{} bytes", bytes.len());
        inbox.unpark(&slip).await.unwrap();
    }
}

pub async fn a_raw_payload_over_a_mebibyte_is_refused_with_its_size(world: World) {
    let inbox = world.inbox();
    let error = inbox.park_raw(&raw(vec![7; RAW_BYTES_MAX + 1]), "undecodable", NOW).await.unwrap_err();
    assert_eq!(error, InboxError::TooLarge("a payload has 1048577 bytes, 1048576 fit".to_owned()));
    let mut headers = raw(vec![7]);
    headers.headers.push(("x".to_owned(), "y".repeat(20_000)));
    let error = inbox.park_raw(&headers, "undecodable", NOW).await.unwrap_err();
    assert!(error.to_string().starts_with("too large for the inbox: headers have 200"), "{error}");
    // what escapes badly in JSON still fits
    headers.headers = vec![("\u{1}".to_owned(), "\u{1}".repeat(5_000))];
    let kept = inbox.park_raw(&headers, &"\u{1}".repeat(9_000), NOW).await;
    assert!(kept.is_ok() || matches!(kept, Err(InboxError::TooLarge(_))), "{kept:?}");
}

pub async fn an_impostor_never_takes_the_place_of_the_event_whose_id_it_uses(world: World) {
    let inbox = world.inbox();
    let original = event("e");
    let due = inbox.owe(&original).await.unwrap();
    let place = inbox.park(&original, "why", NOW).await.unwrap();
    let mut impostors = vec![place.place];
    for bytes in ["one", "two"] {
        let impostor =
            Raw { event: Some((original.partition.clone(), original.event_key.clone())), ..raw(bytes.into()) };
        impostors.push(inbox.park_raw(&impostor, "id_reused", NOW).await.unwrap().place);
    }
    assert_eq!(impostors.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(inbox.due(NOW, 10).await.unwrap(), [(due, original.clone())], "the original is still owed");
    let reused = ParkedFilter { reason: Some("id_reused".to_owned()), table: None };
    let found = parked(&inbox, &reused).await;
    assert_eq!(found.len(), 2);
    assert!(
        found.iter().all(|(_, found)| found.event_key == original.event_key && found.partition == original.partition)
    );
}

pub async fn the_same_raw_payload_twice_is_one_entry(world: World) {
    let inbox = world.inbox();
    for _ in 0..2 {
        inbox.park_raw(&raw(noise(600 << 10)), "undecodable", NOW).await.unwrap();
    }
    assert_eq!(all(&inbox).await.len(), 1);
    inbox.park_raw(&Raw { headers: vec![], ..raw(noise(600 << 10)) }, "undecodable", NOW).await.unwrap();
    assert_eq!(all(&inbox).await.len(), 2, "other headers may decode to something else");
}

pub async fn a_raw_payload_taken_back_leaves_nothing(world: World) {
    let inbox = world.inbox();
    let payload = raw(noise(RAW_BYTES_MAX));
    let old = inbox.park_raw(&payload, "first", NOW).await.unwrap();
    let new = inbox.park_raw(&payload, "second", NOW).await.unwrap();
    inbox.unpark(&old).await.unwrap();
    let [(_, found)] = &all(&inbox).await[..] else { panic!("parked again since") };
    let (_, _, kept) = inbox.parked_by_id(&found.id).await.unwrap().unwrap();
    assert_eq!(kept.map(|bytes| bytes.len()), Some(RAW_BYTES_MAX), "whole, although an older version was taken back");
    for _ in 0..2 {
        inbox.unpark(&new).await.unwrap();
    }
    assert_eq!(inbox.counts(NOW, 100).await.unwrap().parked, 0);
}

pub async fn a_lost_answer_while_parking_loses_nothing(world: World) {
    for fault in [Fault::AfterEffect, Fault::BeforeEffect] {
        let lossy = || Lossy::new(&world.store, &[fault]).inbox();
        let a = lossy().park(&event("e"), "why", NOW).await.unwrap();
        let b = lossy().park_raw(&raw(noise(700 << 10)), "why", NOW).await.unwrap();
        assert_eq!(all(&world.inbox()).await.len(), 2, "{fault:?}");
        lossy().unpark(&a).await.unwrap();
        lossy().unpark(&b).await.unwrap();
        assert_eq!(all(&world.inbox()).await, [], "{fault:?}");
    }
}

pub async fn ids_that_name_nothing_are_none(world: World) {
    let inbox = world.inbox();
    for id in
        ["", "x", "00-00000000000000000000000000000000", "99-00000000000000000000000000000000", "00-' or '1' eq '1"]
    {
        assert_eq!(inbox.parked_by_id(id).await.unwrap(), None, "{id}");
    }
}

pub async fn many_parked_entries_come_in_pages(world: World) {
    let inbox = world.inbox();
    let entries: Vec<Entry> = (0..1_020).map(|n| event(&n.to_string())).collect();
    for some in entries.chunks(50) {
        let reason = |entry: &Entry| if entry.event_key.ends_with('7') { "seven" } else { "other" };
        let parks = some.iter().map(|entry| inbox.park(entry, reason(entry), NOW));
        futures_util::future::try_join_all(parks).await.unwrap();
    }
    let filter = ParkedFilter { reason: Some("seven".to_owned()), table: None };
    let (mut found, mut next, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let page = inbox.parked(&filter, next, 40).await.unwrap();
        assert!(page.found.len() <= 40);
        found.extend(page.found.into_iter().map(|(_, parked)| parked.event_key));
        (next, pages) = (page.next, pages + 1);
        if next.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 102);
    assert!((3..=10).contains(&pages), "{pages} pages");
    assert_eq!(inbox.counts(NOW, 500).await.unwrap().parked, 500);
    assert_eq!(inbox.counts(NOW, 5_000).await.unwrap().parked, 1_020);
}

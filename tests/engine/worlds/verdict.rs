//! How a world must end, and what must have happened in all of them together.

use super::super::world::{TABLES, World, decoded};
use crate::support::rough::Rough;
use dataverse_sync::inbox::{Inbox, ParkedFilter};
use dataverse_sync::ledger::purge::{Expiring, ScanStart};
use dataverse_sync::ledger::record::{Phase, event_key};
use dataverse_sync::ledger::store::Store;
use dataverse_sync::sim::dataverse::{Cell, RaisedEvent, difference};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The target equals the source, every event is done, nobody holds anything, nothing is owed, parked or half made.
/// `may_tie`: nothing in the payloads tells two events of one second apart. How many events were last worked on in a fold.
pub async fn check(world: &World, rough: &Rough, events: impl Iterator<Item = &RaisedEvent>, may_tie: bool) -> u64 {
    // people and currencies have other GUIDs in every environment
    let found = difference(&world.source, &world.target, &TABLES, &["ownerid", "transactioncurrencyid"]);
    assert!(found.is_empty(), "source and target differ: {found:#?}");
    let now_ms = dataverse_sync::clock::Clock::now(&world.clock).timestamp_millis();
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut start, mut done, mut folded) = (None, BTreeSet::new(), 0);
    loop {
        let page = rough.ledger.scan(&ScanStart::Beginning, start.as_ref(), 1_000).await.unwrap();
        for scanned in page.found {
            keys.entry(scanned.partition).or_default().insert(scanned.key);
        }
        start = page.next;
        if start.is_none() {
            break;
        }
    }
    for (partition, keys) in keys.iter().filter(|(partition, _)| !partition.starts_with("system:")) {
        for key in keys {
            let asked = if key == "row" { "event:" } else { key };
            let found = rough.ledger.read(partition, asked).await.unwrap();
            if let Some(row) = found.row {
                let state = &row.record.state;
                let lives = row.record.lease.is_some_and(|lease| lease.until_ms > now_ms);
                assert!(!lives, "{partition}: a lease is left: {:?}", row.record.lease);
                assert!(!state.exists || state.placeholder_ms.is_none(), "{partition}: a placeholder for ever");
                assert!(!state.ambiguous || may_tie, "{partition}: ambiguous");
            }
            if let Some(event) = found.event {
                // what was not kept after all, because the inbox did not answer, stays in its waiting partition: its
                // sender brought it again, and only the record in its row counts
                if !partition.starts_with("wait:") {
                    assert_eq!(event.record.phase, Phase::Done, "{partition} {key}: {:?}", event.record.outcome);
                    folded += u64::from(event.record.folded > 1);
                    done.insert(key.clone());
                }
            }
        }
    }
    for event in events {
        let key = event_key(&decoded(event).id);
        assert!(done.contains(&key), "an event is not in the ledger: {key} {:?} {}", event.message, event.table);
    }
    let inbox = Inbox::new(Arc::clone(&rough.inbox) as Arc<dyn dataverse_sync::inbox::store::Store>);
    let owed = inbox.due(i64::MAX - 1, 1_000).await.unwrap();
    assert!(owed.is_empty(), "{owed:?}");
    let parked = inbox.parked(&ParkedFilter::default(), None, 100).await.unwrap().found;
    assert!(parked.is_empty(), "{parked:?}");
    for row in world.target.rows("account").values() {
        let waits = row.get("name") == Some(&Cell::Text("(awaiting sync)".to_owned()));
        assert!(!waits, "a placeholder was never filled: {}", row.id);
    }
    folded
}

/// What happened in the worlds: a sweep that never meets what it aims at proves nothing.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub counts: BTreeMap<&'static str, u64>,
}

impl Seen {
    pub fn note(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            self.note(what, *count);
        }
    }

    pub fn of_the_environments(&mut self, world: &World, late: &[usize]) {
        self.note("landed late", late.iter().map(|rule| world.target.faults().hits(*rule)).sum());
        for ((method, _, status), count) in world.target.requests().counts() {
            match status {
                Some(429) => self.note("throttled", count),
                Some(412) if method == "PATCH" => self.note("refused by a condition", count),
                Some(204) if method == "POST" => self.note("links made", count),
                _ => {}
            }
        }
    }

    pub fn assert_that_everything_happened(&self) {
        let wanted = [
            "applied",
            "deleted",
            "stale",
            "duplicate",
            "deferred",
            "folded",
            "unfolded",
            "unfinished",
            "crashes",
            "deaths",
            "stalls",
            "landed late",
            "throttled",
            "links made",
            "swept",
            "handed over",
            "refused by a condition",
        ];
        for what in wanted {
            assert!(self.counts.get(what).is_some_and(|count| *count > 0), "never seen: {what} in {self:?}");
        }
    }
}

//! Which of a shard's entries have their turn, and in which order: tables take turns, within a table its rows do, and each
//! row's oldest comes first. What has failed often counts as a table of its own that has one turn where others
//! have four, because it takes longest and comes to least. Pure.

use crate::inbox::{Entry, Slip};
use std::collections::HashMap;

/// Attempts after which an entry has failed often.
const OFTEN: u32 = 3;
/// So many turns of others there are to one of what has failed often.
const TURNS_TO_ONE: usize = 4;

/// What is due of one row, oldest first. Events of one row are worked on one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) entries: Vec<(Slip, Entry)>,
    /// More of it is due than has its turn now.
    pub(super) cut: bool,
}

/// How many entries have their turn at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) of_row: usize,
    pub(super) of_table: usize,
    pub(super) of_all: usize,
}

/// A bounded choice among entries that are offered oldest first.
#[derive(Debug)]
pub(super) struct Choice {
    share: Share,
    rows: Vec<(usize, Row)>,
    places: HashMap<String, usize>,
    /// Rows and entries chosen of each table, of what has failed often and of the rest.
    tables: HashMap<(String, bool), (usize, usize)>,
    chosen: usize,
    passed_over: bool,
}

impl Choice {
    pub(super) fn new(share: Share) -> Self {
        let (rows, places, tables) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { share, rows, places, tables, chosen: 0, passed_over: false }
    }

    pub(super) fn offer(&mut self, slip: Slip, entry: Entry) {
        let place = self.places.get(&entry.partition).copied();
        let of_row = place.and_then(|place| self.rows.get_mut(place));
        if let Some((_, row)) = of_row
            && row.entries.len() >= self.share.of_row
        {
            row.cut = true;
            self.passed_over = true;
            return;
        }
        // rows past the last one that fits are not even remembered
        let is_full = self.chosen >= self.share.of_all || self.tables.len() >= self.share.of_all;
        let often = entry.attempts > OFTEN;
        let table = (entry.table.clone(), often);
        let (rows, entries) = self.tables.get(&table).copied().unwrap_or_default();
        if is_full || entries >= self.share.of_table {
            self.passed_over = true;
            return;
        }
        let place = place.unwrap_or_else(|| {
            self.places.insert(entry.partition.clone(), self.rows.len());
            let turn = if often { (rows + 1) * TURNS_TO_ONE } else { rows };
            self.rows.push((turn, Row::default()));
            self.rows.len() - 1
        });
        let rows = rows + usize::from(self.rows.get(place).is_some_and(|(_, row)| row.entries.is_empty()));
        self.tables.insert(table, (rows, entries + 1));
        self.chosen += 1;
        if let Some((_, row)) = self.rows.get_mut(place) {
            row.entries.push((slip, entry));
        }
    }

    /// Whether everything that was offered has its turn.
    pub(super) fn is_all(&self) -> bool {
        !self.passed_over
    }

    /// The rows in the order of their turns.
    pub(super) fn rows(mut self) -> Vec<Row> {
        // rows came in the order of their oldest entries, and the sort keeps it where turns are equal
        self.rows.sort_by_key(|(turn, _)| *turn);
        self.rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// The rows of some entries (oldest first) in the order of their turns, all of them chosen.
pub(super) fn all_rows(entries: Vec<(Slip, Entry)>) -> Vec<Row> {
    let all = usize::MAX;
    let mut choice = Choice::new(Share { of_row: all, of_table: all, of_all: all });
    entries.into_iter().for_each(|(slip, entry)| choice.offer(slip, entry));
    choice.rows()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Channel;
    use crate::inbox::store::{Place, Shelf};

    fn entry(table: &str, row: &str, due_ms: i64) -> (Slip, Entry) {
        let entry = Entry {
            partition: format!("{table}:{row}"),
            event_key: format!("event:{due_ms}"),
            due_ms,
            first_ms: 0,
            attempts: 0,
            reason: String::new(),
            table: table.to_owned(),
            channel: Channel::Webhook,
            handed: 0,
        };
        let place = Place { shelf: Shelf::Due, shard: 0, key: due_ms.to_string() };
        (Slip { place, etag: String::new(), pieces: 0 }, entry)
    }

    fn order(entries: Vec<(Slip, Entry)>, of_row: usize, of_table: usize) -> (Vec<(String, Vec<i64>, bool)>, bool) {
        let mut choice = Choice::new(Share { of_row, of_table, of_all: 100 });
        entries.into_iter().for_each(|(slip, entry)| choice.offer(slip, entry));
        let is_all = choice.is_all();
        let rows = choice.rows().into_iter().map(|row| {
            let dues = row.entries.iter().map(|(_, entry)| entry.due_ms).collect();
            (row.entries[0].1.partition.clone(), dues, row.cut)
        });
        (rows.collect(), is_all)
    }

    #[test]
    fn a_table_with_little_to_do_does_not_wait_for_one_with_much() {
        let mut entries: Vec<_> = (0..200).map(|n| entry("much", &format!("r{n}"), n)).collect();
        entries.push(entry("little", "a", 300));
        entries.push(entry("little", "b", 301));
        let (order, is_all) = order(entries, 9, 50);
        let order: Vec<String> = order.into_iter().map(|(row, ..)| row).collect();
        assert_eq!(order[..5], ["much:r0", "little:a", "much:r1", "little:b", "much:r2"]);
        assert_eq!((order.len(), is_all), (52, false));
    }

    #[test]
    fn what_has_failed_often_does_not_stand_before_the_others() {
        let failed = (0..200).map(|n| {
            let (slip, poison) = entry("t", &format!("poison{n}"), n);
            (slip, Entry { attempts: 9, ..poison })
        });
        let entries = failed.chain([entry("t", "good", 300)]).collect();
        let order: Vec<String> = order(entries, 9, 50).0.into_iter().map(|(row, ..)| row).collect();
        assert_eq!((order.len(), order[0].as_str()), (51, "t:good"));
    }

    #[test]
    fn a_row_with_much_to_do_gets_some_turns_and_the_others_get_theirs() {
        let mut entries: Vec<_> = (0..50).map(|n| entry("t", "hot", n)).collect();
        entries.push(entry("t", "cold", 60));
        let expected = vec![("t:hot".to_owned(), vec![0, 1, 2], true), ("t:cold".to_owned(), vec![60], false)];
        assert_eq!(order(entries, 3, 100), (expected, false));
    }

    #[test]
    fn little_has_its_turn_as_a_whole() {
        let (order, is_all) = order(vec![entry("t", "a", 1), entry("t", "b", 2), entry("t", "a", 3)], 9, 9);
        assert_eq!(order.iter().map(|(_, dues, _)| dues.clone()).collect::<Vec<_>>(), [vec![1, 3], vec![2]]);
        assert!(is_all);
    }
}

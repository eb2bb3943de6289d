//! In which order the entries of a shard get their turn: tables take turns, within a table its rows do, and each row's
//! oldest comes first. Pure.

use crate::inbox::{Entry, Slip};
use std::collections::HashMap;

/// What is due of one row, oldest first. Events of one row are worked on one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) entries: Vec<(Slip, Entry)>,
    /// More of it is due than has its turn now.
    pub(super) cut: bool,
}

/// The rows of some entries (oldest first), in the order of their turns, with at most `row_max` entries of each.
pub(super) fn turns(entries: Vec<(Slip, Entry)>, row_max: usize) -> Vec<Row> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut of_table: HashMap<String, usize> = HashMap::new();
    let mut rows: Vec<(usize, Row)> = Vec::new();
    for (slip, entry) in entries {
        let place = *places.entry(entry.partition.clone()).or_insert_with(|| {
            let turn = of_table.entry(entry.table.clone()).or_default();
            *turn += 1;
            rows.push((*turn, Row::default()));
            rows.len() - 1
        });
        let Some((_, row)) = rows.get_mut(place) else { continue };
        if row.entries.len() < row_max {
            row.entries.push((slip, entry));
        } else {
            row.cut = true;
        }
    }
    // rows came in the order of their oldest entries, and the sort keeps it where turns are equal
    rows.sort_by_key(|(turn, _)| *turn);
    rows.into_iter().map(|(_, row)| row).collect()
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

    fn order(entries: Vec<(Slip, Entry)>, row_max: usize) -> Vec<(String, Vec<i64>, bool)> {
        let rows = turns(entries, row_max).into_iter();
        rows.map(|row| {
            let dues = row.entries.iter().map(|(_, entry)| entry.due_ms).collect();
            (row.entries[0].1.partition.clone(), dues, row.cut)
        })
        .collect()
    }

    #[test]
    fn a_table_with_little_to_do_does_not_wait_for_one_with_much() {
        let mut entries: Vec<_> = (0..50).map(|n| entry("much", &format!("r{n}"), n)).collect();
        entries.push(entry("little", "a", 60));
        entries.push(entry("little", "b", 61));
        let order: Vec<String> = order(entries, 9).into_iter().map(|(row, ..)| row).collect();
        assert_eq!(order[..5], ["much:r0", "little:a", "much:r1", "little:b", "much:r2"]);
        assert_eq!(order.len(), 52);
    }

    #[test]
    fn a_row_with_much_to_do_gets_some_turns_and_the_others_get_theirs() {
        let mut entries: Vec<_> = (0..50).map(|n| entry("t", "hot", n)).collect();
        entries.push(entry("t", "cold", 60));
        let expected = [("t:hot".to_owned(), vec![0, 1, 2], true), ("t:cold".to_owned(), vec![60], false)];
        assert_eq!(order(entries, 3), expected);
    }
}

//! How much of a shard is out with the queue at once: as much as is worked off in a while, so that what has no place at the
//! target stays where it is instead of coming and going. Pure, and only a hint: forgotten with the process.
//!
//! It begins with [`FIRST`]. Whoever works it off quickly gets twice as much each time; if entries come due again before
//! anybody has come to them, it is half of that from then on.

/// Entries of a shard that are out at first, and at the least and at the most. 32 shards: 2,048 at first.
const FIRST: usize = 64;
const LEAST: usize = 8;
const MOST: usize = 1_024;

/// One shard's pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    most: usize,
    out: Option<Out>,
}

/// Entries that were handed over and not seen to be gone: how many, and when they are due again, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Out {
    pub(super) count: usize,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { most: FIRST, out: None }
    }
}

impl Pace {
    /// So many were handed over, and are due again between these times.
    pub(super) fn handed(&mut self, count: usize, (from_ms, to_ms): (i64, i64)) {
        if count == 0 {
            return;
        }
        let before = self.out.unwrap_or(Out { count: 0, from_ms, to_ms });
        let (from_ms, to_ms) = (before.from_ms.min(from_ms), before.to_ms.max(to_ms));
        self.out = Some(Out { count: before.count.saturating_add(count), from_ms, to_ms });
    }

    /// What to count before more is handed over. `None`: nothing is out any more.
    pub(super) fn out(&mut self, now_ms: i64) -> Option<Out> {
        self.out = self.out.filter(|out| out.to_ms > now_ms && out.count > 0);
        self.out
    }

    /// So many of those that were out are still there.
    pub(super) fn counted(&mut self, left: usize) {
        let Some(out) = &mut self.out else { return };
        if out.count.saturating_sub(left) * 2 >= self.most {
            self.most = (self.most * 2).min(MOST);
        }
        out.count = left;
    }

    /// Some came due again before anybody came to them.
    pub(super) fn came_back(&mut self) {
        self.most = (self.most / 2).max(LEAST);
    }

    /// How many more may be handed over now; 0 while it would be a few only.
    pub(super) fn room(&self) -> usize {
        let room = self.most.saturating_sub(self.out.map_or(0, |out| out.count));
        if room * 4 >= self.most { room } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worked_off_quickly_is_doubled_and_what_is_not_leaves_no_room() {
        let mut pace = Pace::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(pace.room());
            pace.handed(pace.room(), (1_000, 1_000));
            assert_eq!(pace.room(), 0);
            pace.counted(0);
        }
        assert_eq!(seen, [64, 128, 256, 512, 1_024, 1_024]);
        pace.handed(1_024, (1_000, 1_000));
        pace.counted(900);
        assert_eq!(pace.room(), 0, "a few more are not worth a request");
        pace.counted(700);
        assert_eq!(pace.room(), 324);
    }

    #[test]
    fn what_comes_due_again_halves_it_down_to_a_few() {
        let mut pace = Pace::default();
        (0..9).for_each(|_| pace.came_back());
        assert_eq!(pace.room(), LEAST);
    }

    #[test]
    fn what_is_due_again_is_not_out_any_more() {
        let mut pace = Pace::default();
        pace.handed(30, (1_000, 1_010));
        pace.handed(20, (5_000, 5_000));
        assert_eq!(pace.out(4_999), Some(Out { count: 50, from_ms: 1_000, to_ms: 5_000 }));
        assert_eq!((pace.out(5_000), pace.room()), (None, FIRST));
    }
}

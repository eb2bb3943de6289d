//! What instances tell each other about one environment: until when it wants no call, and until when none is worth it. Pure;
//! where the notice hangs is somebody else's business.
//!
//! Times are wall-clock milliseconds of whoever wrote them, rounded up to the second, so that many refusals within one
//! second are one change. Whoever reads adds the skew that clocks may have: a pause is never shortened.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One environment's notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notice {
    /// Until when it asked for a pause (`Retry-After`); 0: it did not.
    pub closed_until_ms: i64,
    /// Until when the breaker is open; 0: it is closed.
    pub open_until_ms: i64,
}

/// What a notice means for whoever reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Others were asked for a pause that still lasts so long.
    pub closed_for: Option<Duration>,
    /// What others found.
    pub breaker: Option<Found>,
}

/// What others found out about the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is away: no call for so long.
    Away(Duration),
    /// It works.
    Well,
}

/// One instance's part in the exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchange {
    /// What our own calls saw.
    own: Notice,
    /// We know that the environment works: open breakers until then are over.
    over_until_ms: i64,
    /// The notice as it was last seen or written.
    there: Notice,
}

impl Exchange {
    /// The environment asked us for a pause until then.
    pub fn closed(&mut self, until_ms: i64) {
        self.own.closed_until_ms = self.own.closed_until_ms.max(whole_seconds(until_ms));
    }

    /// Our calls opened the breaker until then.
    pub fn opened(&mut self, until_ms: i64) {
        self.own.open_until_ms = whole_seconds(until_ms);
    }

    /// A call of ours found the environment well.
    pub fn found_well(&mut self) {
        self.over_until_ms = self.over_until_ms.max(self.there.open_until_ms).max(self.own.open_until_ms);
        self.own.open_until_ms = 0;
    }

    /// Whether there is something to tell.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.merged(Some(&self.there)).is_some()
    }

    /// What the notice should say, given what it says; `None` if that is right already. A pause is only ever made longer.
    #[must_use]
    pub fn merged(&self, there: Option<&Notice>) -> Option<Notice> {
        let there = there.copied().unwrap_or_default();
        let open_by_others = if there.open_until_ms <= self.over_until_ms { 0 } else { there.open_until_ms };
        let merged = Notice {
            closed_until_ms: there.closed_until_ms.max(self.own.closed_until_ms),
            open_until_ms: open_by_others.max(self.own.open_until_ms),
        };
        (merged != there).then_some(merged)
    }

    /// Reads the notice. What we wrote ourselves is no news to us.
    pub fn hear(&mut self, there: Notice, now_ms: i64, clock_skew: Duration) -> Heard {
        let left = |until_ms: i64| {
            let left_ms = until_ms.saturating_sub(now_ms);
            let left = Duration::from_millis(u64::try_from(left_ms).ok()?).saturating_add(clock_skew);
            Some(left.min(LONGEST))
        };
        let withdrawn = self.own.open_until_ms > 0
            && self.there.open_until_ms >= self.own.open_until_ms
            && there.open_until_ms < self.own.open_until_ms;
        if withdrawn {
            self.own.open_until_ms = 0;
        }
        self.there = there;
        let closed = Some(there.closed_until_ms).filter(|until_ms| *until_ms > self.own.closed_until_ms);
        let over = self.own.open_until_ms == 0 && there.open_until_ms <= self.over_until_ms;
        let breaker = if over || withdrawn {
            Some(Found::Well)
        } else if there.open_until_ms > self.own.open_until_ms {
            left(there.open_until_ms).map(Found::Away)
        } else {
            None
        };
        Heard { closed_for: closed.and_then(left), breaker }
    }
}

/// What a notice may ask for at most; more is a mistake.
const LONGEST: Duration = super::super::retry::RETRY_AFTER_MAX;

fn whole_seconds(ms: i64) -> i64 {
    ms.div_euclid(1_000).saturating_add(i64::from(ms.rem_euclid(1_000) > 0)).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW: Duration = Duration::from_secs(5);

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    /// Two instances and the notice between them.
    #[derive(Default)]
    struct Board {
        notice: Option<Notice>,
        writes: usize,
    }

    impl Board {
        fn tell(&mut self, from: &mut Exchange, now_ms: i64) {
            if from.has_news()
                && let Some(merged) = from.merged(self.notice.as_ref())
            {
                self.notice = Some(merged);
                self.writes += 1;
            }
            self.hear(from, now_ms);
        }

        fn hear(&self, by: &mut Exchange, now_ms: i64) -> Heard {
            by.hear(self.notice.unwrap_or_default(), now_ms, SKEW)
        }
    }

    #[test]
    fn a_pause_reaches_the_others_whole_and_with_the_skew_on_top() {
        let (mut board, mut one, mut two) = (Board::default(), Exchange::default(), Exchange::default());
        one.closed(20_001);
        board.tell(&mut one, 0);
        assert_eq!(board.hear(&mut two, 1_000).closed_for, seconds(20 + 5));
        assert_eq!(board.hear(&mut one, 1_000).closed_for, None, "what we wrote is no news to us");
        assert_eq!(board.hear(&mut two, 22_000).closed_for, None, "it is over");
        two.closed(5_000);
        board.tell(&mut two, 0);
        assert_eq!(board.notice.unwrap().closed_until_ms, 21_000, "never shortened");
    }

    #[test]
    fn many_refusals_within_a_second_are_one_write_and_nothing_new_is_none() {
        let (mut board, mut one) = (Board::default(), Exchange::default());
        board.tell(&mut one, 0);
        assert_eq!(board.writes, 0);
        for ms in 0..1_000 {
            one.closed(30_001 + ms);
            board.tell(&mut one, ms);
        }
        assert_eq!(board.writes, 1);
    }

    #[test]
    fn an_open_breaker_is_told_and_taken_back_by_whoever_finds_the_environment_well() {
        let (mut board, mut one, mut two) = (Board::default(), Exchange::default(), Exchange::default());
        one.opened(10_000);
        board.tell(&mut one, 0);
        assert_eq!(board.hear(&mut two, 4_000).breaker, Some(Found::Away(Duration::from_secs(6 + 5))));
        two.found_well();
        board.tell(&mut two, 9_000);
        assert_eq!(board.notice, Some(Notice::default()));
        assert_eq!(board.hear(&mut one, 9_000).breaker, Some(Found::Well), "our own notice was withdrawn");
        board.tell(&mut one, 9_000);
        assert_eq!((board.notice, board.writes), (Some(Notice::default()), 2), "and is not written again");
    }

    #[test]
    fn what_was_not_told_yet_is_not_taken_as_withdrawn() {
        let (board, mut one) = (Board::default(), Exchange::default());
        one.opened(10_000);
        assert_eq!(board.hear(&mut one, 0).breaker, None);
        assert!(one.has_news());
    }

    #[test]
    fn finding_it_well_does_not_take_back_what_somebody_saw_later() {
        let (mut board, mut one, mut two) = (Board::default(), Exchange::default(), Exchange::default());
        one.opened(10_000);
        board.tell(&mut one, 0);
        one.found_well();
        two.opened(15_000);
        board.tell(&mut two, 9_000);
        board.tell(&mut one, 9_000);
        assert_eq!(board.notice.unwrap().open_until_ms, 15_000);
    }

    #[test]
    fn a_notice_that_is_nonsense_keeps_nobody_for_longer_than_a_day() {
        let there = Notice { closed_until_ms: i64::MAX, open_until_ms: i64::MAX };
        let heard = Exchange::default().hear(there, i64::MIN, SKEW);
        assert_eq!(heard.closed_for, Some(LONGEST));
        let there = Notice { closed_until_ms: i64::MIN, open_until_ms: i64::MIN };
        assert_eq!(Exchange::default().hear(there, i64::MAX, SKEW).closed_for, None);
    }

    #[test]
    fn times_are_rounded_up() {
        for (ms, expected) in [(0, 0), (1, 1_000), (1_000, 1_000), (1_001, 2_000), (-1, 0)] {
            assert_eq!(whole_seconds(ms), expected);
        }
    }
}

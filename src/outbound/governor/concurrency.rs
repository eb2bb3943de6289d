//! How many calls at once: one more for each round of answers, half after a refusal. Pure.
//!
//! Additive increase, multiplicative decrease, as in TCP, because several instances share one environment without seeing
//! each other: so they come to fair shares. It grows only while it is used, and shrinks once per round: what was sent
//! before the last decrease does not count again. Answers that take much longer than they used to are a decrease too.

use super::seen::Seen;
use std::time::Duration;

/// Where it starts, if the caps allow: a new instance must not be the one too many (assumed).
pub const START: u32 = 4;
/// A thousandth of a call, the unit that is counted in.
const MILLI: u64 = 1_000;
/// What is left after a refusal, in percent.
const AFTER_REFUSAL: u64 = 50;
/// What is left when answers have become slow, in percent.
const AFTER_SLOWNESS: u64 = 80;
/// So long it stays below the number of calls that was too many (429). A refusal costs a pause of all calls, so the limit is
/// not tried again and again (assumed; the service's own window is 5 minutes).
const REMEMBERED: Duration = Duration::from_secs(30);
/// Answers are slow when recent ones take more than so many times what they used to, and [`SLACK`] on top (assumed: rows
/// and plug-ins differ that much by themselves).
const SLOWER: u32 = 2;
const SLACK: Duration = Duration::from_millis(100);
/// One in so many: how fast an average follows. Recent answers; the usual, when it gets better; when it gets worse.
const RECENT: u32 = 8;
const BETTER: u32 = 16;
const WORSE: u32 = 256;

/// How many calls at once.
#[derive(Clone, Debug)]
pub struct Concurrency {
    limit_milli: u64,
    max_in_flight: u32,
    /// What the other side advises.
    hint: u32,
    shrunk_at: Duration,
    /// How many calls were too many, and when.
    too_many: Option<(u32, Duration)>,
    /// Averages of how long answers take: recent ones, and what is usual.
    recent: Option<Duration>,
    usual: Duration,
}

/// One call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// When it was sent.
    pub started: Duration,
    /// When it ended.
    pub now: Duration,
    /// Calls under way then, itself included.
    pub in_flight: u32,
    /// What it showed.
    pub seen: Seen,
}

impl Concurrency {
    /// At most `max_in_flight` (0 counts as 1).
    #[must_use]
    pub fn new(max_in_flight: u32) -> Self {
        let max_in_flight = max_in_flight.max(1);
        Self {
            limit_milli: u64::from(START.min(max_in_flight)) * MILLI,
            max_in_flight,
            hint: u32::MAX,
            shrunk_at: Duration::ZERO,
            too_many: None,
            recent: None,
            usual: Duration::ZERO,
        }
    }

    /// Calls at once, at least 1.
    #[must_use]
    pub fn limit(&self) -> u32 {
        u32::try_from(self.limit_milli / MILLI).unwrap_or(u32::MAX).clamp(1, self.cap())
    }

    /// What it can grow to.
    #[must_use]
    pub fn cap(&self) -> u32 {
        self.max_in_flight.min(self.hint)
    }

    /// The other side advises so many (0 counts as 1).
    pub fn advise(&mut self, hint: u32) {
        self.hint = hint.max(1);
    }

    /// The environment was away: it is met with one call at a time.
    pub fn restart(&mut self, now: Duration) {
        (self.limit_milli, self.shrunk_at, self.recent) = (MILLI, now, None);
    }

    /// A call has ended.
    pub fn ended(&mut self, call: Ended) {
        if call.seen.asks_for_less() {
            if call.seen == Seen::Throttled && call.started >= self.shrunk_at {
                self.too_many = Some((self.limit(), call.now));
            }
            self.shrink(call, AFTER_REFUSAL);
        } else if call.seen == Seen::Answered {
            if self.has_become_slow(call.now.saturating_sub(call.started)) {
                self.shrink(call, AFTER_SLOWNESS);
            } else if call.in_flight.saturating_mul(2) >= self.limit() {
                // a whole one more when as many answers have come as there are places
                let more = MILLI * MILLI / self.limit_milli.max(MILLI);
                let most = self.cap().min(self.most_lately(call.now));
                self.limit_milli = (self.limit_milli + more).min(u64::from(most) * MILLI).max(self.limit_milli);
            }
        }
    }

    /// One less than what was too many a moment ago.
    fn most_lately(&self, now: Duration) -> u32 {
        match self.too_many {
            Some((limit, at)) if now.saturating_sub(at) < REMEMBERED => limit.saturating_sub(1).max(1),
            _ => u32::MAX,
        }
    }

    fn shrink(&mut self, call: Ended, percent_left: u64) {
        if call.started >= self.shrunk_at {
            self.limit_milli = (u64::from(self.limit()) * MILLI * percent_left / 100).max(MILLI);
            self.shrunk_at = call.now;
        }
    }

    fn has_become_slow(&mut self, took: Duration) -> bool {
        let Some(recent) = self.recent else {
            (self.recent, self.usual) = (Some(took), took);
            return false;
        };
        let recent = follow(recent, took, RECENT);
        self.recent = Some(recent);
        self.usual = follow(self.usual, took, if took < self.usual { BETTER } else { WORSE });
        recent > self.usual * SLOWER + SLACK
    }
}

/// The average, one part in `parts` nearer to a new value.
fn follow(average: Duration, value: Duration, parts: u32) -> Duration {
    (average - average / parts) + value / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// A round of answers, as many as there are places.
    fn round(limit: &mut Concurrency, now: &mut Duration, took: Duration, seen: Seen) {
        let in_flight = limit.limit();
        let started = *now;
        *now += took;
        for left in (1..=in_flight).rev() {
            limit.ended(Ended { started, now: *now, in_flight: left.max(in_flight / 2), seen });
        }
    }

    #[test]
    fn it_starts_low_and_grows_by_one_a_round_to_its_cap() {
        let (mut limit, mut now) = (Concurrency::new(8), MS);
        let mut seen = vec![limit.limit()];
        for _ in 0..8 {
            round(&mut limit, &mut now, 20 * MS, Seen::Answered);
            seen.push(limit.limit());
        }
        assert_eq!(seen.first(), Some(&START));
        assert!(seen.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{seen:?}");
        assert_eq!(seen.last(), Some(&8), "{seen:?}");
        assert_eq!(Concurrency::new(2).limit(), 2);
        assert_eq!(Concurrency::new(0).limit(), 1);
    }

    #[test]
    fn one_refused_round_halves_it_once_however_many_were_refused() {
        for seen in [Seen::Throttled, Seen::Unanswered, Seen::Unavailable] {
            let (mut limit, mut now) = (Concurrency::new(16), MS);
            (0..60).for_each(|_| round(&mut limit, &mut now, 20 * MS, Seen::Answered));
            assert_eq!(limit.limit(), 16);
            for expected in [8, 4, 2, 1, 1] {
                round(&mut limit, &mut now, 20 * MS, seen);
                assert_eq!(limit.limit(), expected, "{seen:?}");
            }
        }
    }

    #[test]
    fn what_was_too_many_is_not_tried_again_for_half_a_minute() {
        let (mut limit, mut now) = (Concurrency::new(16), MS);
        (0..60).for_each(|_| round(&mut limit, &mut now, 20 * MS, Seen::Answered));
        let refused = now + 20 * MS;
        round(&mut limit, &mut now, 20 * MS, Seen::Throttled);
        assert_eq!(limit.limit(), 8);
        while now < refused + REMEMBERED - 20 * MS {
            round(&mut limit, &mut now, 20 * MS, Seen::Answered);
            assert!(limit.limit() < 16, "after {:?}", now - refused);
        }
        assert_eq!(limit.limit(), 15);
        (0..60).for_each(|_| round(&mut limit, &mut now, 20 * MS, Seen::Answered));
        assert_eq!(limit.limit(), 16);
    }

    #[test]
    fn it_does_not_grow_while_it_is_not_used() {
        let (mut limit, mut now) = (Concurrency::new(64), MS);
        for _ in 0..1_000 {
            now += MS;
            limit.ended(Ended { started: now - MS, now, in_flight: 1, seen: Seen::Answered });
        }
        assert_eq!(limit.limit(), START);
    }

    #[test]
    fn answers_that_become_slow_shrink_it_and_what_stays_slow_becomes_usual() {
        let (mut limit, mut now) = (Concurrency::new(16), MS);
        (0..60).for_each(|_| round(&mut limit, &mut now, 50 * MS, Seen::Answered));
        assert_eq!(limit.limit(), 16);
        (0..10).for_each(|_| round(&mut limit, &mut now, 1_000 * MS, Seen::Answered));
        assert!(limit.limit() < 8, "{}", limit.limit());
        (0..400).for_each(|_| round(&mut limit, &mut now, 1_000 * MS, Seen::Answered));
        assert_eq!(limit.limit(), 16);
    }

    #[test]
    fn answers_that_differ_as_rows_do_leave_it_alone() {
        let (mut limit, mut now) = (Concurrency::new(8), MS);
        for n in 0..300 {
            round(&mut limit, &mut now, MS * [20, 90, 40, 130, 30, 60][n % 6], Seen::Answered);
        }
        assert_eq!(limit.limit(), 8);
    }

    #[test]
    fn the_hint_is_a_cap_below_our_own() {
        let (mut limit, mut now) = (Concurrency::new(8), MS);
        limit.advise(100);
        (0..60).for_each(|_| round(&mut limit, &mut now, MS, Seen::Answered));
        assert_eq!(limit.limit(), 8);
        limit.advise(3);
        assert_eq!(limit.limit(), 3);
        limit.advise(0);
        assert_eq!(limit.limit(), 1);
    }

    #[test]
    fn after_an_outage_it_climbs_back_from_one() {
        let (mut limit, mut now) = (Concurrency::new(8), MS);
        (0..60).for_each(|_| round(&mut limit, &mut now, 20 * MS, Seen::Answered));
        limit.restart(now);
        assert_eq!(limit.limit(), 1);
        (0..12).for_each(|_| round(&mut limit, &mut now, 20 * MS, Seen::Answered));
        assert_eq!(limit.limit(), 8);
    }

    proptest! {
        #[test]
        fn it_always_lies_between_one_and_the_cap(
            max in 0_u32..100, steps in proptest::collection::vec((0_u64..5_000, 0_u32..100, 0_usize..6, proptest::option::of(0_u32..60)), 0..200),
        ) {
            let all = [
                Seen::Answered, Seen::Throttled, Seen::Erred, Seen::Unavailable, Seen::Unanswered, Seen::Unreachable,
            ];
            let (mut limit, mut now) = (Concurrency::new(max), Duration::ZERO);
            for (ms, in_flight, seen, hint) in steps {
                let started = now;
                now += MS * u32::try_from(ms).unwrap();
                limit.ended(Ended { started, now, in_flight, seen: all[seen] });
                if let Some(hint) = hint {
                    limit.advise(hint);
                }
                prop_assert!(limit.limit() >= 1 && limit.limit() <= limit.cap() && limit.cap() <= max.max(1));
            }
        }
    }
}

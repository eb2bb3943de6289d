//! How big the story is and how fast its clocks run. Plain numbers: knows nobody who acts on them.

use std::time::Duration;

/// Handler processes.
pub(super) const INSTANCES: usize = 3;
/// Which of them are killed, one after the other.
pub(super) const VICTIMS: [usize; 2] = [1, 2];
/// Share of events that are delivered twice.
pub(super) const DUPLICATES: f64 = 0.10;
/// Share of the duplicates that are delivered at the same moment as the first.
pub(super) const TWINS: f64 = 0.4;
/// Share of events that are delivered late.
pub(super) const LATE: f64 = 0.3;
/// How late the events of new companies come: after those of their contacts.
pub(super) const LATE_PARENT: (Duration, Duration) = (ms(700), ms(1_200));
/// Share of new contacts that another program creates in the target, too, at about the same moment.
pub(super) const RIVALS: f64 = 0.5;
/// The `Retry-After` of the throttled target; the header has whole seconds.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) accounts: usize,
    pub(super) products: usize,
    /// People and programs who change rows at the same time.
    pub(super) writers: usize,
    /// What each of them does, one after the other.
    pub(super) actions: usize,
    /// Between two actions of one writer, on average.
    pub(super) pace: Duration,
    /// Longest delay of a late delivery.
    pub(super) late_max: Duration,
    /// When the target begins to refuse everything, after the opening, and for how long.
    pub(super) throttle: (Duration, Duration),
    /// When the target is not there at all, after the opening, and for how long.
    pub(super) outage: (Duration, Duration),
    /// When instances are killed, after the opening.
    pub(super) kills: [Duration; 2],
    /// How long a message stays locked when its receiver is gone.
    pub(super) lock: Duration,
    /// How long the rest of the traffic may take to be worked off. Seconds are usual; an entry whose message is lost with a
    /// process waits for a lease.
    pub(super) patience: Duration,
    /// `[limits]` of the mapping file.
    pub(super) limits: &'static str,
}

impl Plan {
    /// About half a minute.
    pub(super) fn usual(seed: u64) -> Self {
        Self {
            seed,
            accounts: 25,
            products: 12,
            writers: 6,
            actions: 48,
            pace: ms(400),
            late_max: ms(1_500),
            throttle: (ms(6_000), ms(2_500)),
            kills: [ms(10_500), ms(18_500)],
            outage: (ms(14_000), ms(3_000)),
            lock: ms(6_000),
            patience: ms(150_000),
            limits: r#"
lease = "6s"
settle = "2s"
request_timeout = "1s"
webhook_deadline = "2s"
queue_deadline = "4s"
duplicate_wait = "1s"
clock_skew = "200ms"
"#,
        }
    }

    /// Some seconds.
    pub(super) fn fast(seed: u64) -> Self {
        Self {
            seed,
            accounts: 8,
            products: 5,
            writers: 4,
            actions: 22,
            pace: ms(180),
            late_max: ms(700),
            throttle: (ms(600), ms(1_100)),
            kills: [ms(1_800), ms(5_200)],
            outage: (ms(2_900), ms(2_200)),
            lock: ms(3_000),
            patience: ms(150_000),
            limits: r#"
lease = "3s"
settle = "1s"
request_timeout = "800ms"
webhook_deadline = "1500ms"
queue_deadline = "2s"
duplicate_wait = "700ms"
clock_skew = "100ms"
"#,
        }
    }
}

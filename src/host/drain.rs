//! When to stop after SIGTERM: not at once. The host may still send what it has taken (facts, 10: "on SIGTERM keep
//! serving in-flight and new requests for a bounded time, then exit 0"), and a handler that is gone fails every
//! invocation and burns the delivery counts of messages. Knows no socket and no signal.

use futures_util::{Stream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainLimits {
    /// At most this long after the signal, whatever is under way. Kubernetes kills after 30 s, what Flex allows is not
    /// published (assumed: no less).
    pub grace: Duration,
    /// Not longer than until nothing was asked of us for this time: a host that was told to stop as well takes at most
    /// a few seconds between its last invocations (assumed).
    pub idle: Duration,
}

impl Default for DrainLimits {
    fn default() -> Self {
        Self { grace: Duration::from_secs(20), idle: Duration::from_secs(3) }
    }
}

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Told to stop, and nothing came any more.
    Idle,
    /// Told to stop, and the time was over; something may have been cut off.
    Grace,
    /// Told twice; what was under way is cut off.
    Twice,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    under_way: usize,
    seen: u64,
}

/// Counts what is under way.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<watch::Sender<Count>>);

/// One request under way, until dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<watch::Sender<Count>>);

impl Activity {
    /// A request began.
    #[must_use]
    pub fn begin(&self) -> UnderWay {
        self.0.send_modify(|count| {
            count.under_way = count.under_way.saturating_add(1);
            count.seen = count.seen.wrapping_add(1);
        });
        UnderWay(Arc::clone(&self.0))
    }

    /// Waits, from the signal on, until it is time to stop. `signals` yields the second one.
    pub async fn drained(&self, limits: DrainLimits, signals: &mut (impl Stream<Item = ()> + Unpin)) -> End {
        tokio::select! {
            biased;
            () = next(signals) => End::Twice,
            () = self.idle_for(limits.idle) => End::Idle,
            () = tokio::time::sleep(limits.grace) => End::Grace,
        }
    }

    async fn idle_for(&self, time: Duration) {
        let mut changes = self.0.subscribe();
        loop {
            let busy = changes.borrow_and_update().under_way > 0;
            if busy {
                // cannot close: we hold the sender
                let _ = changes.changed().await;
            } else if tokio::time::timeout(time, changes.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| count.under_way = count.under_way.saturating_sub(1));
    }
}

/// Waits for the next signal; for ever if none can come any more.
pub async fn next(signals: &mut (impl Stream<Item = ()> + Unpin)) {
    if signals.next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use tokio::time::{Instant, sleep};

    const LIMITS: DrainLimits = DrainLimits { grace: Duration::from_secs(20), idle: Duration::from_secs(3) };

    async fn drain(activity: &Activity) -> (End, Duration) {
        let start = Instant::now();
        let end = activity.drained(LIMITS, &mut stream::pending()).await;
        (end, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_to_do_ends_after_the_idle_time() {
        assert_eq!(drain(&Activity::default()).await, (End::Idle, LIMITS.idle));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_finished_first() {
        let activity = Activity::default();
        let request = activity.begin();
        let work = async {
            sleep(Duration::from_secs(10)).await;
            drop(request);
        };
        let (ended, ()) = tokio::join!(drain(&activity), work);
        assert_eq!(ended, (End::Idle, Duration::from_secs(13)));
    }

    #[tokio::test(start_paused = true)]
    async fn new_requests_prolong_the_wait_up_to_the_grace_time() {
        let activity = Activity::default();
        let few = async {
            for _ in 0..3 {
                sleep(Duration::from_secs(2)).await;
                drop(activity.begin());
            }
        };
        let (ended, ()) = tokio::join!(drain(&activity), few);
        assert_eq!(ended, (End::Idle, Duration::from_secs(9)));
        let endless = async {
            for _ in 0..30 {
                sleep(Duration::from_secs(2)).await;
                drop(activity.begin());
            }
        };
        let (ended, ()) = tokio::join!(drain(&activity), endless);
        assert_eq!(ended, (End::Grace, LIMITS.grace));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_at_once() {
        let activity = Activity::default();
        let _stuck = activity.begin();
        assert_eq!(activity.drained(LIMITS, &mut stream::iter([()])).await, End::Twice);
    }
}

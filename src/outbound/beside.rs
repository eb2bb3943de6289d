//! Work that rides along with a call: what is due soon is done while something else is waited for, so that nobody waits for it
//! and nothing runs in the background. Knows neither the call nor the work.

use futures_util::future::{Either, select};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// How much longer than its call the work beside it may take before it is dropped: what one call in an hour may lose.
pub const LAG_MAX: Duration = Duration::from_millis(500);

/// Waits for the call, with the work beside it. Work that is not done [`LAG_MAX`] after the call is dropped.
pub async fn beside<T>(call: impl Future<Output = T>, work: impl Future<Output = ()>) -> T {
    match select(pin!(call), pin!(work)).await {
        Either::Left((answer, work)) => {
            let _ = tokio::time::timeout(LAG_MAX, work).await;
            answer
        }
        Either::Right(((), call)) => call.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn a_call_is_not_kept_by_slow_work_beside_it_and_quick_work_costs_nothing() {
        let ms = Duration::from_millis;
        for (work, took) in [(ms(0), ms(100)), (ms(90), ms(100)), (ms(300), ms(300)), (ms(9_000), ms(600))] {
            let begun = Instant::now();
            let answer = beside(
                async {
                    sleep(ms(100)).await;
                    7
                },
                sleep(work),
            );
            assert_eq!((answer.await, begun.elapsed()), (7, took), "{work:?}");
        }
    }
}

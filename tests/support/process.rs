//! A process as a test can treat it: work that is dropped after so many polls, work that stands still between two awaits.

use rand::Rng;
use rand::rngs::StdRng;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Runs a future for so many polls, then drops it: a process that is killed at that await point.
pub async fn killed_after<F: Future>(polls: usize, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut polled = 0;
    std::future::poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match work.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Work that now and then stands still for minutes, at any await, and goes on as if nothing had happened.
pub struct Stalling<F> {
    work: Pin<Box<F>>,
    random: StdRng,
    /// How likely a poll is to be put off.
    share: f64,
    until: Option<Pin<Box<Sleep>>>,
    /// How often it stood still.
    pub stalls: u64,
}

impl<F: Future> Stalling<F> {
    pub fn new(work: F, random: StdRng, share: f64) -> Self {
        Self { work: Box::pin(work), random, share, until: None, stalls: 0 }
    }
}

impl<F: Future> Future for Stalling<F> {
    type Output = (F::Output, u64);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.until.is_none() && this.random.random_bool(this.share) {
            let seconds = Duration::from_secs(this.random.random_range(60..500));
            this.until = Some(Box::pin(tokio::time::sleep_until(Instant::now() + seconds)));
            this.stalls += 1;
        }
        if let Some(until) = &mut this.until {
            if until.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            this.until = None;
        }
        this.work.as_mut().poll(context).map(|ended| (ended, this.stalls))
    }
}

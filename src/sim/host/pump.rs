//! The listener of one queue function on one instance: takes messages, invokes, settles. Knows no HTTP.

use super::queue::{Queue, Received};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How a delivery ended, as far as settling goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Complete.
    Complete,
    /// Give back at once.
    Abandon,
    /// Do nothing; the lock runs out.
    Leave,
}

/// How a listener behaves.
#[derive(Clone, Debug)]
pub struct Pump {
    /// The queue.
    pub queue: Queue,
    /// Most deliveries at the same time.
    pub calls_max: usize,
    /// How long a lock is renewed at most.
    pub renewal_max: Duration,
}

/// How many messages come together (`cardinality: many`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Most of them (`maxMessageBatchSize`).
    pub most: usize,
    /// How many are waited for (`minMessageBatchSize`) ...
    pub least: usize,
    /// ... and for how long (`maxBatchWaitTime`). Their locks run meanwhile.
    pub wait: Duration,
}

impl Pump {
    /// Delivers batches until `draining` becomes true. As in the host one batch at a time, whatever `calls_max` says; no lock is
    /// renewed, and all of a batch is settled alike.
    pub async fn run_batches(
        &self,
        batch: Batch,
        mut draining: watch::Receiver<bool>,
        invoke: impl Fn(Vec<Received>) -> BoxFuture<'static, Settle>,
    ) {
        while !*draining.borrow_and_update() {
            let first = tokio::select! {
                first = self.queue.receive() => first,
                changed = draining.changed() => if changed.is_err() { return } else { continue },
            };
            let mut together = vec![first];
            let enough = Instant::now() + batch.wait;
            while together.len() < batch.most {
                match self.queue.try_receive() {
                    Some(next) => together.push(next),
                    None if together.len() >= batch.least => break,
                    None => match tokio::time::timeout_at(enough, self.queue.receive()).await {
                        Ok(next) => together.push(next),
                        Err(_) => break,
                    },
                }
            }
            let tokens: Vec<_> = together.iter().map(|received| received.token).collect();
            let settle = invoke(together).await;
            for token in tokens {
                let _ = match settle {
                    Settle::Complete => self.queue.complete(token),
                    Settle::Abandon => self.queue.abandon(token),
                    Settle::Leave => Ok(()),
                };
            }
        }
    }

    /// Delivers until `draining` becomes true, then ends what is under way. Dropping it leaves the locks to run out.
    pub async fn run(
        &self,
        mut draining: watch::Receiver<bool>,
        invoke: impl Fn(Received) -> BoxFuture<'static, Settle>,
    ) {
        let mut running = FuturesUnordered::new();
        loop {
            let drains = *draining.borrow_and_update();
            if drains && running.is_empty() {
                return;
            }
            tokio::select! {
                Some(()) = running.next(), if !running.is_empty() => {}
                received = self.queue.receive(), if !drains && running.len() < self.calls_max => {
                    running.push(self.deliver(received.clone(), invoke(received)));
                }
                changed = draining.changed(), if !drains => if changed.is_err() { return },
            }
        }
    }

    async fn deliver(&self, received: Received, work: BoxFuture<'static, Settle>) {
        let token = received.token;
        let renewing = async {
            let start = Instant::now();
            while start.elapsed() < self.renewal_max {
                tokio::time::sleep(self.queue.lock_duration() / 2).await;
                if self.queue.renew(token).is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let settle = tokio::select! {
            biased;
            settle = work => settle,
            () = renewing => Settle::Leave,
        };
        // A lost lock needs no answer: the message is already on its way to somebody else.
        let _ = match settle {
            Settle::Complete => self.queue.complete(token),
            Settle::Abandon => self.queue.abandon(token),
            Settle::Leave => Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::host::message::NewMessage;
    use crate::sim::host::queue::QueueSettings;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn pump(calls_max: usize, renewal_max: Duration) -> Pump {
        Pump { queue: Queue::new(QueueSettings::default()), calls_max, renewal_max }
    }

    #[tokio::test(start_paused = true)]
    async fn deliveries_run_in_parallel_up_to_the_limit() {
        let pump = pump(4, Duration::from_secs(300));
        (0..8).for_each(|i| assert!(pump.queue.send(NewMessage::new(format!("{i}"))).is_some()));
        let (stop, draining) = watch::channel(false);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let start = Instant::now();
        let run = pump.run(draining, |_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            Box::pin(async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(1)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Settle::Complete
            })
        });
        tokio::join!(run, async {
            pump.queue.idle().await;
            stop.send_replace(true);
        });
        assert_eq!(most.load(Ordering::SeqCst), 4);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        assert_eq!(pump.queue.counts().completed, 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_run_keeps_its_lock_only_as_long_as_it_is_renewed() {
        let pump = pump(2, Duration::from_secs(120));
        pump.queue.send(NewMessage::new("slow"));
        let (stop, draining) = watch::channel(false);
        let run = pump.run(draining, |received| {
            Box::pin(async move {
                let first = received.message.delivery_count == 1;
                tokio::time::sleep(Duration::from_secs(if first { 400 } else { 1 })).await;
                Settle::Complete
            })
        });
        tokio::join!(run, async {
            pump.queue.idle().await;
            stop.send_replace(true);
        });
        let counts = pump.queue.counts();
        assert_eq!((counts.locks_lost, counts.delivered, counts.completed), (1, 2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn batches_come_one_at_a_time_and_their_locks_are_not_renewed() {
        let pump = pump(4, Duration::from_secs(300));
        (0..10).for_each(|i| assert!(pump.queue.send(NewMessage::new(format!("{i}"))).is_some()));
        let (stop, draining) = watch::channel(false);
        let sizes = Arc::new(std::sync::Mutex::new(Vec::new()));
        let batch = Batch { most: 8, least: 1, wait: Duration::from_secs(30) };
        let run = pump.run_batches(batch, draining, |received| {
            let first = received[0].message.delivery_count == 1 && received.len() == 8;
            sizes.lock().unwrap().push(received.len());
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(if first { 70 } else { 1 })).await;
                Settle::Complete
            })
        });
        tokio::join!(run, async {
            pump.queue.idle().await;
            stop.send_replace(true);
        });
        let counts = pump.queue.counts();
        assert_eq!((counts.locks_lost, counts.redelivered, counts.completed), (8, 8, 10));
        assert_eq!(*sizes.lock().unwrap(), [8, 8, 2], "what was not completed in time comes again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_for_its_least_number_and_no_longer_than_it_may() {
        let pump = pump(4, Duration::from_secs(300));
        pump.queue.send(NewMessage::new("early"));
        pump.queue.send(NewMessage::new("late").delayed(Duration::from_secs(20)));
        pump.queue.send(NewMessage::new("too late").delayed(Duration::from_secs(45)));
        let (stop, draining) = watch::channel(false);
        let (start, seen) = (Instant::now(), Arc::new(std::sync::Mutex::new(Vec::new())));
        let batch = Batch { most: 8, least: 3, wait: Duration::from_secs(30) };
        let run = pump.run_batches(batch, draining, |received| {
            seen.lock().unwrap().push((received.len(), start.elapsed().as_secs()));
            Box::pin(async { Settle::Complete })
        });
        tokio::join!(run, async {
            pump.queue.idle().await;
            stop.send_replace(true);
        });
        assert_eq!(*seen.lock().unwrap(), [(2, 30), (1, 75)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_listener_leaves_its_messages_to_the_others() {
        let pump = pump(2, Duration::from_secs(300));
        pump.queue.send(NewMessage::new("orphan"));
        let (_stop, draining) = watch::channel(false);
        let hanging = pump.run(draining.clone(), |_| Box::pin(std::future::pending()));
        assert!(tokio::time::timeout(Duration::from_secs(10), hanging).await.is_err());
        let start = Instant::now();
        let other = pump.run(draining, |_| Box::pin(async { Settle::Complete }));
        tokio::select! {
            () = other => panic!("ended"),
            () = pump.queue.idle() => {}
        }
        assert_eq!(start.elapsed(), Duration::from_secs(50), "the rest of the lock");
    }
}

//! Taking messages out of a queue or of its dead letters: under a lock, or for good. Knows no function and no event.
//!
//! The queue itself is received by the Functions host; this is for its dead letters, and for tests.

use crate::outbound::transport::Response;
use crate::servicebus::client::{Call, QueueClient};
use crate::servicebus::error::{Asked, ServiceBusError};
use crate::servicebus::received::{Lock, Locked, Received};
use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, StatusCode};
use std::time::Duration;

/// Longest wait for a message; the service's own default.
const WAIT_MAX: Duration = Duration::from_secs(60);

const ASKED: Asked = Asked { right: "Listen", bytes: 0, settles: false };

/// Receives from one queue. Clones share everything.
#[derive(Clone, Debug)]
pub struct Receiver {
    queue: QueueClient,
    /// Below the queue's address.
    path: &'static str,
}

impl Receiver {
    /// Receives from the queue itself.
    #[must_use]
    pub fn of_queue(queue: QueueClient) -> Self {
        Self { queue, path: "" }
    }

    /// Receives from the queue's dead letters.
    #[must_use]
    pub fn of_dead_letters(queue: QueueClient) -> Self {
        Self { queue, path: "/$DeadLetterQueue" }
    }

    /// Locks the next message, waiting for one up to `wait` (whole seconds, 60 at most). `None`: there is none.
    ///
    /// # Errors
    /// [`ServiceBusError`]; after [`ServiceBusError::Unknown`] a message may be locked, until its lock runs out.
    pub async fn lock_next(&self, wait: Duration) -> Result<Option<Locked>, ServiceBusError> {
        let answer = self.next(Method::POST, wait, StatusCode::CREATED).await?;
        answer.map(|answer| Locked::read(&answer)).transpose()
    }

    /// Takes the next message out for good. `None`: there is none.
    ///
    /// # Errors
    /// [`ServiceBusError`]; after [`ServiceBusError::Unknown`] a message may be gone unread: for what must not be lost
    /// there is [`Self::lock_next`].
    pub async fn take_next(&self, wait: Duration) -> Result<Option<Received>, ServiceBusError> {
        let answer = self.next(Method::DELETE, wait, StatusCode::OK).await?;
        answer.map(|answer| Received::read(&answer)).transpose()
    }

    /// Removes a locked message for good.
    ///
    /// # Errors
    /// [`ServiceBusError::LockLost`] if it is not locked by this lock any more: it comes again, or was removed by an
    /// earlier call whose answer was lost.
    pub async fn complete(&self, lock: &Lock) -> Result<(), ServiceBusError> {
        self.settle(Method::DELETE, lock).await
    }

    /// Gives a locked message back at once.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub async fn unlock(&self, lock: &Lock) -> Result<(), ServiceBusError> {
        self.settle(Method::PUT, lock).await
    }

    /// Starts the lock's duration again.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub async fn renew(&self, lock: &Lock) -> Result<(), ServiceBusError> {
        self.settle(Method::POST, lock).await
    }

    async fn next(
        &self,
        method: Method,
        wait: Duration,
        fine: StatusCode,
    ) -> Result<Option<Response>, ServiceBusError> {
        let wait = Duration::from_secs(wait.min(WAIT_MAX).as_secs());
        let path = format!("{}/messages/head?timeout={}", self.path, wait.as_secs());
        let call = Call { method, path, headers: HeaderMap::new(), body: Bytes::new(), wait, asked: ASKED };
        let answer = self.queue.call(call, &[fine, StatusCode::NO_CONTENT]).await?;
        Ok((answer.status == fine).then_some(answer))
    }

    async fn settle(&self, method: Method, lock: &Lock) -> Result<(), ServiceBusError> {
        // built here, not taken from `Location`: credentials go to the address that was configured
        let path = format!("{}/messages/{}/{}", self.path, lock.sequence_number, lock.token);
        let (headers, body, wait) = (HeaderMap::new(), Bytes::new(), Duration::ZERO);
        let call = Call { method, path, headers, body, wait, asked: Asked { settles: true, ..ASKED } };
        self.queue.call(call, &[StatusCode::OK]).await.map(drop)
    }
}

#[cfg(test)]
mod tests;

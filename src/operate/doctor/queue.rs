//! Is the queue set up as the limits expect: asked of the service itself, which needs the right to manage it.

use super::Check;
use crate::servicebus::{Admin, QueueInfo, QueueStatus, ServiceBusError};
use std::time::Duration;

const NAME: &str = "queue";

/// Compares the queue with `deliveries_max` and with how long the locks of messages that come together must last (`None`: they
/// are renewed). No `admin`: no connection is set.
pub async fn queue(admin: Option<&Admin>, deliveries_max: u32, lock: Option<Duration>) -> Check {
    let Some(admin) = admin else { return Check::skipped(NAME, "neither ServiceBus nor its namespace is set") };
    match admin.queue_info().await {
        Ok(info) => judge(&info, deliveries_max, lock),
        Err(ServiceBusError::NotFound) => {
            Check::fail(NAME, "there is no such queue", "create it, or correct SYNC_QUEUE")
        }
        // what only looks need not stop anybody: receiving and sending need less
        Err(error) => Check::skipped(NAME, format!("could not be asked (it needs the right Manage): {error}")),
    }
}

fn judge(info: &QueueInfo, deliveries_max: u32, lock: Option<Duration>) -> Check {
    let counted = info.max_delivery_count;
    if info.status != QueueStatus::Active {
        return Check::fail(NAME, format!("its status is {:?}", info.status), "activate it");
    }
    if info.requires_session {
        let remedy = "use a queue without sessions: the function does not ask for any";
        return Check::fail(NAME, "it requires sessions", remedy);
    }
    if counted < deliveries_max {
        let detail =
            format!("it gives a message up after {counted} deliveries, before the last resort at {deliveries_max}");
        return Check::fail(
            NAME,
            detail,
            format!("set `deliveries_max = {counted}` under [limits], or raise the queue's"),
        );
    }
    if let Some(needed) = lock.filter(|needed| info.lock_duration <= *needed) {
        let (has, needed) = (info.lock_duration.as_secs(), needed.as_secs());
        let detail = format!(
            "its locks last {has} s, not more than {needed} s: queue_deadline + request_timeout and what the host waits for a batch"
        );
        let remedy = "raise the queue's lock duration (up to 5 min), or remove `cardinality` from queue/function.json: locks of \
                      messages that come together are not renewed, so they would be delivered again while they are worked on";
        return Check::fail(NAME, detail, remedy);
    }
    if !info.requires_duplicate_detection {
        let remedy = "create it anew with duplicate detection (it cannot be switched on later): a hand-over that is repeated is \
                      delivered twice otherwise";
        return Check::warn(NAME, "it has no duplicate detection", remedy);
    }
    if counted > deliveries_max {
        let detail = format!("it delivers {counted} times; messages are parked after {deliveries_max} already");
        return Check::warn(NAME, detail, format!("set `deliveries_max = {counted}` under [limits]"));
    }
    Check::ok(NAME, format!("active, {counted} deliveries, {} dead letters", info.dead_letters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::doctor::Status;

    fn info() -> QueueInfo {
        QueueInfo {
            status: QueueStatus::Active,
            lock_duration: Duration::from_secs(120),
            max_delivery_count: 10,
            requires_duplicate_detection: true,
            duplicate_window: Duration::from_secs(600),
            requires_session: false,
            dead_letters_expired: false,
            time_to_live: Duration::MAX,
            message_kib_max: None,
            active: 1,
            scheduled: 2,
            dead_letters: 3,
        }
    }

    #[test]
    fn a_queue_that_gives_up_before_the_last_resort_is_a_failure() {
        let check = |info: QueueInfo, deliveries_max: u32, status: Status, says: &str| {
            let check = judge(&info, deliveries_max, Some(Duration::from_secs(90)));
            let text = format!("{} {}", check.detail, check.remedy.unwrap_or_default());
            assert!(check.status == status && text.contains(says), "{text}");
        };
        check(info(), 10, Status::Ok, "10 deliveries, 3 dead letters");
        check(info(), 11, Status::Fail, "set `deliveries_max = 10`");
        check(info(), 9, Status::Warn, "set `deliveries_max = 10`");
        let short = || QueueInfo { lock_duration: Duration::from_secs(90), ..info() };
        check(short(), 10, Status::Fail, "its locks last 90 s");
        assert_eq!(judge(&short(), 10, None).status, Status::Ok, "renewed");
        check(QueueInfo { requires_session: true, ..info() }, 10, Status::Fail, "without sessions");
        let doubled = QueueInfo { requires_duplicate_detection: false, ..info() };
        check(doubled, 10, Status::Warn, "duplicate detection");
        check(QueueInfo { status: QueueStatus::ReceiveDisabled, ..info() }, 10, Status::Fail, "ReceiveDisabled");
    }
}

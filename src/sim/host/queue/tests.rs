//! Locks, redelivery, dead letters, duplicates, schedules; on paused time.

use super::*;

fn queue(max_delivery_count: u32, duplicate_window: Option<Duration>) -> Queue {
    Queue::new(QueueSettings { max_delivery_count, duplicate_window, ..QueueSettings::default() })
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_message_comes_back_at_once_until_its_deliveries_are_used_up() {
    let queue = queue(3, None);
    queue.send(NewMessage::new("a"));
    for count in 1..=3 {
        let received = queue.receive().await;
        assert_eq!(received.message.delivery_count, count);
        queue.abandon(received.token).unwrap();
    }
    assert_eq!(queue.pending(), 0);
    assert_eq!(queue.dead_letters()[0].reason, "MaxDeliveryCountExceeded");
    assert_eq!(queue.counts().redelivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_ran_out_cannot_settle_and_the_message_is_delivered_again() {
    let queue = queue(10, None);
    queue.send(NewMessage::new("a"));
    let first = queue.receive().await;
    let start = Instant::now();
    let second = queue.receive().await;
    assert_eq!(start.elapsed(), Duration::from_secs(60));
    assert_eq!(second.message.delivery_count, 2);
    assert_eq!(queue.complete(first.token), Err(LockLost));
    assert_eq!(queue.complete(second.token), Ok(()));
    assert_eq!(queue.complete(second.token), Err(LockLost));
}

#[tokio::test(start_paused = true)]
async fn a_renewed_lock_holds() {
    let queue = queue(10, None);
    queue.send(NewMessage::new("a"));
    let received = queue.receive().await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        queue.renew(received.token).unwrap();
    }
    assert_eq!(queue.complete(received.token), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_message_takes_the_broker_s_time_to_come_back() {
    let redelivery_delay = Duration::from_millis(20);
    let queue = Queue::new(QueueSettings { redelivery_delay, ..QueueSettings::default() });
    queue.send(NewMessage::new("a"));
    let start = Instant::now();
    let first = queue.receive().await;
    queue.abandon(first.token).unwrap();
    assert_eq!(queue.pending(), 1);
    assert_eq!(queue.receive().await.message.delivery_count, 2);
    assert_eq!(start.elapsed(), redelivery_delay);
}

#[tokio::test(start_paused = true)]
async fn duplicates_within_the_window_are_dropped() {
    let queue = queue(10, Some(Duration::from_secs(600)));
    assert!(queue.send(NewMessage::new("a").id("1")).is_some());
    assert!(queue.send(NewMessage::new("b").id("1")).is_none());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(queue.send(NewMessage::new("c").id("1")).is_some());
    assert_eq!((queue.pending(), queue.counts().dropped), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_message_waits_for_its_time_and_idle_waits_for_it() {
    let queue = queue(10, None);
    queue.send(NewMessage::new("later").delayed(Duration::from_secs(30)));
    queue.send(NewMessage::new("now"));
    let start = Instant::now();
    let consume = async {
        for expected in ["now", "later"] {
            let received = queue.receive().await;
            assert_eq!(received.message.body, expected);
            queue.complete(received.token).unwrap();
        }
    };
    tokio::join!(consume, queue.idle());
    assert_eq!(start.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_can_be_taken_out_under_a_lock_of_its_own() {
    let queue = queue(1, None);
    queue.send(NewMessage::new("a"));
    queue.abandon(queue.receive().await.token).unwrap();
    let dead = queue.dead_letter_queue().unwrap();
    let first = dead.receive().await;
    assert_eq!(first.message.dead_letter_reason.as_deref(), Some("MaxDeliveryCountExceeded"));
    dead.abandon(first.token).unwrap();
    let again = dead.receive().await;
    assert_eq!((again.message.delivery_count, queue.dead_letters().len()), (2, 1));
    dead.complete(again.token).unwrap();
    assert!(queue.dead_letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_is_dropped_when_its_time_is_over_but_not_under_a_lock() {
    let queue = queue(10, None);
    let living = |body: &'static str, seconds| NewMessage {
        time_to_live: Some(Duration::from_secs(seconds)),
        ..NewMessage::new(body)
    };
    queue.send(living("short", 10));
    queue.send(living("long", 100).delayed(Duration::from_secs(50)));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((queue.present(), queue.counts().expired), ((0, 1), 1));
    let received = queue.receive().await;
    assert_eq!(received.message.body, "long");
    tokio::time::sleep(Duration::from_secs(55)).await;
    queue.renew(received.token).unwrap();
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(queue.present(), (1, 0), "locked beyond its time");
    queue.idle().await;
    assert_eq!((queue.counts().expired, queue.counts().locks_lost), (2, 1));
}

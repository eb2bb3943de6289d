//! The gate's waiting, on paused time.

use super::*;
use crate::clock::SystemClock;

fn gate(max_in_flight: u32) -> Gate {
    Gate::new(Arc::new(SystemClock::default()), max_in_flight)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn nobody_starts_before_the_whole_pause_is_over() {
    let gate = gate(8);
    gate.close_for(10 * SECOND);
    gate.close_for(SECOND); // a shorter one does not reopen it
    assert!(matches!(gate.try_enter(), Err(NotNow::Closed { .. })));
    let start = tokio::time::Instant::now();
    let permit = gate.enter(20 * SECOND).await;
    assert!(permit.is_ok());
    assert!(start.elapsed() >= 10 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_pause_longer_than_the_patience_is_reported_at_once() {
    let gate = gate(8);
    gate.close_for(10 * SECOND);
    let start = tokio::time::Instant::now();
    assert_eq!(gate.enter(5 * SECOND).await.unwrap_err(), NotNow::Closed { after: 10 * SECOND });
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_respects_a_pause_that_comes_meanwhile() {
    let gate = gate(1);
    let first = gate.try_enter().unwrap();
    let start = tokio::time::Instant::now();
    let release = async {
        tokio::time::sleep(SECOND).await;
        gate.close_for(3 * SECOND);
        drop(first);
    };
    let (second, ()) = tokio::join!(gate.enter(10 * SECOND), release);
    assert!(second.is_ok());
    assert!(start.elapsed() >= 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_full_gate_lets_the_next_in_when_a_place_is_free() {
    let gate = gate(2);
    let (first, _second) = (gate.try_enter().unwrap(), gate.try_enter().unwrap());
    assert_eq!(gate.enter(SECOND).await.unwrap_err(), NotNow::Full { in_flight: 2 });
    drop(first);
    assert!(gate.enter(SECOND).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gave_up_does_not_swallow_a_free_place() {
    let gate = gate(1);
    let held = gate.try_enter().unwrap();
    let abandoned = tokio::time::timeout(SECOND, gate.enter(10 * SECOND)).await;
    assert!(abandoned.is_err());
    let (entered, ()) = tokio::join!(gate.enter(10 * SECOND), async { drop(held) });
    assert!(entered.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_hint_narrows_but_never_widens() {
    let gate = gate(2);
    gate.advise(100);
    let held = (gate.try_enter().unwrap(), gate.try_enter().unwrap());
    assert!(gate.try_enter().is_err());
    drop(held);
    gate.advise(0);
    let _one = gate.try_enter().unwrap();
    assert_eq!(gate.try_enter().unwrap_err(), NotNow::Full { in_flight: 1 });
}

/// A request that ends at once; whether it was sent.
fn call(gate: &Gate, seen: Seen) -> bool {
    let Ok(started) = gate.start() else { return false };
    gate.ended(started, seen);
    true
}

fn broken() -> Gate {
    let gate = gate(8);
    while call(&gate, Seen::Unreachable) {}
    gate
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_reported_at_once_or_waited_for() {
    let gate = broken();
    let NotNow::Open { after } = gate.enter(SECOND).await.unwrap_err() else { panic!() };
    assert!(after >= 5 * SECOND && after < 6 * SECOND, "{after:?}");
    assert_eq!(gate.opens_in(), Some(after));
    let start = tokio::time::Instant::now();
    assert!(gate.enter(10 * SECOND).await.is_ok());
    assert!(start.elapsed() >= 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_one_call_goes_and_all_others_when_it_was_answered() {
    let gate = broken();
    let probing = async {
        let permit = gate.enter(10 * SECOND).await.unwrap();
        let started = gate.start().unwrap();
        tokio::time::sleep(3 * SECOND).await;
        gate.ended(started, Seen::Answered);
        drop(permit);
        tokio::time::Instant::now()
    };
    let others = futures_util::future::join_all((0..20).map(|_| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let permit = gate.enter(30 * SECOND).await.unwrap();
        let at = tokio::time::Instant::now();
        call(&gate, Seen::Answered);
        drop(permit);
        at
    }));
    let (answered, others) = tokio::join!(probing, others);
    assert!(others.iter().all(|at| *at >= answered));
    assert_eq!(gate.view().breaker, "closed");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_took_the_place_of_the_probe_and_was_dropped_keeps_nobody_out() {
    let gate = broken();
    let permit = gate.enter(10 * SECOND).await.unwrap();
    assert!(matches!(gate.try_enter(), Err(NotNow::Probing { .. })));
    drop(permit);
    let permit = gate.try_enter().unwrap();
    // sent, and then the worker is gone
    let lost = gate.start().unwrap();
    drop((permit, lost));
    assert!(matches!(gate.try_enter(), Err(NotNow::Probing { .. })));
    assert!(gate.enter(40 * SECOND).await.is_ok(), "its time is over");
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_since_before_the_outage_do_not_keep_the_probe_from_being_made() {
    let gate = gate(2);
    let _hanging = (gate.try_enter().unwrap(), gate.try_enter().unwrap());
    while call(&gate, Seen::Unanswered) {}
    assert!(gate.enter(10 * SECOND).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_place_hears_that_there_are_more() {
    let gate = gate(8);
    let held: Vec<_> = (0..4).map(|_| gate.try_enter().unwrap()).collect();
    let grows = async {
        (0..8).for_each(|_| assert!(call(&gate, Seen::Answered)));
    };
    let start = tokio::time::Instant::now();
    let (entered, ()) = tokio::join!(gate.enter(10 * SECOND), grows);
    assert!(entered.is_ok() && start.elapsed() < SECOND);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn what_one_gate_is_told_reaches_another_through_the_notice() {
    let (one, two) = (gate(8), gate(8));
    assert!(!one.has_news());
    one.close_for(20 * SECOND);
    let notice = one.notice(None).unwrap();
    two.hear(notice, SECOND);
    assert!(two.closed_for().unwrap() >= 20 * SECOND);
    assert!(!two.has_news(), "what was heard is not told again");
    one.hear(notice, SECOND);
    assert!(!one.has_news());
    assert!(one.closed_for().unwrap() <= 20 * SECOND, "our own pause is not made longer by reading it");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opened_elsewhere_opens_here_and_closes_with_it() {
    let (one, two) = (broken(), gate(8));
    let opened = one.notice(None).unwrap();
    one.hear(opened, SECOND);
    two.hear(opened, SECOND);
    assert_eq!(two.view().breaker, "open");
    assert!(two.opens_in() > one.opens_in(), "who saw it tries first");
    assert!(!two.has_news());
    tokio::time::sleep(one.opens_in().unwrap()).await;
    assert!(call(&one, Seen::Answered));
    let closed = one.notice(Some(&opened)).unwrap();
    two.hear(closed, SECOND);
    assert_eq!((two.view().breaker, two.view().limit), ("closed", 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_the_retry_budget_is_seen() {
    let gate = gate(8);
    tokio::time::advance(60 * SECOND).await;
    assert_eq!((gate.view().retries, gate.view().retries_max), (10, 10));
    while gate.repeat().is_ok() {}
    assert_eq!(gate.view().retries, 0);
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(gate.view().retries, 2);
}

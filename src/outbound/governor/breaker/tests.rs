//! The breaker's moves, one by one and at random.

use super::*;
use proptest::prelude::*;

const LEASE: Duration = Duration::from_secs(35);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(1_000 + seconds)
}

fn breaker() -> Breaker {
    Breaker::new(LEASE)
}

/// One call that is sent and ends at once; whether it was sent.
fn call(breaker: &mut Breaker, now: Duration, seen: Seen) -> bool {
    let Ok(probe) = breaker.send(now) else { return false };
    breaker.ended(now, now, probe, seen, 0.0);
    true
}

fn opened(now: Duration) -> Breaker {
    let mut breaker = breaker();
    (0..IN_A_ROW).for_each(|_| assert!(call(&mut breaker, now, Seen::Unreachable)));
    assert_eq!(breaker.state(), State::Open { until: now + PAUSE_FIRST });
    breaker
}

#[test]
fn failures_in_a_row_open_it_and_nothing_is_sent_then() {
    for failure in [Seen::Unreachable, Seen::Unanswered, Seen::Unavailable] {
        let mut breaker = breaker();
        for _ in 1..IN_A_ROW {
            call(&mut breaker, at(0), failure);
        }
        assert_eq!(breaker.state(), State::Closed);
        call(&mut breaker, at(0), failure);
        assert_eq!(breaker.send(at(4)), Err(Refused::Open(Duration::from_secs(1))), "{failure:?}");
        assert_eq!(breaker.admit(at(4)), Err(Refused::Open(Duration::from_secs(1))));
    }
}

#[test]
fn an_answer_in_between_keeps_it_closed_until_half_of_enough_calls_fail() {
    let mut breaker = breaker();
    for n in 0..SAMPLE_MIN {
        assert_eq!(breaker.state(), State::Closed, "after {n}");
        call(&mut breaker, at(0), if n % 2 == 0 { Seen::Unavailable } else { Seen::Answered });
    }
    assert!(matches!(breaker.state(), State::Open { .. }));
}

#[test]
fn a_refusal_of_events_never_opens_it() {
    let mut breaker = breaker();
    for n in 0..1_000 {
        assert!(call(&mut breaker, at(n / 10), Seen::Answered));
        assert!(call(&mut breaker, at(n / 10), Seen::Throttled));
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn one_events_500_does_not_open_it_in_a_row_but_all_of_them_do() {
    let mut breaker = breaker();
    (1..SAMPLE_MIN).for_each(|_| assert!(call(&mut breaker, at(0), Seen::Erred)));
    assert_eq!(breaker.state(), State::Closed);
    call(&mut breaker, at(0), Seen::Erred);
    assert!(matches!(breaker.state(), State::Open { .. }));
}

#[test]
fn what_happened_before_the_window_is_forgotten() {
    let mut breaker = breaker();
    for n in 0..200 {
        // three failures and an answer each half minute: never twenty calls within one window
        let now = at(n * 31);
        (0..3).for_each(|_| assert!(call(&mut breaker, now, Seen::Unavailable)));
        call(&mut breaker, now, Seen::Answered);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn after_the_pause_one_call_goes_and_decides() {
    let mut breaker = opened(at(0));
    let probe = breaker.admit(at(5)).unwrap();
    assert!(probe.is_some());
    assert!(matches!(breaker.admit(at(5)), Err(Refused::Probing(_))), "only one");
    assert_eq!(breaker.send(at(6)), Ok(probe), "the first request is the probe");
    assert!(matches!(breaker.send(at(6)), Err(Refused::Probing(_))));
    breaker.ended(at(7), at(6), probe, Seen::Answered, 0.0);
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.send(at(7)), Ok(None));
}

#[test]
fn a_probe_that_fails_doubles_the_pause_up_to_a_minute_and_chance_only_lengthens_it() {
    let (mut breaker, mut now) = (opened(at(0)), at(0));
    for expected in [5, 10, 20, 40, 60, 60] {
        let State::Open { until } = breaker.state() else { panic!() };
        let pause = until - now;
        let least = Duration::from_secs(expected);
        assert!(pause >= least && pause <= least.mul_f64(1.1), "{pause:?}");
        now = until;
        let probe = breaker.send(now).unwrap();
        breaker.ended(now, now, probe, Seen::Unanswered, 1.0);
    }
}

#[test]
fn a_probe_nobody_answers_for_ends_with_its_lease() {
    let mut breaker = opened(at(0));
    let lost = breaker.send(at(5)).unwrap();
    assert!(matches!(breaker.send(at(39)), Err(Refused::Probing(_))));
    let next = breaker.send(at(40)).unwrap();
    assert!(next.is_some() && next != lost);
    // the lost one's late failure is not the other's
    breaker.ended(at(41), at(5), lost, Seen::Unanswered, 0.0);
    assert!(matches!(breaker.state(), State::Probing { .. }));
    breaker.ended(at(41), at(40), next, Seen::Answered, 0.0);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_right_to_try_that_is_given_back_is_there_for_the_next() {
    let mut breaker = opened(at(0));
    let probe = breaker.admit(at(5)).unwrap().unwrap();
    breaker.give_back(at(6), probe);
    let next = breaker.admit(at(6)).unwrap();
    assert!(next.is_some());
    breaker.give_back(at(6), probe);
    assert!(breaker.admit(at(6)).is_err(), "the right of another is not given back");
    breaker.send(at(6)).unwrap();
    breaker.give_back(at(6), next.unwrap());
    assert!(breaker.admit(at(6)).is_err(), "a request under way still decides");
}

#[test]
fn answers_to_what_was_sent_before_it_closed_say_nothing() {
    let mut breaker = opened(at(0));
    call(&mut breaker, at(5), Seen::Answered);
    for _ in 0..50 {
        breaker.ended(at(6), at(0), None, Seen::Unanswered, 0.0);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn what_others_saw_opens_and_closes_it_but_our_own_view_stands() {
    let mut breaker = breaker();
    breaker.hear_open(at(0), Duration::from_secs(20));
    assert!(breaker.is_heard());
    assert_eq!(breaker.send(at(1)), Err(Refused::Open(Duration::from_secs(19))));
    breaker.hear_closed(at(2));
    assert_eq!(breaker.state(), State::Closed);
    breaker.hear_open(at(2), Duration::from_secs(3));
    let probe = breaker.send(at(5)).unwrap();
    breaker.ended(at(6), at(5), probe, Seen::Unreachable, 0.0);
    assert!(!breaker.is_heard());
    breaker.hear_open(at(7), Duration::from_secs(100));
    assert_eq!(breaker.state(), State::Open { until: at(107) });
    breaker.hear_open(at(8), Duration::from_secs(1));
    assert_eq!(breaker.state(), State::Open { until: at(107) }, "never shortened");
    breaker.hear_closed(at(9));
    assert_eq!(breaker.state(), State::Open { until: at(9) }, "one call may try");
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Send(Seen),
    Lose,
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let seen = prop_oneof![
        2 => Just(Seen::Answered),
        1 => Just(Seen::Erred),
        1 => Just(Seen::Throttled),
        3 => Just(Seen::Unreachable),
        3 => Just(Seen::Unanswered),
    ];
    let one = prop_oneof![
        6 => seen.prop_map(Move::Send),
        1 => Just(Move::Lose),
        3 => (0_u64..40_000).prop_map(Move::Wait),
    ];
    proptest::collection::vec(one, 0..300)
}

proptest! {
    /// Whatever happens: while it is not closed at most one call goes per pause, and it never stays shut for longer than
    /// the longest pause and a probe's lease together.
    #[test]
    fn it_never_lets_two_try_and_never_stays_shut(moves in moves()) {
        let (mut breaker, mut now) = (breaker(), at(0));
        let mut last_probe = None;
        for step in moves {
            match step {
                Move::Wait(ms) => now += Duration::from_millis(ms),
                Move::Send(_) | Move::Lose => {
                    let was = breaker.state();
                    let Ok(probe) = breaker.send(now) else { continue };
                    if probe.is_some() {
                        prop_assert!(was != State::Closed);
                        prop_assert!(last_probe.is_none_or(|last| now >= last + PAUSE_FIRST), "two at once");
                        last_probe = Some(now);
                    }
                    if let Move::Send(seen) = step {
                        breaker.ended(now, now, probe, seen, 0.5);
                        if breaker.state() == State::Closed {
                            last_probe = None;
                        }
                    }
                }
            }
        }
        now += PAUSE_MAX.mul_f64(1.1) + LEASE;
        prop_assert!(breaker.check(now).is_ok());
    }
}

//! When to try again: a pure decision. Knows no clock, no randomness and no protocol.

use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use std::time::Duration;

/// Longest pause that is believed. Dataverse's windows are 5 minutes (api-limits); a day is a mistake or a date
/// read wrongly, and nothing of ours should stand still for longer without a person.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often and how far apart a call is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    attempts_max: u32,
    backoff_base: Duration,
    backoff_max: Duration,
}

/// A policy that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryPolicyError {
    /// No attempt would ever be made.
    #[error("attempts_max is 0: not even the first attempt would be made")]
    NoAttempt,
    /// The first pause would be longer than the longest.
    #[error("backoff_base is longer than backoff_max")]
    BaseOverMax,
}

impl RetryPolicy {
    /// Never repeats anything.
    pub const NEVER: Self = Self { attempts_max: 1, backoff_base: Duration::ZERO, backoff_max: Duration::ZERO };

    /// A policy of at most `attempts_max` attempts (the first included), with pauses that double from
    /// `backoff_base` up to `backoff_max`.
    ///
    /// # Errors
    /// [`RetryPolicyError`] when the numbers contradict each other.
    pub const fn new(
        attempts_max: u32,
        backoff_base: Duration,
        backoff_max: Duration,
    ) -> Result<Self, RetryPolicyError> {
        if attempts_max == 0 {
            return Err(RetryPolicyError::NoAttempt);
        }
        if backoff_base.as_nanos() > backoff_max.as_nanos() {
            return Err(RetryPolicyError::BaseOverMax);
        }
        Ok(Self { attempts_max, backoff_base, backoff_max })
    }

    /// How long to wait before the next attempt; `None`: give up.
    ///
    /// `attempt` attempts were made (1 after the first). `retry_after` is what the other side asked for: it is never
    /// shortened, only lengthened by up to `backoff_base`, so that waiters do not come back at once. `remaining` is
    /// the time left for pause and attempt together. `jitter` is a random number in `0..1`: the pause lies between
    /// half and all of the back-off.
    #[must_use]
    pub fn next_delay(
        &self,
        attempt: u32,
        retry_after: Option<Duration>,
        remaining: Duration,
        jitter: f64,
    ) -> Option<Duration> {
        if attempt >= self.attempts_max {
            return None;
        }
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 1.0 };
        let delay = match retry_after {
            Some(asked) => asked.saturating_add(self.backoff_base.mul_f64(jitter)),
            None => {
                let doublings = attempt.saturating_sub(1).min(31);
                let full = self.backoff_base.saturating_mul(1 << doublings).min(self.backoff_max);
                full.mul_f64(0.5 + jitter / 2.0)
            }
        };
        (delay < remaining).then_some(delay)
    }
}

/// The pause that an answer asks for: `Retry-After` as seconds (fractions too) or as an HTTP date.
///
/// A date is compared with the answer's own `Date` where there is one, so that clocks need not agree, else with
/// `now`. Nonsense is `None`; more than [`RETRY_AFTER_MAX`] is that.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return seconds(text);
    }
    let until: DateTime<Utc> = httpdate::parse_http_date(text).ok()?.into();
    let reference = headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| httpdate::parse_http_date(date.trim()).ok())
        .map_or(now, Into::into);
    let pause = until.signed_duration_since(reference).to_std().unwrap_or(Duration::ZERO);
    Some(pause.min(RETRY_AFTER_MAX))
}

fn seconds(text: &str) -> Option<Duration> {
    if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    Some(Duration::try_from_secs_f64(value).unwrap_or(RETRY_AFTER_MAX).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn policy() -> RetryPolicy {
        RetryPolicy::new(4, Duration::from_millis(100), Duration::from_secs(1)).unwrap()
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_768_471_200, 0).unwrap() // Thu, 15 Jan 2026 10:00:00 GMT
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let policy = RetryPolicy::new(40, Duration::from_millis(100), Duration::from_secs(1)).unwrap();
        let pauses: Vec<_> = (1..=6).map(|n| policy.next_delay(n, None, LONG, 1.0).unwrap().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(policy.next_delay(39, None, LONG, 1.0), Some(Duration::from_secs(1)));
    }

    #[test]
    fn the_last_attempt_is_not_followed_by_another() {
        assert!(policy().next_delay(3, None, LONG, 0.0).is_some());
        assert_eq!(policy().next_delay(4, None, LONG, 0.0), None);
        assert_eq!(RetryPolicy::NEVER.next_delay(1, None, LONG, 0.0), None);
    }

    #[test]
    fn a_pause_that_does_not_fit_ends_the_retries_instead_of_being_cut() {
        let asked = Some(Duration::from_secs(10));
        assert_eq!(policy().next_delay(1, asked, Duration::from_secs(10), 0.0), None);
        assert_eq!(policy().next_delay(1, asked, Duration::from_secs(11), 0.0), asked);
    }

    #[test]
    fn policies_that_contradict_themselves_are_refused() {
        assert_eq!(RetryPolicy::new(0, Duration::ZERO, Duration::ZERO), Err(RetryPolicyError::NoAttempt));
        assert_eq!(RetryPolicy::new(1, LONG, Duration::ZERO), Err(RetryPolicyError::BaseOverMax));
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let check = |value: &str, expected: Option<u64>| {
            let read = retry_after(&headers(&[("retry-after", value)]), now());
            assert_eq!(read, expected.map(Duration::from_millis), "{value}");
        };
        check("0", Some(0));
        check("17", Some(17_000));
        check(" 1.5 ", Some(1_500));
        check("Thu, 15 Jan 2026 10:00:30 GMT", Some(30_000));
        check("Thu, 15 Jan 2026 09:00:00 GMT", Some(0));
        check("99999999999999999999999999", Some(86_400_000));
        check("Fri, 15 Jan 2123 10:00:30 GMT", Some(86_400_000));
        for nonsense in ["", "soon", "-3", "1e9", "1.2.3", "NaN", "inf", "+4"] {
            check(nonsense, None);
        }
        assert_eq!(retry_after(&HeaderMap::new(), now()), None);
    }

    #[test]
    fn a_date_is_compared_with_the_answers_own_clock() {
        let map =
            headers(&[("retry-after", "Thu, 15 Jan 2026 09:00:09 GMT"), ("date", "Thu, 15 Jan 2026 09:00:00 GMT")]);
        assert_eq!(retry_after(&map, now()), Some(Duration::from_secs(9)));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_wait_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let map = HeaderMap::from_iter([(RETRY_AFTER, value)]);
                prop_assert!(retry_after(&map, now()).is_none_or(|pause| pause <= RETRY_AFTER_MAX));
            }
        }

        #[test]
        fn retry_after_is_never_shortened_and_always_fits(
            attempt in 0u32..10, asked in proptest::option::of(0u64..100_000), left in 0u64..100_000, jitter: f64,
        ) {
            let (asked, left) = (asked.map(Duration::from_millis), Duration::from_millis(left));
            if let Some(delay) = policy().next_delay(attempt, asked, left, jitter) {
                prop_assert!(delay < left);
                prop_assert!(delay >= asked.unwrap_or(Duration::from_millis(50)));
            }
        }
    }
}

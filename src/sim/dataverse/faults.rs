//! Faults on demand: which requests are hit, and how. Knows no table and performs nothing itself.

use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What happens to a request that a rule hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Refused with this status and code, without effect.
    Status {
        /// HTTP status.
        status: u16,
        /// `0x...`.
        code: String,
        /// For `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The connection is closed, without effect.
    HangupBefore,
    /// The effect happens, then the connection is closed without an answer.
    HangupAfter,
    /// No answer: the connection stays silent and is then closed. The effect happens only after `lands_after`.
    Late {
        /// Until the effect.
        lands_after: Duration,
        /// Until the connection is closed; the client's time-out is usually shorter.
        silent_for: Duration,
    },
    /// Waits before and after the effect.
    Slow {
        /// Before.
        before: Duration,
        /// After.
        after: Duration,
    },
    /// The connection is closed at once, as when nobody is there.
    Down,
}

/// Which of the matching requests are hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// All.
    Always,
    /// Only the n-th, counted from 1.
    Nth(u64),
    /// Each n-th.
    Every(u64),
    /// Each with this probability, by the rule's seed.
    Probability(f64),
}

/// One rule. The first rule that hits decides.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Only these methods; empty: all.
    pub methods: Vec<Method>,
    /// Only requests to this table (logical name); `None`: all.
    pub table: Option<String>,
    /// Which of them.
    pub when: When,
    /// From this moment after now.
    pub from: Duration,
    /// For so long; `None`: for ever.
    pub lasts: Option<Duration>,
    /// What happens.
    pub effect: Effect,
}

impl Rule {
    /// A rule for every request, for ever.
    #[must_use]
    pub fn new(when: When, effect: Effect) -> Self {
        Self { methods: Vec::new(), table: None, when, from: Duration::ZERO, lasts: None, effect }
    }

    /// Only for requests that write.
    #[must_use]
    pub fn writes(mut self) -> Self {
        self.methods = vec![Method::PATCH, Method::POST, Method::DELETE, Method::PUT];
        self
    }

    /// Only for one method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.methods = vec![method];
        self
    }

    /// Only for one table.
    #[must_use]
    pub fn table(mut self, table: &str) -> Self {
        self.table = Some(table.to_owned());
        self
    }

    /// Only for a while, from `from` after now.
    #[must_use]
    pub fn during(mut self, from: Duration, lasts: Duration) -> Self {
        (self.from, self.lasts) = (from, Some(lasts));
        self
    }
}

/// The rules of one environment.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Mutex<Vec<Active>>>);

#[derive(Debug)]
struct Active {
    rule: Rule,
    since: Instant,
    seen: u64,
    hits: u64,
    random: StdRng,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Adds a rule; its number answers [`Faults::hits`].
    pub fn add(&self, rule: Rule) -> usize {
        self.add_seeded(rule, 0)
    }

    /// Adds a rule whose probability is decided by `seed`.
    pub fn add_seeded(&self, rule: Rule, seed: u64) -> usize {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let random = StdRng::seed_from_u64(seed);
        rules.push(Active { rule, since: Instant::now(), seen: 0, hits: 0, random });
        rules.len() - 1
    }

    /// How often a rule has hit: a test that aims at a fault asserts that it was reached.
    #[must_use]
    pub fn hits(&self, rule: usize) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(rule).map_or(0, |active| active.hits)
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Nobody is there, from now on for so long.
    pub fn outage(&self, lasts: Duration) -> usize {
        self.add(Rule::new(When::Always, Effect::Down).during(Duration::ZERO, lasts))
    }

    /// Every request is refused with 429 and this `Retry-After`, from now on for so long.
    pub fn throttle(&self, lasts: Duration, retry_after: Duration) -> usize {
        let effect = Effect::Status { status: 429, code: "0x80072322".to_owned(), retry_after: Some(retry_after) };
        self.add(Rule::new(When::Always, effect).during(Duration::ZERO, lasts))
    }

    /// What happens to this request.
    pub(super) fn decide(&self, method: &Method, table: Option<&str>) -> Option<Effect> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut decided = None;
        for active in rules.iter_mut() {
            let age = active.since.elapsed();
            let rule = &active.rule;
            let fits = (rule.methods.is_empty() || rule.methods.contains(method))
                && rule.table.as_deref().is_none_or(|wanted| Some(wanted) == table)
                && age >= rule.from
                && rule.lasts.is_none_or(|lasts| age < rule.from + lasts);
            if !fits {
                continue;
            }
            active.seen += 1;
            let hit = match rule.when {
                When::Always => true,
                When::Nth(n) => active.seen == n,
                When::Every(n) => n > 0 && active.seen % n == 0,
                When::Probability(chance) => active.random.random::<f64>() < chance,
            };
            if hit && decided.is_none() {
                active.hits += 1;
                decided = Some(rule.effect.clone());
            }
        }
        decided
    }
}

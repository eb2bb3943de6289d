//! Faults on demand: which requests fail, and how. Knows no table.

use super::address::Operation;
use http::StatusCode;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// How a chosen request goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Refused without effect, with this status and code (`503 ServerBusy`, `500 InternalError`).
    Status(StatusCode, &'static str),
    /// The connection closes before anything happened.
    HangupBefore,
    /// It happens, and the connection closes without an answer.
    HangupAfter,
    /// The connection closes at once, and it happens this much later.
    Late(Duration),
    /// It waits this long first.
    Slow(Duration),
    /// It happens, and the answer comes this much later.
    SlowAnswer(Duration),
}

/// Which of the matching requests are chosen.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// Every one.
    Always,
    /// The n-th matching one, counted from 1, and no other.
    Nth(u64),
    /// The first n matching ones.
    First(u64),
    /// Each with this probability, 0 to 1, from the seeded generator.
    Probability(f64),
}

/// A rule. The first rule that chooses a request decides.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which kind of request; `None` = any.
    pub operation: Option<Operation>,
    /// A text that the raw path and query, or a batch's body, must contain.
    pub contains: Option<String>,
    /// Which of those.
    pub when: When,
    /// What happens.
    pub fault: Fault,
}

impl Rule {
    /// A rule for any request.
    #[must_use]
    pub fn new(when: When, fault: Fault) -> Self {
        Self { operation: None, contains: None, when, fault }
    }

    /// Only for this kind of request.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only where the path, query or body contains this.
    #[must_use]
    pub fn containing(mut self, text: impl Into<String>) -> Self {
        self.contains = Some(text.into());
        self
    }
}

/// The rules with their counts.
#[derive(Debug)]
pub struct Faults {
    rules: Vec<(Rule, u64)>,
    random: StdRng,
    drawn: u64,
}

impl Faults {
    /// No rules yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), random: StdRng::seed_from_u64(seed), drawn: 0 }
    }

    /// Adds a rule after the others.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push((rule, 0));
    }

    /// Removes all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// How many requests were chosen so far.
    #[must_use]
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    /// Decides about one request; every matching rule counts it.
    pub fn draw(&mut self, operation: Operation, target: &str, body: &[u8]) -> Option<Fault> {
        let mut chosen = None;
        for (rule, seen) in &mut self.rules {
            let text = rule.contains.as_deref();
            let found = |t: &str| target.contains(t) || body.windows(t.len().max(1)).any(|w| w == t.as_bytes());
            if rule.operation.is_some_and(|o| o != operation) || !text.is_none_or(found) {
                continue;
            }
            *seen += 1;
            let hit = match rule.when {
                When::Always => true,
                When::Nth(n) => *seen == n,
                When::First(n) => *seen <= n,
                When::Probability(p) => self.random.random_bool(p.clamp(0.0, 1.0)),
            };
            if hit && chosen.is_none() {
                chosen = Some(rule.fault.clone());
            }
        }
        self.drawn += u64::from(chosen.is_some());
        chosen
    }
}

//! What a simulated world did, request by request: as one number, so that two runs can be compared, and as lines when
//! somebody wants to read them (`TRACE=1`).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// Clones write to the same trace.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    hasher: DefaultHasher,
    lines: u64,
    prints: bool,
}

impl Trace {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "a test's own knob")]
    pub fn new() -> Self {
        let prints = std::env::var("TRACE").is_ok();
        Self(Arc::new(Mutex::new(Inner { start: Instant::now(), hasher: DefaultHasher::new(), lines: 0, prints })))
    }

    /// Something happened.
    pub fn line(&self, text: &str) {
        let mut inner = self.0.lock().unwrap();
        let at_us = inner.start.elapsed().as_micros();
        (at_us, text).hash(&mut inner.hasher);
        inner.lines += 1;
        if inner.prints {
            println!("{:>12.6} {text}", inner.start.elapsed().as_secs_f64());
        }
    }

    /// How much happened, and what.
    pub fn sum(&self) -> (u64, u64) {
        let inner = self.0.lock().unwrap();
        (inner.lines, inner.hasher.finish())
    }
}

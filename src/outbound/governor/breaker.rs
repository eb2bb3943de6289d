//! The circuit breaker of one environment: closed (calls go), open (none goes), probing (one goes, and decides). Pure.
//!
//! It opens when calls keep failing: [`IN_A_ROW`] in a row, or half of at least [`SAMPLE_MIN`] within [`WINDOW`]. What counts
//! is that the environment is away (no connection, no answer, 502 to 504). A 4xx is an answer, whatever it says about its
//! event; a 500 counts for the rate alone, because one event can raise it again and again; a 429 counts for neither.
//!
//! A probe is a lease: whoever asks first after the pause has it, and who has it may be dropped at any await, so it ends
//! by itself and the next one gets it.

use super::seen::Seen;
use std::time::Duration;

/// Failures in a row that open it (assumed: more than `max_in_flight`, because all calls of one broken connection fail at
/// once, and few enough to come together within seconds).
pub const IN_A_ROW: u32 = 10;
/// Least calls within the window before their rate counts (assumed).
pub const SAMPLE_MIN: u32 = 20;
/// Failures of a hundred calls that open it (assumed).
const FAILED_PERCENT: u32 = 50;
/// The window of the rate, in parts that are forgotten one by one.
const WINDOW: Duration = Duration::from_secs(30);
const PARTS: usize = 6;
/// First pause, doubled with each probe that fails, and the longest (assumed: the service's own weak moments last seconds,
/// its outages minutes; nobody should wait more than a minute longer than that).
pub const PAUSE_FIRST: Duration = Duration::from_secs(5);
/// The longest pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls go.
    Closed,
    /// None goes until then.
    Open {
        /// On the caller's monotonic clock.
        until: Duration,
    },
    /// One has the right to try.
    Probing {
        /// Which one.
        probe: u64,
        /// When the right ends, used or not.
        until: Duration,
        /// Its request is under way.
        sent: bool,
    },
}

impl State {
    /// The word in logs and status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::Probing { .. } => "probing",
        }
    }
}

/// Why no call may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Open for so long.
    Open(Duration),
    /// Another tries, for so long at most.
    Probing(Duration),
}

/// The breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    /// How long a probe may take.
    probe_lease: Duration,
    in_a_row: u32,
    parts: [Part; PARTS],
    /// Probes that failed since it was closed.
    failed_probes: u32,
    /// It was opened by what another instance saw.
    heard: bool,
    last_probe: u64,
    /// When it was last closed: what was sent before says nothing about now.
    closed_at: Duration,
}

/// One part of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    number: u64,
    calls: u32,
    failed: u32,
}

impl Breaker {
    /// A closed one. `probe_lease` is longer than a call may take.
    #[must_use]
    pub fn new(probe_lease: Duration) -> Self {
        Self {
            state: State::Closed,
            probe_lease,
            in_a_row: 0,
            parts: [Part::default(); PARTS],
            failed_probes: 0,
            heard: false,
            last_probe: 0,
            closed_at: Duration::ZERO,
        }
    }

    /// What it says.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it is open or probing by what another instance saw, and not by calls of our own.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.heard && self.state != State::Closed
    }

    /// Whether a call may start, without starting one.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&self, now: Duration) -> Result<(), Refused> {
        match self.state {
            State::Open { until } if now < until => Err(Refused::Open(until.saturating_sub(now))),
            State::Probing { until, .. } if now < until => Err(Refused::Probing(until.saturating_sub(now))),
            State::Closed | State::Open { .. } | State::Probing { .. } => Ok(()),
        }
    }

    /// Lets a caller in who will send soon; a number if it has the right to try.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(&mut self, now: Duration) -> Result<Option<u64>, Refused> {
        self.check(now)?;
        Ok((self.state != State::Closed).then(|| self.begin_probe(now, false)))
    }

    /// A request is sent now; the number of the probe if it is one. Who was let in with the right to try is not told from
    /// others here: the first request is the probe.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn send(&mut self, now: Duration) -> Result<Option<u64>, Refused> {
        if let State::Probing { probe, until, sent: false } = self.state
            && now < until
        {
            self.state = State::Probing { probe, until, sent: true };
            return Ok(Some(probe));
        }
        self.check(now)?;
        Ok((self.state != State::Closed).then(|| self.begin_probe(now, true)))
    }

    fn begin_probe(&mut self, now: Duration, sent: bool) -> u64 {
        self.last_probe += 1;
        self.state = State::Probing { probe: self.last_probe, until: now.saturating_add(self.probe_lease), sent };
        self.last_probe
    }

    /// Who had the right to try does not use it.
    pub fn give_back(&mut self, now: Duration, probe: u64) {
        if matches!(self.state, State::Probing { probe: current, sent: false, .. } if current == probe) {
            self.state = State::Open { until: now };
        }
    }

    /// A request has ended that was sent at `started`, as this probe or none. `chance` in `0..1` lengthens a pause by up to a
    /// tenth, so that instances do not try at the same moment.
    pub fn ended(&mut self, now: Duration, started: Duration, probe: Option<u64>, seen: Seen, chance: f64) {
        match self.state {
            State::Closed if started >= self.closed_at => {
                self.count(now, seen);
                if self.in_a_row >= IN_A_ROW || self.rate_is_bad(now) {
                    self.heard = false;
                    self.open(now, chance);
                }
            }
            State::Probing { probe: current, .. } if probe == Some(current) => match seen {
                Seen::Answered | Seen::Throttled => self.close(now),
                Seen::Erred | Seen::Unavailable | Seen::Unanswered | Seen::Unreachable => {
                    self.failed_probes = self.failed_probes.saturating_add(1);
                    self.heard = false;
                    self.open(now, chance);
                }
            },
            // sent before it opened or closed, or by a probe whose time was over
            State::Closed | State::Open { .. } | State::Probing { .. } => {}
        }
    }

    /// Another instance opened it, for so long.
    pub fn hear_open(&mut self, now: Duration, lasts: Duration) {
        let heard = now.saturating_add(lasts);
        match self.state {
            State::Closed => {
                (self.state, self.heard) = (State::Open { until: heard }, true);
            }
            State::Open { until } => self.state = State::Open { until: until.max(heard) },
            // who is about to try leaves it to the one that tried last
            State::Probing { sent: false, .. } => self.state = State::Open { until: heard },
            State::Probing { sent: true, .. } => {}
        }
    }

    /// Another instance found the environment well. What our own calls saw stands until one of ours says otherwise, but that
    /// one may go now.
    pub fn hear_closed(&mut self, now: Duration) {
        match self.state {
            State::Open { .. } | State::Probing { .. } if self.heard => self.close(now),
            State::Open { .. } => self.state = State::Open { until: now },
            State::Closed | State::Probing { .. } => {}
        }
    }

    fn open(&mut self, now: Duration, chance: f64) {
        let pause = PAUSE_FIRST.saturating_mul(1 << self.failed_probes.min(16)).min(PAUSE_MAX);
        let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.0 };
        self.state = State::Open { until: now.saturating_add(pause.mul_f64(1.0 + chance / 10.0)) };
        self.forget();
    }

    fn close(&mut self, now: Duration) {
        (self.state, self.heard, self.failed_probes, self.closed_at) = (State::Closed, false, 0, now);
        self.forget();
    }

    fn forget(&mut self) {
        (self.in_a_row, self.parts) = (0, [Part::default(); PARTS]);
    }

    fn count(&mut self, now: Duration, seen: Seen) {
        let failed = match seen {
            Seen::Throttled => return,
            Seen::Answered => {
                self.in_a_row = 0;
                false
            }
            Seen::Erred => true,
            Seen::Unavailable | Seen::Unanswered | Seen::Unreachable => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                true
            }
        };
        let number = part_number(now);
        let at = usize::try_from(number).unwrap_or_default() % PARTS;
        if let Some(part) = self.parts.get_mut(at) {
            if part.number != number {
                *part = Part { number, ..Part::default() };
            }
            part.calls = part.calls.saturating_add(1);
            part.failed = part.failed.saturating_add(u32::from(failed));
        }
    }

    fn rate_is_bad(&self, now: Duration) -> bool {
        let oldest = part_number(now).saturating_sub(PARTS as u64 - 1);
        let recent = self.parts.iter().filter(|part| part.number >= oldest);
        let (calls, failed) = recent.fold((0_u64, 0_u64), |(calls, failed), part| {
            (calls + u64::from(part.calls), failed + u64::from(part.failed))
        });
        calls >= u64::from(SAMPLE_MIN) && failed * 100 >= calls * u64::from(FAILED_PERCENT)
    }
}

/// Which part of the window a moment is in, counted from the clock's start.
fn part_number(now: Duration) -> u64 {
    let part = WINDOW.as_millis() / PARTS as u128;
    u64::try_from(now.as_millis() / part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

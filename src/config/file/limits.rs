//! `[limits]`: times and counts with their bounds, and the relations between them. PROTOCOL R2 and R3 say why a lease must be
//! longer than what it protects.

use super::duration;
use super::read::{Report, Section};
use super::value;
use crate::domain::mapping::Limits;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The keys, as CONTRACT names them.
pub const KEYS: [&str; 16] = [
    "lease",
    "settle",
    "request_timeout",
    "webhook_deadline",
    "queue_deadline",
    "batch_deadline",
    "duplicate_wait",
    "clock_skew",
    "max_in_flight",
    "attempts_max",
    "deliveries_max",
    "age_max",
    "deletes_max",
    "deletes_window",
    "dedup_window",
    "tombstones",
];

const DAY: u64 = 86_400;

/// Largest number of deletes that a fuse may be set to.
const DELETES_MAX: u32 = 1_000_000;

/// Reads the section over the defaults and checks bounds and relations.
pub fn read(section: Option<&Section<'_>>, report: &mut Report<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(section) = section else { return limits };
    section.only(&KEYS, report);
    let mut read = Reader { section, report };
    let seconds = Duration::from_secs;
    let tick = Duration::from_millis(1);
    // upper bounds: Dataverse ends every request after 2 minutes, gives a webhook up after 60 s, and host.json renews
    // a message's lock for 5 minutes; a row must not stay locked for hours after a crash
    read.duration("lease", &mut limits.lease, seconds(1)..=seconds(3_600));
    read.duration("settle", &mut limits.settle, tick..=seconds(3_500));
    read.duration("request_timeout", &mut limits.request_timeout, tick..=seconds(150));
    read.duration("webhook_deadline", &mut limits.webhook_deadline, tick..=seconds(55));
    read.duration("queue_deadline", &mut limits.queue_deadline, tick..=seconds(270));
    read.duration("batch_deadline", &mut limits.batch_deadline, tick..=seconds(270));
    read.duration("duplicate_wait", &mut limits.duplicate_wait, tick..=seconds(50));
    read.duration("clock_skew", &mut limits.clock_skew, tick..=seconds(300));
    read.duration("age_max", &mut limits.age_max, seconds(1)..=seconds(365 * DAY));
    read.duration("deletes_window", &mut limits.deletes_window, seconds(1)..=seconds(7 * DAY));
    read.duration("dedup_window", &mut limits.dedup_window, seconds(1)..=seconds(3_650 * DAY));
    read.duration("tombstones", &mut limits.tombstones, seconds(1)..=seconds(36_500 * DAY));
    if let Some(count) = read.count("max_in_flight", 1..=1_000) {
        limits.max_in_flight = usize::try_from(count).unwrap_or(limits.max_in_flight);
    }
    if let Some(count) = read.count("attempts_max", 1..=10_000) {
        limits.attempts_max = count;
    }
    // Service Bus allows a MaxDeliveryCount up to 2 000
    if let Some(count) = read.count("deliveries_max", 1..=2_000) {
        limits.deliveries_max = count;
    }
    if let Some(count) = read.count("deletes_max", 0..=DELETES_MAX) {
        limits.deletes_max = count;
    }
    relations(&limits, section, report);
    limits
}

/// A table's own `deletes_max`.
pub fn deletes_max(section: &Section<'_>, report: &mut Report<'_>) -> Option<u32> {
    Reader { section, report }.count("deletes_max", 0..=DELETES_MAX)
}

struct Reader<'s, 'r, 't> {
    section: &'s Section<'s>,
    report: &'r mut Report<'t>,
}

impl Reader<'_, '_, '_> {
    fn duration(&mut self, key: &str, slot: &mut Duration, range: RangeInclusive<Duration>) {
        let Some(field) = self.section.get(key) else { return };
        let Some(text) = field.value().as_str() else {
            return field.wrong("a duration like \"500ms\", \"60s\", \"5m\", \"1h\" or \"14d\"", self.report);
        };
        let Some(given) = duration::parse(text) else {
            let problem = format!("`{}` is not a duration", field.path);
            return self.report.say(
                field.value_at(),
                problem,
                "write a whole number and a unit: 500ms, 60s, 5m, 1h, 14d",
            );
        };
        if !range.contains(&given) {
            let (min, max) = (duration::text(*range.start()), duration::text(*range.end()));
            let problem = format!("`{}` must be between {min} and {max}", field.path);
            return self.report.say(field.value_at(), problem, "");
        }
        *slot = given;
    }

    fn count(&mut self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let field = self.section.get(key)?;
        if field.value().as_integer().is_none() {
            field.wrong("a whole number", self.report);
            return None;
        }
        let given = value::whole(field.value()).and_then(|number| u32::try_from(number).ok());
        let given = given.filter(|number| range.contains(number));
        if given.is_none() {
            let problem = format!("`{}` must be between {} and {}", field.path, range.start(), range.end());
            self.report.say(field.value_at(), problem, "");
        }
        given
    }
}

/// One relation: whether it holds, what must hold, the keys it is about, and why.
type Relation = (bool, String, &'static [&'static str], &'static str);

fn relations(limits: &Limits, section: &Section<'_>, report: &mut Report<'_>) {
    let ends = |deadline: Duration| deadline + limits.request_timeout + limits.clock_skew;
    let held = |name: &str, deadline: Duration| {
        let least = duration::text(ends(deadline));
        format!("`lease` must be at least {name} + request_timeout + clock_skew = {least}")
    };
    let all: [Relation; 9] = [
        (
            limits.lease > limits.settle,
            format!("`lease` must be longer than `settle` ({})", duration::text(limits.settle)),
            &["lease", "settle"],
            "else a worker that crashes right after sending frees the row while its request can still take effect",
        ),
        (
            limits.lease >= ends(limits.webhook_deadline),
            held("webhook_deadline", limits.webhook_deadline),
            &["lease", "webhook_deadline", "request_timeout", "clock_skew"],
            "else a lease ends while its holder's last request is under way",
        ),
        (
            limits.lease >= ends(limits.queue_deadline),
            held("queue_deadline", limits.queue_deadline),
            &["lease", "queue_deadline", "request_timeout", "clock_skew"],
            "else a lease ends while its holder's last request is under way",
        ),
        (
            limits.settle >= limits.request_timeout,
            format!("`settle` must be at least `request_timeout` ({})", duration::text(limits.request_timeout)),
            &["settle", "request_timeout"],
            "settle counts from sending: an unanswered request is only known to be unanswered after its time-out",
        ),
        (
            limits.request_timeout <= limits.queue_deadline,
            format!("`request_timeout` must be at most `queue_deadline` ({})", duration::text(limits.queue_deadline)),
            &["request_timeout", "queue_deadline"],
            "else one request outlasts the time a message may take",
        ),
        (
            limits.duplicate_wait < limits.webhook_deadline,
            format!("`duplicate_wait` must be below `webhook_deadline` ({})", duration::text(limits.webhook_deadline)),
            &["duplicate_wait", "webhook_deadline"],
            "a second delivery waits within its own deadline",
        ),
        (
            limits.duplicate_wait < limits.queue_deadline,
            format!("`duplicate_wait` must be below `queue_deadline` ({})", duration::text(limits.queue_deadline)),
            &["duplicate_wait", "queue_deadline"],
            "a second delivery waits within its own deadline",
        ),
        (
            limits.dedup_window >= limits.age_max,
            format!("`dedup_window` must be at least `age_max` ({})", duration::text(limits.age_max)),
            &["dedup_window", "age_max"],
            "else the id of an event is forgotten while the event may still be tried again",
        ),
        (
            limits.tombstones >= limits.dedup_window,
            format!("`tombstones` must be at least `dedup_window` ({})", duration::text(limits.dedup_window)),
            &["tombstones", "dedup_window"],
            "else a late update brings a deleted row back",
        ),
    ];
    for (holds, problem, keys, why) in all {
        if !holds {
            let field = keys.iter().find_map(|key| section.get(key));
            report.say(field.map_or(section.at, |field| field.value_at()), problem, why);
        }
    }
}

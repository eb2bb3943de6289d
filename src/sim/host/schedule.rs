//! When a timer fires: NCRONTAB with six fields (seconds first), or a time span. Pure. Knows no host.

use super::manifest::parse_span;
use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};

/// A timer's schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The values each field allows: second, minute, hour, day of month, month, day of week (0 = Sunday).
    Cron(Box<[Vec<u32>; 6]>),
    /// Every so often.
    Every(std::time::Duration),
}

/// Farthest a next occurrence is looked for, in days (29 February comes within this).
const DAYS_MAX: i64 = 366 * 8;

impl Schedule {
    /// Reads a schedule. Five fields mean that seconds are 0.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(span) = parse_span(text) {
            return (!span.is_zero()).then_some(Self::Every(span));
        }
        let mut fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() == 5 {
            fields.insert(0, "0");
        }
        let ranges = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
        let parsed: Option<Vec<Vec<u32>>> =
            fields.iter().zip(ranges).map(|(f, (low, high))| field(f, low, high)).collect();
        let parsed: [Vec<u32>; 6] = parsed.filter(|_| fields.len() == 6)?.try_into().ok()?;
        Some(Self::Cron(Box::new(parsed)))
    }

    /// The first occurrence after `time`; `None` if there is none.
    #[must_use]
    pub fn after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let fields = match self {
            Self::Every(span) => return time.checked_add_signed(TimeDelta::from_std(*span).ok()?),
            Self::Cron(fields) => fields,
        };
        let [seconds, minutes, hours, days, months, weekdays] = fields.as_ref();
        let first = time.with_nanosecond(0)? + TimeDelta::seconds(1);
        for offset in 0..DAYS_MAX {
            let day = first.date_naive() + TimeDelta::days(offset);
            let wanted = days.contains(&day.day())
                && months.contains(&day.month())
                && weekdays.contains(&day.weekday().num_days_from_sunday());
            if !wanted {
                continue;
            }
            let times =
                hours.iter().flat_map(|h| minutes.iter().flat_map(move |m| seconds.iter().map(move |s| (h, m, s))));
            let found =
                times.filter_map(|(h, m, s)| day.and_hms_opt(*h, *m, *s)).map(|t| t.and_utc()).find(|t| *t >= first);
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// `*`, `5`, `1-5`, `*/15`, `10-40/10`, and lists of them, in ascending order.
fn field(text: &str, low: u32, high: u32) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|s| *s > 0)?),
            None => (part, 1),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (low, high),
            (_, Some((from, to))) => (from.parse().ok()?, to.parse().ok()?),
            (single, None) => {
                let single = single.parse().ok()?;
                (single, if part.contains('/') { high } else { single })
            }
        };
        if from < low || to > high || from > to {
            return None;
        }
        all.extend((from..=to).step_by(usize::try_from(step).ok()?));
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occurrences_follow_the_expression() {
        let check = |text: &str, expected: &str| {
            let from = "2026-01-15T10:00:30Z".parse().unwrap();
            let next = Schedule::parse(text).unwrap().after(from).unwrap();
            assert_eq!(next.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), expected, "{text}");
        };
        check("0 * * * * *", "2026-01-15T10:01:00Z");
        check("*/20 * * * * *", "2026-01-15T10:00:40Z");
        check("0 */5 * * * *", "2026-01-15T10:05:00Z");
        check("0 30 9 * * 1-5", "2026-01-16T09:30:00Z");
        check("0 0 0 29 2 *", "2028-02-29T00:00:00Z");
        check("*/5 * * * *", "2026-01-15T10:05:00Z");
        check("00:01:00", "2026-01-15T10:01:30Z");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in
            ["", "every minute", "60 * * * * *", "0 0 0 0 * *", "* * * *", "0 5-1 * * * *", "0 */0 * * * *", "00:00:00"]
        {
            assert!(Schedule::parse(text).is_none(), "{text}");
        }
    }
}

//! What the host says when a timer fires. Knows no function and keeps no schedule.

use super::envelope::{Envelope, EnvelopeError, as_time, unwrap};
use chrono::{DateTime, Utc};
use serde_json::Value;

/// One tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    /// The tick is late: the app was not running when it was due.
    pub is_past_due: bool,
    /// The tick before this one. Absent for intervals under a minute and without a monitor.
    pub last: Option<DateTime<Utc>>,
    /// The one after it.
    pub next: Option<DateTime<Utc>>,
}

impl Timer {
    /// Reads `Data.<binding>`; the schedule may be missing.
    ///
    /// # Errors
    /// [`EnvelopeError`] if the binding is missing or no object.
    pub fn read(envelope: &Envelope, binding: &str) -> Result<Self, EnvelopeError> {
        let value = envelope.data.get(binding);
        let Some(Value::Object(timer)) = value.map(unwrap) else {
            return Err(EnvelopeError::shape(format!("Data.{binding}"), "a timer object", value));
        };
        let status = timer.get("ScheduleStatus").map(unwrap).unwrap_or_default();
        let time = |name: &str| status.get(name).and_then(as_time);
        let is_past_due = timer.get("IsPastDue").map(unwrap) == Some(Value::Bool(true));
        Ok(Self { is_past_due, last: time("Last"), next: time("Next") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(timer: &Value) -> Result<Timer, EnvelopeError> {
        let body = json!({"Data": {"timer": timer}, "Metadata": {"sys": {"MethodName": "tick"}}});
        Timer::read(&Envelope::parse(body.to_string().as_bytes()).unwrap(), "timer")
    }

    #[test]
    fn a_tick_is_read_with_and_without_schedule() {
        let at = |text: &str| Some(DateTime::parse_from_rfc3339(text).unwrap().to_utc());
        let full = json!({"Schedule": {"AdjustForDST": true}, "IsPastDue": false, "ScheduleStatus": {
            "Last": "2026-01-15T09:55:00.0001+00:00", "Next": "2026-01-15T10:00:00+00:00",
            "LastUpdated": "2026-01-15T09:55:00.0001+00:00"}});
        let expected =
            Timer { is_past_due: false, last: at("2026-01-15T09:55:00.0001Z"), next: at("2026-01-15T10:00:00Z") };
        assert_eq!(read(&full).unwrap(), expected);
        assert_eq!(read(&json!(full.to_string())).unwrap(), expected, "wrapped");
        let late = json!({"ScheduleStatus": null, "IsPastDue": true});
        assert_eq!(read(&late).unwrap(), Timer { is_past_due: true, last: None, next: None });
        assert_eq!(read(&json!({})).unwrap(), Timer::default());
    }

    #[test]
    fn a_missing_timer_is_named() {
        let error = Timer::read(&Envelope::default(), "timer").unwrap_err();
        assert_eq!(error.to_string(), "Data.timer: a timer object expected, nothing found");
        assert!(read(&json!("no")).is_err());
    }
}

//! Durations as `sync.toml` writes them: "500ms", "60s", "5m", "1h", "14d".

use std::time::Duration;

/// The units, smallest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A whole number and a unit; `None` for everything else and for what does not fit.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(scale).map(Duration::from_millis)
}

/// The duration in the largest unit that divides it.
#[must_use]
pub fn text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let unit = UNITS.into_iter().rev().find(|(_, scale)| millis > 0 && millis.is_multiple_of(u128::from(*scale)));
    let (name, scale) = unit.unwrap_or(("s", 1_000));
    format!("{}{name}", millis / u128::from(scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_whole_number_with_a_unit_is_a_duration() {
        for (given, millis) in [("500ms", 500), ("60s", 60_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(parse(given), Some(Duration::from_millis(millis)), "{given}");
        }
        for bad in ["", "s", "60", "1.5s", "-1s", "1 s", "1S", "1w", "1sec", "99999999999999999999d", "é", "1é"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_reads_back(millis in 0_u64..100_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&text(duration)), Some(duration));
        }
    }
}

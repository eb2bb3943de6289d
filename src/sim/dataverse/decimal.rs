//! Exact decimal numbers, as Dataverse keeps `decimal` and money: never through a binary float.
//! Knows no column and no JSON.

use std::cmp::Ordering;
use std::fmt;

/// Most digits a number may have (SQL `decimal` and .NET's have 28 or 29).
const DIGITS_MAX: usize = 29;
/// Most digits after the point.
const SCALE_MAX: u32 = 28;

/// `units / 10^scale`.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    units: i128,
    scale: u32,
}

impl Decimal {
    /// `units / 10^scale`.
    #[must_use]
    pub fn new(units: i128, scale: u32) -> Self {
        Self { units, scale: scale.min(SCALE_MAX) }
    }

    /// Reads the text of a JSON number, exponent included; `None` if it is none, or has more than 29 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all: String = [whole, fraction].concat();
        if whole.is_empty() || all.len() > DIGITS_MAX || !all.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut units: i128 = all.parse().ok()?;
        let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        while scale < 0 {
            units = units.checked_mul(10).filter(|u| u.to_string().len() <= DIGITS_MAX)?;
            scale += 1;
        }
        let scale = u32::try_from(scale).ok().filter(|s| *s <= SCALE_MAX)?;
        Some(Self { units: if negative { -units } else { units }, scale })
    }

    /// The same number with `scale` digits after the point, rounded half away from zero (as SQL does).
    #[must_use]
    pub fn rescale(self, scale: u32) -> Option<Self> {
        if scale >= self.scale {
            let units = self.units.checked_mul(power(scale - self.scale)?)?;
            return Some(Self { units, scale });
        }
        let units = divide_rounded(self.units, power(self.scale - scale)?)?;
        Some(Self { units, scale })
    }

    /// `self / by` with `scale` digits; `None` when `by` is zero or the numbers are too large.
    #[must_use]
    pub fn divide(self, by: Self, scale: u32) -> Option<Self> {
        let shift = i64::from(scale) + i64::from(by.scale) - i64::from(self.scale);
        let factor = power(u32::try_from(shift.unsigned_abs()).ok()?)?;
        let (mut top, mut bottom) = (self.units, by.units);
        if shift >= 0 {
            top = top.checked_mul(factor)?;
        } else {
            bottom = bottom.checked_mul(factor)?;
        }
        Some(Self { units: divide_rounded(top, bottom)?, scale })
    }
}

fn power(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

fn divide_rounded(top: i128, bottom: i128) -> Option<i128> {
    let whole = top.checked_div(bottom)?;
    let rest = top.checked_rem(bottom)?;
    if rest.checked_abs()?.checked_mul(2)? >= bottom.checked_abs()? {
        return whole.checked_add(if (top < 0) == (bottom < 0) { 1 } else { -1 });
    }
    Some(whole)
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        match (self.rescale(scale), other.rescale(scale)) {
            (Some(a), Some(b)) => a.units.cmp(&b.units),
            // Too large to bring to one scale: that one is the larger by amount.
            (None, _) => self.units.signum().cmp(&0).then(Ordering::Greater),
            (_, None) => 0.cmp(&other.units.signum()).then(Ordering::Less),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = usize::try_from(self.scale).unwrap_or(0);
        let digits = format!("{:0>width$}", self.units.unsigned_abs(), width = scale + 1);
        let sign = if self.units < 0 { "-" } else { "" };
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        if scale == 0 { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{fraction}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_exact_text() {
        for text in ["0", "10.01", "-0.5", "1.0842000000", "922337203685477.5807"] {
            assert_eq!(Decimal::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Decimal::parse("1.5e3").unwrap().to_string(), "1500");
        assert_eq!(Decimal::parse("25e-4").unwrap().to_string(), "0.0025");
        for text in ["", "-", ".5", "1.2.3", "NaN", "123456789012345678901234567890", "1e40", "1e-40"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        for (text, expected) in [("1.005", "1.01"), ("-1.005", "-1.01"), ("1.0049", "1.00"), ("2", "2.00")] {
            assert_eq!(Decimal::parse(text).unwrap().rescale(2).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn a_base_amount_is_the_amount_divided_by_the_rate() {
        let amount = Decimal::parse("12500.75").unwrap();
        let rate = Decimal::parse("1.0842000000").unwrap();
        assert_eq!(amount.divide(rate, 4).unwrap().to_string(), "11529.9299");
        assert!(amount.divide(Decimal::new(0, 0), 4).is_none());
    }

    #[test]
    fn equality_is_by_value() {
        assert_eq!(Decimal::parse("1.50"), Decimal::parse("1.5"));
        assert!(Decimal::parse("1.49") < Decimal::parse("1.5"));
    }
}

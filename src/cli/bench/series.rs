//! Numbers over time: samples become a short series, and a series a line of blocks. Knows not what is counted.

use serde::Serialize;
use std::time::Duration;

/// Points of a series at most: a line of a terminal.
const POINTS_MAX: usize = 60;
/// Heights of a block.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A value over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Series {
    /// From one point to the next, in milliseconds.
    pub(super) every_ms: u64,
    /// The highest value of each part.
    pub(super) highest: Vec<usize>,
    /// The average of each part.
    pub(super) mean: Vec<f64>,
}

impl Series {
    /// Samples that were taken at equal distances.
    pub(super) fn of(samples: &[usize], every: Duration) -> Self {
        let size = samples.len().div_ceil(POINTS_MAX).max(1);
        let part_ms = every.as_millis().saturating_mul(u128::try_from(size).unwrap_or(1));
        let parts = || samples.chunks(size);
        Self {
            every_ms: u64::try_from(part_ms).unwrap_or(u64::MAX),
            highest: parts().map(|part| part.iter().copied().max().unwrap_or_default()).collect(),
            mean: parts().map(mean).collect(),
        }
    }

    /// The highest of all.
    pub(super) fn most(&self) -> usize {
        self.highest.iter().copied().max().unwrap_or_default()
    }

    /// A line of blocks, as high as the averages are against the highest value.
    pub(super) fn line(&self) -> String {
        let most = self.most().max(1);
        self.mean.iter().map(|value| block(*value, most)).collect()
    }
}

/// The average, with two digits.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn mean(samples: &[usize]) -> f64 {
    let sum: usize = samples.iter().sum();
    (sum as f64 / samples.len().max(1) as f64 * 100.0).round() / 100.0
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of eight heights"
)]
fn block(value: f64, most: usize) -> char {
    let height = (value / most as f64 * BLOCKS.len() as f64).ceil().clamp(0.0, BLOCKS.len() as f64) as usize;
    height.checked_sub(1).and_then(|at| BLOCKS.get(at)).copied().unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_told_by_its_parts_and_drawn_by_their_averages() {
        let series = Series::of(&[0, 4, 8, 8, 1], Duration::from_millis(50));
        assert_eq!(series.highest, [0, 4, 8, 8, 1]);
        assert_eq!((series.every_ms, series.most(), series.line().as_str()), (50, 8, " ▄██▁"));
        let long = Series::of(&vec![3; 601], Duration::from_millis(50));
        assert_eq!((long.every_ms, long.mean.len(), long.most()), (550, 55, 3));
        assert_eq!(Series::of(&[], Duration::from_millis(50)).line(), "");
    }

    #[test]
    fn an_average_has_two_digits() {
        assert!((mean(&[1, 1, 2]) - 1.33).abs() < f64::EPSILON && mean(&[]).abs() < f64::EPSILON);
    }
}

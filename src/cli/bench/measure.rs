//! Measuring: CPU time of processes, percentiles, samples over time. Knows no scenario.

use std::time::Duration;

/// Clock ticks in a second, as Linux tells user space on every architecture (`getconf CLK_TCK`).
const TICKS_PER_SECOND: u64 = 100;
/// Where user and system time stand in `/proc/<pid>/stat`, counted after the command's closing bracket (proc(5): fields 14
/// and 15, of which the first two come before).
const USER: usize = 11;
const SYSTEM: usize = 12;

/// CPU time that these processes have used; `None` where the system does not tell in this way.
pub(super) fn cpu(pids: &[u32]) -> Option<Duration> {
    pids.iter().map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|text| used(&text))).sum()
}

fn used(stat: &str) -> Option<Duration> {
    // the command may hold spaces and brackets
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks(USER)? + ticks(SYSTEM)?) * 1_000 / TICKS_PER_SECOND))
}

/// How the machine's CPU time was spent so far: used, and all of it; `None` where the system does not tell in this way.
pub(super) fn machine() -> Option<(u64, u64)> {
    spent(&std::fs::read_to_string("/proc/stat").ok()?)
}

fn spent(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>().ok()?;
    // guests' time is in that of users already
    let all: u64 = ticks.iter().take(8).sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Some((all.checked_sub(idle)?, all))
}

/// The most memory that a process has held so far, in KiB; `None` where the system does not tell in this way.
pub(super) fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().trim_end_matches(" kB").parse().ok()
}

/// How long threads of these processes ran, and how long they were ready to and had to wait for a processor; `None` where the
/// system does not tell in this way (`/proc/<pid>/task/<tid>/schedstat`).
pub(super) fn scheduled(pids: &[u32]) -> Option<(Duration, Duration)> {
    let mut sum = (Duration::ZERO, Duration::ZERO);
    for pid in pids {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            // a thread may end between the two
            let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else { continue };
            let (ran, waited) = ran_and_waited(&text)?;
            sum = (sum.0.saturating_add(ran), sum.1.saturating_add(waited));
        }
    }
    Some(sum)
}

fn ran_and_waited(schedstat: &str) -> Option<(Duration, Duration)> {
    let mut fields = schedstat.split_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
    Some((fields.next()??, fields.next()??))
}

/// The time that so many of a hundred are not above; sorts.
pub(super) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

/// Milliseconds, with microseconds behind the point.
#[expect(clippy::cast_precision_loss, reason = "times of days are exact to the microsecond")]
pub(super) fn ms(time: Duration) -> f64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX) as f64 / 1_000.0
}

/// One number per other.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn per(count: u64, events: usize) -> f64 {
    (count as f64 / events.max(1) as f64 * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_command_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 150 25 0 0 20 0 9 0 1 1 1";
        assert_eq!(used(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(used("42 (a"), None);
        assert_eq!(cpu(&[]), Some(Duration::ZERO));
    }

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&mut times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&mut [], 99), Duration::ZERO);
    }

    #[test]
    fn who_waits_for_a_processor_is_told_by_the_scheduler() {
        let seconds = |s| Duration::from_secs(s);
        assert_eq!(ran_and_waited("2000000000 3000000000 17\n"), Some((seconds(2), seconds(3))));
        assert_eq!(ran_and_waited("1"), None);
    }

    #[test]
    fn idle_time_and_waiting_for_disks_are_not_used_time() {
        let stat = "cpu  10 0 5 80 5 0 0 0 3 0\ncpu0 10 0 5 80 5 0 0 0 3 0\n";
        assert_eq!(spent(stat), Some((15, 100)));
        assert_eq!(spent("intr 1"), None);
    }
}

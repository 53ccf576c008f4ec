//! How many processors and how much memory we may use.

use std::fs;
use std::num::NonZero;
use std::thread::available_parallelism;

/// The CPU limit of our control group, rounded up, or the number of processors where there is none.
pub(super) fn workers() -> usize {
    let processors = available_parallelism().map_or(1, NonZero::get);
    let version_2 = fs::read_to_string("/sys/fs/cgroup/cpu.max").ok();
    let limit = version_2
        .as_deref()
        .and_then(version_2_limit)
        .or_else(version_1_limit);
    limit
        .map_or(processors, |limit| limit.min(processors))
        .max(1)
}

/// `cpu.max`: quota and period in microseconds, or `max` for no limit.
fn version_2_limit(text: &str) -> Option<usize> {
    let mut words = text.split_whitespace();
    rounded_up(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
}

fn version_1_limit() -> Option<usize> {
    let read = |file: &str| {
        let text = fs::read_to_string(format!("/sys/fs/cgroup/cpu/{file}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    rounded_up(read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)
}

fn rounded_up(quota: u64, period: u64) -> Option<usize> {
    if period == 0 {
        return None;
    }
    usize::try_from(quota.div_ceil(period))
        .ok()
        .filter(|limit| *limit > 0)
}

/// The memory limit of our control group, or the memory of the machine where that is less or there is none.
pub(super) fn memory_bytes() -> Option<u64> {
    memory_limit_bytes()
        .into_iter()
        .chain(machine_bytes())
        .min()
}

/// The memory limit of our control group; `None` where there is none below the machine's own memory.
pub(super) fn memory_limit_bytes() -> Option<u64> {
    const FILES: [&str; 2] = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limits = FILES.into_iter().filter_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        text.trim().parse().ok() // `max`: no limit
    });
    let machine = machine_bytes().unwrap_or(u64::MAX);
    // Version 1 says that there is no limit by one that no machine reaches.
    limits.min().filter(|limit| *limit < machine)
}

fn machine_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    machine.as_deref().and_then(memory_total)
}

/// `MemTotal` of `/proc/meminfo`.
fn memory_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|it| it.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_in_kibibytes() {
        let text = "MemTotal:       16318512 kB\nMemFree:         1024 kB\n";
        assert_eq!(memory_total(text), Some(16_318_512 * 1024));
        assert_eq!(memory_total("MemFree: 1 kB"), None);
        assert_eq!(memory_total("MemTotal: many"), None);
    }

    #[test]
    fn a_limit_is_rounded_up_and_max_is_none() {
        assert_eq!(version_2_limit("150000 100000\n"), Some(2));
        assert_eq!(version_2_limit("100000 100000"), Some(1));
        assert_eq!(version_2_limit("max 100000"), None);
        assert_eq!(version_2_limit("20000 0"), None);
        assert_eq!(version_2_limit(""), None);
    }
}

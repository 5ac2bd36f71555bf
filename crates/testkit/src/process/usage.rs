//! What a process has used, from `/proc` (Linux only).

use std::time::Duration;

use anyhow::Context as _;

/// The kernel's unit for processor time in `/proc/<pid>/stat` (`USER_HZ`), 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of all threads so far, in steps of 10 ms.
pub(super) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_cpu_time(&stat).with_context(|| format!("{path} has an unexpected form: {stat}"))
}

/// A line of `/proc/<pid>/status` in bytes, for example `VmRSS`.
pub(super) fn memory(pid: u32, field: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_memory(&status, field).with_context(|| format!("{path} has no {field}: has it ended?"))
}

/// Resident memory, where what several processes share is divided among them: `Pss` of `/proc/<pid>/smaps_rollup`.
pub(super) fn proportional_memory(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_memory(&rollup, "Pss").with_context(|| format!("{path} has no Pss: has it ended?"))
}

fn parse_cpu_time(stat: &str) -> Option<Duration> {
    // The name in parentheses may contain spaces, so fields are counted after the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(
        (user + system) * 1000 / TICKS_PER_SECOND,
    ))
}

fn parse_memory(status: &str, field: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1 1 1 1";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse_cpu_time("7 (short) S"), None);
        let status = "Name:\tx\nVmHWM:\t   20 kB\nVmRSS:\t   16 kB\n";
        assert_eq!(parse_memory(status, "VmRSS"), Some(16 * 1024));
        assert_eq!(parse_memory(status, "VmSwap"), None);
        let rollup =
            "5581-7ffd ---p 0 00:00 0 [rollup]\nRss:  16 kB\nPss:   8 kB\nPss_Dirty: 4 kB\n";
        assert_eq!(parse_memory(rollup, "Pss"), Some(8 * 1024));
    }
}

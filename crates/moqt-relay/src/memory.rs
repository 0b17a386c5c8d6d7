//! How much memory there is.

use std::fs;

/// Most that is taken for groups unless more is asked for.
const MOST: u64 = 1 << 30;

/// A share for groups that leaves the rest to sessions and others: a quarter of what this process may use, and at most
/// 1 GiB. 256 MiB where the system does not tell.
pub(crate) fn cache_share() -> u64 {
    let read = |path| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| total(&text));
    // Of a container, where it has a limit.
    let group = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    share(machine, group)
}

fn share(machine: Option<u64>, group: Option<u64>) -> u64 {
    machine.into_iter().chain(group).min().map_or(MOST / 4, |memory| (memory / 4).min(MOST))
}

/// The bytes that the machine has, by `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{share, total};

    #[test]
    fn the_cache_gets_a_quarter_of_the_memory_up_to_a_gibibyte() {
        assert_eq!(total("MemTotal:        2097152 kB\nMemFree: 1 kB\n"), Some(2 << 30));
        assert_eq!(total("nothing"), None);
        assert_eq!(share(Some(2 << 30), None), 512 << 20);
        assert_eq!(share(Some(64 << 30), None), 1 << 30);
        assert_eq!(share(Some(64 << 30), Some(512 << 20)), 128 << 20);
        assert_eq!(share(None, None), 256 << 20);
    }
}

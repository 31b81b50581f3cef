//! What the machine is, and how much of its memory is available to this process.

use std::{fs, path::Path};

/// The model of the processor, or its architecture where the system doesn't say.
pub(crate) fn processor() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = information.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim()));
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// The memory that can still be allocated, and what limits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Free {
    /// Bytes.
    pub bytes: usize,
    /// A description of the limit.
    pub bound: &'static str,
}

/// The smallest of what the system has available, what the limits of control groups leave, and what the limit on the
/// address space leaves; `None` where the operating system reports none of them.
pub(crate) fn free() -> Option<Free> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let system = read("/proc/meminfo").and_then(|text| kilobytes(&text, "MemAvailable:"));
    let groups = read("/proc/self/cgroup").and_then(|text| {
        let folders = group_folders(&text);
        folders.iter().filter_map(|folder| group(Path::new(folder))).min()
    });
    let addresses = read("/proc/self/limits")
        .zip(read("/proc/self/status"))
        .and_then(|(limits, status)| Some(address_limit(&limits)?.saturating_sub(kilobytes(&status, "VmSize:")?)));
    let bounds = [
        (system, "what the system has available"),
        (groups, "the limit of the control group"),
        (addresses, "ulimit -v"),
    ];
    let known = bounds.into_iter().filter_map(|(bytes, bound)| Some(Free { bytes: bytes?, bound }));
    known.min_by_key(|free| free.bytes)
}

/// The number of kilobytes that follows a key at the start of a line, as bytes.
pub(crate) fn kilobytes(text: &str, key: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// The folders in which the process's control groups may have their limits, according to `/proc/self/cgroup`: its own,
/// all its parents, and the root, which is where a container sees its own group.
fn group_folders(text: &str) -> Vec<String> {
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            list if list.split(',').any(|name| name == "memory") => "/sys/fs/cgroup/memory",
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        loop {
            folders.push(format!("{root}{path}"));
            match path.rfind('/') {
                Some(end) => path = &path[..end],
                None => break,
            }
        }
    }
    folders
}

/// What one group leaves: its limit minus what it uses, not counting cached files, which the system can drop.
fn group(folder: &Path) -> Option<usize> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<usize>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let taken = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    Some(left(limit, taken, &statistics))
}

fn left(limit: usize, taken: usize, statistics: &str) -> usize {
    // In version 1, the plain key counts only the group itself and the `total_` key its descendants too.
    let cached = |key: &str| statistics.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<usize>().ok());
    let cached = cached("total_inactive_file ").or_else(|| cached("inactive_file ")).unwrap_or(0);
    limit.saturating_sub(taken.saturating_sub(cached))
}

/// The soft limit on the address space in `/proc/self/limits`, in bytes; `None` if there is none.
fn address_limit(text: &str) -> Option<usize> {
    text.lines().find_map(|line| line.strip_prefix("Max address space"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_what_the_system_writes() {
        let meminfo = "MemTotal:       24684084 kB\nMemFree:        22019244 kB\nMemAvailable:   23791468 kB\n";
        assert_eq!(kilobytes(meminfo, "MemAvailable:"), Some(23_791_468 * 1024));
        assert_eq!(kilobytes(meminfo, "SwapFree:"), None);
        assert_eq!(kilobytes("MemAvailable: many kB", "MemAvailable:"), None);
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max address space         6144000000           unlimited            bytes     \n";
        assert_eq!(address_limit(limits), Some(6_144_000_000));
        assert_eq!(address_limit("Max address space         unlimited            unlimited            bytes"), None);
    }

    #[test]
    fn groups_of_both_versions_are_looked_for_up_to_the_root() {
        assert_eq!(
            group_folders("0::/user.slice/session\n"),
            ["/sys/fs/cgroup/user.slice/session", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"]
        );
        assert_eq!(
            group_folders("9:name=systemd:/\n4:cpu,memory:/box\n3:cpuset:/\n"),
            ["/sys/fs/cgroup/memory/box", "/sys/fs/cgroup/memory"]
        );
        assert!(group_folders("nonsense\n:\n").is_empty());
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_is_no_cache() {
        assert_eq!(left(1000, 700, "anon 400\ninactive_file 300\n"), 600);
        assert_eq!(left(1000, 700, "inactive_file 10\ntotal_inactive_file 200\n"), 500);
        assert_eq!(left(1000, 1200, ""), 0);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("memory.max"), "max\n").expect("writable");
        std::fs::write(folder.path().join("memory.current"), "5\n").expect("writable");
        assert_eq!(group(folder.path()), None, "no limit");
        std::fs::write(folder.path().join("memory.max"), "4096\n").expect("writable");
        assert_eq!(group(folder.path()), Some(4091));
    }
}

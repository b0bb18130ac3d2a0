//! The machine of a benchmark, and the peak memory use of the harness.

use std::fs;

use serde::{Deserialize, Serialize};

/// The properties of a machine on which times depend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name; empty if the kernel does not report it.
    pub cpu: String,
    /// Number of cores that this process may use.
    pub cores: usize,
    /// The kernel's name and release.
    pub kernel: String,
}

impl Machine {
    /// The machine that this process runs on.
    #[must_use]
    pub fn here() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kernel = nix::sys::utsname::uname().map_or_else(
            |_| String::new(),
            |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
        );
        Self {
            cpu: field(&cpu, "model name").unwrap_or_default().to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel,
        }
    }
}

/// The peak memory use of this process in bytes, or `None` if the kernel does not report it.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes: u64 = field(&status, "VmHWM")?.strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The value after `name:` in a file of the kernel.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (before, after) = line.split_once(':')?;
        (before.trim() == name).then(|| after.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_and_memory_use_are_found() {
        assert!(peak_bytes().unwrap() > 1 << 20);
        let machine = Machine::here();
        assert!(machine.cores >= 1 && machine.kernel.starts_with("Linux "), "{machine:?}");
        assert_eq!(field("a: 1\nmodel name\t: Some CPU\n", "model name"), Some("Some CPU"));
    }
}

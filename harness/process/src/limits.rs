//! The limits of the system on processes and threads, for errors that they cause.

use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::libc;

/// The same error, which names the limits if one of them caused it.
#[must_use]
pub fn explained(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => io::Error::new(error.kind(), exhausted()),
        _ => error,
    }
}

/// Says that no process or thread can be made, and names the limits.
#[must_use]
pub fn exhausted() -> String {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call, which fills it.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NPROC, &raw mut limit) } == 0;
    let user = match limit.rlim_cur {
        _ if !known => "unknown".to_owned(),
        libc::RLIM_INFINITY => "unlimited".to_owned(),
        number => number.to_string(),
    };
    let group = pids_max().map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    format!(
        "the system makes no more processes or threads: the limit of this user (`ulimit -u`) is {user}, the one of this \
         control group (pids.max) is {group}; raise it, or run with fewer --jobs"
    )
}

/// The lowest `pids.max` of this process's control group and those around it.
fn pids_max() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let folders = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let root = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            "pids" => Path::new("/sys/fs/cgroup/pids"),
            _ => return None,
        };
        Some((root, root.join(path.trim_start_matches('/'))))
    });
    let around = |(root, folder): (&Path, PathBuf)| {
        let inside = folder.ancestors().take_while(|folder| folder.starts_with(root));
        inside.filter_map(|folder| fs::read_to_string(folder.join("pids.max")).ok()?.trim().parse().ok()).min()
    };
    folders.filter_map(around).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exhausted_limit_is_explained() {
        let text = explained(io::Error::from_raw_os_error(libc::EAGAIN)).to_string();
        assert!(text.contains("`ulimit -u`") && text.contains("pids.max"), "{text}");
        let other = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(explained(other).raw_os_error(), Some(libc::ENOENT));
    }
}

//! Access to the memory of a live process.

use std::fs;
use std::io::{IoSlice, IoSliceMut};

use framewalk::memory::{Address, MemoryError, RemoteMemory, Segment};
use nix::errno::Errno;
use nix::libc;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::{Pid, Uid, geteuid};
use smallvec::SmallVec;

/// The kernel's limit on segments per system call.
const SEGMENTS_PER_CALL: usize = libc::UIO_MAXIOV as usize;
/// Up to this many segments need no allocation.
const INLINE: usize = 16;
/// Number of the capability that lets a process read any other process (`linux/capability.h`).
const CAP_SYS_PTRACE: u32 = 19;

/// The memory of a live process, read with `process_vm_readv`. The process is neither stopped nor attached to.
#[derive(Clone, Debug)]
pub struct ProcessMemory {
    pid: Pid,
}

impl ProcessMemory {
    /// The memory of process `pid`. Missing permission shows only at the first read.
    #[must_use]
    pub fn new(pid: i32) -> Self {
        Self { pid: Pid::from_raw(pid) }
    }

    /// The process whose memory this is.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    fn error(&self, errno: Errno, action: &'static str, address: Address, length: usize) -> MemoryError {
        let pid = self.pid();
        match errno {
            Errno::EFAULT => MemoryError::Unmapped { action, address, length },
            Errno::ESRCH => MemoryError::Gone { pid },
            Errno::EPERM | Errno::EACCES => MemoryError::Denied { action, pid, advice: permission_advice(pid) },
            other => MemoryError::System { action, pid, address, length, errno: other.to_string() },
        }
    }

    /// Makes one system call and returns how many bytes it read.
    fn read_call(&self, segments: &mut [Segment<'_>]) -> Result<usize, Errno> {
        let mut remote: SmallVec<[RemoteIoVec; INLINE]> = SmallVec::new();
        let mut local: SmallVec<[IoSliceMut<'_>; INLINE]> = SmallVec::new();
        for segment in segments {
            remote.push(RemoteIoVec { base: base(segment.address)?, len: segment.buffer.len() });
            local.push(IoSliceMut::new(segment.buffer));
        }
        process_vm_readv(self.pid, &mut local, &remote)
    }
}

impl RemoteMemory for ProcessMemory {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let length = buffer.len();
        let remote = base(address).map(|base| [RemoteIoVec { base, len: length }]);
        match remote.and_then(|remote| process_vm_readv(self.pid, &mut [IoSliceMut::new(buffer)], &remote)) {
            Ok(read) if read == length => Ok(()),
            Ok(_) => Err(MemoryError::Unmapped { action: "read", address, length }),
            Err(errno) => Err(self.error(errno, "read", address, length)),
        }
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        let Some((address, length)) = segments.first().map(|first| (first.address, first.buffer.len())) else {
            return Ok(0);
        };
        let mut done = 0;
        for call in segments.chunks_mut(SEGMENTS_PER_CALL) {
            let mut left = match self.read_call(call) {
                Ok(read) => read,
                Err(errno) if done == 0 => return Err(self.error(errno, "read", address, length)),
                Err(_) => return Ok(done),
            };
            for segment in call {
                match left.checked_sub(segment.buffer.len()) {
                    Some(rest) => left = rest,
                    None if done == 0 => return Err(MemoryError::Unmapped { action: "read", address, length }),
                    None => return Ok(done),
                }
                done += 1;
            }
        }
        Ok(done)
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let remote = base(address).map(|base| [RemoteIoVec { base, len: bytes.len() }]);
        match remote.and_then(|remote| process_vm_writev(self.pid, &[IoSlice::new(bytes)], &remote)) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(_) => Err(MemoryError::Unmapped { action: "write", address, length: bytes.len() }),
            Err(errno) => Err(self.error(errno, "write", address, bytes.len())),
        }
    }
}

fn base(address: Address) -> Result<usize, Errno> {
    usize::try_from(address).map_err(|_| Errno::EFAULT)
}

/// A memory that rejects writes.
#[derive(Clone, Debug)]
pub struct ReadOnly<M> {
    memory: M,
}

/// Makes every write to `memory` fail with [`MemoryError::ReadOnly`].
pub fn read_only<M: RemoteMemory>(memory: M) -> ReadOnly<M> {
    ReadOnly { memory }
}

impl<M: RemoteMemory> RemoteMemory for ReadOnly<M> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(address, buffer)
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        self.memory.read_vectored(segments)
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        Err(MemoryError::ReadOnly { address, length: bytes.len() })
    }
}

/// The setting that keeps this process from reading process `pid`, and what to do about it.
#[must_use]
pub fn permission_advice(pid: i32) -> String {
    let status = |of: &str| fs::read_to_string(format!("/proc/{of}/status")).unwrap_or_default();
    let own = status("thread-self");
    let capable = field(&own, "CapEff:")
        .and_then(|set| u64::from_str_radix(set, 16).ok())
        .is_some_and(|set| set >> CAP_SYS_PTRACE & 1 == 1);
    let uid = field(&status(&pid.to_string()), "Uid:").and_then(|uid| uid.parse().ok()).map(Uid::from_raw);
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    advice(capable, geteuid(), uid, scope.as_deref().map(str::trim))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

fn advice(capable: bool, own: Uid, uid: Option<Uid>, yama: Option<&str>) -> String {
    const GRANT: &str = "run framediff as root or grant it CAP_SYS_PTRACE \
                         (`setcap cap_sys_ptrace+ep`; in a container `--cap-add=SYS_PTRACE`)";
    match (uid, yama) {
        (_, Some("3")) => "/proc/sys/kernel/yama/ptrace_scope is 3: no process may read another one; this can only be \
            changed by a reboot with another setting"
            .into(),
        (Some(uid), _) if !capable && uid != own => {
            format!(
                "it runs as user {uid}, this process as user {own} without CAP_SYS_PTRACE: run as user {uid}, or {GRANT}"
            )
        }
        (_, Some("2")) if !capable => {
            format!(
                "/proc/sys/kernel/yama/ptrace_scope is 2: only processes with CAP_SYS_PTRACE may read others: {GRANT}"
            )
        }
        (_, Some("1")) if !capable => format!(
            "/proc/sys/kernel/yama/ptrace_scope is 1: a process may read only its own children: run `sysctl \
             kernel.yama.ptrace_scope=0` as root, or {GRANT}"
        ),
        _ if !capable => format!(
            "it is not dumpable (set-user-id, file capabilities, an unreadable executable, or prctl), or this process \
             is confined (seccomp, a container, a security module): {GRANT}"
        ),
        _ => "this process has CAP_SYS_PTRACE, so the process lives in another user namespace, or a security module \
            (SELinux, AppArmor, seccomp) refuses: run framediff inside that namespace, or check the audit log"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_the_responsible_setting() {
        let (me, other) = (Uid::from_raw(1000), Uid::from_raw(33));
        for (capable, uid, yama, expected) in [
            (false, Some(other), Some("0"), "runs as user 33"),
            (false, Some(other), None, "runs as user 33"),
            (false, Some(me), Some("1"), "ptrace_scope is 1"),
            (false, Some(me), Some("2"), "ptrace_scope is 2"),
            (true, Some(other), Some("3"), "ptrace_scope is 3"),
            (false, Some(me), None, "not dumpable"),
            (false, None, Some("0"), "not dumpable"),
            (true, Some(me), Some("1"), "user namespace"),
        ] {
            let text = advice(capable, me, uid, yama);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn own_memory_is_read_in_one_call_and_read_segments_are_counted() {
        let mut memory = ProcessMemory::new(Pid::this().as_raw());
        let data: Vec<u8> = (0..=255).collect();
        let at = |offset: usize| data.as_ptr() as u64 + offset as u64;
        let (mut first, mut second, mut third) = ([0; 4], [0; 8], [0; 4]);
        let mut segments = [
            Segment { address: at(16), buffer: &mut first },
            Segment { address: at(100), buffer: &mut second },
            Segment { address: 8, buffer: &mut third },
        ];
        assert_eq!(memory.read_vectored(&mut segments), Ok(2));
        assert_eq!((first, second), ([16, 17, 18, 19], [100, 101, 102, 103, 104, 105, 106, 107]));

        let mut many: Vec<[u8; 1]> = vec![[0]; SEGMENTS_PER_CALL * 2 + 1];
        let mut segments: Vec<Segment<'_>> =
            (0..).zip(&mut many).map(|(index, buffer)| Segment { address: at(index % 256), buffer }).collect();
        assert_eq!(memory.read_vectored(&mut segments), Ok(SEGMENTS_PER_CALL * 2 + 1));
        assert!((0..).zip(&many).all(|(index, byte)| usize::from(byte[0]) == index % 256));

        let unmapped = MemoryError::Unmapped { action: "read", address: 8, length: 4 };
        assert_eq!(memory.read_vectored(&mut [Segment { address: 8, buffer: &mut third }]), Err(unmapped.clone()));
        assert_eq!(memory.read(8, &mut third), Err(unmapped));
        assert_eq!(memory.read_vectored(&mut []), Ok(0));
    }

    #[test]
    fn writes_succeed_unless_the_memory_is_read_only() {
        let memory = ProcessMemory::new(Pid::this().as_raw());
        let data = Box::new(std::sync::atomic::AtomicU64::new(7));
        let address = data.as_ptr() as u64;
        memory.clone().write(address, &9_u64.to_le_bytes()).unwrap();
        assert_eq!(data.load(std::sync::atomic::Ordering::Relaxed), 9);
        let mut guarded = read_only(memory);
        assert_eq!(guarded.read_u64(address), Ok(9));
        assert_eq!(guarded.write(address, &[0; 8]), Err(MemoryError::ReadOnly { address, length: 8 }));
        assert_eq!(guarded.read_u64(address), Ok(9));
    }
}

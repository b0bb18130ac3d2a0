//! Identifies the program a process runs, so that a later program in the same process is noticed.

use std::{fs, io};

use framewalk::memory::{Address, RemoteMemory};

use crate::memory::ProcessMemory;

/// The key of the 16 random bytes in the auxiliary vector (`AT_RANDOM` of `elf.h`).
const AT_RANDOM: u64 = 25;

/// Identifies one program image of one process.
///
/// `execve` keeps the process id and the start time. Without address randomisation, the same program is loaded at the
/// same addresses again. But for every `execve` the kernel draws 16 random bytes, randomisation or not, and the
/// auxiliary vector points to them. libc derives its secrets from these bytes and does not change them. Equal bytes
/// therefore mean the same program image, with one exception: a forked child has its parent's bytes. The start time
/// distinguishes parent and child if the process id is reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    auxiliary: Vec<u8>,
    random: [u8; 16],
    started: u64,
}

impl Program {
    /// The program that process `pid` runs now.
    ///
    /// # Errors
    /// The process has ended, may not be read, or is just executing another program.
    pub fn of(pid: i32) -> io::Result<Self> {
        let auxiliary = fs::read(format!("/proc/{pid}/auxv"))?;
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "the process has no auxiliary vector");
        let address = entry(&auxiliary, AT_RANDOM).ok_or_else(missing)?;
        let mut random = [0; 16];
        ProcessMemory::new(pid).read(address, &mut random).map_err(io::Error::other)?;
        let started = started(&fs::read_to_string(format!("/proc/{pid}/stat"))?).ok_or_else(missing)?;
        Ok(Self { auxiliary, random, started })
    }
}

/// Looks up a key in an auxiliary vector, which is an array of pairs of words.
fn entry(vector: &[u8], key: u64) -> Option<Address> {
    let (pairs, _) = vector.as_chunks::<16>();
    pairs.iter().find_map(|pair| {
        let [k0, k1, k2, k3, k4, k5, k6, k7, value @ ..] = *pair;
        (u64::from_le_bytes([k0, k1, k2, k3, k4, k5, k6, k7]) == key).then(|| u64::from_le_bytes(value))
    })
}

/// The start time of a process in clock ticks since boot: field 22 of `stat`. Field 2, the name in parentheses, may
/// contain any characters.
fn started(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_program_identity() {
        let pid = std::process::id().cast_signed();
        let program = Program::of(pid).unwrap();
        assert_eq!(program, Program::of(pid).unwrap());
        assert_ne!(program.random, [0; 16]);
    }

    #[test]
    fn stat_fields_are_found_for_any_process_name() {
        let stat = format!("7 (a) 1 2) S {} 4711 0", ["0"; 18].join(" "));
        assert_eq!(started(&stat), Some(4711));
        let words = [6, 4096, AT_RANDOM, 0x7ffd_0000, 0, 0_u64];
        let vector: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!((entry(&vector, AT_RANDOM), entry(&vector, 31)), (Some(0x7ffd_0000), None));
    }
}

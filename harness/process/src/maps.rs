//! Finds out which part of a live process an address belongs to.

use std::fs;
use std::ops::Range;

use framewalk::memory::Address;

/// Whether `address` lies on the C stack of a stopped thread, that is, in the mapping that holds its stack pointer.
///
/// Returns `false` if `/proc` does not have the answer.
#[must_use]
pub fn is_c_stack(pid: i32, native_thread_id: u64, address: Address) -> bool {
    let stack_pointer = fs::read_to_string(format!("/proc/{pid}/task/{native_thread_id}/syscall"))
        .ok()
        .and_then(|text| stack_pointer(&text));
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok();
    match (stack_pointer, maps) {
        (Some(stack_pointer), Some(maps)) => {
            maps.lines().filter_map(range).any(|range| range.contains(&address) && range.contains(&stack_pointer))
        }
        _ => false,
    }
}

/// `/proc/PID/task/TID/syscall` ends with the stack pointer and the program counter, or contains only `running`.
fn stack_pointer(text: &str) -> Option<Address> {
    hexadecimal(text.split_ascii_whitespace().rev().nth(1)?)
}

fn range(line: &str) -> Option<Range<Address>> {
    let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some(hexadecimal(start)?..hexadecimal(end)?)
}

fn hexadecimal(digits: &str) -> Option<Address> {
    Address::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_pointers_and_ranges_parse() {
        assert_eq!(stack_pointer("0 0x3 0x7f 0x1 0x0 0x0 0x0 0x7ffc10 0x7f5a30\n"), Some(0x007f_fc10));
        assert_eq!(stack_pointer("-1 0x7ffc10 0x7f5a30\n"), Some(0x007f_fc10));
        assert_eq!(stack_pointer("running\n"), None);
        assert_eq!(range("7ffc00-7ffd00 rw-p 00000000 00:00 0   [stack]"), Some(0x007f_fc00..0x007f_fd00));
        assert_eq!(range(""), None);
    }

    #[test]
    fn a_local_variable_is_on_the_stack_and_a_box_is_not() {
        let local = 0_u8;
        let boxed = Box::new(0_u8);
        let pid = i32::try_from(std::process::id()).unwrap();
        // A running thread's stack pointer is not shown, so another thread looks while this one waits in a system call.
        let (thread, addresses) =
            (nix::unistd::gettid().as_raw() as u64, [&raw const local as u64, &raw const *boxed as u64]);
        let found = std::thread::spawn(move || {
            loop {
                let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")).unwrap();
                if stack_pointer(&text).is_some() {
                    return addresses.map(|address| is_c_stack(pid, thread, address));
                }
            }
        });
        assert_eq!(found.join().unwrap(), [true, false]);
    }
}

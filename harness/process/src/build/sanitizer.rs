//! Sanitizers that a build was made with: told by what its process has in it, and by how it was configured.
//!
//! The options are those of CPython's `configure` (`--with-address-sanitizer` and so on) and of gcc and clang
//! (`-fsanitize=`); the names of the runtimes are those of gcc (`libasan.so`) and clang (`libclang_rt.asan`), and every
//! instrumented object calls the runtime's functions (`__asan_init`).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use super::image::has_symbol;

/// A sanitizer of gcc and clang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sanitizer {
    /// Invalid accesses.
    Address,
    /// Uninitialised memory.
    Memory,
    /// Data races.
    Thread,
    /// Undefined behaviour.
    Undefined,
}

/// What tells of sanitizers.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence<'a> {
    /// The options of `configure` and of the compiler, as `sysconfig` has them.
    pub(super) options: &'a str,
    /// The files in the interpreter's process.
    pub(super) mapped: &'a [PathBuf],
}

impl Sanitizer {
    const ALL: [Self; 4] = [Self::Address, Self::Memory, Self::Thread, Self::Undefined];

    /// The name that its users have for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "ASan",
            Self::Memory => "MSan",
            Self::Thread => "TSan",
            Self::Undefined => "UBSan",
        }
    }

    /// What differs when a build with it is tested.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Address => {
                "all lanes read it from outside, as any build; leaks are not looked for in targets, because that fails \
                 under a tracer (ASAN_OPTIONS has detect_leaks=0 in them)"
            }
            Self::Memory => "all lanes read it from outside, as any build; all libraries must be instrumented, too",
            Self::Thread => {
                "the stopped and the stepped lane run as on any build; in the live lane it is so slow that fewer samples \
                 are compared; if it does not start (`unexpected memory mapping`), run framediff under `setarch -R`"
            }
            Self::Undefined => "all lanes run as on any build",
        }
    }

    /// As `configure --with-...-sanitizer` and `-fsanitize=` have it.
    fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Memory => "memory",
            Self::Thread => "thread",
            Self::Undefined => "undefined",
        }
    }

    /// As `configure` has it.
    fn option(self) -> &'static str {
        match self {
            Self::Address => "--with-address-sanitizer",
            Self::Memory => "--with-memory-sanitizer",
            Self::Thread => "--with-thread-sanitizer",
            Self::Undefined => "--with-undefined-behavior-sanitizer",
        }
    }

    /// As names of runtimes have it.
    fn short(self) -> &'static str {
        match self {
            Self::Address => "asan",
            Self::Memory => "msan",
            Self::Thread => "tsan",
            Self::Undefined => "ubsan",
        }
    }

    /// What the symbols begin with that instrumented code needs.
    fn symbol(self) -> &'static str {
        match self {
            Self::Address => "__asan_init",
            Self::Memory => "__msan_init",
            Self::Thread => "__tsan_init",
            Self::Undefined => "__ubsan_handle_",
        }
    }

    fn is_in_options(self, options: &str) -> bool {
        options.split(|c: char| c.is_whitespace() || "'\"".contains(c)).any(|option| {
            // The last word of an option can switch it off: `--with-address-sanitizer=no`.
            let configured = option
                .strip_prefix(self.option())
                .is_some_and(|rest| rest.is_empty() || (rest.starts_with('=') && rest != "=no"));
            let compiled =
                option.strip_prefix("-fsanitize=").is_some_and(|list| list.split(',').any(|word| word == self.word()));
            configured || compiled
        })
    }

    fn is_runtime(self, file: &Path) -> bool {
        let name = file.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        let (gcc, clang) = (format!("lib{}.so", self.short()), format!("libclang_rt.{}", self.short()));
        name.starts_with(&gcc) || name.starts_with(&clang)
    }
}

impl fmt::Display for Sanitizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which sanitizers the evidence shows.
pub(super) fn recognise(evidence: &Evidence<'_>) -> BTreeSet<Sanitizer> {
    let needs = |sanitizer: Sanitizer| {
        let begins = |name: &[u8]| name.starts_with(sanitizer.symbol().as_bytes());
        // Nothing else is the interpreter's own code; libraries around it are many.
        let own = |file: &&PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().contains("python"));
        evidence.mapped.iter().filter(own).any(|file| has_symbol(file, &begins))
    };
    let shown = |sanitizer: &Sanitizer| {
        sanitizer.is_in_options(evidence.options)
            || evidence.mapped.iter().any(|file| sanitizer.is_runtime(file))
            || needs(*sanitizer)
    };
    Sanitizer::ALL.into_iter().filter(shown).collect()
}

/// Has a sanitizer in the program that `command` starts not look for leaks: an interpreter has many as it ends, and the
/// search fails where a tracer has the process. Other programs do not read the variable.
pub(crate) fn without_leak_search(command: &mut Command) -> &mut Command {
    command.env(VARIABLE, options(std::env::var_os(VARIABLE)))
}

const VARIABLE: &str = "ASAN_OPTIONS";

/// The user's options and, as the last one counts, ours after them.
fn options(set: Option<OsString>) -> OsString {
    let ours = "detect_leaks=0";
    match set.filter(|options| !options.is_empty()) {
        Some(mut options) => {
            options.push(":");
            options.push(ours);
            options
        }
        None => ours.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_options(options: &str) -> Vec<&'static str> {
        recognise(&Evidence { options, mapped: &[] }).into_iter().map(Sanitizer::name).collect()
    }

    /// `CONFIG_ARGS` and `PY_CFLAGS` as builds have them.
    #[test]
    fn options_of_configure_and_compiler_tell() {
        for (options, names) in [
            ("'--with-address-sanitizer' '--with-pydebug'", &["ASan"][..]),
            ("'--with-undefined-behavior-sanitizer=yes'", &["UBSan"]),
            ("'--disable-gil' '--with-thread-sanitizer' 'CC=clang'", &["TSan"]),
            ("'--with-memory-sanitizer' -fsanitize=memory -fsanitize-memory-track-origins=2", &["MSan"]),
            ("-O1 -fsanitize=address,undefined -g", &["ASan", "UBSan"]),
            ("'CFLAGS=-O1 -fsanitize=undefined'", &["UBSan"]),
            ("'--with-address-sanitizer=no' '--without-thread-sanitizer'", &[]),
            ("-fsanitize-recover=address -fno-sanitize=thread", &[]),
            ("", &[]),
        ] {
            assert_eq!(of_options(options), names, "{options}");
        }
    }

    #[test]
    fn runtimes_in_the_process_tell() {
        for (file, names) in [
            ("/usr/lib/x86_64-linux-gnu/libasan.so.8.0.0", &["ASan"][..]),
            ("/usr/lib/x86_64-linux-gnu/libubsan.so.1", &["UBSan"]),
            ("/usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.tsan-x86_64.so", &["TSan"]),
            ("/usr/lib/libasan-doc.txt", &[]),
            ("/opt/asan/libc.so.6", &[]),
        ] {
            let mapped = [PathBuf::from(file)];
            let found = recognise(&Evidence { options: "", mapped: &mapped });
            assert_eq!(found.into_iter().map(Sanitizer::name).collect::<Vec<_>>(), names, "{file}");
        }
    }

    #[test]
    fn the_users_options_stay_and_leaks_are_not_looked_for() {
        assert_eq!(options(None), "detect_leaks=0");
        assert_eq!(options(Some("".into())), "detect_leaks=0");
        assert_eq!(options(Some("detect_leaks=1:verbosity=1".into())), "detect_leaks=1:verbosity=1:detect_leaks=0");
    }
}

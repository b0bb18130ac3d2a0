//! Recognises the sanitizers a build was compiled with, from the files mapped into its process and its `configure`
//! options.
//!
//! The options are those of CPython's `configure` (`--with-address-sanitizer` and so on) and of gcc and clang
//! (`-fsanitize=`). The runtimes are those of gcc (`libasan.so`) and clang (`libclang_rt.asan`). Every instrumented
//! object calls functions of the runtime, such as `__asan_init`.

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
    /// AddressSanitizer, which finds invalid accesses.
    Address,
    /// Finds reads of uninitialised memory.
    Memory,
    /// ThreadSanitizer, which finds data races.
    Thread,
    /// UndefinedBehaviorSanitizer, which finds undefined behaviour.
    Undefined,
}

/// The input for recognising sanitizers.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence<'a> {
    /// The options of `configure` and of the compiler, from `sysconfig`.
    pub(super) options: &'a str,
    /// The files mapped into the interpreter's process.
    pub(super) mapped: &'a [PathBuf],
}

impl Sanitizer {
    const ALL: [Self; 4] = [Self::Address, Self::Memory, Self::Thread, Self::Undefined];

    /// Its common short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "ASan",
            Self::Memory => "MSan",
            Self::Thread => "TSan",
            Self::Undefined => "UBSan",
        }
    }

    /// How testing a build with it differs from testing other builds.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Address => {
                "all lanes read it from outside, like any build; leak detection is off in targets (detect_leaks=0 in ASAN_OPTIONS), because it fails under a tracer"
            }
            Self::Memory => {
                "all lanes read it from outside, like any build; all its libraries must be instrumented, too"
            }
            Self::Thread => {
                "the stopped and the stepped lane run as on any build; the live lane compares fewer samples, because \
                 the build is slow; if it does not start (`unexpected memory mapping`), run framediff under `setarch \
                 -R`"
            }
            Self::Undefined => "all lanes run as on any build",
        }
    }

    /// Its name in `-fsanitize=`.
    fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Memory => "memory",
            Self::Thread => "thread",
            Self::Undefined => "undefined",
        }
    }

    /// Its option of `configure`.
    fn option(self) -> &'static str {
        match self {
            Self::Address => "--with-address-sanitizer",
            Self::Memory => "--with-memory-sanitizer",
            Self::Thread => "--with-thread-sanitizer",
            Self::Undefined => "--with-undefined-behavior-sanitizer",
        }
    }

    /// Its name in the file names of runtimes.
    fn short(self) -> &'static str {
        match self {
            Self::Address => "asan",
            Self::Memory => "msan",
            Self::Thread => "tsan",
            Self::Undefined => "ubsan",
        }
    }

    /// Prefix of the runtime's symbols that instrumented code needs.
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
            // A value can turn an option off: `--with-address-sanitizer=no`.
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

/// The sanitizers that the evidence shows.
pub(super) fn recognise(evidence: &Evidence<'_>) -> BTreeSet<Sanitizer> {
    let needs = |sanitizer: Sanitizer| {
        let begins = |name: &[u8]| name.starts_with(sanitizer.symbol().as_bytes());
        // Only these files are the interpreter's own code. There are many other libraries in the process.
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

/// Turns off the search for leaks in the program that `command` starts. An interpreter leaks a lot at exit, and the
/// search fails in a traced process. Programs without a sanitizer ignore the variable.
pub(crate) fn without_leak_search(command: &mut Command) -> &mut Command {
    command.env(VARIABLE, options(std::env::var_os(VARIABLE)))
}

const VARIABLE: &str = "ASAN_OPTIONS";

/// The user's options, followed by ours. The last one takes effect.
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

    /// `CONFIG_ARGS` and `PY_CFLAGS` of real builds.
    #[test]
    fn sanitizers_are_recognised_by_configure_and_compiler_options() {
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
    fn sanitizers_are_recognised_by_their_runtimes_in_the_process() {
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
    fn user_options_are_kept_and_leak_detection_is_off() {
        assert_eq!(options(None), "detect_leaks=0");
        assert_eq!(options(Some("".into())), "detect_leaks=0");
        assert_eq!(options(Some("detect_leaks=1:verbosity=1".into())), "detect_leaks=1:verbosity=1:detect_leaks=0");
    }
}

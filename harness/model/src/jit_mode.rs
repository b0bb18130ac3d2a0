//! Whether a build is run with its JIT.

use serde::Serialize;

/// Whether the JIT of a build is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JitMode {
    /// The build has no JIT.
    Unavailable,
    /// The build has a JIT, but it is off.
    Off,
    /// The JIT is on.
    On,
}

impl JitMode {
    /// The environment variable that puts a target into this mode, and its value. [`JitMode::Unavailable`] leaves it
    /// unset.
    #[must_use]
    pub fn variable(self) -> (&'static str, Option<&'static str>) {
        let value = match self {
            Self::Unavailable => None,
            Self::Off => Some("0"),
            Self::On => Some("1"),
        };
        ("PYTHON_JIT", value)
    }

    /// Whether the JIT is on; `None` if the build has no JIT to switch.
    #[must_use]
    pub fn switch(self) -> Option<bool> {
        match self {
            Self::Unavailable => None,
            Self::Off => Some(false),
            Self::On => Some(true),
        }
    }
}

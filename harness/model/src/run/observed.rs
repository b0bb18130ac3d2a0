//! Profiles of a cell, with their observers.

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::oracle::profile::Profile;

/// Where a profile comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observer {
    /// The generator, which gave the program its shares.
    Generator,
    /// Samples of the stopped process.
    Stopped,
    /// A walker, while the process was running.
    Walker(WalkerKind),
}

/// The profile that one observer counted in a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The observer. The generator's counts are weights, not samples.
    pub observer: Observer,
    /// The observer's counts of leaves and functions.
    pub profile: Profile,
}

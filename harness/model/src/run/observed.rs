//! What was counted of where a program spends its time.

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::oracle::profile::Profile;

/// Who tells where a program spends its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observer {
    /// The generator: the program was made so.
    Generator,
    /// Looks at the stopped process.
    Stopped,
    /// A walker, while the process ran.
    Walker(WalkerKind),
}

/// What one observer counted in a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Who; the generator's counts are weights.
    pub observer: Observer,
    /// What.
    pub profile: Profile,
}

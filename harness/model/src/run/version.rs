//! CPython version numbers, in their order.

use std::fmt;

use semver::Version;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of a CPython, as it prints it: "3.15.2", "3.15.0b4", "3.15.2+".
///
/// Versions are compared as releases and pre-releases. A trailing "+" marks a development build made after a release. It
/// does not say what the build contains, so such a build is neither older nor newer than that release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PythonVersion {
    text: String,
    order: Version,
}

/// A text that is not the version of a CPython.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a version of CPython, such as 3.15.2 or 3.16.0a2")]
pub struct BadVersion(String);

impl PythonVersion {
    /// Whether it is a release: neither a pre-release nor a development build.
    #[must_use]
    pub fn is_release(&self) -> bool {
        self.order.pre.is_empty() && !self.text.ends_with('+')
    }

    /// The version in the form that requirements such as ">=3.15.0" are matched with.
    #[must_use]
    pub(super) fn order(&self) -> &Version {
        &self.order
    }
}

impl TryFrom<String> for PythonVersion {
    type Error = BadVersion;

    fn try_from(text: String) -> Result<Self, BadVersion> {
        match parse(&text) {
            Some(order) => Ok(Self { text, order }),
            None => Err(BadVersion(text)),
        }
    }
}

impl From<PythonVersion> for String {
    fn from(version: PythonVersion) -> Self {
        version.text
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// As a semantic version: "3.15.0b4" becomes 3.15.0-b.4.
fn parse(text: &str) -> Option<Version> {
    let text = text.strip_suffix('+').unwrap_or(text);
    let suffix = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (release, suffix) = text.split_at(suffix);
    if suffix.is_empty() {
        return Version::parse(release).ok();
    }
    let number = suffix.find(|c: char| c.is_ascii_digit())?;
    let (stage, number) = suffix.split_at(number);
    Version::parse(&format!("{release}-{stage}.{number}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Result<PythonVersion, BadVersion> {
        PythonVersion::try_from(text.to_owned())
    }

    #[test]
    fn versions_are_read_as_cpython_writes_them() {
        for (text, order, release) in [
            ("3.15.2", "3.15.2", true),
            ("3.15.2+", "3.15.2", false),
            ("3.15.0b4", "3.15.0-b.4", false),
            ("3.15.0rc1+", "3.15.0-rc.1", false),
        ] {
            let read = version(text).unwrap();
            assert_eq!((read.order().to_string().as_str(), read.is_release()), (order, release), "{text}");
            assert_eq!(read.to_string(), text);
        }
        for bad in ["", "3", "3.15", "+", "b4", "3.15.0b", "3.15.0 beta", "nightly"] {
            assert!(version(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pre_releases_come_before_their_release() {
        let order: Vec<_> = ["3.15.0a9", "3.15.0a10", "3.15.0b1", "3.15.0rc1", "3.15.0", "3.15.3", "3.16.0a2"]
            .map(|text| version(text).unwrap().order().clone())
            .into();
        assert!(order.is_sorted(), "{order:?}");
    }
}

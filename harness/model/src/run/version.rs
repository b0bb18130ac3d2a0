//! CPython version numbers as semantic versions.

use semver::Version;

/// Parses a version as CPython writes it: "3.15.0b4" becomes 3.15.0-b.4. A trailing "+" marks a development build made
/// after a release. It does not say what the build contains, so the build counts as that release.
#[must_use]
pub(super) fn parse_version(text: &str) -> Option<Version> {
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

    #[test]
    fn versions_parse_as_cpython_writes_them() {
        let written = |text| parse_version(text).map(|version| version.to_string());
        assert_eq!(written("3.15.2").as_deref(), Some("3.15.2"));
        assert_eq!(written("3.15.2+").as_deref(), Some("3.15.2"));
        assert_eq!(written("3.15.0b4").as_deref(), Some("3.15.0-b.4"));
        assert_eq!(written("3.15.0rc1+").as_deref(), Some("3.15.0-rc.1"));
        for bad in ["", "3", "3.15", "+", "b4", "3.15.0b", "3.15.0 beta", "nightly"] {
            assert_eq!(written(bad), None, "{bad:?}");
        }
    }
}

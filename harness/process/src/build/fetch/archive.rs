//! Asks apt which Debian archive this machine uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::super::run::{self, RunError};
use super::FetchError;

/// Keyrings with the keys of all Debian archives, as the package debian-archive-keyring installs them.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// The time limit for apt, which only reads its settings here.
const DEADLINE: Duration = Duration::from_secs(30);

/// Limit on apt's output in bytes, far above that of any real machine.
const LIMIT: u64 = 16 << 20;

/// An archive of Debian packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Its address, as in a sources file.
    pub uri: String,
    /// The keyring whose keys must have signed the index. `None` means the keys that apt trusts for every archive.
    pub signed_by: Option<PathBuf>,
}

impl Archive {
    /// The archive from which apt gets Debian's section main.
    ///
    /// # Errors
    /// There is no apt, or apt has no such archive.
    pub fn of_this_machine() -> Result<Self, FetchError> {
        Self::by_apt(&[])
    }

    /// [`Archive::of_this_machine`] with additional settings.
    fn by_apt(settings: &[&str]) -> Result<Self, FetchError> {
        let mut command = Command::new("apt-get");
        command.env("LC_ALL", "C").args(["indextargets", "Created-By: Packages", "--format", FORMAT]);
        // A new machine has no index yet, but its settings are valid already.
        for setting in ["APT::Get::IndexTargets::OnlyPresent=false", "APT::Get::IndexTargets::ReleaseInfo=false"] {
            command.args(["-o", setting]);
        }
        command.args(settings.iter().flat_map(|setting| ["-o", setting]));
        let outcome = run::run(&mut command, DEADLINE, LIMIT).map_err(|error| FetchError::Tool {
            tool: "apt-get",
            source: match error {
                RunError::Start(source) | RunError::Wait(source) => source,
                RunError::Deadline => std::io::ErrorKind::TimedOut.into(),
                RunError::CalledOff(why) => std::io::Error::other(why),
            },
        })?;
        let (uri, entry) = choose(&String::from_utf8_lossy(&outcome.stdout)).ok_or(FetchError::NoArchive)?;
        let own = entry.rsplit_once(':').and_then(|(file, place)| {
            let text = fs::read_to_string(file).ok()?;
            signed_by(&text, Path::new(file).extension().is_some_and(|end| end == "sources"), place.parse().ok()?)
        });
        let installed = || KEYRINGS.iter().map(PathBuf::from).find(|keyring| keyring.exists());
        Ok(Self { uri, signed_by: own.or_else(installed) })
    }
}

/// Format of apt's output: one line per index, with the component first.
const FORMAT: &str = "$(COMPONENT)\t$(REPO_URI)\t$(SOURCESENTRY)";

/// The archive's URI, and the entry of apt's settings that names it. Security updates and other vendors have other
/// paths.
fn choose(targets: &str) -> Option<(String, String)> {
    targets.lines().find_map(|line| {
        let mut fields = line.split('\t');
        let (component, uri, entry) = (fields.next()?, fields.next()?, fields.next()?);
        // Debian's cloud images name a list of mirrors instead.
        let path = uri.trim_end_matches('/').trim_end_matches(".list");
        let debian = path.ends_with("/debian") || path.contains("/archive/debian/");
        (component == "main" && debian && !uri.starts_with("cdrom:")).then(|| (uri.to_owned(), entry.to_owned()))
    })
}

/// The keyring named by an entry of apt's settings: paragraph number `place` of a deb822 file, or line number `place`
/// of a file in the other format. Debian's keyrings of single releases are ignored, because the archive of the next
/// release has other keys.
fn signed_by(text: &str, deb822: bool, place: usize) -> Option<PathBuf> {
    let index = place.checked_sub(1)?;
    let value = if deb822 {
        let is_comment = |line: &&str| !line.starts_with('#');
        let lines: Vec<_> = text.lines().filter(is_comment).map(str::trim_end).collect();
        let paragraph = lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty()).nth(index)?;
        paragraph.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("signed-by").then(|| value.trim())
        })?
    } else {
        let (_, options) = text.lines().nth(index)?.split_once('[')?;
        let options = options.split_once(']')?.0;
        options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="))?
    };
    let path = PathBuf::from(value);
    let of_debian = value.starts_with("/usr/share/keyrings/debian-archive-");
    (path.is_absolute() && path.exists() && !of_debian).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_archive_is_chosen_among_others() {
        let targets = "main\thttp://mirror/debian-security/\t/etc/apt/s.list:1\n\
                       main\tcdrom://[disk]/debian/\t/etc/apt/s.list:2\n\
                       contrib\thttp://mirror/debian/\t/etc/apt/s.list:3\n\
                       main\thttp://mirror/debian/\t/etc/apt/s.list:4\n";
        assert_eq!(choose(targets), Some(("http://mirror/debian/".to_owned(), "/etc/apt/s.list:4".to_owned())));
        let list = "main\tmirror+file:///etc/apt/mirrors/debian.list\t/etc/apt/s.list:1\n";
        assert!(choose(list).is_some_and(|(uri, _)| uri.ends_with("debian.list")));
        assert_eq!(choose("main\thttp://mirror/ubuntu/\t/etc/apt/s.list:1\n"), None);
        assert_eq!(choose("E: nonsense"), None);
    }

    #[test]
    fn settings_are_used_before_an_index_exists() {
        let empty = tempfile::tempdir().unwrap();
        let lists = format!("Dir::State::lists={}", empty.path().display());
        assert_eq!(Archive::by_apt(&[&lists]).unwrap(), Archive::of_this_machine().unwrap());
    }

    #[test]
    fn settings_without_an_archive_of_debian_are_refused() {
        let empty = tempfile::tempdir().unwrap();
        let parts = format!("Dir::Etc::SourceParts={}", empty.path().display());
        let error = Archive::by_apt(&["Dir::Etc::SourceList=/dev/null", &parts]).unwrap_err();
        assert!(matches!(error, FetchError::NoArchive) && error.to_string().contains("--python"), "{error}");
    }

    #[test]
    fn a_local_keyring_is_found_in_both_kinds_of_source_files() {
        let keyring = tempfile::NamedTempFile::new().unwrap();
        let path = keyring.path().display();
        let deb822 = format!("# c\nURIs: http://a\n\n\n# c\nURIs: http://b\nSigned-By: {path}\n");
        assert_eq!(signed_by(&deb822, true, 1), None);
        assert_eq!(signed_by(&deb822, true, 2).as_deref(), Some(keyring.path()));
        assert_eq!(signed_by(&deb822, true, 3), None);
        let list = format!("# c\ndeb [arch=amd64 signed-by={path}] http://b main\n");
        assert_eq!(signed_by(&list, false, 2).as_deref(), Some(keyring.path()));
        assert_eq!(signed_by("Signed-By: /usr/share/keyrings/debian-archive-bookworm-stable.gpg", true, 1), None);
    }
}

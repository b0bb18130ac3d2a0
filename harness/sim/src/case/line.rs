//! A stepped case on one line, for issues and command lines. It needs no quoting in a shell.
//!
//! ```text
//! framediff@2@3.15.2,release@alternating,rounds,7,3,2,equal:0,0,ascii,0123456789abcdef@cpython-cached@2@0.2:12@FINGERPRINT
//! ```
//! The parts between `@` are: the version of cases; the build (version, `release` or `debug`, optionally `jit`); the
//! workload (family, mode, seed, depth, width, frame size, speed, names, digest of the source); the walker, with its
//! configuration after a plus sign if that is not the default one, and its weakenings; from version 3 on, the cast; the number of samples, with `,torn` if reads are torn and `,loads` if loads
//! of the anchor are steps; the schedule; the fingerprint.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use framewalk::printable::excerpt;
use framewalk::sample::WalkerKind;
use model::run::configuration::Configuration;
use model::schedule::cast::ProfilerScript;
use model::workload::{Family, Mode, Names, Parameters};

use super::format::VERSION;
use super::stepped::{BadStepped, BuildIdentity, SteppedCase, WorkloadIdentity};

/// The prefix of every such line.
const START: &str = "framediff@";

/// Whether `text` is a case on one line rather than the path of a file.
#[must_use]
pub fn is_line(text: &str) -> bool {
    text.starts_with(START)
}

impl fmt::Display for SteppedCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { build, workload, .. } = self;
        let kind = if build.debug { "debug" } else { "release" };
        write!(f, "{START}{}@{},{kind}{}", self.version(), build.version, if build.jit { ",jit" } else { "" })?;
        let WorkloadIdentity { family, mode, seed, parameters, source } = workload;
        let Parameters { depth, width, frame_size, speed, names } = parameters;
        write!(f, "@{family},{},{seed},{depth},{width},{frame_size},{speed},{},{source}", mode.name(), names.name())?;
        write!(f, "@{}", self.walker)?;
        if !self.configuration.is_default() {
            write!(f, "+{}", self.configuration.to_string().replace(',', "+"))?;
        }
        for weakening in &self.weakenings {
            write!(f, ",{weakening}")?;
        }
        if self.version() > 2 {
            write!(f, "@{}", self.cast.script())?;
        }
        let (torn, loads) = (if self.tearing { ",torn" } else { "" }, if self.loads { ",loads" } else { "" });
        write!(f, "@{}{torn}{loads}", self.samples)?;
        write!(f, "@{}@{}", self.schedule, self.fingerprint)
    }
}

impl FromStr for SteppedCase {
    type Err = BadStepped;

    fn from_str(text: &str) -> Result<Self, BadStepped> {
        let bad = |why: String| BadStepped::Field(why);
        let Some(rest) = text.strip_prefix(START) else {
            return Err(bad(format!("it is not a case on one line, which begins with {START}{VERSION}@")));
        };
        let mut parts: Vec<&str> = rest.split('@').collect();
        // The version comes first, because another version may have other parts.
        let count = match parts.first() {
            Some(&"2") | None => 7,
            Some(&"3") => 8,
            Some(other) => return Err(BadStepped::UnknownVersion(excerpt(other))),
        };
        if parts.len() != count {
            let parts = parts.len();
            return Err(bad(format!("it has {parts} parts instead of {count}")));
        }
        let cast = if count == 8 {
            parts.remove(4).parse().map_err(|error| bad(format!("{error}")))?
        } else {
            ProfilerScript::default()
        };
        let [_, build, workload, walker, samples, schedule, fingerprint] = parts[..] else {
            return Err(bad("it is incomplete".to_owned()));
        };
        let (walker, weakenings) = match walker.split_once(',') {
            Some((walker, weakenings)) => (walker, weakenings.split(',').collect()),
            None => (walker, Vec::new()),
        };
        let (walker, configuration) = match walker.split_once('+') {
            Some((walker, options)) => {
                (walker, options.replace('+', ",").parse().map_err(|error| bad(format!("{error}")))?)
            }
            None => (walker, Configuration::default()),
        };
        let without_loads = samples.strip_suffix(",loads").unwrap_or(samples);
        let count = without_loads.strip_suffix(",torn").unwrap_or(without_loads);
        let case = Self {
            build: parse_build(build).map_err(bad)?,
            workload: parse_workload(workload).map_err(bad)?,
            walker: WalkerKind::ALL
                .into_iter()
                .find(|known| known.name() == walker)
                .ok_or_else(|| bad(unknown("walker", walker, &WalkerKind::ALL.map(|walker| walker.name()))))?,
            weakenings: weakenings.into_iter().map(str::parse).collect::<Result<BTreeSet<_>, _>>().map_err(bad)?,
            configuration,
            cast,
            samples: number("number of samples", count).map_err(bad)?,
            tearing: without_loads.ends_with(",torn"),
            loads: samples.ends_with(",loads"),
            schedule: schedule.parse().map_err(|error| bad(format!("{error}")))?,
            fingerprint: fingerprint.parse().map_err(|error| bad(format!("{error}")))?,
        };
        case.check()?;
        Ok(case)
    }
}

fn parse_build(text: &str) -> Result<BuildIdentity, String> {
    let parts: Vec<&str> = text.split(',').collect();
    let (version, kind, jit) = match parts[..] {
        [version, kind] => (version, kind, false),
        [version, kind, "jit"] => (version, kind, true),
        _ => return Err(format!("{:?} is not a build; write 3.15.2,release or 3.15.2,debug,jit", excerpt(text))),
    };
    let debug = match kind {
        "release" => false,
        "debug" => true,
        other => return Err(unknown("kind of build", other, &["release", "debug"])),
    };
    Ok(BuildIdentity { version: version.to_owned(), debug, jit })
}

fn parse_workload(text: &str) -> Result<WorkloadIdentity, String> {
    let parts: Vec<&str> = text.split(',').collect();
    let [family, mode, seed, depth, width, frame_size, speed, names, source] = parts[..] else {
        return Err(format!("{:?} is not a workload: it has {} parts instead of 9", excerpt(text), parts.len()));
    };
    let mode_of = |name: &str| Mode::ALL.into_iter().find(|mode| mode.name() == name);
    let names_of = |name: &str| Names::ALL.into_iter().find(|names| names.name() == name);
    Ok(WorkloadIdentity {
        family: Family::from_name(family)
            .ok_or_else(|| unknown("family of workloads", family, &Family::ALL.map(Family::name)))?,
        mode: mode_of(mode).ok_or_else(|| unknown("mode", mode, &Mode::ALL.map(Mode::name)))?,
        seed: number("seed", seed)?,
        parameters: Parameters {
            depth: number("depth", depth)?,
            width: number("width", width)?,
            frame_size: frame_size.parse()?,
            speed: number("speed", speed)?,
            names: names_of(names).ok_or_else(|| unknown("kind of names", names, &Names::ALL.map(Names::name)))?,
        },
        source: source.parse()?,
    })
}

fn number<T: FromStr>(what: &str, text: &str) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = digits.then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| format!("{:?} is not a {what}", excerpt(text)))
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    format!("there is no {what} {:?}; known are {}", excerpt(name), known.join(", "))
}

//! Defaults for the options of `check` from a file, `framediff.toml`.
//!
//! A key is the long name of an option. Its value becomes a word of the command line, so that the option's own parser
//! judges it, and only if the command line does not decide about the option itself.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, Parser};
use model::files::read_text;
use model::run::document::Defaults;
use toml::{Spanned, Value};

use crate::cli::arguments::Cli;
use crate::cli::output::tell;
use crate::cli::report_arguments::ReportTo;

/// The name of the file that is looked for.
const NAME: &str = "framediff.toml";
/// Larger files are rejected, in bytes.
const LARGEST: u64 = 1 << 20;
/// Options of the command line alone: what says which file is read cannot come from it, and a replay is a single failure.
const NOT_KEYS: [&str; 5] = ["config", "no-config", "until", "help", "version"];

/// Parses the command line. Where `check` is to run, the options that the command line leaves open come from the file.
///
/// # Errors
/// The command line is wrong, or the file is: an unknown key, a wrong type, a value that the option refuses. The error
/// names file and line. Requests for help and the version are errors, too, as clap has them.
pub fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    let given = match Cli::command().try_get_matches_from(words) {
        // The file may have what is missing.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            Cli::command().ignore_errors(true).try_get_matches_from(words)?
        }
        given => given?,
    };
    let check = match given.subcommand() {
        None => &given,
        Some(("check", check)) => check,
        Some(_) => return Cli::try_parse_from(words),
    };
    let Some(file) = named_or_found(check)? else { return Cli::try_parse_from(words) };
    let refused = |why: String| clap::Error::raw(ErrorKind::InvalidValue, why + "\n");
    let read = ConfigFile::read(&file).map_err(refused)?;
    let (added, options) = read.words(words, check).map_err(refused)?;
    let mut cli = Cli::try_parse_from(with(words, &added))
        .inspect_err(|_| tell(&format!("note: {} decides {}", file.display(), options.join(", "))))?;
    if !options.is_empty() {
        cli.note_defaults(Defaults { file: file.display().to_string(), options });
    }
    Ok(cli)
}

/// The file that `--config` names, or the one that is found. Nothing is looked for where a failure is replayed: the
/// command has everything that decides.
fn named_or_found(check: &ArgMatches) -> Result<Option<PathBuf>, clap::Error> {
    if let Some(named) = check.get_one::<PathBuf>("config") {
        return Ok(Some(named.clone()));
    }
    let is_given = |id: &str| check.value_source(id) == Some(ValueSource::CommandLine);
    if is_given("no_config") {
        return Ok(None);
    }
    let found = std::env::current_dir().ok().and_then(|folder| find(&folder));
    if let Some(file) = found.as_ref().filter(|_| is_given("until")) {
        tell(&format!("note: {} is not read, because --until replays a failure; --config reads it", file.display()));
        return Ok(None);
    }
    Ok(found)
}

/// The file in this folder, or in the nearest folder above it that has one, up to the top of the checkout. Outside of a
/// checkout only the folder itself counts: what lies above may be anybody's.
fn find(folder: &Path) -> Option<PathBuf> {
    let top = folder.ancestors().position(|above| above.join(".git").exists()).unwrap_or(0);
    folder.ancestors().take(top + 1).map(|above| above.join(NAME)).find(|file| file.is_file())
}

/// The words with others put in, before the arguments of a program.
fn with(words: &[OsString], added: &[OsString]) -> Vec<OsString> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    [&words[..end], added, &words[end..]].concat()
}

/// What a file says, not yet judged.
struct ConfigFile {
    path: PathBuf,
    text: String,
    keys: BTreeMap<Spanned<String>, Spanned<Value>>,
}

impl ConfigFile {
    fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let failed =
            |error| format!("cannot read the defaults in {name}: {error}; check the path, or run with --no-config");
        let text = read_text(path, LARGEST).map_err(failed)?;
        let keys = toml::from_str(&text).map_err(|error: toml::de::Error| {
            format!("{name}:{}: {}", line(&text, error.span().unwrap_or_default()), error.message())
        })?;
        Ok(Self { path: path.to_owned(), text, keys })
    }

    /// The words of the options that the command line leaves open, and the names of these options.
    fn words(&self, given: &[OsString], check: &ArgMatches) -> Result<(Vec<OsString>, Vec<String>), String> {
        let mut command = Cli::command();
        command.build();
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        let (mut added, mut options) = (Vec::new(), Vec::new());
        for (key, value) in keys {
            let name = key.get_ref();
            let wrong = |why: String| format!("{}:{}: {why}", self.path.display(), line(&self.text, key.span()));
            let option = option(&command, name).ok_or_else(|| wrong(unknown(name)))?;
            let words = self.words_of(option, value.get_ref()).map_err(|why| wrong(format!("{name} {why}")))?;
            if let Some(why) = refusal(&with(&["framediff".into(), "check".into()], &words), true) {
                return Err(wrong(why));
            }
            let source = check.value_source(option.get_id().as_str());
            if words.is_empty() || matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
                continue;
            }
            if let Some(why) = refusal(&with(given, &words), false) {
                tell(&format!("note: {} is not used: {why}", wrong(name.clone())));
                continue;
            }
            added.extend(words);
            if let Some(why) = refusal(&with(given, &added), false) {
                return Err(wrong(why));
            }
            options.push(name.clone());
        }
        Ok((added, options))
    }

    /// The words that give an option this value.
    fn words_of(&self, option: &Arg, value: &Value) -> Result<Vec<OsString>, String> {
        let name = option.get_long().unwrap_or_default();
        match (option.get_action(), value) {
            (ArgAction::SetTrue, Value::Boolean(true)) => Ok(vec![format!("--{name}").into()]),
            (ArgAction::SetTrue, Value::Boolean(false)) => Ok(Vec::new()),
            (ArgAction::SetTrue, _) => Err("takes true or false".to_owned()),
            (ArgAction::Append, Value::Array(all)) => all.iter().map(|one| self.word(option, one)).collect(),
            _ => Ok(vec![self.word(option, value)?]),
        }
    }

    fn word(&self, option: &Arg, value: &Value) -> Result<OsString, String> {
        let of = option.get_value_parser().type_id();
        let is = |all: &[TypeId]| all.iter().any(|one| of == *one);
        let number = [TypeId::of::<u32>(), TypeId::of::<NonZeroUsize>()];
        let either = [TypeId::of::<u64>(), TypeId::of::<Duration>()];
        let share = [TypeId::of::<f64>()];
        let text = match value {
            Value::Integer(value) if is(&number) || is(&either) || is(&share) => value.to_string(),
            Value::Float(value) if is(&share) => value.to_string(),
            Value::String(text) if !is(&number) && !is(&share) => self.at_home(option, text),
            _ if is(&number) => return Err("takes a whole number".to_owned()),
            _ if is(&share) => return Err("takes a number".to_owned()),
            _ if is(&either) => return Err("takes a whole number or a text in quotes".to_owned()),
            _ if matches!(option.get_action(), ArgAction::Append) => {
                return Err("takes a text in quotes, or several in brackets".to_owned());
            }
            _ => return Err("takes a text in quotes".to_owned()),
        };
        Ok(format!("--{}={text}", option.get_long().unwrap_or_default()).into())
    }

    /// Paths are relative to the file's folder. An interpreter without a slash is one on `PATH`.
    fn at_home(&self, option: &Arg, text: &str) -> String {
        let of = option.get_value_parser().type_id();
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let join = |path: &str| folder.join(path).display().to_string();
        if of == TypeId::of::<ReportTo>() {
            text.split_once('=').map_or(text.to_owned(), |(kind, path)| format!("{kind}={}", join(path)))
        } else if of == TypeId::of::<PathBuf>() && (text.contains('/') || option.get_long() != Some("python")) {
            join(text)
        } else {
            text.to_owned()
        }
    }
}

/// The option of `check` with this long name.
fn option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let mut all = command.find_subcommand("check")?.get_arguments();
    all.find(|option| option.get_long() == Some(name) && !NOT_KEYS.contains(&name))
}

fn unknown(name: &str) -> String {
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
    let asked = is_name.then(|| Cli::try_parse_from(["framediff", "check", &format!("--{name}")]).err()).flatten();
    let nearest = asked.as_ref().and_then(|error| error.get(ContextKind::SuggestedArg));
    let advice = match nearest {
        _ if NOT_KEYS.contains(&name) => "it belongs on the command line".to_owned(),
        Some(ContextValue::String(option)) => format!("the nearest is `{}`", option.trim_start_matches("--")),
        _ => "keys are the long options that `framediff check --help` lists".to_owned(),
    };
    format!("there is no key {name:?}: {advice}")
}

/// Why clap refuses these words, in one line. A value alone may lack another option that it needs; `alone` allows that.
fn refusal(words: &[OsString], alone: bool) -> Option<String> {
    let error = Cli::try_parse_from(words).err()?;
    let is_refused = match error.kind() {
        ErrorKind::MissingRequiredArgument => false,
        ErrorKind::ArgumentConflict => true,
        _ => alone,
    };
    let text = error.render().to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let lines: Vec<&str> = lines.map(|line| line.trim_start_matches("error:").trim()).collect();
    is_refused.then(|| lines.join(" ").trim_end().to_owned())
}

/// The number of the line in which a span begins.
fn line(text: &str, span: Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use std::fs;

    use model::lane::Lane;
    use model::workload::Family;

    use super::*;
    use crate::cli::arguments::Verb;
    use crate::cli::check_arguments::Check;

    /// The command line `framediff --config FILE ...`, where the file has this text.
    fn parsed(text: &str, line: &str) -> Result<Check, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(NAME);
        fs::write(&file, text).unwrap();
        let words = ["framediff", "--config"].map(OsString::from).into_iter().chain([file.into()]);
        let words: Vec<OsString> = words.chain(line.split_whitespace().map(OsString::from)).collect();
        let place = folder.path().display().to_string();
        match parse(&words).map(Cli::verb) {
            Ok(Verb::Check(check)) => Ok(*check),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.render().to_string().replace(&place, "")),
        }
    }

    #[test]
    fn the_file_decides_what_the_command_line_leaves_open() {
        let text = "lane = ['stopped', 'live']\nstops = 40\nseed = '0x10'\nbudget = 90\nstrict = true\nconfidence = 0.99\n\
                    python = ['./python', 'python3.15']\nreport = 'html=out/r.html'\nknown = 'known.toml'\nfamily = 'deep'";
        let check = parsed(text, "--stops 50 --family through-c").unwrap();
        assert_eq!((check.stops, check.selection.seed, check.budget), (Some(50), Some(16), Duration::from_secs(90)));
        assert_eq!(
            (check.selection.lane, check.selection.family),
            (vec![Lane::Stopped, Lane::Live], vec![Family::ThroughC])
        );
        assert!(check.judging.strict && check.judging.confidence < 0.995);
        let [beside, on_path] = check.source.python.as_slice() else { panic!("{:?}", check.source.python) };
        assert!(beside.is_absolute() && beside.ends_with("python"));
        assert_eq!(on_path, Path::new("python3.15"));
        assert!(check.judging.known.unwrap().is_absolute());
        assert!(check.reports.reports[0].path.is_absolute());
        let defaults = check.defaults.unwrap();
        assert!(Path::new(&defaults.file).ends_with(NAME));
        let decided = ["lane", "seed", "budget", "strict", "confidence", "python", "report", "known"];
        assert_eq!(defaults.options, decided);
    }

    #[test]
    fn what_the_command_line_excludes_is_left_out_and_an_option_may_lack_what_the_file_has() {
        let check = parsed("family = 'deep'\nstops = 9", "--program p.py -- --seed").unwrap();
        assert_eq!(
            (check.selection.family, check.stops, check.arguments),
            (vec![], Some(9), vec!["--seed".to_owned()])
        );
        let check = parsed("python = './python'", "--baseline base.json").unwrap();
        assert!(check.baseline.is_some() && check.source.python.len() == 1);
        assert!(parsed("stops = 9", "--baseline base.json").unwrap_err().contains("--python"));
    }

    #[test]
    fn mistakes_are_refused_with_their_line() {
        for (text, why) in [
            ("\nstop = 3", "framediff.toml:2: there is no key \"stop\": the nearest is `stops`"),
            ("layout_header = 'x'", "the nearest is `layout-header`"),
            ("xyz-123 = 3", "`framediff check --help` lists"),
            ("until = 'live/own-cached/cache-worse'", "framediff.toml:1: there is no key \"until\": it belongs on"),
            ("stops = '3'", "framediff.toml:1: stops takes a whole number"),
            ("stops = 0", "framediff.toml:1: invalid value '0' for '--stops <N>'"),
            ("seed = 1\n\nlane = ['stopped', 'x']", "framediff.toml:3: invalid value 'x' for '--lane <LANE>'"),
            ("known = 3", "framediff.toml:1: known takes a text in quotes"),
            ("python = [3]", "framediff.toml:1: python takes a text in quotes, or several in brackets"),
            ("strict = 1", "framediff.toml:1: strict takes true or false"),
            ("budget = 1.5", "framediff.toml:1: budget takes a whole number or a text in quotes"),
            ("[check]\nseed = 1", "framediff.toml:1: there is no key \"check\""),
            ("seed = 1\nstrict", "framediff.toml:2: "),
            ("strict = true\nbaseline = 'b'", "framediff.toml:2: the argument"),
        ] {
            let error = parsed(text, "").unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_file_is_looked_for_up_to_the_top_of_the_checkout() {
        let outside = tempfile::tempdir().unwrap();
        let [top, below] = ["checkout", "checkout/a/b"].map(|name| outside.path().join(name));
        fs::create_dir_all(&below).unwrap();
        for folder in [outside.path(), &top] {
            fs::write(folder.join(NAME), "").unwrap();
        }
        assert_eq!(find(&below), None, "there is no checkout");
        assert_eq!(find(&top), Some(top.join(NAME)));
        fs::create_dir(top.join(".git")).unwrap();
        assert_eq!(find(&below), Some(top.join(NAME)));
        fs::remove_file(top.join(NAME)).unwrap();
        assert_eq!(find(&below), None);
    }
}

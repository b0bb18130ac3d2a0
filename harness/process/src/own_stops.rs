//! User programs: how they are started, and how they stop themselves at gates.
//!
//! The interpreter runs the program itself, as `python FILE ARGS` does. Before that, the harness' `sitecustomize` waits
//! until the harness gives the start signal, and appends the folder with the module of the gates to `sys.path`. At a
//! gate the program appends its own account to a file as one line of JSON, and sends itself SIGSTOP.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use framewalk::printable::excerpt;
use model::account::AccountFrame;
use model::workload::user_program::UserProgram;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde::de::{Error, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

use super::deadline::{Deadline, Over};
use super::descendants::Mark;
use super::gate::GateError;

const START: &str = include_str!("../pyscripts/program/start/sitecustomize.py");
const GATES: &str = include_str!("../pyscripts/program/modules/framediff_gate.py");
const OTHER_NAME: &str = include_str!("../pyscripts/program/modules/gate.py");

/// The variable that names the file for the accounts.
const OUT: &str = "GATE_OUT";
/// If the accounts of one stop are larger than this, in bytes, they are rejected.
const ACCOUNTS_LIMIT: u64 = 64 << 20;
/// How often a wait for a stop checks its deadline.
const ASK: Duration = Duration::from_millis(50);

/// A thread's own account of its stack at a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAccount {
    /// The kernel's id of the thread.
    pub native_thread_id: u32,
    /// Its frames, leaf first. The first one is the caller of the gate.
    pub frames: Vec<AccountFrame>,
}

/// A frame as the program writes it: name, file, line, positions.
#[derive(Deserialize)]
struct Written(Text, Text, Option<i32>, Positions);

/// Text from Python. A lone surrogate encodes a byte of a path that is not UTF-8. Each one becomes U+FFFD, as in the
/// walkers.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(without_surrogates(bytes)))
            }
        }
        // When bytes are requested, serde_json accepts a lone surrogate and returns its three bytes.
        deserializer.deserialize_bytes(Bytes)
    }
}

fn without_surrogates(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    while let Some(at) = bytes.windows(3).position(|three| matches!(three, [0xed, 0xa0..=0xbf, _])) {
        let (before, rest) = bytes.split_at(at);
        text.push_str(&String::from_utf8_lossy(before));
        text.push(char::REPLACEMENT_CHARACTER);
        bytes = rest.get(3..).unwrap_or_default();
    }
    text + &String::from_utf8_lossy(bytes)
}

/// Line, end line, column and end column, or a word if the instruction has no position.
#[derive(Deserialize)]
#[serde(untagged)]
enum Positions {
    Known((Option<i32>, Option<i32>, Option<u32>, Option<u32>)),
    Unknown(IgnoredAny),
}

impl From<Written> for AccountFrame {
    fn from(Written(function, file, line, positions): Written) -> Self {
        let (Text(function), Text(file)) = (function, file);
        match positions {
            // `f_lineno` is None for a negative line, so the line comes from the positions.
            Positions::Known((line, end_line, column, end_column)) => {
                Self { function, file, line, place: Some((end_line, column, end_column)) }
            }
            Positions::Unknown(_) => Self { function, file, line, place: None },
        }
    }
}

fn parse(line: &[u8]) -> Result<OwnAccount, GateError> {
    let (native_thread_id, frames): (u32, Vec<Written>) =
        serde_json::from_slice(line).map_err(|error| GateError::Malformed(excerpt(&error.to_string())))?;
    Ok(OwnAccount { native_thread_id, frames: frames.into_iter().map(AccountFrame::from).collect() })
}

/// Makes `command` run `program` and puts the files that it needs into `folder`. At its gates the program stops if
/// `stops` is set; otherwise it spins.
pub(super) fn prepare(command: &mut Command, program: &UserProgram, folder: &Path, stops: bool) -> io::Result<()> {
    let (start, modules) = (folder.join("start"), folder.join("modules"));
    for folder in [&start, &modules] {
        fs::create_dir(folder)?;
    }
    fs::write(start.join("sitecustomize.py"), START)?;
    fs::write(modules.join("framediff_gate.py"), GATES)?;
    fs::write(modules.join("gate.py"), OTHER_NAME)?;
    command
        .env("PYTHONPATH", &start)
        .env("FRAMEDIFF_START", "1")
        .env("GATE_MODE", if stops { "gate" } else { "run" })
        .env(OUT, accounts_file(folder))
        .arg(&program.file)
        .args(&program.arguments);
    Ok(())
}

/// The mark of a program in `folder`, which no other program has.
pub(super) fn marker(folder: &Path) -> Mark {
    Mark { name: OUT, value: accounts_file(folder).into() }
}

/// The mark of all programs whose folders are inside `folder`.
pub(super) fn marker_of_run(folder: &Path) -> Mark {
    // Joining nothing ends the path with a slash.
    Mark { name: OUT, value: folder.join("").into() }
}

/// The file for the accounts. The program creates it when it imports the module of the gates.
fn accounts_file(folder: &Path) -> PathBuf {
    folder.join("accounts")
}

/// Receives a program's stops and the accounts it gives at its gates.
pub(super) struct OwnStops {
    accounts: PathBuf,
    file: Option<File>,
    /// The start of an incomplete line.
    partial: Vec<u8>,
    waiter: Waiter,
}

impl OwnStops {
    pub(super) fn new(pid: Pid, folder: &Path) -> io::Result<Self> {
        Ok(Self { accounts: accounts_file(folder), file: None, partial: Vec::new(), waiter: Waiter::new(pid)? })
    }

    /// Whether the program has imported the module of the gates.
    pub(super) fn are_imported(&self) -> bool {
        self.accounts.exists()
    }

    /// Waits until the program has stopped itself or has ended. The caller has to find out which.
    pub(super) fn wait(&mut self, deadline: Deadline) -> Result<(), Over> {
        self.waiter.wait(deadline)
    }

    /// The accounts written since the last call. The program is stopped, so nothing is written meanwhile.
    pub(super) fn accounts(&mut self) -> Result<Vec<OwnAccount>, GateError> {
        let mut bytes = std::mem::take(&mut self.partial);
        self.read(&mut bytes).map_err(GateError::System)?;
        let mut accounts = Vec::new();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => accounts.push(parse(line)?),
                None => self.partial = line.to_vec(),
            }
        }
        Ok(accounts)
    }

    fn read(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None if !self.accounts.exists() => return Ok(()),
            none => none.insert(File::options().read(true).write(true).open(&self.accounts)?),
        };
        file.take(ACCOUNTS_LIMIT + 1).read_to_end(bytes)?;
        if bytes.len() as u64 > ACCOUNTS_LIMIT {
            return Err(io::Error::other(format!("accounts of more than {} MiB", ACCOUNTS_LIMIT >> 20)));
        }
        // The program appends, so it continues at the start and the file stays small.
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0)).map(drop)
    }
}

/// Waits for stops of a child on a thread of its own, because `waitid` has no timeout.
struct Waiter {
    ask: Sender<()>,
    told: Receiver<()>,
    /// Whether a wait was requested and has not returned yet.
    asked: bool,
}

impl Waiter {
    fn new(pid: Pid) -> io::Result<Self> {
        let (ask, questions) = channel();
        let (answer, told) = channel();
        // The thread ends when its owner is dropped or when the child ends.
        std::thread::Builder::new().name("own-stops".into()).spawn(move || {
            while questions.recv().is_ok() {
                // `WNOWAIT` leaves the stop report for the caller.
                let any = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
                let _ = waitid(Id::Pid(pid), any);
                if answer.send(()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { ask, told, asked: false })
    }

    fn wait(&mut self, deadline: Deadline) -> Result<(), Over> {
        if !self.asked {
            self.asked = self.ask.send(()).is_ok();
        }
        loop {
            let left = deadline.last().saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left.min(ASK)) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                    self.asked = false;
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(over) = deadline.over() {
                        return Err(over);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_parses_into_a_thread_and_its_frames() {
        let account = parse(br#"[7, [["f", "p.py", 3, [3, 4, 5, 6]], ["<module>", "p.py", null, "out"]]]"#).unwrap();
        assert_eq!(account.native_thread_id, 7);
        let places = account.frames.iter().map(|frame| (frame.line, frame.place)).collect::<Vec<_>>();
        assert_eq!(places, [(Some(3), Some((Some(4), Some(5), Some(6)))), (None, None)]);
        let negative = parse(br#"[7, [["f", "p.py", null, [-4, -4, 5, 6]]]]"#).unwrap();
        assert_eq!(negative.frames[0].line, Some(-4));
        let odd = parse(br#"[7, [["a\\ud800\ud800\ud83d\ude00", "\u00e9\udc80.py", 1, "out"]]]"#).unwrap();
        let names = (&*odd.frames[0].function, &*odd.frames[0].file);
        assert_eq!(names, ("a\\ud800\u{fffd}\u{1f600}", "\u{e9}\u{fffd}.py"));
        for bad in [&b""[..], b"[]", br#"[7, [["f"]]]"#, br#"[-1, []]"#, b"\xff"] {
            assert!(matches!(parse(bad), Err(GateError::Malformed(_))), "{bad:?}");
        }
    }

    #[test]
    fn accounts_are_returned_once_and_lines_may_arrive_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let mut stops = OwnStops::new(Pid::this(), folder.path()).unwrap();
        assert!(!stops.are_imported() && stops.accounts().unwrap().is_empty());
        let write = |text: &str| {
            use std::io::Write;
            let file = accounts_file(folder.path());
            File::options().append(true).create(true).open(file).unwrap().write_all(text.as_bytes()).unwrap();
        };
        write("[1, []]\n[2, ");
        let ids = |accounts: Vec<OwnAccount>| accounts.iter().map(|one| one.native_thread_id).collect::<Vec<_>>();
        assert!(stops.are_imported());
        assert_eq!(ids(stops.accounts().unwrap()), [1]);
        assert_eq!(ids(stops.accounts().unwrap()), [0; 0]);
        write("[]]\n");
        assert_eq!(ids(stops.accounts().unwrap()), [2]);
    }
}

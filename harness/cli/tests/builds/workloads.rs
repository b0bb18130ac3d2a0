//! Tests that every generated program compiles and that its stacks are in its grammar.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of these tests fail by panicking"
)]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use framewalk::frame::{Frame, Location};
use model::workload::family::FamilyThreads;
use model::workload::grammar::WORKLOAD_FILE;
use model::workload::{Family, FrameSize, Mode, Names, Parameters, Workload, generate};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::common;

fn python() -> std::path::PathBuf {
    common::release().python
}

fn drawn(family: Family, mode: Mode, seed: u64) -> Workload {
    let parameters = Parameters::draw(family, &mut ChaCha8Rng::seed_from_u64(seed));
    generate(family, mode, &parameters, seed)
}

/// A running program. Killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(workload: &Workload, folder: &std::path::Path) -> Self {
        let script = folder.join(WORKLOAD_FILE);
        std::fs::write(&script, &workload.source).unwrap();
        let child = Command::new(python())
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        Self(child)
    }

    fn write(&mut self, command: &[u8]) {
        self.0.stdin.as_mut().unwrap().write_all(command).unwrap();
    }

    fn read(&mut self, length: usize) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let output = self.0.stdout.as_mut().unwrap();
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut waited = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut waited, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)).unwrap();
            assert!(ready > 0, "no message within the deadline");
            let count = output.read(&mut bytes[filled..]).unwrap();
            assert!(count > 0, "the program ended early");
            filled += count;
        }
        bytes
    }

    fn account(&mut self) -> Vec<Frame> {
        self.write(b"a");
        let length = u32::from_le_bytes(self.read(4).try_into().unwrap());
        type Told = (String, String, Option<i32>, Option<i32>, Option<u32>, Option<u32>);
        let frames: Vec<Told> = serde_json::from_slice(&self.read(length as usize)).unwrap();
        frames
            .into_iter()
            .map(|(function, file, line, end_line, column, end_column)| Frame {
                function: function.into(),
                file: file.into(),
                location: Location { line, end_line, column, end_column },
            })
            .collect()
    }
}

#[test]
fn every_program_compiles() {
    let folder = tempfile::tempdir().unwrap();
    for family in Family::ALL {
        for seed in 0..20 {
            for mode in [Mode::Gated, Mode::Free] {
                let workload = drawn(family, mode, seed);
                let file = folder.path().join(format!("{family}_{mode:?}_{seed}.py"));
                std::fs::write(file, &workload.source).unwrap();
            }
        }
    }
    let compile = "import os, sys
for f in sorted(os.listdir(sys.argv[1])):
    with open(os.path.join(sys.argv[1], f), 'rb') as file:
        compile(file.read(), f, 'exec')";
    let output =
        Command::new(python()).args(["-c", compile]).arg(folder.path()).output().expect("the interpreter starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Steps through gates, and compares the target's own account with the context that it announces.
fn accounts_agree(workload: &Workload, gates: usize) {
    let label = format!("{} seed {}", workload.family, workload.seed);
    let folder = tempfile::tempdir().unwrap();
    let mut target = Running::start(workload, folder.path());
    assert_eq!(target.read(8), b"framdiff", "{label}");
    target.write(b"g");
    let mut contexts = HashSet::new();
    let mut threads = HashSet::new();
    for gate in 0..gates {
        let message = target.read(8);
        let context = u32::from_le_bytes(message[..4].try_into().unwrap());
        let account = target.account();
        let path: Vec<_> = workload.grammar.path(context).iter().map(|function| function.name.as_str()).collect();
        let seen: Vec<_> = account.iter().map(|frame| &*frame.function).collect();
        assert_eq!(seen, path, "{label}, gate {gate}: {account:?}\n{}", workload.source);
        match workload.grammar.contexts_of(&account) {
            Ok(possible) => assert!(possible.contains(&context), "{label}, gate {gate}: {context} not in {possible:?}"),
            Err(illegal) => panic!("{label}, gate {gate}: {illegal}: {account:?}\n{}", workload.source),
        }
        contexts.insert(context);
        threads.insert(message[4..].to_vec());
        target.write(b"g");
    }
    assert!(contexts.len() > 2, "{label}: the gates are too much alike");
    let runs_threads = workload.family.spec().threads == FamilyThreads::Running;
    assert_eq!(threads.len() > 1, runs_threads, "{label}: {} threads have gates", threads.len());
}

#[test]
fn the_accounts_of_every_family_agree() {
    Family::ALL.into_par_iter().for_each(|family| {
        for seed in 0..4 {
            accounts_agree(&drawn(family, Mode::Gated, seed), 300);
        }
        // A small program reaches every context many times.
        let small = Parameters { depth: 2, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Astral };
        accounts_agree(&generate(family, Mode::Gated, &small, 7), 300);
    });
}

//! Tests the stand-ins for CPython's unwinder.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lab::mutants::hunt::{Hunted, Hunter, ShownByOriginals};
use lab::mutants::replaced::module_of;
use lab::mutants::stand_in::StandIns;
use model::jit_mode::JitMode;
use model::run::known::KnownFailures;
use model::workload::Family;
use process::build::BuildVariant;
use process::target::Target;

use crate::common;
use crate::common::target::{PROLOGUE, soon};

/// Lets every stand-in sample a process that waits at a gate, with and without the cache, all in one interpreter.
const EACH_SAMPLES: &str = "
import sys
pid, module = int(sys.argv[1]), sys.argv[2]
names = {'__name__': 'stand_in'}
exec(sys.stdin.read(), names)
for name in names['FAULTS']:
    replaced = {}
    names['stand_in'](replaced, name, module)
    assert {'FrameInfo', 'get_child_pids'} <= set(replaced), name
    for cached in (False, True):
        unwinder = replaced['RemoteUnwinder'](pid, all_threads=True, cache_frames=cached, stats=True, native=False, gc=False)
        returned = 0
        for _ in range(20):
            try:
                returned += len(unwinder.get_stack_trace()) > 0
            except RuntimeError as error:
                assert name.startswith('raises-'), (name, error)
        unwinder.get_stats()
        assert returned or name.startswith('raises-'), name
    del unwinder
    print(name)
";

#[test]
fn every_stand_in_can_be_imported_and_takes_samples() {
    for build in [common::release(), common::debug()] {
        let source = [PROLOGUE, "def main():\n    gate(1)\nmain()\n"].concat();
        let mut target = Target::launch(&build.python, Some(false), &source, &std::env::temp_dir(), soon()).unwrap();
        target.start(soon()).unwrap();
        assert_eq!(target.next_gate(soon()).unwrap().context, 1);
        let text = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pyscripts/stand_in.py");
        let output = Command::new(&build.python)
            .args(["-s", "-P", "-S", "-B", "-c", EACH_SAMPLES])
            .args([target.pid().to_string().into(), module_of(&build.python).unwrap().into_os_string()])
            .stdin(std::fs::File::open(text).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let sampled = String::from_utf8(output.stdout).unwrap().lines().count();
        let listed = StandIns::of(&build).unwrap().faults.len();
        assert!(sampled == listed && listed >= 40, "{sampled} of {listed}");
    }
}

#[test]
fn every_stand_in_is_killed_in_its_own_lane() {
    let build = common::release();
    let stand_ins = StandIns::of(&build).unwrap();
    let known = KnownFailures::kept().unwrap();
    for (name, family) in [
        ("outermost-dropped", Family::Alternating),
        ("columns-off-by-one", Family::Alternating),
        ("anchor-not-written", Family::Alternating),
        ("partial-hits-become-misses", Family::Alternating),
        ("constructor-keeps-anchors", Family::Alternating),
        ("sequence-compared-in-32-bits", Family::Alternating),
        // Only some configurations show these.
        ("leaf-opcode-from-the-cache", Family::Alternating),
        ("markers-counted-as-pops", Family::Exceptions),
        ("collections-dropped", Family::Collections),
    ] {
        let name = format!("stand-in/{name}");
        let fault = stand_ins.faults.iter().find(|fault| fault.name() == name).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let hunter = Hunter {
            known: &known,
            families: vec![family],
            seed: 1,
            budget: Duration::from_secs(120),
            jobs: 1,
            folder: folder.path().to_owned(),
            interrupted: &AtomicBool::new(false),
            shown: ShownByOriginals::default(),
        };
        let replaced = stand_ins.with(fault, None, folder.path()).unwrap();
        let row = BuildVariant { build: Arc::new(replaced.build.clone()), jit: JitMode::Off, name: name.clone() };
        let hunted = hunter.hunt(&row, 2);
        assert!(matches!(&hunted, Hunted::Killed(kill) if kill.lane == "stopped"), "{name}: {hunted:?}");
    }
}

//! The cache must be used: an interpreter that miscounts turns hits into misses, and the stopped lane notices.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use framediff::cli::exit;
use lab::mutants::fault::Fault;
use lab::mutants::image::BinaryImage;
use lab::mutants::install::Starter;

use crate::common;
use crate::common::command::outcome;

/// Longer than a check takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn frames_that_do_not_move_the_anchor_cause_missed_hits() {
    for build in [common::release(), common::debug()] {
        let folder = tempfile::tempdir().unwrap();
        let image = BinaryImage::read(&build.image, build.usable().unwrap()).unwrap();
        let sites: Vec<usize> =
            (0..image.sites().len()).filter(|&site| image.edits(Fault::SequenceKept, &[site]).is_ok()).collect();
        let edits = image.edits(Fault::SequenceKept, &sites).unwrap();
        let starter = Starter::new(&build).unwrap();
        image.write(&edits, &starter.image_in(folder.path())).unwrap();
        let copy = starter.install(folder.path()).unwrap();
        let python = copy.python.to_str().unwrap();
        let fixed = ["check", "--python", python, "--jit", "off", "--lane", "stopped", "--family", "alternating"];
        let outcome = outcome([&fixed[..], &["--budget", "6s", "--seed", "3"]].concat(), PATIENCE);
        assert_eq!(outcome.code, Some(i32::from(exit::VIOLATION)), "{outcome:?}");
        for walker in ["own-cached", "cpython-cached"] {
            let fingerprint = format!("stopped/{walker}/hit-missed");
            assert!(outcome.stdout.contains(&fingerprint), "{fingerprint}: {}", outcome.stdout);
        }
    }
}

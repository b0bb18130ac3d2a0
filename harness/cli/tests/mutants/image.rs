//! Tests mutants of real interpreters.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lab::mutants::code::Kind;
use lab::mutants::coverage::{CoveragePlan, Run, measure};
use lab::mutants::fault::{Edit, Fault};
use lab::mutants::hunt::{Hunted, Hunter, ShownByOriginals};
use lab::mutants::image::{BinaryImage, ImageError};
use lab::mutants::install::Starter;
use lab::mutants::subject::mutants;
use model::jit_mode::JitMode;
use model::run::known::KnownFailures;
use model::workload::{Family, FrameSize, Mode, Names, Parameters, generate};
use process::build::{Build, BuildVariant};

use crate::common;

fn image(build: &Build) -> BinaryImage {
    BinaryImage::read(&build.image, build.usable().unwrap()).unwrap()
}

/// A build with `edits`, and its folder, which must outlive it.
fn copy(build: &Build, edits: &[Edit]) -> (Build, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let starter = Starter::new(build).unwrap();
    image(build).write(edits, &starter.image_in(folder.path())).unwrap();
    (starter.install(folder.path()).unwrap(), folder)
}

/// Calls `work` with a hunter that knows these failures, and with the build as a row.
fn with_hunter<T>(
    known: &KnownFailures,
    build: Build,
    family: Family,
    work: impl FnOnce(&Hunter<'_>, &BuildVariant) -> T,
) -> T {
    let folder = tempfile::tempdir().unwrap();
    let hunter = Hunter {
        known,
        families: vec![family],
        seed: 1,
        budget: Duration::from_secs(120),
        jobs: 1,
        folder: folder.path().to_owned(),
        interrupted: &AtomicBool::new(false),
        shown: ShownByOriginals::default(),
    };
    work(&hunter, &BuildVariant { build: Arc::new(build), jit: JitMode::Off, name: "mutant".into() })
}

fn hunt(build: Build, family: Family) -> Hunted {
    with_hunter(&KnownFailures::kept().unwrap(), build, family, |hunter, row| hunter.hunt(row, 2))
}

/// As on a build of which no failure is known.
#[test]
fn what_the_original_shows_kills_no_mutant() {
    with_hunter(&KnownFailures::default(), common::release(), Family::Alternating, |hunter, row| {
        assert!(matches!(hunter.hunt(row, 2), Hunted::Killed(_)), "nothing is known of it");
        assert!(matches!(hunter.control(row), Hunted::Killed(_)));
        let hunted = hunter.hunt(row, 2);
        assert!(matches!(hunted, Hunted::Passed { .. }), "{hunted:?}");
    });
}

#[test]
fn every_fault_can_be_applied_to_every_ordinary_site() {
    for build in [common::release(), common::debug()] {
        let image = image(&build);
        let compiled = image.sites().iter().filter(|site| site.kind == Kind::Data).count();
        assert!(image.sites().len() > compiled && compiled > 0, "{} sites, {compiled} compiled", image.sites().len());
        for mutant in mutants(&image) {
            let ordinary = mutant.sites.iter().all(|&site| image.sites()[site].kind == Kind::Text);
            if let Err(why) = &mutant.edits {
                assert!(!ordinary || mutant.fault == Fault::StoresSwapped, "{}: {why}", mutant.name());
            }
        }
    }
}

#[test]
fn a_copy_runs_and_is_its_own_sys_executable() {
    for build in [common::release(), common::debug()] {
        let (copy, _folder) = copy(&build, &[]);
        assert_eq!((copy.version, copy.debug), (build.version, build.debug));
        assert_eq!(copy.executable, copy.python);
        assert_ne!(copy.image, build.image);
    }
}

#[test]
fn edits_of_another_file_are_refused() {
    let build = common::release();
    let folder = tempfile::tempdir().unwrap();
    let edit = Edit { offset: 0, old: vec![1], new: vec![2] };
    let refused = image(&build).write(&[edit], &folder.path().join("image")).unwrap_err();
    assert!(matches!(refused, ImageError::Changed { offset: 0, .. }), "{refused}");
}

#[test]
fn every_store_to_the_sequence_is_a_known_site() {
    let build = common::release();
    let image = image(&build);
    let parameters = Parameters { depth: 3, width: 3, frame_size: FrameSize::Equal(4), speed: 0, names: Names::Ascii };
    let folder = tempfile::tempdir().unwrap();
    for (family, mode, run) in [
        (Family::Coroutines, Mode::Gated, Run::Gates { gates: 30 }),
        (Family::Generators, Mode::Free, Run::Free { warm: Duration::ZERO, stops: 500 }),
    ] {
        let workload = generate(family, mode, &parameters, 1);
        let plan = CoveragePlan {
            build: &build,
            jit: Some(false),
            source: &workload.source,
            folder: folder.path(),
            run,
            patience: Duration::from_secs(20),
        };
        let coverage = measure(&image, &plan).unwrap();
        let sites: std::collections::BTreeSet<usize> =
            coverage.iter().filter(|(_, reached)| reached.updates > 0).map(|((site, _), _)| *site).collect();
        assert!(sites.len() >= 2, "returns and yields: {coverage:?}");
        for reached in coverage.values() {
            assert!(reached.updates <= reached.guards, "an update comes after its guard: {coverage:?}");
        }
    }
}

#[test]
fn a_fault_is_found_and_the_original_passes() {
    let build = common::release();
    let (original, _folder) = copy(&build, &[]);
    assert!(matches!(hunt(original, Family::Alternating), Hunted::Passed { .. }));
    let everywhere: Vec<usize> = (0..image(&build).sites().len()).collect();
    for fault in [Fault::SequenceKept, Fault::UpdateSkipped, Fault::GuardAlwaysTrue] {
        let (mutant, _folder) = copy(&build, &image(&build).edits(fault, &everywhere).unwrap());
        let hunted = hunt(mutant, Family::Alternating);
        assert!(matches!(hunted, Hunted::Killed(_)), "{}: {hunted:?}", fault.name());
    }
}

#[test]
fn a_target_that_dies_does_not_count_as_a_kill() {
    let build = common::release();
    let image = image(&build);
    // Replace the guard of every return by an instruction that ends the process.
    let mut edits = image.edits(Fault::GuardAlwaysTrue, &(0..image.sites().len()).collect::<Vec<_>>()).unwrap();
    for edit in &mut edits {
        edit.new = [&[0x0f, 0x0b], &edit.old[2..]].concat();
    }
    let folder = tempfile::tempdir().unwrap();
    let starter = Starter::new(&build).unwrap();
    image.write(&edits, &starter.image_in(folder.path())).unwrap();
    // The mutant does not even start. A build made from the original's description must not hide that.
    assert!(starter.install(folder.path()).is_err());
    let dying = Build { python: folder.path().join("python"), ..build };
    let hunted = hunt(dying, Family::Alternating);
    assert!(matches!(hunted, Hunted::Died { .. }), "{hunted:?}");
}

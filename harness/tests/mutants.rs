//! Mutants of real interpreters.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use framediff::mutants::code::Kind;
use framediff::mutants::fault::Fault;
use framediff::mutants::image::Image;
use framediff::mutants::install::Starter;
use framediff::target::build::Build;

fn image(build: &Build) -> Image {
    Image::read(&build.image, build.layout.as_ref().unwrap()).unwrap()
}

#[test]
fn all_sites_are_found() {
    for build in [common::release(), common::debug()] {
        let image = image(&build);
        for (index, site) in image.sites().iter().enumerate() {
            println!(
                "{} {index} {:?} {:#x} {:?} guards {} value {:?} thread {:?}",
                build.kind(),
                site.kind,
                site.address(),
                image.function(site.address()),
                site.guards.len(),
                site.value,
                site.thread
            );
            for fault in Fault::ALL {
                if let Err(why) = image.edits(fault, &[index]) {
                    println!("    {}: {why}", fault.name());
                }
            }
        }
        let compiled = image.sites().iter().filter(|site| site.kind == Kind::Data).count();
        assert_eq!(compiled, 2, "return generator and yield");
    }
}

#[test]
fn a_copy_runs_and_calls_itself_its_executable() {
    for build in [common::release(), common::debug()] {
        let folder = tempfile::tempdir().unwrap();
        let starter = Starter::new(&build).unwrap();
        image(&build).write(&[], &starter.image_in(folder.path())).unwrap();
        let copy = starter.install(folder.path()).unwrap();
        assert_eq!((copy.version, copy.debug), (build.version, build.debug));
        assert_eq!(copy.executable, copy.python);
    }
}

//! A written bundle can be opened again; anything malformed is rejected.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::about::{About, FORMAT, InterpreterIdentity, MachineIdentity, VERSION};
use super::archive::is_bundle;
use super::{Bundle, name};

fn about() -> About {
    About {
        format: FORMAT.into(),
        version: VERSION,
        framediff: "0.1.0".into(),
        fingerprint: "stopped/own-cached/disagreement/line".into(),
        interpreter: InterpreterIdentity {
            version: "3.15.2".into(),
            flavour: "release".into(),
            arguments: Vec::new(),
            jit: false,
            python: Some("/opt/python3.15".into()),
            sys_version: None,
            build_id: Some("ab".into()),
            sha256: Some("cd".into()),
        },
        machine: MachineIdentity { kernel: "7.0".into(), processor: "a processor".into() },
    }
}

fn bundle() -> Bundle {
    Bundle::new(about()).with(name::CASE, "{}").with(name::LOG, "seen\n")
}

/// A gzipped tar with exactly these entries.
fn archive(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, kind, content) in entries {
        let mut header = Header::new_ustar();
        // Write the raw name: the library refuses to create a hostile path.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_bundle_round_trips_and_its_bytes_are_reproducible() {
    let bytes = bundle().to_bytes().unwrap();
    assert!(is_bundle(&bytes));
    assert_eq!(bytes, bundle().to_bytes().unwrap());
    let opened = Bundle::from_bytes(&bytes).unwrap();
    assert_eq!(opened, bundle());
    assert_eq!((opened.text(name::LOG).as_deref(), opened.file(name::SNAPSHOT)), (Some("seen\n"), None));
}

#[test]
fn a_truncated_bundle_is_refused() {
    let bytes = bundle().to_bytes().unwrap();
    for length in 0..bytes.len() {
        assert!(Bundle::from_bytes(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.bundle");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = Bundle::load(&path).unwrap_err().to_string();
    assert!(error.contains("cut.bundle is not a complete bundle"), "{error}");
}

#[test]
fn foreign_and_duplicate_files_in_a_bundle_are_refused() {
    let regular = EntryType::Regular;
    let about = serde_json::to_vec(&about()).unwrap();
    let own = (name::ABOUT, regular, about.as_slice());
    let newer = serde_json::to_vec(&About { version: 9, ..super::tests::about() }).unwrap();
    let case = (name::CASE, regular, &b"{}"[..]);
    for (entries, words) in [
        (vec![own, case, ("../../etc/passwd", regular, b"x")], "etc/passwd"),
        (vec![own, case, ("/absolute", regular, b"x")], "/absolute"),
        (vec![own, case, ("./case.json", regular, b"x")], "./case.json"),
        (vec![own, (name::CASE, EntryType::Symlink, b"")], "case.json"),
        (vec![own, case, case], "contains case.json twice"),
        (vec![own], "one of finding.json and case.json"),
        (vec![own, case, (name::FINDING, regular, b"{}")], "one of finding.json and case.json"),
        (vec![case], "does not contain bundle.json"),
        (vec![(name::ABOUT, regular, b"{}"), case], "framediff-bundle"),
        (vec![(name::ABOUT, regular, &newer), case], "version is 9, but this framediff reads version 1"),
    ] {
        let error = Bundle::from_bytes(&archive(&entries)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(Bundle::from_bytes(b"no archive").is_err());
}

#[test]
fn a_name_of_any_length_is_refused_in_few_words() {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    // The library writes such a name as an entry of its own, before the one that has it.
    builder.append_data(&mut Header::new_gnu(), "x".repeat(1 << 20), &b""[..]).unwrap();
    let error = Bundle::from_bytes(&builder.into_inner().unwrap().finish().unwrap()).unwrap_err().to_string();
    assert!(error.contains("LongLink") && error.len() < 400, "{error}");
}

#[test]
fn a_bundle_that_unpacks_to_too_much_is_refused() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..300 {
        encoder.write_all(&zeros).unwrap();
    }
    let error = Bundle::from_bytes(&encoder.finish().unwrap()).unwrap_err().to_string();
    assert!(error.contains("larger than 256 MiB after unpacking"), "{error}");
}

use std::path::Path;

use framewalk::frame::{Frame, Location};
use model::workload::{FrameSize, Names};

use super::error::{SnapshotError, SnapshotFormatError};
use super::file::{can_save, is_snapshot};
use super::{VERSION, *};

/// A snapshot that uses every feature of the format.
fn sample() -> Snapshot {
    let mut image = Image::default();
    image.map(0x1000, (0..=255).cycle().take(1000).collect());
    image.map(0x7fff_0000_0000, vec![0; 10]);
    let mut later = image.clone();
    later.get_mut(0x1100, 1).unwrap()[0] ^= 1;
    let frame = |function: &str, line| Frame {
        function: function.into(),
        file: "/recorded/workload.py".into(),
        location: Location { line, end_line: line, column: Some(4), end_column: None },
    };
    let told = |function: &str, line| AccountFrame {
        function: function.into(),
        file: "/recorded/workload.py".into(),
        line,
        place: None,
    };
    let gate = GateTruth { native_thread_id: 70, context: 3, account: vec![told("f", Some(2)), told("é漢", None)] };
    let profiled = |answer, from_cache, anchor| Some(Profiled { answer, from_cache, anchor });
    let thread = |state, stack: Result<Vec<Frame>, &str>, profiler| ThreadTruth {
        state,
        native_thread_id: state + 1,
        stack: stack.map(Into::into).map_err(Into::into),
        profiler,
    };
    let threads = vec![
        thread(69, Ok(vec![frame("f", Some(2)), frame("é漢", None)]), profiled(Answer::FullHit, 1, 0x1010)),
        thread(75, Err("empty"), profiled(Answer::Rejected, 0, 0)),
        thread(80, Ok(vec![frame("f", Some(2))]), profiled(Answer::PartialHit, 7, u64::MAX)),
        thread(81, Ok(vec![frame("g", Some(9))]), profiled(Answer::Miss, 0, 8)),
        thread(82, Err("not-at-base"), None),
    ];
    let meta = Meta {
        version: VersionHex(0x030f_02f0),
        debug: true,
        jit: JitMode::Off,
        family: Family::ThroughC,
        seed: u64::MAX,
        parameters: Parameters {
            depth: 3,
            width: 2,
            frame_size: FrameSize::Unequal(9),
            speed: 100,
            names: Names::Astral,
        },
        runtime: 0x1000,
    };
    let first = RecordedStop { image, gate: gate.clone(), threads };
    Snapshot { meta, stops: vec![first, RecordedStop { image: later, gate, threads: Vec::new() }] }
}

#[test]
fn a_saved_snapshot_loads() {
    let snapshot = sample();
    let bytes = snapshot.to_bytes().unwrap();
    assert!(is_snapshot(&bytes));
    assert_eq!(Snapshot::from_bytes(&bytes), Ok(snapshot));
}

/// Written by the code that introduced version 1. It must always load, and is never written again.
#[test]
fn the_first_file_of_version_1_still_loads() {
    assert_eq!(Snapshot::from_bytes(include_bytes!("version-1.snapshot")), Ok(sample()));
}

#[test]
fn each_kind_of_damage_has_its_own_error() {
    let bytes = sample().to_bytes().unwrap();
    for length in 1..bytes.len() {
        let error = Snapshot::from_bytes(&bytes[..length]).unwrap_err();
        let SnapshotFormatError::Truncated { have, need } = error else { panic!("{length}: {error}") };
        assert_eq!(have, length as u64);
        assert!(need > have && need <= bytes.len().max(64) as u64, "{have} of {need}");
    }
    let line = bytes.iter().position(|&byte| byte == b'\n').unwrap();
    for index in line + 1..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x40;
        let error = Snapshot::from_bytes(&damaged).unwrap_err();
        // A wrong length is noticed before the checksum.
        let length = (line + 1..line + 9).contains(&index);
        assert!(
            if length { error != SnapshotFormatError::Checksum } else { error == SnapshotFormatError::Checksum },
            "{index}: {error}"
        );
    }
    let longer = [&bytes[..], b"\n"].concat();
    assert_eq!(Snapshot::from_bytes(&longer), Err(SnapshotFormatError::TooLong { more: 1 }));
}

#[test]
fn other_files_are_refused_and_newer_versions_are_named() {
    for other in
        [&b""[..], b"{}", b"framediff-case", b"framediff-snapshot one\n", b"framediff-snapshot 0\n", b"\x7fELF"]
    {
        assert_eq!(Snapshot::from_bytes(other), Err(SnapshotFormatError::NotSnapshot), "{other:?}");
    }
    let newer = Snapshot::from_bytes(b"framediff-snapshot 7\nwhatever comes then").unwrap_err();
    assert_eq!(newer, SnapshotFormatError::Newer { version: 7 });
    assert!(newer.to_string().contains("format version 7, but this framediff reads 1 to 1"), "{newer}");
}

/// An intact file, judging by length and checksum.
fn wrapped(payload: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(payload).unwrap();
    super::file::wrap(VERSION, &encoder.finish().unwrap())
}

#[test]
fn a_foreign_payload_is_refused() {
    let payload = super::v1::encode(&sample()).unwrap();
    assert_eq!(Snapshot::from_bytes(&wrapped(&payload)), Ok(sample()));
    let refused = |payload: &[u8]| match Snapshot::from_bytes(&wrapped(payload)) {
        Err(SnapshotFormatError::Foreign(why)) => why,
        other => panic!("{other:?}"),
    };
    for length in 0..payload.len() {
        refused(&payload[..length]);
    }
    refused(&[&payload[..], &[0]].concat());
    // A length of 2^64 - 1 at every possible position.
    for index in 0..payload.len() {
        let mut hostile = payload.clone();
        hostile.splice(index..=index, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        // A number may have any value, so this need not be rejected. It must only terminate, without a large
        // allocation.
        let _ = Snapshot::from_bytes(&wrapped(&hostile));
    }
    // 33 MiB of zeros in a few KiB.
    assert!(refused(&vec![0; 33 << 20]).contains("larger than 32 MiB"));
    // Bytes that are not zlib.
    assert!(matches!(
        Snapshot::from_bytes(&super::file::wrap(VERSION, b"nonsense")),
        Err(SnapshotFormatError::Foreign(_))
    ));
}

#[test]
fn saving_never_replaces_a_file_and_gives_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.snapshot");
    can_save(&path).unwrap();
    sample().save(&path).unwrap();
    assert_eq!(Snapshot::load(&path).unwrap(), sample());
    for result in [can_save(&path), sample().save(&path)] {
        assert!(matches!(&result, Err(SnapshotError::Exists { .. })), "{result:?}");
    }
    let nowhere = folder.path().join("no/such/folder/a.snapshot");
    for result in [can_save(&nowhere), sample().save(&nowhere)] {
        let Err(SnapshotError::Write { path, .. }) = result else { panic!("{result:?}") };
        assert_eq!(path, nowhere);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    let Err(SnapshotError::Read { .. }) = Snapshot::load(Path::new("/no/such/file")) else { panic!("loaded") };
}

//! Layouts are proved on live processes, and no wrong one is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use framewalk::layout::{Layout, WordOrder};
use object::{Object, ObjectSection};
use process::build::calibrate::{CalibrationError, RestingTarget, calibrate};
use process::build::{Build, BuildOptions, OrderSource, probe_with};

use crate::common;

/// The start of the section with the table.
fn section(build: &Build) -> Vec<u8> {
    let file = std::fs::read(&build.image).unwrap();
    let file = object::File::parse(file.as_slice()).unwrap();
    file.section_by_name(".PyRuntime").unwrap().data().unwrap()[..4096].to_vec()
}

/// All orders that differ from `right` by a deletion, an insertion or a swap of neighbours, with what was done.
fn wrong_orders(right: &WordOrder) -> Vec<(String, WordOrder)> {
    let mut wrong = Vec::new();
    for index in 0..right.words().len() {
        let mut edit = |what: &str, edit: &dyn Fn(&mut Vec<String>)| {
            let mut words = right.words().to_vec();
            edit(&mut words);
            wrong.push((format!("{what} {}", right.words()[index]), WordOrder::new(words, right.owners())));
        };
        edit("without", &|words| drop(words.remove(index)));
        edit("something before", &|words| words.insert(index, "new.word".to_owned()));
        if index + 1 < right.words().len() {
            edit("the next word before", &|words| words.swap(index, index + 1));
        }
    }
    wrong
}

#[test]
fn every_order_that_changes_a_used_word_is_refused() {
    let build = common::release();
    let right = build.layout.as_ref().unwrap();
    let section = section(&build);
    let target = RestingTarget::start(&build.python).unwrap();
    assert!(target.prove(&right.layout).unwrap().len() > 25);
    let used = [right.layout, Layout { generator: None, ..right.layout }].map(Layout::without_running);
    let (mut harmless, mut refused, mut accepted) = (0, 0, Vec::new());
    for (what, order) in wrong_orders(&right.order) {
        match order.layout(&section) {
            // Only tests need generators. A build without these words is tested without them. No proof reaches what
            // runs, so these words are not used where a proof is needed.
            Ok(layout) if used.contains(&layout.without_running()) => {
                harmless += 1;
            }
            Ok(layout) if target.prove(&layout).is_ok() && calibrate(&build.python, &layout).is_ok() => {
                accepted.push(what)
            }
            _ => refused += 1,
        }
    }
    assert!(accepted.is_empty(), "{accepted:?}");
    // Words behind the last one that walkers use.
    assert!(harmless > 20 && refused > 237, "{harmless} harmless, {refused} refused");
}

#[test]
fn release_and_debug_are_proved_by_the_built_in_order_and_by_their_debug_information() {
    for build in [common::release(), common::debug()] {
        let layout = &build.layout.as_ref().unwrap().layout;
        let words = calibrate(&build.python, layout).unwrap();
        assert!(words.len() > 35 && words.contains("thread_state.last_profiled_frame_seq"), "{words:?}");
    }
    // Debian's debug build keeps its debug information.
    assert_eq!(common::debug().layout.unwrap().source, OrderSource::Dwarf);
}

/// Writes the header that defines this order.
fn write_header(path: &Path, order: &WordOrder) {
    let mut text =
        "typedef struct _Py_DebugOffsets {\nchar cookie[8];\nuint64_t version;\nuint64_t free_threaded;\n".to_owned();
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for (section, word) in order.words().iter().map(|word| word.split_once('.').unwrap()) {
        match sections.last_mut() {
            Some((last, words)) if *last == section => words.push(word),
            _ => sections.push((section, vec![word])),
        }
    }
    for (section, words) in sections {
        let words: String = words.iter().map(|word| format!("    uint64_t {word};\n")).collect();
        text += &format!("struct _{section} {{\n{words}}} {section};\n");
    }
    std::fs::write(path, text + "} _Py_DebugOffsets;\n").unwrap();
}

#[test]
fn a_named_header_is_used_and_a_stale_one_is_refused_with_the_word() {
    let build = common::release();
    let folder = tempfile::tempdir().unwrap();
    let header = folder.path().join("pycore_debug_offsets.h");
    let right = build.layout.as_ref().unwrap();
    let options = BuildOptions { header: Some(header.clone()), ..BuildOptions::default() };
    write_header(&header, &right.order);
    let proved = probe_with(&build.python, &options).unwrap().layout.unwrap();
    assert_eq!(
        (&proved.layout, &proved.source),
        (&right.layout.without_running(), &OrderSource::Header(header.clone()))
    );
    assert!(proved.proved.is_some_and(|words| words > 35), "{proved}");

    let mut words = right.order.words().to_vec();
    let at = words.iter().position(|word| word == "thread_state.current_frame").unwrap();
    words.insert(at, "thread_state.brand_new".to_owned());
    write_header(&header, &WordOrder::new(words, right.order.owners()));
    let error = probe_with(&build.python, &options).unwrap().usable().unwrap_err().to_string();
    assert!(error.contains("gen_object.gi_iframe") && error.contains("pycore_debug_offsets.h"), "{error}");
}

#[test]
fn an_anchor_that_does_not_move_is_told_from_other_words() {
    let build = common::release();
    let right = build.layout.as_ref().unwrap().layout;
    let mut wrong: Layout = right;
    let cache = wrong.thread.cache.as_mut().unwrap();
    std::mem::swap(&mut cache.anchor, &mut cache.sequence);
    let error = calibrate(&build.python, &wrong).unwrap_err();
    assert!(matches!(error, CalibrationError::Anchor { proved, .. } if proved > 30), "{error}");
}

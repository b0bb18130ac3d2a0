//! Tests of sites and faults on machine code written here byte by byte.

use framewalk::layout::CacheLayout;

use super::code::{Kind, Section};
use super::fault::{Edit, Fault, FieldOffsets, Room, Surgeon};
use super::site::{Increment, SiteError, UpdateSite, find};

const CACHE: CacheLayout = CacheLayout { base_frame: 0x50, anchor: 0x58, sequence: 0x60 };
const BASE: u64 = 0x1000;

/// `cmp [rdi+0x58], rsi; je +1; ret; mov rax, [rdi+0x48]; add qword [rdi+0x60], 1; mov [rdi+0x58], rax; ret`: the guard
/// jumps to the update, which increments the sequence in memory.
const RELEASE: &[u8] = &[
    0x48, 0x39, 0x77, 0x58, 0x74, 0x01, 0xc3, 0x48, 0x8b, 0x47, 0x48, 0x48, 0x83, 0x47, 0x60, 0x01, 0x48, 0x89, 0x47,
    0x58, 0xc3,
];
/// `cmp [rax+0x58], rdi; je +1; ret; mov rdx, [rbx+0x50]; mov [rax+0x58], rdx; mov rcx, [rax+0x60]; lea rdx, [rcx+1];
/// mov [rax+0x60], rdx; ret`: the sequence is incremented in a register and stored last.
const DEBUG: &[u8] = &[
    0x48, 0x39, 0x78, 0x58, 0x74, 0x01, 0xc3, 0x48, 0x8b, 0x53, 0x50, 0x48, 0x89, 0x50, 0x58, 0x48, 0x8b, 0x48, 0x60,
    0x48, 0x8d, 0x51, 0x01, 0x48, 0x89, 0x50, 0x60, 0xc3,
];
/// `mov rax, [r13+8]; cmp [r15+0x58], r13; jne +8; mov [r15+0x58], rax; inc qword [r15+0x60]; ret` after a byte that is
/// not code: the guard jumps over the update.
const COMPILED: &[u8] = &[
    0x06, 0x49, 0x8b, 0x45, 0x08, 0x4d, 0x39, 0x6f, 0x58, 0x75, 0x08, 0x49, 0x89, 0x47, 0x58, 0x49, 0xff, 0x47, 0x60,
    0xc3,
];

fn section(kind: Kind, bytes: &[u8]) -> Section<'_> {
    Section { kind, address: BASE, offset: 0x200, bytes }
}

fn only(kind: Kind, bytes: &[u8]) -> UpdateSite {
    let mut sites = find(&[section(kind, bytes)], &CACHE).unwrap();
    assert_eq!(sites.len(), 1);
    sites.remove(0)
}

/// The code with the fault put in.
fn with(kind: Kind, bytes: &[u8], fault: Fault) -> Result<Vec<u8>, String> {
    let section = section(kind, bytes);
    let surgeon = Surgeon { section: &section, offsets: FieldOffsets { anchor: 0x58, previous: 8 } };
    let mut room = Room { address: 0, offset: 0, length: 0 };
    let edits = surgeon.edits(fault, &only(kind, bytes), &mut room)?;
    let mut changed = bytes.to_vec();
    apply(&mut changed, 0x200, &edits);
    Ok(changed)
}

fn apply(bytes: &mut [u8], offset: u64, edits: &[Edit]) {
    for edit in edits {
        let start = usize::try_from(edit.offset - offset).unwrap();
        let there = &mut bytes[start..start + edit.old.len()];
        assert_eq!(there, edit.old);
        there.copy_from_slice(&edit.new);
    }
}

#[test]
fn the_three_forms_of_an_update_are_found() {
    let release = only(Kind::Text, RELEASE);
    assert_eq!((release.address(), release.pointer.address), (BASE + 11, BASE + 16));
    assert!(release.guards[0].taken_if_equal);
    assert!(matches!(release.increment, Increment::InMemory(_)));
    let debug = only(Kind::Text, DEBUG);
    assert_eq!((debug.address(), debug.increment.store().address), (BASE + 11, BASE + 23));
    let compiled = only(Kind::Data, COMPILED);
    assert_eq!((compiled.address(), compiled.kind), (BASE + 11, Kind::Data));
    assert!(!compiled.guards[0].taken_if_equal);
}

#[test]
fn updates_of_other_structures_at_these_offsets_are_not_sites() {
    // The comparison leads to only one of the stores, or the other store is not an increment.
    let mut half = RELEASE.to_vec();
    half[14] = 0x68;
    assert_eq!(find(&[section(Kind::Text, &half)], &CACHE), Err(SiteError::None { anchor: 0x58, sequence: 0x60 }));
    let mut by_two = RELEASE.to_vec();
    by_two[15] = 2;
    assert!(find(&[section(Kind::Text, &by_two)], &CACHE).is_err());
    let mut other_branch = RELEASE.to_vec();
    other_branch[4] = 0x72;
    assert!(find(&[section(Kind::Text, &other_branch)], &CACHE).is_err());
}

#[test]
fn an_update_without_a_guard_is_an_error() {
    let error = find(&[section(Kind::Text, &RELEASE[7..])], &CACHE).unwrap_err();
    assert!(matches!(error, SiteError::Doubt { address, .. } if address == BASE + 9), "{error}");
    // Anchor and sequence are reached by different registers.
    let mut other = RELEASE.to_vec();
    other[13] = 0x46;
    assert!(matches!(find(&[section(Kind::Text, &other)], &CACHE), Err(SiteError::Doubt { .. })));
}

#[test]
fn leaving_out_a_store_keeps_the_length_of_the_code() {
    for (kind, bytes, increment, pointer) in [
        (Kind::Text, RELEASE, 11..16, 16..20),
        (Kind::Text, DEBUG, 23..27, 11..15),
        (Kind::Data, COMPILED, 15..19, 11..15),
    ] {
        let without = |ranges: &[&std::ops::Range<usize>]| {
            let mut changed = bytes.to_vec();
            ranges.iter().for_each(|&range| changed[range.clone()].fill(0x90));
            changed
        };
        assert_eq!(with(kind, bytes, Fault::SequenceKept).unwrap(), without(&[&increment]));
        assert_eq!(with(kind, bytes, Fault::AnchorKept).unwrap(), without(&[&pointer]));
        assert_eq!(with(kind, bytes, Fault::UpdateSkipped).unwrap(), without(&[&increment, &pointer]));
    }
}

#[test]
fn every_form_of_the_increment_can_be_miscounted() {
    let at = |kind, bytes, index: usize| with(kind, bytes, Fault::SequenceMiscounted).unwrap()[index];
    assert_eq!(at(Kind::Text, RELEASE, 15), 2, "add 2");
    assert_eq!(at(Kind::Text, DEBUG, 22), 2, "lea 2");
    assert_eq!(at(Kind::Data, COMPILED, 17), 0x4f, "dec");
}

#[test]
fn a_guard_that_is_always_true_keeps_its_target() {
    assert_eq!(with(Kind::Text, RELEASE, Fault::GuardAlwaysTrue).unwrap()[4..6], [0xeb, 0x01]);
    assert_eq!(with(Kind::Data, COMPILED, Fault::GuardAlwaysTrue).unwrap()[9..11], [0x90, 0x90]);
    // The long form of the jump.
    let far = [&RELEASE[..4], &[0x0f, 0x84, 0x01, 0, 0, 0], &RELEASE[6..]].concat();
    assert_eq!(with(Kind::Text, &far, Fault::GuardAlwaysTrue).unwrap()[4..10], [0x90, 0xe9, 0x01, 0, 0, 0]);
}

#[test]
fn adjacent_stores_are_swapped() {
    let swapped = with(Kind::Text, RELEASE, Fault::StoresSwapped).unwrap();
    assert_eq!(swapped[11..20], [&RELEASE[16..20], &RELEASE[11..16]].concat());
    assert!(with(Kind::Text, DEBUG, Fault::StoresSwapped).is_err());
}

#[test]
fn the_grandparent_fault_needs_room_for_its_detour() {
    let refused = with(Kind::Data, COMPILED, Fault::AnchorToGrandparent).unwrap_err();
    assert!(refused.contains("copied"), "{refused}");
    let refused = with(Kind::Text, RELEASE, Fault::AnchorToGrandparent).unwrap_err();
    assert!(refused.contains("no free space left"), "{refused}");

    let section = section(Kind::Text, RELEASE);
    let surgeon = Surgeon { section: &section, offsets: FieldOffsets { anchor: 0x58, previous: 8 } };
    let mut room = Room { address: BASE + 0x100, offset: 0x300, length: 100 };
    let edits = surgeon.edits(Fault::AnchorToGrandparent, &only(Kind::Text, RELEASE), &mut room).unwrap();
    assert_eq!((room.address, room.length), (BASE + 0x140, 36));
    let mut image = RELEASE.to_vec();
    image.resize(0x140, 0);
    apply(&mut image, 0x200, &edits);
    let changed = Section { bytes: &image, ..section };
    let jump = changed.instructions(BASE + 11).next().unwrap();
    assert_eq!(jump.near_branch_target(), BASE + 0x100);
    let detour: Vec<String> = changed
        .instructions(BASE + 0x100)
        .take(12)
        .map(|instruction| format!("{:?}", instruction.mnemonic()))
        .collect();
    assert_eq!(
        detour,
        ["Add", "Mov", "Lea", "Push", "Mov", "Test", "Je", "Mov", "Mov", "Pop", "Lea", "Jmp"],
        "the update, and a step down from a caller that is there"
    );
    let back = changed.instructions(BASE + 0x100).nth(11).unwrap();
    assert_eq!(back.near_branch_target(), BASE + 20);
    let skip = changed.instructions(BASE + 0x100).nth(6).unwrap();
    let pop = changed.instructions(BASE + 0x100).nth(9).unwrap();
    assert_eq!(skip.near_branch_target(), pop.ip());
}

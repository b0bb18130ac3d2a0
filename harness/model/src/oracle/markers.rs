//! Markers: what CPython's unwinder puts between frames to show what C does there.
//!
//! With `native=True`, there is a `<native>` for each shim frame that has a caller: C called Python there. That
//! includes the shim frame through which C called the module, so every stack ends with one. With `gc=True`, there is a
//! `<GC>` above the frame in which a collection began, for as long as it runs. If the collection calls Python, the
//! `<GC>` takes the place of that call's `<native>`. Seen on 3.15.2, in the same way with and without the cache.

use std::fmt::Write as _;

use framewalk::frame::{Frame, Location};
use framewalk::memory::Address;
use framewalk::raw_frame::RawFrame;

use crate::run::configuration::Configuration;

/// The file that a marker names.
const FILE: &str = "~";

/// What a marker shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Marker {
    /// A collection runs.
    Gc,
    /// C called Python.
    Native,
}

impl Marker {
    /// The marker that the unwinder returned in place of a frame, if it is one.
    #[must_use]
    pub fn of(frame: &Frame) -> Option<Self> {
        if &*frame.file != FILE || frame.location != Location::default() {
            return None;
        }
        match &*frame.function {
            "<GC>" => Some(Self::Gc),
            "<native>" => Some(Self::Native),
            _ => None,
        }
    }

    /// Its name in stacks.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gc => "<GC>",
            Self::Native => "<native>",
        }
    }
}

/// A marker and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlacedMarker {
    /// What it shows.
    pub marker: Marker,
    /// The number of frames above it, on the side of the leaf. Other markers do not count.
    pub above: usize,
}

/// The markers that an unwinder with these options owes for a chain (current frame first). `collecting` is the frame in
/// which the collection began that runs in the chain's interpreter.
#[must_use]
pub fn owed(links: &[RawFrame], collecting: Option<Address>, configuration: Configuration) -> Vec<PlacedMarker> {
    let collecting = collecting.filter(|_| configuration.gc);
    let mut above = 0;
    let mut markers = Vec::new();
    for link in links {
        let is_entered_from_c = !link.runs() && link.previous != 0;
        if Some(link.address) == collecting {
            markers.push(PlacedMarker { marker: Marker::Gc, above });
        } else if configuration.native && is_entered_from_c && Some(link.previous) != collecting {
            markers.push(PlacedMarker { marker: Marker::Native, above });
        }
        above += usize::from(link.runs());
    }
    markers
}

/// The markers of one kind.
#[must_use]
pub fn of_kind(markers: &[PlacedMarker], marker: Marker) -> Vec<PlacedMarker> {
    markers.iter().copied().filter(|placed| placed.marker == marker).collect()
}

/// Where markers stand in a stack, in words.
#[must_use]
pub fn describe(markers: &[PlacedMarker], stack: &[Frame]) -> String {
    let mut text = String::new();
    for PlacedMarker { marker, above } in markers {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = match stack.get(*above) {
            Some(frame) => write!(text, "{separator}{} on {} (frame {above})", marker.name(), frame.function),
            None => write!(text, "{separator}{} below all frames", marker.name()),
        };
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use framewalk::raw_frame::Owner;

    use super::*;

    /// A chain of frames at 0x10, 0x20, ...: `p` runs Python, `s` is a shim frame, `b` the base frame.
    fn chain(kinds: &str) -> Vec<RawFrame> {
        let address = |index: usize| 0x10 * (index as u64 + 1);
        let link = |(index, kind): (usize, char)| RawFrame {
            address: address(index),
            previous: if kind == 'b' { 0 } else { address(index + 1) },
            code: 0x9000,
            instr_ptr: 0,
            owner: if kind == 'p' { Owner::Thread } else { Owner::Shim },
            copy: 0,
        };
        kinds.chars().enumerate().map(link).collect()
    }

    #[test]
    fn markers_stand_where_c_calls_python_and_where_a_collection_began() {
        let both: Configuration = "gc,native,threads=all".parse().unwrap();
        let [gc, native] = ["gc,threads=all", "native,threads=all"].map(|text| text.parse().unwrap());
        let neither = Configuration::default();
        for (links, collecting, configuration, expected) in [
            ("pspsb", None, both, "N1 N2"),
            ("pspsb", None, neither, ""),
            ("pspsb", None, gc, ""),
            // The finalizer that a collection calls has no marker of its own.
            ("pspsb", Some(0x30), both, "G1 N2"),
            ("pspsb", Some(0x30), native, "N1 N2"),
            ("pspsb", Some(0x30), gc, "G1"),
            // The collection itself runs.
            ("ppsb", Some(0x10), both, "G0 N2"),
            // The collection is that of another thread.
            ("ppsb", Some(0x90), both, "N2"),
            ("sspb", None, both, "N0 N0"),
        ] {
            let letter = |placed: &PlacedMarker| {
                let letter = if placed.marker == Marker::Gc { 'G' } else { 'N' };
                format!("{letter}{}", placed.above)
            };
            let owed: Vec<String> = owed(&chain(links), collecting, configuration).iter().map(letter).collect();
            assert_eq!(owed.join(" "), expected, "{links} {collecting:?} {configuration}");
        }
    }

    #[test]
    fn a_function_of_that_name_is_no_marker() {
        let frame = |function: &str, file: &str, line| Frame {
            function: function.into(),
            file: file.into(),
            location: Location { line, ..Location::default() },
        };
        assert_eq!(Marker::of(&frame("<GC>", "~", None)), Some(Marker::Gc));
        assert_eq!(Marker::of(&frame("<native>", "~", None)), Some(Marker::Native));
        for other in [frame("<GC>", "workload.py", None), frame("<native>", "~", Some(3)), frame("f", "~", None)] {
            assert_eq!(Marker::of(&other), None);
        }
    }
}

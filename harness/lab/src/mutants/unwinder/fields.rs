//! Reads the offsets of the fields that the checks use from the module's debug information.

use gimli::{AttributeValue, Dwarf, EndianSlice, LittleEndian, Unit, UnitOffset};
use object::{Object, ObjectSection};

use super::ModuleError;

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// The structure type of a cache entry.
const ENTRY: &str = "FrameCacheEntry";
/// Maximum number of typedefs and qualifiers between a name and its structure type.
const NAMES: usize = 16;

/// Offsets of fields, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// The sequence of a cache entry.
    pub(super) entry_sequence: u64,
    /// The number of addresses in a cache entry.
    pub(super) entry_count: u64,
    /// The list of frames of a cache entry.
    pub(super) entry_frames: u64,
}

impl Fields {
    /// Reads the offsets from the module's file.
    pub(super) fn of(file: &object::File<'_>) -> Result<Self, ModuleError> {
        let load = |id: gimli::SectionId| -> Result<Reader<'_>, gimli::Error> {
            let data = file.section_by_name(id.name()).and_then(|section| section.data().ok());
            Ok(EndianSlice::new(data.unwrap_or_default(), LittleEndian))
        };
        let broken = |error: gimli::Error| ModuleError::Field(format!("anything ({error})"));
        let types = Types::new(Dwarf::load(load).map_err(broken)?).map_err(broken)?;
        let field = |name: &str| types.offset(ENTRY, name).ok_or_else(|| ModuleError::Field(format!("{ENTRY}.{name}")));
        Ok(Self {
            entry_sequence: field("last_profiled_frame_seq")?,
            entry_count: field("num_addrs")?,
            entry_frames: field("frame_list")?,
        })
    }
}

/// The position of a type: the index of its unit and the offset in that unit.
type Place = (usize, UnitOffset);

struct Types<'a> {
    dwarf: Dwarf<Reader<'a>>,
    units: Vec<Unit<Reader<'a>>>,
}

impl<'a> Types<'a> {
    fn new(dwarf: Dwarf<Reader<'a>>) -> gimli::Result<Self> {
        let mut units = Vec::new();
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            units.push(dwarf.unit(header)?);
        }
        Ok(Self { dwarf, units })
    }

    /// The offset of a field in the structure of this name. If several structures have this name, they must agree.
    fn offset(&self, structure: &str, field: &str) -> Option<u64> {
        let member = |place| self.member(self.structure(place)?, field);
        let mut offsets = self.called(structure).into_iter().filter_map(member);
        let first = offsets.next()?;
        offsets.all(|offset| offset == first).then_some(first)
    }

    /// All types of this name.
    fn called(&self, wanted: &str) -> Vec<Place> {
        let mut places = Vec::new();
        for (number, unit) in self.units.iter().enumerate() {
            let mut entries = unit.entries();
            while let Ok(Some(entry)) = entries.next_dfs() {
                if matches!(entry.tag(), gimli::DW_TAG_typedef | gimli::DW_TAG_structure_type)
                    && entry.attr_value(gimli::DW_AT_name).is_some_and(|name| self.is(unit, name, wanted))
                {
                    places.push((number, entry.offset()));
                }
            }
        }
        places
    }

    fn is(&self, unit: &Unit<Reader<'a>>, name: AttributeValue<Reader<'a>>, wanted: &str) -> bool {
        self.dwarf.attr_string(unit, name).is_ok_and(|name| name.slice() == wanted.as_bytes())
    }

    /// The structure behind typedefs and qualifiers.
    fn structure(&self, mut place: Place) -> Option<Place> {
        for _ in 0..NAMES {
            let unit = self.units.get(place.0)?;
            let entry = unit.entry(place.1).ok()?;
            match entry.tag() {
                gimli::DW_TAG_structure_type => return Some(place),
                gimli::DW_TAG_typedef | gimli::DW_TAG_const_type | gimli::DW_TAG_volatile_type => {
                    place = self.place(place.0, entry.attr_value(gimli::DW_AT_type)?)?;
                }
                _ => return None,
            }
        }
        None
    }

    /// The offset of the member with this name, in bytes.
    fn member(&self, structure: Place, wanted: &str) -> Option<u64> {
        let unit = self.units.get(structure.0)?;
        let mut tree = unit.entries_tree(Some(structure.1)).ok()?;
        let mut members = tree.root().ok()?.children();
        while let Some(member) = members.next().ok()? {
            let entry = member.entry();
            if entry.tag() == gimli::DW_TAG_member
                && entry.attr_value(gimli::DW_AT_name).is_some_and(|name| self.is(unit, name, wanted))
            {
                return entry.attr_value(gimli::DW_AT_data_member_location)?.udata_value();
            }
        }
        None
    }

    /// The position that a reference in unit `from` points to.
    fn place(&self, from: usize, reference: AttributeValue<Reader<'a>>) -> Option<Place> {
        match reference {
            AttributeValue::UnitRef(offset) => Some((from, offset)),
            AttributeValue::DebugInfoRef(offset) => self
                .units
                .iter()
                .enumerate()
                .find_map(|(number, unit)| Some((number, offset.to_unit_offset(&unit.header)?))),
            _ => None,
        }
    }
}

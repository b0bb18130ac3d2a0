//! Looks up structures and enumerations in an ELF file's debug information (DWARF).

use std::borrow::Cow;

use gimli::{
    AttributeValue, DebuggingInformationEntry, Dwarf, DwarfSections, EndianSlice, LittleEndian, Unit, UnitOffset,
};
use object::{Object, ObjectSection, ReadRef};

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// Maximum number of typedefs and qualifiers between a name and its structure type.
const NAMES: usize = 16;

/// The position of a type: the index of its unit and the offset in that unit.
type Place = (usize, UnitOffset);

/// A member of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructMember {
    /// Its name.
    pub name: String,
    /// Its offset in the structure, in bytes.
    pub offset: u64,
    /// The members of its own type, if that is a structure.
    pub members: Vec<StructMember>,
}

/// The debug information of a file.
pub struct DebugInfo<'a> {
    dwarf: Dwarf<Reader<'a>>,
    units: Vec<Unit<Reader<'a>>>,
}

/// Whether the file has debug information about types. A file that was compiled with `-g1`, stripped, or compiled with
/// `-gsplit-dwarf` has none, or only a part that says nothing of types.
#[must_use]
pub fn is_present<'a, R: ReadRef<'a>>(file: &object::File<'a, R>) -> bool {
    file.section_by_name(".debug_info").is_some()
}

/// Calls `look` with the file's debug information, which may be compressed.
///
/// # Errors
/// A section cannot be read or parsed.
pub fn with<'a, R: ReadRef<'a>, T>(
    file: &object::File<'a, R>,
    look: impl FnOnce(&DebugInfo<'_>) -> T,
) -> Result<T, gimli::Error> {
    let load = |id: gimli::SectionId| -> Result<Cow<'_, [u8]>, gimli::Error> {
        let data = file.section_by_name(id.name()).and_then(|section| section.uncompressed_data().ok());
        Ok(data.unwrap_or_default())
    };
    let sections = DwarfSections::load(load)?;
    let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));
    let mut units = Vec::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        units.push(dwarf.unit(header)?);
    }
    Ok(look(&DebugInfo { dwarf, units }))
}

impl<'a> DebugInfo<'a> {
    /// The offset of a field in the structure of this name, in bytes. If several structures have this name, they must
    /// agree.
    #[must_use]
    pub fn offset(&self, structure: &str, field: &str) -> Option<u64> {
        let found = |place| self.direct_members(self.structure(place)?)?.into_iter().find(|(name, ..)| name == field);
        let mut offsets = self.called(structure).filter_map(found).map(|(_, offset, _)| offset);
        let first = offsets.next()?;
        offsets.all(|offset| offset == first).then_some(first)
    }

    /// The members of the first complete structure of this name, with the members of its structures, in the order of
    /// their offsets.
    #[must_use]
    pub fn members(&self, structure: &str) -> Option<Vec<StructMember>> {
        let complete = |place| self.all_members(self.structure(place)?, 2).filter(|members| !members.is_empty());
        self.called(structure).find_map(complete)
    }

    /// The members of the first enumeration of this name with their values.
    #[must_use]
    pub fn enumeration(&self, name: &str) -> Option<Vec<(String, u64)>> {
        self.entries_called(name, gimli::DW_TAG_enumeration_type).find_map(|place| {
            let mut values = Vec::new();
            self.children(place, |unit, entry| {
                if entry.tag() == gimli::DW_TAG_enumerator
                    && let Some(name) = self.name(unit, entry)
                    && let Some(value) = entry.attr_value(gimli::DW_AT_const_value)?.udata_value()
                {
                    values.push((name, value));
                }
                Some(())
            })?;
            (!values.is_empty()).then_some(values)
        })
    }

    /// All types of this name: structures and typedefs.
    fn called(&self, wanted: &str) -> impl Iterator<Item = Place> {
        self.units.iter().enumerate().flat_map(move |(number, unit)| {
            let tags = [gimli::DW_TAG_typedef, gimli::DW_TAG_structure_type];
            self.in_unit(number, unit, wanted, move |tag| tags.contains(&tag))
        })
    }

    fn entries_called(&self, wanted: &str, tag: gimli::DwTag) -> impl Iterator<Item = Place> {
        let units = self.units.iter().enumerate();
        units.flat_map(move |(number, unit)| self.in_unit(number, unit, wanted, move |it| it == tag))
    }

    fn in_unit(
        &self,
        number: usize,
        unit: &Unit<Reader<'a>>,
        wanted: &str,
        is_sought: impl Fn(gimli::DwTag) -> bool,
    ) -> Vec<Place> {
        let mut places = Vec::new();
        let mut entries = unit.entries();
        while let Ok(Some(entry)) = entries.next_dfs() {
            if is_sought(entry.tag())
                && entry.attr_value(gimli::DW_AT_name).is_some_and(|name| self.is(unit, name, wanted))
            {
                places.push((number, entry.offset()));
            }
        }
        places
    }

    fn is(&self, unit: &Unit<Reader<'a>>, name: AttributeValue<Reader<'a>>, wanted: &str) -> bool {
        self.dwarf.attr_string(unit, name).is_ok_and(|name| name.slice() == wanted.as_bytes())
    }

    fn name(&self, unit: &Unit<Reader<'a>>, entry: &DebuggingInformationEntry<Reader<'a>>) -> Option<String> {
        let name = self.dwarf.attr_string(unit, entry.attr_value(gimli::DW_AT_name)?).ok()?;
        Some(String::from_utf8_lossy(name.slice()).into_owned())
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

    /// Calls `visit` for each child of the entry at `place`, until it returns `None`.
    fn children(
        &self,
        place: Place,
        mut visit: impl FnMut(&Unit<Reader<'a>>, &DebuggingInformationEntry<Reader<'a>>) -> Option<()>,
    ) -> Option<()> {
        let unit = self.units.get(place.0)?;
        let mut tree = unit.entries_tree(Some(place.1)).ok()?;
        let mut children = tree.root().ok()?.children();
        while let Some(child) = children.next().ok()? {
            visit(unit, child.entry())?;
        }
        Some(())
    }

    /// Name, offset and type of each named member, in the order of the offsets.
    fn direct_members(&self, structure: Place) -> Option<Vec<(String, u64, Option<Place>)>> {
        let mut members = Vec::new();
        self.children(structure, |unit, entry| {
            if entry.tag() == gimli::DW_TAG_member
                && let Some(name) = self.name(unit, entry)
            {
                let offset = entry.attr_value(gimli::DW_AT_data_member_location)?.udata_value()?;
                let place = entry.attr_value(gimli::DW_AT_type).and_then(|kind| self.place(structure.0, kind));
                members.push((name, offset, place));
            }
            Some(())
        })?;
        members.sort_by_key(|(_, offset, _)| *offset);
        Some(members)
    }

    fn all_members(&self, structure: Place, depth: usize) -> Option<Vec<StructMember>> {
        let inside = |place: Place| {
            let structure = self.structure(place).filter(|_| depth > 1)?;
            self.all_members(structure, depth - 1)
        };
        let members = self.direct_members(structure)?.into_iter();
        let member = |(name, offset, place): (String, u64, Option<Place>)| {
            let members = place.and_then(inside).unwrap_or_default();
            StructMember { name, offset, members }
        };
        Some(members.map(member).collect())
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

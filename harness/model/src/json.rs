//! JSON from files: what a document says about itself, and how much it holds, before anything is built from it.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A document with more values than this is rejected. A built value takes up to some hundred bytes however short its text
/// is, so the size of the text alone bounds nothing.
pub const MOST_VALUES: u32 = 2_000_000;
/// Longer names of fields, in bytes, are not kept, nor more names than this. No document has such.
const LONGEST_NAME: usize = 40;
const MOST_NAMES: usize = 100;

/// What a document says about itself. A document that is not an object says nothing.
#[derive(Clone, Debug, Default)]
pub struct Head<'a> {
    kind: Option<&'a RawValue>,
    format: Option<&'a RawValue>,
    version: Option<&'a RawValue>,
    names: Vec<String>,
}

impl<'a> Head<'a> {
    /// Reads all of a document without building it.
    ///
    /// # Errors
    /// It is not JSON, or has more than [`MOST_VALUES`] values.
    pub fn of(bytes: &'a [u8]) -> serde_json::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let (mut head, mut left) = (Self::default(), MOST_VALUES);
        if bytes.trim_ascii_start().starts_with(b"{") {
            deserializer.deserialize_map(Top { head: &mut head, left: &mut left })?;
        } else {
            Count(&mut left).deserialize(&mut deserializer)?;
        }
        deserializer.end()?;
        Ok(head)
    }

    /// The field `kind`, if it is a text.
    #[must_use]
    pub fn kind(&self) -> Option<String> {
        serde_json::from_str(self.kind?.get()).ok()
    }

    /// The field `format`, if it is a text.
    #[must_use]
    pub fn format(&self) -> Option<String> {
        serde_json::from_str(self.format?.get()).ok()
    }

    /// The field `version`, if it is a number without sign and fraction.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        self.version?.get().parse().ok()
    }

    /// The text of the field `version`, for messages.
    #[must_use]
    pub fn version_text(&self) -> &str {
        self.version.map_or("null", RawValue::get)
    }

    /// Whether the object has all these fields.
    #[must_use]
    pub fn has(&self, fields: &[&str]) -> bool {
        fields.iter().all(|field| self.names.iter().any(|name| name == field))
    }
}

/// Parses a document that has at most [`MOST_VALUES`] values.
///
/// # Errors
/// It has more, is not JSON, or is not a `T`.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    Head::of(bytes)?;
    serde_json::from_slice(bytes)
}

/// Visits the outermost object.
struct Top<'h, 'a> {
    head: &'h mut Head<'a>,
    left: &'h mut u32,
}

impl<'a> Visitor<'a> for Top<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let field = match name.as_str() {
                "kind" => Some(&mut self.head.kind),
                "format" => Some(&mut self.head.format),
                "version" => Some(&mut self.head.version),
                _ => None,
            };
            match field {
                Some(field) => {
                    let value: &RawValue = map.next_value()?;
                    let mut inside = serde_json::Deserializer::from_str(value.get());
                    Count(self.left).deserialize(&mut inside).map_err(M::Error::custom)?;
                    *field = Some(value);
                }
                None => map.next_value_seed(Count(self.left))?,
            }
            if name.len() <= LONGEST_NAME && self.head.names.len() < MOST_NAMES {
                self.head.names.push(name);
            }
        }
        Ok(())
    }
}

/// Visits a value and everything in it, and counts down. Names of fields count, too.
struct Count<'h>(&'h mut u32);

impl Count<'_> {
    fn one<E: serde::de::Error>(&mut self) -> Result<(), E> {
        let too_many = || E::custom(format!("it has more than {MOST_VALUES} values"));
        *self.0 = self.0.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }
}

impl<'a> DeserializeSeed<'a> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(mut self, deserializer: D) -> Result<(), D::Error> {
        self.one()?;
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<M: MapAccess<'a>>(mut self, mut map: M) -> Result<(), M::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            self.one()?;
            map.next_value_seed(Count(self.0))?;
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element_seed(Count(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_names_itself_before_it_is_built() {
        let text =
            br#"{"cells": [{"kind": "no"}], "version": 7, "kind": "a\u0062", "x": [1, -1, 1.5, null, true, ""]}"#;
        let head = Head::of(text).unwrap();
        assert_eq!((head.kind().as_deref(), head.format(), head.version()), (Some("ab"), None, Some(7)));
        assert!(head.has(&["cells", "x"]) && !head.has(&["cells", "rows"]));
        assert_eq!(Head::of(b"[]").unwrap().version_text(), "null");
        for text in [&b"{"[..], b"", b"[1] 2", b"{\"a\": \xff}"] {
            assert!(Head::of(text).is_err());
        }
    }

    #[test]
    fn short_values_are_counted_before_any_is_built() {
        let most = MOST_VALUES as usize;
        let of = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert!(Head::of(of(most - 1).as_bytes()).is_ok());
        let inside = format!("{{\"version\": {}}}", of(most + 1));
        let named = format!("{{\"x\": [{}0]}}", "{\"\":0},".repeat(most / 3 + 1));
        for text in [of(most), inside, named] {
            let error = parse::<serde_json::Value>(text.as_bytes()).map(drop).unwrap_err().to_string();
            assert!(error.contains("more than 2000000 values"), "{error}");
        }
    }
}

//! The names, versions and sizes that a case file can have.

/// The `format` field of every case file.
pub const FORMAT: &str = "framediff-case";
/// The newest supported version; all from 1 on are supported. Increment it when the fields around a case change, or
/// when there is a kind of case that an older framediff cannot run. An older framediff then reports the version that it
/// does not know.
pub(super) const VERSION: u64 = 3;
/// Files above this size, in bytes, are rejected.
pub(super) const SIZE_LIMIT: u64 = 16 << 20;
/// The `kind` of stepped cases.
pub(super) const STEPPED: &str = "stepped";

//! How framediff is built, how to add to it, and how its parts are used.

#[doc = include_str!("../../guide/architecture.md")]
pub mod architecture {}

#[doc = include_str!("../../guide/extending.md")]
pub mod extending {}

#[doc = include_str!("../../guide/recorded-targets.md")]
pub mod recorded_targets {}

#[doc = include_str!("../../guide/store-by-store.md")]
pub mod store_by_store {}

#[doc = include_str!("../../guide/every-interleaving.md")]
pub mod every_interleaving {}

#[doc = include_str!("../../guide/mutants.md")]
pub mod mutants {}

#[doc = include_str!("../../guide/reports.md")]
pub mod reports {}

#[doc = include_str!("../../guide/continuous-integration.md")]
pub mod continuous_integration {}

#[doc = include_str!("../../guide/benchmarks.md")]
pub mod benchmarks {}

#[doc = include_str!("../../guide/limits.md")]
pub mod limits {}

#[doc = include_str!("../../guide/judged.md")]
pub mod judged {}

#[doc = include_str!("../../guide/programs.md")]
pub mod programs {}

//! Settings for benchmarks with long iterations.

use std::time::Duration;

use criterion::Criterion;

/// Few samples, each long enough for many iterations.
#[must_use]
pub(crate) fn long() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5))
        .without_plots()
        .configure_from_args()
}

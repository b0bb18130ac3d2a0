//! How target and walkers are interleaved.

//! What judges samples.

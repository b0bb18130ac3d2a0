#![no_main]
use framediff::fuzzing::cached_vs_uncached::{TARGET, TestCase};
libfuzzer_sys::fuzz_target!(|case: TestCase| framediff_fuzz::run(&TARGET, &case));

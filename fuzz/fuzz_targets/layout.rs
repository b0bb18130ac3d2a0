#![no_main]
use framediff::fuzzing::layout::{TARGET, TestCase};
libfuzzer_sys::fuzz_target!(|case: TestCase| framediff_fuzz::run(&TARGET, &case));

#![no_main]
use sim::fuzzing::layout::{TARGET, TestCase};
libfuzzer_sys::fuzz_target!(|case: TestCase| framediff_fuzz::run(&TARGET, &case));

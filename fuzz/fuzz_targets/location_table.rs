#![no_main]
use sim::fuzzing::location_table::{TARGET, TestCase};
libfuzzer_sys::fuzz_target!(|case: TestCase| framediff_fuzz::run(&TARGET, &case));

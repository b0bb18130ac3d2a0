#![no_main]
use sim::fuzzing::cache_state_machine::{TARGET, TestCase};
libfuzzer_sys::fuzz_target!(|case: TestCase| framediff_fuzz::run(&TARGET, &case));

#![no_main]
use framediff::fuzzing::layout;
libfuzzer_sys::fuzz_target!(|case: layout::TestCase| framediff_fuzz::tally(layout::check(&case)));

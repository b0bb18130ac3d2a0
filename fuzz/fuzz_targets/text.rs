#![no_main]
use framediff::fuzzing::text;
libfuzzer_sys::fuzz_target!(|case: text::TestCase| framediff_fuzz::tally(text::check(&case)));

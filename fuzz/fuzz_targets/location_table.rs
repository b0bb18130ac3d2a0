#![no_main]
use framediff::fuzzing::location_table;
libfuzzer_sys::fuzz_target!(|case: location_table::TestCase| framediff_fuzz::tally(location_table::check(&case)));

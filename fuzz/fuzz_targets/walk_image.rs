#![no_main]
use framediff::fuzzing::walk_image;
libfuzzer_sys::fuzz_target!(|case: walk_image::TestCase| framediff_fuzz::tally(walk_image::check(&case)));

#![no_main]
use framediff::fuzzing::cached_vs_uncached;
libfuzzer_sys::fuzz_target!(|case: cached_vs_uncached::TestCase| framediff_fuzz::tally(cached_vs_uncached::check(
    &case
)));

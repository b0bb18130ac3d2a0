//! Writes a seed corpus for each fuzz target: `fuzz_seeds FOLDER` makes `FOLDER/TARGET/NUMBER`.
//!
//! The cases in `corpus/cases` are decoded, and no fuzzer can be given them: its inputs are the choices from which a case is
//! made. So the seeds are inputs of the stream with which the smoke tests run, as far as the target accepts them; some that
//! it refuses are there, too, so that a fuzzer knows both sides.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use sim::fuzzing::TARGETS;

/// Inputs of each target.
const SEEDS: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).ok_or("the folder to write to is missing")?;
    for target in TARGETS {
        let own = folder.join(target.name());
        fs::create_dir_all(&own)?;
        let inputs = target.seeds(SEEDS)?;
        if inputs.is_empty() {
            return Err(format!("{} accepts none of the first inputs", target.name()).into());
        }
        for (number, input) in inputs.iter().enumerate() {
            fs::write(own.join(format!("{number:02}")), input)?;
        }
        println!("{}: {} seeds", target.name(), inputs.len());
    }
    Ok(())
}

//! Puts the folders of `corpus/findings` into the crate, so that a new finding needs no line of Rust.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=corpus/findings");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("corpus/findings");
    let mut names = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name().into_string().map_err(|name| format!("{name:?} is not UTF-8"))?))
        .collect::<Result<Vec<String>, Box<dyn Error>>>()?;
    // A folder that git left behind may still hold what Python wrote to it.
    names.retain(|name| folder.join(name).join("finding.toml").is_file());
    names.sort();
    let mut list = String::from("[\n");
    for name in names {
        let file = |file: &str| format!("include_str!({:?})", folder.join(&name).join(file));
        let [about, readme, reproducer] = ["finding.toml", "README.md", "reproducer.py"].map(file);
        writeln!(list, "    ({name:?}, {about}, {readme}, {reproducer}),")?;
    }
    list.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("findings.rs"), list)?;
    Ok(())
}

//! Puts the commit and the kind of build into the program, for `framediff --version`.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// What cargo keeps of the commit in a package.
const OF_PACKAGE: &str = ".cargo_vcs_info.json";
/// The sources of the program, from this folder. A change to one of them may make the commit one "with changes".
const SOURCES: [&str; 7] =
    ["../walk/src", "../model/src", "../sim/src", "../process/src", "../lanes/src", "../lab/src", "src"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=FRAMEDIFF_COMMIT");
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let named = |name: &str| variable(name).unwrap_or_else(|| "unknown".to_owned());
    let build = if named("PROFILE") == "release" {
        let commit = variable("FRAMEDIFF_COMMIT").or_else(of_package).or_else(of_checkout);
        format!("commit {}, release build", commit.as_deref().unwrap_or("unknown"))
    } else {
        // Asking for the commit would mean to link everything again after each one.
        "debug build".to_owned()
    };
    let compiler = answer(&named("RUSTC"), &["--version"]);
    let compiler = compiler.as_deref().and_then(|text| text.split(' ').nth(1)).unwrap_or("unknown");
    let (version, target) = (named("CARGO_PKG_VERSION"), named("TARGET"));
    println!("cargo::rustc-env=FRAMEDIFF_VERSION={version} ({build}, {target}, rustc {compiler})");
}

fn of_package() -> Option<String> {
    let text = fs::read_to_string(OF_PACKAGE).ok()?;
    let commit = text.split("\"sha1\": \"").nth(1)?.split('"').next()?;
    let changed = if text.contains("\"dirty\": true") { " with changes" } else { "" };
    Some(format!("{}{changed}", commit.get(..12)?))
}

/// The commit of the checkout, if these files are part of one: a copy of them may lie in another repository.
fn of_checkout() -> Option<String> {
    // The log grows with every commit and checkout, but need not exist.
    let moves = ["HEAD", "logs/HEAD"].map(|name| answer("git", &["rev-parse", "--git-path", name]));
    for path in moves.iter().flatten().map(String::as_str).chain(SOURCES).filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    answer("git", &["ls-files", "--error-unmatch", "build.rs"])?;
    let commit = answer("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changed = answer("git", &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit} with changes") })
}

/// The first line that a program prints, if it succeeds.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next().unwrap_or_default().to_owned())
}

//! `completions` and `man`: the command line for shells and for `man`, both made from the arguments.

use std::fs;

use clap::CommandFactory;
use clap_mangen::Man as Page;

use crate::cli::arguments::{Cli, Completions, Man};
use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print};

pub(super) fn completions(arguments: &Completions) -> Result<Ending, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "framediff", &mut text);
    print(&String::from_utf8(text)?)?;
    Ok(Ending::PASS)
}

pub(super) fn man(arguments: &Man) -> Result<Ending, Failure> {
    let Some(folder) = &arguments.output else {
        let mut text = Vec::new();
        Page::new(Cli::command()).render(&mut text)?;
        print(&String::from_utf8(text)?)?;
        return Ok(Ending::PASS);
    };
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|error| format!("cannot write the pages to {}: {error}", folder.display()))?;
    Ok(Ending::PASS)
}

//! `builds`: lists the builds under test.

use framewalk::printable::clean;
use model::run::document;
use process::build::{Listed, Terminal, cache_folder, fetch, listing};
use serde::Serialize;

use crate::cli::arguments::Builds;
use crate::cli::exit::Ending;
use crate::cli::interrupt::interrupted;
use crate::cli::output::{Failure, print, tell};
use crate::cli::shared_arguments::Format;
use crate::report::text::{Look, paragraph};

pub(super) fn builds(arguments: &Builds) -> Result<Ending, Failure> {
    let cache = cache_folder(arguments.source.cache.as_deref())?;
    if arguments.fetch {
        fetch(&cache, &mut Terminal::new(interrupted))?;
    }
    let listed = listing(&arguments.source.python, &arguments.source.options(), &cache);
    match arguments.format {
        Format::Human => print(&text(&listed, Look::of_stdout().width))?,
        Format::Json => {
            #[derive(Serialize)]
            struct Document<'a> {
                version: u32,
                builds: &'a [Listed],
            }
            print(&(serde_json::to_string_pretty(&Document { version: document::VERSION, builds: &listed })? + "\n"))?;
        }
    }
    if listed.iter().any(|build| build.refused.is_none()) {
        return Ok(Ending::PASS);
    }
    tell(
        "no testable CPython was found: name one with --python PATH, or fetch Debian's 3.15 with `framediff builds \
         --fetch`",
    );
    Ok(Ending::NotSetUp)
}

/// A line with the path of each build, whole so that it can be copied, and below it what is known.
fn text(listed: &[Listed], width: u16) -> String {
    let mut out = String::new();
    for build in listed {
        out.push_str(&clean(&build.path.display().to_string()));
        out.push('\n');
        let name = [&build.version, &build.kind].map(|word| word.as_deref());
        let name = name.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let jit = build.jit_available.map(|available| if available { "JIT available" } else { "no JIT" }.to_owned());
        let cache = build.frame_cache.map(|cache| format!("frame cache: {cache}"));
        let facts = [Some(name).filter(|name| !name.is_empty()), jit, cache, build.layout.clone()];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        if !facts.is_empty() {
            paragraph(&mut out, "  ", &facts.join("; "), width);
        }
        if let Some(why) = &build.refused {
            paragraph(&mut out, "  not tested: ", why, width);
        }
    }
    out
}

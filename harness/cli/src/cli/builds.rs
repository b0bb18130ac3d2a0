//! `builds`: lists the builds under test.

use comfy_table::{ContentArrangement, Table, presets};
use model::run::document;
use process::build::{Listed, Terminal, cache_folder, fetch, listing};
use serde::Serialize;

use crate::cli::arguments::Builds;
use crate::cli::exit::Ending;
use crate::cli::interrupt::interrupted;
use crate::cli::output::{Failure, print, tell};
use crate::cli::shared_arguments::Format;

pub(super) fn builds(arguments: &Builds) -> Result<Ending, Failure> {
    let cache = cache_folder(arguments.source.cache.as_deref())?;
    if arguments.fetch {
        fetch(&cache, &mut Terminal::new(interrupted))?;
    }
    let listed = listing(&arguments.source.python, &arguments.source.options(), &cache);
    match arguments.format {
        Format::Human => print(&table(&listed))?,
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

fn table(listed: &[Listed]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["path", "version", "kind", "JIT", "frame cache", "layout", "not tested because"]);
    for build in listed {
        let jit = build.jit_available.map_or("", |available| if available { "available" } else { "none" });
        let cache = build.frame_cache.map(|cache| cache.to_string()).unwrap_or_default();
        table.add_row([
            build.path.display().to_string(),
            build.version.clone().unwrap_or_default(),
            build.kind.clone().unwrap_or_default(),
            jit.to_owned(),
            cache,
            build.layout.clone().unwrap_or_default(),
            build.refused.clone().unwrap_or_default(),
        ]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

//! The guide: how framediff is built, how to extend it, and how to use its parts.

#[doc = include_str!("../../guide/architecture.md")]
pub mod architecture {}

#[doc = include_str!("../../guide/extending.md")]
pub mod extending {}

#[doc = include_str!("../../guide/recorded-targets.md")]
pub mod recorded_targets {}

#[doc = include_str!("../../guide/store-by-store.md")]
pub mod store_by_store {}

#[doc = include_str!("../../guide/every-interleaving.md")]
pub mod every_interleaving {}

#[doc = include_str!("../../guide/mutants.md")]
pub mod mutants {}

#[doc = include_str!("../../guide/reports.md")]
pub mod reports {}

#[doc = include_str!("../../guide/continuous-integration.md")]
pub mod continuous_integration {}

#[doc = include_str!("../../guide/benchmarks.md")]
pub mod benchmarks {}

#[doc = include_str!("../../guide/limits.md")]
pub mod limits {}

#[doc = include_str!("../../guide/judged.md")]
pub mod judged {}

#[doc = include_str!("../../guide/programs.md")]
pub mod programs {}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use serde_json::Value;

    type Graph = BTreeMap<String, BTreeSet<String>>;

    /// The arrows in the guide's first diagram.
    fn drawn() -> Graph {
        let text = include_str!("../../guide/architecture.md");
        let drawing = text.split("```mermaid\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let mut graph = Graph::new();
        for (from, to) in drawing.lines().filter_map(|line| line.trim().split_once(" --> ")) {
            graph.entry(from.to_owned()).or_default().insert(to.to_owned());
        }
        graph
    }

    /// The crates and their imports, as cargo reports them. Crates go by the names of their folders, `framewalk` by
    /// its own.
    fn imports(manifest: &Path) -> Graph {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"]).arg(manifest);
        let told: Value = serde_json::from_slice(&cargo.output().unwrap().stdout).unwrap();
        let folder = |path: &str| match path.rsplit('/').next().unwrap() {
            "walk" => "framewalk".to_owned(),
            name => name.to_owned(),
        };
        let package = |package: &Value| {
            let of = package["manifest_path"].as_str().unwrap().trim_end_matches("/Cargo.toml");
            let needed = package["dependencies"].as_array().unwrap().iter();
            let needed = needed.filter(|one| one["kind"].is_null()).filter_map(|one| one["path"].as_str());
            (folder(of), needed.map(folder).collect())
        };
        told["packages"].as_array().unwrap().iter().map(package).collect()
    }

    fn reaches(graph: &Graph, from: &str, to: &str) -> bool {
        graph.get(from).is_some_and(|next| next.iter().any(|one| one == to || reaches(graph, one, to)))
    }

    /// Leaves out the imports that follow from others (the transitive reduction).
    fn reduced(graph: &Graph) -> Graph {
        let needed = |all: &BTreeSet<String>| {
            all.iter().filter(|to| !all.iter().any(|over| reaches(graph, over, to))).cloned().collect()
        };
        graph
            .iter()
            .map(|(from, all)| (from.clone(), needed(all)))
            .filter(|(_, all): &(_, BTreeSet<_>)| !all.is_empty())
            .collect()
    }

    #[test]
    fn the_drawing_shows_what_imports_what() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let mut all = imports(&root.join("Cargo.toml"));
        all.extend(imports(&root.join("fuzz/Cargo.toml")));
        assert_eq!(reduced(&all), drawn());
    }

    /// Every `.rs` file below a folder.
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// The name of the public type that a line of source defines.
    fn public_type(line: &str) -> Option<&str> {
        let rest = line.trim_start().strip_prefix("pub ")?;
        let rest = ["struct ", "enum ", "trait ", "type "].iter().find_map(|keyword| rest.strip_prefix(keyword))?;
        rest.split(|c: char| !c.is_alphanumeric()).next()
    }

    #[test]
    fn no_two_public_types_have_the_same_name() {
        let mut files = Vec::new();
        for folder in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap() {
            let folder = folder.unwrap().path().join("src");
            if folder.is_dir() {
                sources(&folder, &mut files);
            }
        }
        let mut defined: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
        for file in files {
            for name in std::fs::read_to_string(&file).unwrap().lines().filter_map(public_type) {
                defined.entry(name.to_owned()).or_default().insert(file.clone());
            }
        }
        assert!(defined.len() > 300, "{} types were found", defined.len());
        // Each fuzz target has a `TestCase` and a check.
        defined.remove("TestCase");
        defined.retain(|_, files| files.len() > 1);
        assert_eq!(defined, BTreeMap::new());
    }
}

//! The guide: how framediff is built, how to extend it, and how to use its parts.

#[doc = include_str!("../guide/architecture.md")]
pub mod architecture {}

#[doc = include_str!("../guide/extending.md")]
pub mod extending {}

#[doc = include_str!("../guide/installing.md")]
pub mod installing {}

#[doc = include_str!("../guide/recorded-targets.md")]
pub mod recorded_targets {}

#[doc = include_str!("../guide/store-by-store.md")]
pub mod store_by_store {}

#[doc = include_str!("../guide/every-interleaving.md")]
pub mod every_interleaving {}

#[doc = include_str!("../guide/mutants.md")]
pub mod mutants {}

#[doc = include_str!("../guide/reports.md")]
pub mod reports {}

#[doc = include_str!("../guide/continuous-integration.md")]
pub mod continuous_integration {}

#[doc = include_str!("../guide/benchmarks.md")]
pub mod benchmarks {}

#[doc = include_str!("../guide/layouts.md")]
pub mod layouts {}

#[doc = include_str!("../guide/limits.md")]
pub mod limits {}

#[doc = include_str!("../guide/judged.md")]
pub mod judged {}

#[doc = include_str!("../guide/configurations.md")]
pub mod configurations {}

#[doc = include_str!("../guide/programs.md")]
pub mod programs {}

#[doc = include_str!("../guide/profile.md")]
pub mod profile {}

#[doc = include_str!("../guide/findings.md")]
pub mod findings {}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use framewalk::sample::WalkerKind;
    use model::lane::Lane;
    use model::workload::Family;
    use model::workload::family::FamilyThreads;
    use serde_json::Value;

    type Graph = BTreeMap<String, BTreeSet<String>>;

    /// The arrows in the guide's first diagram.
    fn drawn() -> Graph {
        let text = include_str!("../guide/architecture.md");
        let drawing = text.split("```mermaid\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let mut graph = Graph::new();
        for (from, to) in drawing.lines().filter_map(|line| line.trim().split_once(" --> ")) {
            graph.entry(from.to_owned()).or_default().insert(to.to_owned());
        }
        graph
    }

    #[test]
    fn every_dependency_has_its_reason_in_the_guide() {
        let (manifest, text) = (include_str!("../../../Cargo.toml"), include_str!("../guide/architecture.md"));
        let table =
            manifest.split("[workspace.dependencies]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
        let foreign = table.lines().filter(|line| !line.contains("path ="));
        let names: BTreeSet<&str> = foreign.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).collect();
        let reasons = text.split("## Dependencies").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
        let rows = reasons.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        let listed: BTreeSet<&str> =
            rows.flat_map(|cell| cell.split(", ")).filter(|it| !["crate", "---"].contains(it)).collect();
        assert_eq!(names, listed);
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

    /// The files of all crates, without their tests in folders of their own, and the text of each.
    fn texts() -> Vec<(PathBuf, String)> {
        let mut files = Vec::new();
        for folder in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap() {
            let folder = folder.unwrap().path().join("src");
            if folder.is_dir() {
                sources(&folder, &mut files);
            }
        }
        files.into_iter().map(|file| (file.clone(), std::fs::read_to_string(file).unwrap())).collect()
    }

    /// The name of the public type that a line of source defines.
    fn public_type(line: &str) -> Option<&str> {
        let rest = line.trim_start().strip_prefix("pub ")?;
        let rest = ["struct ", "enum ", "trait ", "type "].iter().find_map(|keyword| rest.strip_prefix(keyword))?;
        rest.split(|c: char| !c.is_alphanumeric()).next()
    }

    #[test]
    fn no_two_public_types_have_the_same_name() {
        let mut defined: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
        for (file, text) in texts() {
            for name in text.lines().filter_map(public_type) {
                defined.entry(name.to_owned()).or_default().insert(file.clone());
            }
        }
        assert!(defined.len() > 300, "{} types were found", defined.len());
        // Each fuzz target has a `TestCase` and a check.
        defined.remove("TestCase");
        defined.retain(|_, files| files.len() > 1);
        assert_eq!(defined, BTreeMap::new());
    }

    /// Whether a pattern names a walker, a lane or a family.
    fn decides(pattern: &str) -> bool {
        let all = WalkerKind::ALL.iter().map(|kind| format!("{kind:?}"));
        let all = all.chain(Lane::ALL.iter().map(|lane| format!("Lane::{lane:?}")));
        all.chain(Family::ALL.iter().map(|family| format!("Family::{family:?}"))).any(|name| pattern.contains(&name))
    }

    /// The patterns of the match that ends with the arm in line `last`. `cargo fmt` indents them alike.
    fn patterns<'a>(lines: &[&'a str], last: usize) -> impl Iterator<Item = &'a str> {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let depth = indent(lines[last]);
        let arms = lines[..last].iter().rev().take_while(move |line| line.is_empty() || indent(line) >= depth);
        arms.copied().filter(move |line| indent(line) == depth).filter_map(|line| line.split("=>").next())
    }

    /// Whether a line is an arm for all that is left: a name, or `_` with or without a condition.
    fn is_rest(line: &str) -> bool {
        let mut words = line.split_whitespace();
        let name = words.next().filter(|word| word.chars().all(|c| c == '_' || c.is_ascii_lowercase()));
        name.is_some_and(|name| words.next().is_some_and(|next| next == "=>" || next == "if" && name == "_"))
    }

    #[test]
    fn a_new_walker_lane_or_family_is_decided_in_every_match() {
        let mut silent = Vec::new();
        for (file, text) in texts() {
            let lines: Vec<&str> = text.lines().collect();
            for (index, line) in lines.iter().enumerate() {
                // A `matches!` says false to all that is left.
                let asked = line.split("matches!(").nth(1).and_then(|rest| rest.split_once(", "));
                let asked = asked.and_then(|(_, pattern)| pattern.trim_start_matches("Some(").split(' ').next());
                if is_rest(line) && patterns(&lines, index).any(decides) || asked.is_some_and(decides) {
                    silent.push(format!("{}:{}: {}", file.display(), index + 1, line.trim_start()));
                }
            }
        }
        assert!(silent.is_empty(), "name every variant:\n{}", silent.join("\n"));
    }

    #[test]
    fn the_nightly_workflow_explores_every_family_that_can_be_stepped() {
        let workflow = include_str!("../../../.github/workflows/nightly.yml");
        let is_explored = |family: &Family| {
            let spec = family.spec();
            spec.threads == FamilyThreads::Main && !spec.collects
        };
        for family in Family::ALL.into_iter().filter(is_explored) {
            let is_named = workflow.split_whitespace().any(|word| word == family.name());
            assert!(is_named, "FAMILIES lacks {family}");
        }
    }
}

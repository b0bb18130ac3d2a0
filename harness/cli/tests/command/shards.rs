//! Tests runs that several machines share: `check --shard`, `merge`, `compare`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use framediff::cli::exit;
use lanes::check::plan::{PlanRequest, dealt, plan};
use model::run::document::Document;
use model::run::verdict::{Doubt, Verdict};
use model::schedule::shard::Shard;
use process::build::rows;

use crate::common;
use crate::common::command::{Outcome, outcome};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn every_cell_is_in_exactly_one_shard_and_shards_keep_the_order() {
    let rows = rows(&[Arc::new(common::release())]);
    let whole: Vec<_> = (0..3).map(|round| plan(&rows, &PlanRequest::default(), 7 + round, 0)).collect();
    let ids = |steps: &[Vec<_>]| -> Vec<_> {
        steps.iter().flatten().map(|step: &lanes::check::plan::PlanStep| step.planned.cell.clone()).collect()
    };
    let all = ids(&whole);
    for count in (1..=9).chain([all.len() as u64, all.len() as u64 + 5, 1000]) {
        let mut seen = BTreeMap::new();
        for index in 1..=count {
            let part = ids(&dealt(whole.clone(), Shard::new(index, count).unwrap()));
            let places: Vec<usize> = part.iter().map(|id| all.iter().position(|other| other == id).unwrap()).collect();
            assert!(places.is_sorted(), "{index}/{count}");
            for id in part {
                *seen.entry(id).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.len(), all.len(), "{count}");
        assert!(seen.values().all(|&times| times == 1), "{count}");
    }
}

/// Runs one shard of a small run and writes its report into `folder`.
fn shard(folder: &Path, shard: &str, seed: &str, more: &[&str]) -> PathBuf {
    let python = common::release().python;
    let fixed = ["check", "--python", python.to_str().unwrap(), "--jit", "off", "--lane", "stopped"];
    let families = ["--family", "recursion", "--family", "alternating", "--family", "generators"];
    let rest = ["--budget", "3s", "--format", "json", "--seed", seed, "--shard", shard];
    let outcome = outcome([&fixed[..], &families, &rest, more].concat(), PATIENCE);
    let file = folder.join(format!("{}-{seed}{}.json", shard.replace('/', "-of-"), more.concat()));
    fs::write(&file, &outcome.stdout).unwrap();
    file
}

fn merge(files: &[&Path], more: &[&str]) -> Outcome {
    let files = files.iter().map(|file| file.to_str().unwrap());
    outcome(["merge"].into_iter().chain(files).chain(more.iter().copied()), PATIENCE)
}

#[test]
fn merged_shards_give_the_whole_run() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["1/2", "2/2"].map(|part| shard(folder.path(), part, "5", &[]));
    let parts =
        [&one, &two].map(|file| -> Document { serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap() });
    assert_eq!(parts.each_ref().map(|part| part.cells.len()), [2, 1]);

    let written = folder.path().join("merged.json");
    let both = merge(&[&two, &one], &["--format", "json", "-o", written.to_str().unwrap()]);
    assert_eq!(both.code, Some(i32::from(exit::PASS)), "{both:?}");
    assert_eq!(fs::read_to_string(&written).unwrap(), both.stdout);
    let whole = both.document();
    let families: Vec<&str> = whole.cells.iter().map(|report| report.cell.family.as_str()).collect();
    assert_eq!(families, ["alternating", "recursion", "generators"], "in the order of the plan");
    let samples = |document: &Document| document.table.iter().map(|line| line.tally.samples).sum::<u64>();
    assert_eq!(samples(&whole), parts.iter().map(samples).sum::<u64>());
    assert_eq!(whole.part.as_ref().map(|part| (part.shards.clone(), part.of)), Some((vec![1, 2], 2)));

    // A missing shard prevents a pass.
    let alone = merge(&[&one], &["--format", "json"]);
    assert_eq!(alone.code, Some(i32::from(exit::INCONCLUSIVE)), "{alone:?}");
    let alone = alone.document().judgement;
    assert_eq!(alone.doubts, [Doubt::ShardsMissing { shards: vec![2], of: 2 }]);
    assert_eq!(alone.verdict, Verdict::Inconclusive);
    let human = merge(&[&one], &[]);
    assert!(human.stdout.contains("seed 5, budget 3s, shard 1/2") && human.stdout.contains("2/2"), "{human:?}");

    // Merged reports can be compared, and failures of a shard that did not run do not count as gone.
    let compare = |old: &Path, new: &Path| outcome(["compare".as_ref(), old.as_os_str(), new.as_os_str()], PATIENCE);
    let same = compare(&written, &written);
    assert_eq!(same.code, Some(i32::from(exit::PASS)), "{same:?}");
    let less = compare(&written, &one);
    assert_eq!(less.code, Some(i32::from(exit::INCONCLUSIVE)), "{less:?}");
    assert!(less.stdout.contains("before, but not now") && less.stdout.contains("recursion, own-cached"), "{less:?}");
}

#[test]
fn reports_of_different_runs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let one = shard(folder.path(), "1/2", "5", &[]);
    let other_seed = shard(folder.path(), "2/2", "6", &[]);
    let other_size = shard(folder.path(), "2/2", "5", &["--depth", "2"]);
    let other_count = shard(folder.path(), "3/3", "5", &[]);
    let text = fs::read_to_string(&one).unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let old = write("old.json", &text.replacen("\"part\"", "\"then\"", 1));
    let newer = write("newer.json", &text.replacen("\"version\": 1", "\"version\": 9", 1));
    let cut = write("cut.json", &text[..text.len() / 2]);
    let foreign = write("foreign.json", "{\"version\": 1, \"results\": []}");
    let fewer = write("fewer.json", &text.replacen("\"cells\": 3", "\"cells\": 9", 1));
    for (file, words) in [
        (&one, &["both contain shard 1/2", "1-of-2-5.json"][..]),
        (&other_seed, &["the seeds differ: 5 and 6", "2-of-2-6.json"]),
        (&other_size, &["the programs of the workloads"]),
        (&other_count, &["the numbers of shards differ: 2 and 3"]),
        (&old, &["old.json", "older framediff", "--shard K/N"]),
        (&newer, &["newer.json", "version 9", "but this framediff reads version 1"]),
        (&cut, &["cut.json", "it is not JSON"]),
        (&foreign, &["cannot use", "foreign.json"]),
        (&fewer, &["fewer.json is damaged"]),
        (&folder.path().join("missing.json"), &["cannot read", "missing.json"]),
    ] {
        merge(&[&one, file], &[]).assert_refused(words);
    }
    for file in [&newer, &cut, &foreign] {
        outcome(["compare".as_ref(), one.as_os_str(), file.as_os_str()], PATIENCE).assert_refused(&[file
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()]);
    }
    outcome(["check", "--shard", "1/2"], PATIENCE).assert_refused(&["--seed"]);
}

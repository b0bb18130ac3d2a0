//! The guide's page of findings is made from their folders. This holds it equal to them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use model::findings::{FindingFolder, all};

const HEAD: &str = r#"# Findings

framediff found NUMBER faults of released CPython 3.15. Each is a folder of [corpus/findings](../../corpus/findings): a text
for an issue, and a Python file that shows the fault and needs nothing but Linux and the CPython. Some of the files trace a
process, and need x86-64 for that. Nothing in them depends on time or luck.

`framediff findings` runs each file three times (`--times`), each time in a new interpreter, and prints what it answers:

<!-- ci -->
```sh
cargo run --release -- findings --python "$(command -v python3.15 || echo ~/.cache/framediff/debian-3.15/usr/bin/python3.15)"
```

| state | meaning |
| --- | --- |
| still there | every run shows the fault. It is known, so this passes; it fails on a version in which it was mended |
| gone | no run shows it. If it is known to be in this very version, the table says so |
| not applicable | the file says why it cannot be tried. That passes only for what only debug builds have; otherwise the run is inconclusive |
| unstable | the answers differ, or one of them is none: inconclusive |

Names after the verb select findings. `--format json` prints one document, as for other verbs. [Adding a finding](extending.md#a-finding)
is adding a folder.

"#;

/// The whole page.
fn page(findings: &mut [FindingFolder]) -> String {
    findings.sort_by_key(|finding| (finding.about.severity, finding.name));
    let mut text = HEAD.replacen("NUMBER", &findings.len().to_string(), 1);
    text.push_str("| finding | does | issue | needs |\n| --- | --- | --- | --- |\n");
    let issue = |finding: &FindingFolder| {
        let link = finding.about.issue.as_ref()?;
        Some(format!("[gh-{}]({link})", link.rsplit('/').next()?))
    };
    for finding in findings.iter() {
        let FindingFolder { name, about, .. } = finding;
        let needs: Vec<&str> = about.needs.iter().map(|&need| need.into()).collect();
        let issue = issue(finding).unwrap_or_else(|| "none yet".to_owned());
        let (severity, needs) = (about.severity.name().replace('-', " "), needs.join(", "));
        writeln!(text, "| [{name}](#{}) | {severity} | {issue} | {needs} |", anchor(&about.title)).unwrap();
    }
    for FindingFolder { name, about, readme, .. } in findings.iter() {
        let readme = readme.replacen("# ", "## ", 1);
        let file = format!("../../corpus/findings/{name}/reproducer.py");
        write!(text, "\n{}\n\n`{name}`, [reproducer.py]({file})", readme.trim_end()).unwrap();
        if let Some(case) = &about.case {
            write!(text, ", [smallest case](../../corpus/cases/stepped/{case}.json)").unwrap();
        }
        text.push('\n');
    }
    text
}

/// What GitHub makes of a heading.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[test]
fn the_page_is_made_from_the_findings_and_the_readme_counts_them() {
    let mut findings = all().unwrap();
    let page = page(&mut findings);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guide/findings.md");
    if std::env::var_os("FRAMEDIFF_WRITE_GUIDE").is_some() {
        fs::write(&kept, &page).unwrap();
    }
    let is_equal = fs::read_to_string(&kept).unwrap_or_default() == page;
    assert!(is_equal, "run this test with FRAMEDIFF_WRITE_GUIDE=1 and look at the change of {}", kept.display());
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/cases/stepped");
    for case in findings.iter().filter_map(|finding| finding.about.case.as_ref()) {
        assert!(cases.join(format!("{case}.json")).is_file(), "{case}");
    }
    let counted = format!("**{} faults** of released CPython", findings.len());
    assert!(include_str!("../../../README.md").contains(&counted), "README.md lacks: {counted}");
}

//! The end of the report of a failing run, for a reader who sees nothing else: what broke, whether it is new, and the
//! one command that shows it.

use model::run::change::AgainstBase;
use model::run::distinct::DistinctViolation;
use model::run::document::Document;
use model::run::group::Group;

use crate::report::conclusion;
use crate::report::shell::quote_path;

/// The failure to look at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextStep {
    /// What broke, in words.
    pub broke: String,
    /// Whether the failure is new, and by what measure.
    pub new: String,
    /// The command that shows it: it explains a bundle or, if the run made none, runs the program again.
    pub command: String,
}

impl NextStep {
    /// The first failure of a run. `None` if no violation fails it.
    #[must_use]
    pub fn of(document: &Document) -> Option<Self> {
        let group = document.grouped().into_iter().find(|group| group.fails)?;
        let all = || group.violations(&document.violations);
        // Not every violation gets a bundle; of those that have one, the first is the simplest.
        let shown = all().find(|violation| violation.bundle.is_some()).or_else(|| all().next())?;
        let command = match &shown.bundle {
            Some(bundle) => explain(bundle),
            None => shown.first.replay.clone(),
        };
        Some(Self { broke: conclusion::broke(document, &group), new: newness(document, &group, shown), command })
    }
}

/// The command that explains a bundle.
#[must_use]
pub fn explain(bundle: &std::path::Path) -> String {
    format!("framediff explain {}", quote_path(bundle))
}

fn newness(document: &Document, group: &Group, shown: &DistinctViolation) -> String {
    let versions: Vec<&str> = document
        .builds
        .iter()
        .filter(|build| group.rows.contains(&build.name) && !build.version.is_empty())
        .map(|build| build.version.as_str())
        .collect();
    let version = versions.first().copied().unwrap_or("this version");
    match (&document.baseline, shown.against_base, &shown.known) {
        (Some(baseline), Some(AgainstBase::New), _) => {
            format!("yes: the base {} was tested in the same way and does not show it", baseline.base)
        }
        (_, _, Some(known)) => format!("no: known as {} ({}), and --strict excuses nothing", known.id, known.link),
        (_, _, None) => format!("yes: no known failure of CPython {version} describes it"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::run::event::Event;
    use model::run::fixtures::{finding, run, summary};

    use super::*;

    fn document() -> Document {
        Document::from(&summary(&run(vec![Event::Violation(Box::new(finding()))]), false))
    }

    #[test]
    fn without_a_bundle_the_command_runs_the_program_again() {
        let document = document();
        let next = NextStep::of(&document).expect("the run fails");
        assert_eq!(next.command, finding().replay);
        assert!(next.broke.starts_with("probably"), "{}", next.broke);
        assert!(next.new.starts_with("yes: no known failure"), "{}", next.new);
    }

    #[test]
    fn a_bundle_is_explained() {
        let mut document = document();
        document.violations[0].bundle = Some(Path::new("my bundles/x.tar.gz").to_owned());
        let next = NextStep::of(&document).expect("the run fails");
        assert_eq!(next.command, "framediff explain 'my bundles/x.tar.gz'");
    }

    #[test]
    fn a_run_that_does_not_fail_has_none() {
        assert_eq!(NextStep::of(&Document::from(&summary(&run(vec![]), false))), None);
    }
}

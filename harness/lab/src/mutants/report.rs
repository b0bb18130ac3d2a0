//! The report of `framediff mutants`.

use model::run::item::Item;
use model::run::verdict::Verdict;
use serde::{Deserialize, Serialize};

use super::hunt::Hunted;
use super::judge::Judged;
use super::peers::{BaselineReport, Peers};

/// The results of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MutantsReport {
    /// The version of the report's format.
    pub version: u32,
    /// The seed for the programs.
    pub seed: u64,
    /// The time limit for one mutant, in seconds.
    pub budget_seconds: f64,
    /// The results for interpreters, by build and run mode.
    pub rows: Vec<RowReport>,
    /// The results for CPython's unwinder, by build.
    pub unwinder: Vec<UnwinderReport>,
    /// The results for stand-ins for CPython's unwinder, by build.
    #[serde(default)]
    pub stand_ins: Vec<StandInReport>,
    /// The unchanged walkers of this project with random schedules.
    pub own_control: Option<Hunted>,
    /// The same walkers with one check left out.
    pub own: Vec<MutantReport>,
    /// Whether the user interrupted the run.
    pub interrupted: bool,
}

/// One build in one run mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowReport {
    /// The name of the build and run mode.
    pub row: String,
    /// The file that is copied and changed.
    pub image: String,
    /// The update sites in its image, in order of address.
    pub sites: Vec<SiteReport>,
    /// The results of the same checks on the original.
    pub control: Vec<Hunted>,
    /// The results for its mutants.
    pub mutants: Vec<MutantReport>,
    /// CPython's own tests on the original. `None` if they were not requested.
    pub peers: Option<Vec<BaselineReport>>,
}

/// CPython's unwinder in one build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnwinderReport {
    /// The name of the build and run mode.
    pub row: String,
    /// The file that is copied and changed. `None` if it cannot be analysed.
    pub module: Option<String>,
    /// The results of the same checks on the original.
    pub control: Vec<Hunted>,
    /// The results for its mutants.
    pub mutants: Vec<MutantReport>,
}

/// Stand-ins for CPython's unwinder in one build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StandInReport {
    /// The name of the build and run mode.
    pub row: String,
    /// The results of the same checks on the original.
    pub control: Vec<Hunted>,
    /// The results for the stand-ins.
    pub mutants: Vec<MutantReport>,
    /// The stand-ins, if they were only to be listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<ListedStandIn>,
}

/// One stand-in in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedStandIn {
    /// The name, as `--mutant` accepts it.
    pub mutant: String,
    /// The lane that must find it.
    pub lane: String,
    /// What it gets wrong.
    pub description: String,
    /// If it is not viable, the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// One update site and how often it was reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteReport {
    /// Its index among the sites of the image, from 0.
    pub site: usize,
    /// Its address in the image.
    pub address: String,
    /// Whether the JIT copies it.
    pub compiled: bool,
    /// The function that contains it, if the image has symbols.
    pub function: Option<String>,
    /// How often its guard was evaluated.
    pub guards: u64,
    /// How often its guard held.
    pub updates: u64,
    /// The operations by which frames left here, with the numbers of evaluated guards and of guards that held.
    pub operations: Vec<(String, u64, u64)>,
    /// The families that reach the update with the anchor set at gates.
    pub families: Vec<String>,
}

/// One mutant and its outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MutantReport {
    /// The name, as `--mutant` accepts it.
    pub mutant: String,
    /// The past fault that it reproduces.
    pub issue: Option<String>,
    /// The outcome; its fields are fields of this object in JSON.
    #[serde(flatten)]
    pub judged: Judged,
    /// The results of CPython's own tests. `None` if they were not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
}

/// The number of mutants by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Mutants that were killed.
    pub killed: usize,
    /// Mutants that survived, although a clause could have broken.
    pub survived: usize,
    /// Mutants that are equivalent to the original.
    pub equivalent: usize,
    /// Mutants that are not viable.
    pub not_viable: usize,
    /// Mutants whose target died.
    pub died: usize,
    /// Mutants without a conclusive outcome.
    pub inconclusive: usize,
}

impl MutantReport {
    /// The mutant as a judged item. `of` names what was changed, and `seconds` is how long it took.
    #[must_use]
    pub fn item(&self, of: &str, seconds: f64) -> Item {
        let (verdict, short) = match &self.judged {
            Judged::Killed(kill) => {
                (Verdict::Pass, format!("killed by {}, {}, {}", kill.clause, kill.walker, kill.family))
            }
            Judged::Survived { samples } => (Verdict::Fail, format!("survived {samples} samples")),
            Judged::Equivalent { argument, .. } => (Verdict::Pass, format!("equivalent: {argument}")),
            Judged::NotViable { why } => (Verdict::Pass, format!("not viable: {why}")),
            Judged::Died { how } => (Verdict::Pass, format!("died: {how}")),
            Judged::Inconclusive { why } => (Verdict::Inconclusive, format!("inconclusive: {why}")),
        };
        // The whole report is a table at the end of the run.
        Item {
            name: self.mutant.clone(),
            of: of.to_owned(),
            verdict,
            seconds,
            short,
            text: String::new(),
            history: Vec::new(),
        }
    }
}

impl MutantsReport {
    /// The mutants, grouped by what is changed. Empty groups are left out.
    pub fn groups(&self) -> impl Iterator<Item = (String, &[MutantReport])> {
        let rows = self.rows.iter().map(|row| (format!("the interpreter, {}", row.row), &row.mutants[..]));
        let unwinder = self.unwinder.iter().map(|one| (format!("CPython's unwinder, {}", one.row), &one.mutants[..]));
        let stand_ins = self.stand_ins.iter().map(|one| (format!("stand-ins, {}", one.row), &one.mutants[..]));
        let own = [("own walkers, simulated interpreter".to_owned(), &self.own[..])];
        rows.chain(unwinder).chain(stand_ins).chain(own).filter(|(_, mutants)| !mutants.is_empty())
    }

    /// All mutants of all kinds.
    pub fn mutants(&self) -> impl Iterator<Item = &MutantReport> {
        let unwinder = self.unwinder.iter().flat_map(|unwinder| &unwinder.mutants);
        let stand_ins = self.stand_ins.iter().flat_map(|one| &one.mutants);
        self.rows.iter().flat_map(|row| &row.mutants).chain(unwinder).chain(stand_ins).chain(&self.own)
    }

    /// The counts over all mutants.
    #[must_use]
    pub fn score(&self) -> Score {
        let mut score = Score::default();
        for mutant in self.mutants() {
            *match mutant.judged {
                Judged::Killed(_) => &mut score.killed,
                Judged::Survived { .. } => &mut score.survived,
                Judged::Equivalent { .. } => &mut score.equivalent,
                Judged::NotViable { .. } => &mut score.not_viable,
                Judged::Died { .. } => &mut score.died,
                Judged::Inconclusive { .. } => &mut score.inconclusive,
            } += 1;
        }
        score
    }

    /// Whether the harness finds enough of these mutants.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let score = self.score();
        if self.false_alarms() > 0 || score.survived > 0 || !self.unreached().is_empty() {
            Verdict::Fail
        } else if self.interrupted || score.inconclusive > 0 || self.has_doubtful_control() || score.killed == 0 {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    /// How many checks of the original broke a clause. If there are any, kills mean nothing.
    #[must_use]
    pub fn false_alarms(&self) -> usize {
        self.controls().filter(|control| matches!(control, Hunted::Killed(_))).count()
    }

    /// Whether any check of the original was not completed.
    #[must_use]
    pub fn has_doubtful_control(&self) -> bool {
        self.controls().any(|control| matches!(control, Hunted::Died { .. } | Hunted::Inconclusive { .. }))
    }

    /// The checks of the originals.
    pub fn controls(&self) -> impl Iterator<Item = &Hunted> {
        let unwinder = self.unwinder.iter().flat_map(|unwinder| &unwinder.control);
        let stand_ins = self.stand_ins.iter().flat_map(|one| &one.control);
        self.rows.iter().flat_map(|row| &row.control).chain(unwinder).chain(stand_ins).chain(&self.own_control)
    }

    /// The sites whose guard was never evaluated.
    #[must_use]
    pub fn unreached(&self) -> Vec<String> {
        let unreached = |row: &RowReport| {
            let sites = row.sites.iter().filter(|site| site.guards == 0);
            sites.map(|site| format!("{}: site {} at {}", row.row, site.site, site.address)).collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(unreached).collect()
    }

    /// Median and maximum time to a kill, in seconds.
    #[must_use]
    pub fn times(&self) -> Option<(f64, f64)> {
        let kill = |mutant: &MutantReport| match &mutant.judged {
            Judged::Killed(kill) => Some(kill.seconds),
            _ => None,
        };
        let mut times: Vec<f64> = self.mutants().filter_map(kill).collect();
        times.sort_by(f64::total_cmp);
        Some((*times.get(times.len() / 2)?, *times.last()?))
    }
}

//! What `framediff mutants` tells.

use model::run::verdict::Verdict;
use serde::{Deserialize, Serialize};

use super::hunt::Hunted;
use super::judge::Judged;
use super::peers::{BaselineReport, Peers};

/// Everything of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of the format.
    pub version: u32,
    /// Seed of the programs.
    pub seed: u64,
    /// Time for one mutant, in seconds.
    pub budget_seconds: f64,
    /// By build and run mode.
    pub rows: Vec<RowReport>,
    /// CPython's unwinder, by build.
    pub unwinder: Vec<UnwinderReport>,
    /// Stand-ins for CPython's unwinder, by build.
    #[serde(default)]
    pub stand_ins: Vec<StandInReport>,
    /// This project's own walkers, unchanged, against random schedules.
    pub own_control: Option<Hunted>,
    /// The same with one check left out.
    pub own: Vec<MutantReport>,
    /// Whether the user stopped it.
    pub interrupted: bool,
}

/// One build in one run mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowReport {
    /// Its name.
    pub row: String,
    /// The file whose copies are changed.
    pub image: String,
    /// Its update sites.
    pub sites: Vec<SiteReport>,
    /// The original, checked as the mutants are.
    pub control: Vec<Hunted>,
    /// Its mutants.
    pub mutants: Vec<MutantReport>,
    /// CPython's own tests on the original; none if they were not asked for.
    pub peers: Option<Vec<BaselineReport>>,
}

/// CPython's unwinder in one build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnwinderReport {
    /// The build and its run mode.
    pub row: String,
    /// The file whose copies are changed; none if it cannot be looked at.
    pub module: Option<String>,
    /// The original's schedules against the original.
    pub control: Vec<Hunted>,
    /// Its mutants.
    pub mutants: Vec<MutantReport>,
}

/// Stand-ins for CPython's unwinder in one build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StandInReport {
    /// The build and its run mode.
    pub row: String,
    /// The original, checked as the stand-ins are.
    pub control: Vec<Hunted>,
    /// The stand-ins.
    pub mutants: Vec<MutantReport>,
    /// Those that were only to be listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<Listed>,
}

/// What a stand-in is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub mutant: String,
    /// The lane in which it must be seen.
    pub lane: String,
    /// What it gets wrong.
    pub description: String,
    /// Why it is not viable, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// One site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteReport {
    /// Its number.
    pub site: usize,
    /// Its address in the image.
    pub address: String,
    /// Whether it is copied by the JIT.
    pub compiled: bool,
    /// The function around it, where the image has symbols.
    pub function: Option<String>,
    /// How often its guard was evaluated.
    pub guards: u64,
    /// How often its guard held.
    pub updates: u64,
    /// What frames did that left here, with how often the guard was evaluated and held.
    pub operations: Vec<(String, u64, u64)>,
    /// Families that reach the update with the anchor set at gates.
    pub families: Vec<String>,
}

/// One mutant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MutantReport {
    /// Its name.
    pub mutant: String,
    /// The fault of the past that it is.
    pub issue: Option<String>,
    /// What came of it.
    #[serde(flatten)]
    pub judged: Judged,
    /// What CPython's own tests say of it; none if they were not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
}

/// How many there are of each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Killed.
    pub killed: usize,
    /// Survived.
    pub survived: usize,
    /// Equivalent to the original.
    pub equivalent: usize,
    /// Not viable.
    pub not_viable: usize,
    /// Died.
    pub died: usize,
    /// Undecided.
    pub inconclusive: usize,
}

impl Report {
    /// The mutants by what is changed, those that there are.
    pub fn groups(&self) -> impl Iterator<Item = (String, &[MutantReport])> {
        let rows = self.rows.iter().map(|row| (format!("the interpreter, {}", row.row), &row.mutants[..]));
        let unwinder = self.unwinder.iter().map(|one| (format!("CPython's unwinder, {}", one.row), &one.mutants[..]));
        let stand_ins = self.stand_ins.iter().map(|one| (format!("stand-ins, {}", one.row), &one.mutants[..]));
        let own = [("own walkers, simulated interpreter".to_owned(), &self.own[..])];
        rows.chain(unwinder).chain(stand_ins).chain(own).filter(|(_, mutants)| !mutants.is_empty())
    }

    /// All mutants, of whatever kind.
    pub fn mutants(&self) -> impl Iterator<Item = &MutantReport> {
        let unwinder = self.unwinder.iter().flat_map(|unwinder| &unwinder.mutants);
        let stand_ins = self.stand_ins.iter().flat_map(|one| &one.mutants);
        self.rows.iter().flat_map(|row| &row.mutants).chain(unwinder).chain(stand_ins).chain(&self.own)
    }

    /// The counts of all rows.
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

    /// Whether the harness is good enough for these mutants.
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

    /// Whether the original broke a clause: then no kill means anything.
    #[must_use]
    pub fn false_alarms(&self) -> usize {
        self.controls().filter(|control| matches!(control, Hunted::Killed(_))).count()
    }

    /// Whether the original was not checked to the end, somewhere.
    #[must_use]
    pub fn has_doubtful_control(&self) -> bool {
        self.controls().any(|control| matches!(control, Hunted::Died { .. } | Hunted::Inconclusive { .. }))
    }

    /// The runs of what is not changed.
    pub fn controls(&self) -> impl Iterator<Item = &Hunted> {
        let unwinder = self.unwinder.iter().flat_map(|unwinder| &unwinder.control);
        let stand_ins = self.stand_ins.iter().flat_map(|one| &one.control);
        self.rows.iter().flat_map(|row| &row.control).chain(unwinder).chain(stand_ins).chain(&self.own_control)
    }

    /// Sites of any row whose guard nothing evaluates.
    #[must_use]
    pub fn unreached(&self) -> Vec<String> {
        let unreached = |row: &RowReport| {
            let sites = row.sites.iter().filter(|site| site.guards == 0);
            sites.map(|site| format!("{}: site {} at {}", row.row, site.site, site.address)).collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(unreached).collect()
    }

    /// Median and longest time to a kill, in seconds.
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

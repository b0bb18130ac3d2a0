//! What `framediff mutants` tells.

use std::collections::BTreeSet;
use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::{Deserialize, Serialize};

use super::history;
use super::hunt::{Hunted, Kill};
use super::judge::Judged;
use super::peers::{BaselineReport, Peers, Said};
use crate::report::text::{Look, paragraph};
use crate::run::verdict::Verdict;

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

    fn mutants(&self) -> impl Iterator<Item = &MutantReport> {
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

    fn controls(&self) -> impl Iterator<Item = &Hunted> {
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

    /// What became of the faults of the past.
    fn render_history(&self, out: &mut String) {
        let mut lines = table(&["fault of the past", "", "mutants", "killed", "equivalent", "by"]);
        for issue in history::ALL {
            let of: Vec<&MutantReport> =
                self.mutants().filter(|mutant| mutant.issue.as_deref() == Some(issue.name)).collect();
            let count = |name: &str| of.iter().filter(|mutant| mutant.judged.name() == name).count().to_string();
            let clauses: BTreeSet<&str> = of
                .iter()
                .filter_map(|mutant| match &mutant.judged {
                    Judged::Killed(kill) => Some(kill.clause.as_str()),
                    _ => None,
                })
                .collect();
            if !of.is_empty() {
                let clauses: Vec<&str> = clauses.into_iter().collect();
                lines.add_row([
                    issue.name.to_owned(),
                    issue.what.to_owned(),
                    of.len().to_string(),
                    count("killed"),
                    count("equivalent"),
                    clauses.join(", "),
                ]);
            }
        }
        if lines.row_count() > 0 {
            push(out, &mut lines, &[2, 3, 4]);
            out.push('\n');
        }
    }

    /// The report for people.
    #[must_use]
    pub fn human(&self, look: Look) -> String {
        let mut out = String::new();
        for row in &self.rows {
            row.render(&mut out, look);
        }
        for unwinder in self.unwinder.iter().filter(|unwinder| !unwinder.mutants.is_empty()) {
            out.push_str(&look.bold(&format!("CPython's unwinder, {}", unwinder.row)));
            out.push('\n');
            render_mutants(&mut out, &unwinder.mutants, look);
        }
        for one in &self.stand_ins {
            one.render(&mut out, look);
        }
        if !self.own.is_empty() {
            out.push_str(&look.bold("own walkers, simulated interpreter, random schedules"));
            out.push('\n');
            render_mutants(&mut out, &self.own, look);
        }
        self.render_history(&mut out);
        let score = self.score();
        let Score { killed, survived, equivalent, not_viable, died, inconclusive } = score;
        let _ = writeln!(
            out,
            "{killed} killed, {survived} survived, {equivalent} equivalent, {not_viable} not viable, {died} died, \
             {inconclusive} inconclusive"
        );
        if let Some((median, worst)) = self.times() {
            let _ = writeln!(out, "time to kill: median {median:.2} s, worst {worst:.2} s");
        }
        let alarms = self.false_alarms();
        let controls = self.controls().count();
        if controls > 0 {
            let _ =
                writeln!(out, "the original: {alarms} false alarms in {controls} runs with the same seed and numbers");
        }
        for unreached in self.unreached() {
            let _ = writeln!(out, "never reached: {unreached}");
        }
        out
    }
}

impl RowReport {
    fn render(&self, out: &mut String, look: Look) {
        let compiled = self.sites.iter().filter(|site| site.compiled).count();
        let title = format!(
            "{}: {} update sites ({} ordinary, {compiled} in the JIT's templates)",
            self.row,
            self.sites.len(),
            self.sites.len() - compiled
        );
        out.push_str(&look.bold(&title));
        out.push('\n');
        let mut sites = table(&["site", "address", "guards", "updates", "left by"]);
        for site in &self.sites {
            let mut operations: Vec<&(String, u64, u64)> = site.operations.iter().collect();
            operations.sort_by_key(|(_, guards, _)| std::cmp::Reverse(*guards));
            let left: Vec<&str> = operations.iter().take(4).map(|(name, ..)| name.as_str()).collect();
            let function = site.function.as_deref().map(|function| format!(" {function}")).unwrap_or_default();
            sites.add_row([
                site.site.to_string(),
                format!("{}{}{function}", site.address, if site.compiled { " JIT" } else { "" }),
                site.guards.to_string(),
                site.updates.to_string(),
                left.join(", "),
            ]);
        }
        push(out, &mut sites, &[0, 2, 3]);
        out.push('\n');
        for BaselineReport { suite, ran, always_passed, seconds } in self.peers.iter().flatten() {
            let ran: Vec<String> = ran.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                out,
                "{suite} on the original: {} tests ran, {always_passed} passed each time, {seconds:.1} s",
                ran.join(" and ")
            );
        }
        if self.mutants.is_empty() {
            return;
        }
        render_mutants(out, &self.mutants, look);
    }
}

impl StandInReport {
    fn render(&self, out: &mut String, look: Look) {
        out.push_str(&look.bold(&format!("stand-ins for CPython's unwinder, {}", self.row)));
        out.push('\n');
        if !self.mutants.is_empty() {
            return render_mutants(out, &self.mutants, look);
        }
        let mut list = table(&["mutant", "lane", "fault", "not viable"]);
        for Listed { mutant, lane, description, missing } in &self.list {
            list.add_row([mutant, lane, description, missing.as_deref().unwrap_or_default()]);
        }
        push(out, &mut list, &[]);
        out.push('\n');
    }
}

fn render_mutants(out: &mut String, list: &[MutantReport], look: Look) {
    let mut header = vec!["mutant", "outcome", "lane", "clause", "walker", "family", "samples", "s"];
    let asked = list.iter().any(|mutant| mutant.peers.is_some());
    if asked {
        header.extend(["TestFrameCaching", "test_external_inspection"]);
    }
    let mut mutants = table(&header);
    for mutant in list {
        let cells = match &mutant.judged {
            Judged::Killed(Kill { lane, clause, walker, family, samples, seconds, .. }) => {
                let seconds = format!("{seconds:.2}");
                [lane.clone(), clause.clone(), walker.clone(), family.clone(), samples.to_string(), seconds]
            }
            Judged::Survived { samples } | Judged::Equivalent { samples, .. } => {
                ["", "", "", "", &samples.to_string(), ""].map(str::to_owned)
            }
            _ => [""; 6].map(str::to_owned),
        };
        let mut cells = [vec![mutant.mutant.clone(), mutant.judged.name().to_owned()], cells.to_vec()].concat();
        if asked {
            let said = |said: Option<&Said>| said.map_or("", Said::name).to_owned();
            cells.push(said(mutant.peers.as_ref().map(|peers| &peers.frame_caching)));
            cells.push(said(mutant.peers.as_ref().and_then(|peers| peers.external_inspection.as_ref())));
        }
        mutants.add_row(cells);
    }
    push(out, &mut mutants, &[6, 7]);
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for mutant in list {
        let (Judged::Equivalent { argument: why, .. }
        | Judged::NotViable { why }
        | Judged::Died { how: why }
        | Judged::Inconclusive { why }) = &mutant.judged
        else {
            continue;
        };
        let reason = format!("{}: {why}", mutant.judged.name());
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, mutants)) => mutants.push(&mutant.mutant),
            None => reasons.push((reason, vec![&mutant.mutant])),
        }
    }
    for (reason, mutants) in reasons {
        paragraph(out, "  ", &format!("{} {reason}", mutants.join(", ")), look.width);
    }
    out.push('\n');
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.force_no_tty().set_header(header);
    table
}

/// Appends the table, with numbers to the right.
fn push(out: &mut String, table: &mut Table, numbers: &[usize]) {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

//! The report of `mutants` as text.

use std::collections::BTreeSet;
use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use lab::mutants::history;
use lab::mutants::hunt::Kill;
use lab::mutants::judge::Judged;
use lab::mutants::peers::{BaselineReport, Said};
use lab::mutants::report::{ListedStandIn, MutantReport, MutantsReport, RowReport, Score, StandInReport};

use crate::report::text::{Look, paragraph};

/// Which faults from CPython's history were killed.
fn render_history(report: &MutantsReport, out: &mut String) {
    let mut lines = table(&["fault of the past", "", "mutants", "killed", "equivalent", "by"]);
    for issue in history::ALL {
        let of: Vec<&MutantReport> =
            report.mutants().filter(|mutant| mutant.issue.as_deref() == Some(issue.name)).collect();
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

/// Renders the report as text.
#[must_use]
pub fn human(report: &MutantsReport, look: Look) -> String {
    let mut out = String::new();
    for row in &report.rows {
        render_row(row, &mut out, look);
    }
    for unwinder in report.unwinder.iter().filter(|unwinder| !unwinder.mutants.is_empty()) {
        out.push_str(&look.bold(&format!("CPython's unwinder, {}", unwinder.row)));
        out.push('\n');
        render_mutants(&mut out, &unwinder.mutants, look);
    }
    for one in &report.stand_ins {
        render_stand_ins(one, &mut out, look);
    }
    if !report.own.is_empty() {
        out.push_str(&look.bold("own walkers, simulated interpreter, random schedules"));
        out.push('\n');
        render_mutants(&mut out, &report.own, look);
    }
    render_history(report, &mut out);
    let score = report.score();
    let Score { killed, survived, equivalent, not_viable, died, inconclusive } = score;
    let _ = writeln!(
        out,
        "{killed} killed, {survived} survived, {equivalent} equivalent, {not_viable} not viable, {died} died, \
         {inconclusive} inconclusive"
    );
    if let Some((median, worst)) = report.times() {
        let _ = writeln!(out, "time to kill: median {median:.2} s, worst {worst:.2} s");
    }
    let alarms = report.false_alarms();
    let controls = report.controls().count();
    if controls > 0 {
        let _ = writeln!(out, "the original: {alarms} false alarms in {controls} runs with the same seed and numbers");
    }
    for unreached in report.unreached() {
        let _ = writeln!(out, "never reached: {unreached}");
    }
    out
}

fn render_row(row: &RowReport, out: &mut String, look: Look) {
    let compiled = row.sites.iter().filter(|site| site.compiled).count();
    let title = format!(
        "{}: {} update sites ({} ordinary, {compiled} in the JIT's templates)",
        row.row,
        row.sites.len(),
        row.sites.len() - compiled
    );
    out.push_str(&look.bold(&title));
    out.push('\n');
    let mut sites = table(&["site", "address", "guards", "updates", "left by"]);
    for site in &row.sites {
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
    for BaselineReport { suite, ran, always_passed, seconds } in row.peers.iter().flatten() {
        let ran: Vec<String> = ran.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            out,
            "{suite} on the original: {} tests ran, {always_passed} passed each time, {seconds:.1} s",
            ran.join(" and ")
        );
    }
    if row.mutants.is_empty() {
        return;
    }
    render_mutants(out, &row.mutants, look);
}

fn render_stand_ins(report: &StandInReport, out: &mut String, look: Look) {
    out.push_str(&look.bold(&format!("stand-ins for CPython's unwinder, {}", report.row)));
    out.push('\n');
    if !report.mutants.is_empty() {
        return render_mutants(out, &report.mutants, look);
    }
    let mut list = table(&["mutant", "lane", "fault", "not viable"]);
    for ListedStandIn { mutant, lane, description, missing } in &report.list {
        list.add_row([mutant, lane, description, missing.as_deref().unwrap_or_default()]);
    }
    push(out, &mut list, &[]);
    out.push('\n');
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

/// Appends the table; the columns in `numbers` are aligned to the right.
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

//! The result matrix: families down, builds across, one table for each lane.

use std::collections::BTreeMap;

use maud::{Markup, html};
use model::lane::Lane;
use model::run::cell::{CellOutcome, NotRun};
use model::run::cell_report::CellReport;
use model::run::document::Document;

use super::shown;

/// At most this many builds and families are shown, since a file can have any number.
const MOST: usize = 200;

/// The combined result of a family's cells on one row in one lane. The worst cell decides, and later variants are
/// worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    NotApplicable,
    Pass,
    Known,
    NotRun,
    Inconclusive,
    Fail,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::NotApplicable => "–",
            Self::Pass => "pass",
            Self::Known => "known",
            Self::NotRun => "not run",
            Self::Inconclusive => "unsure",
            Self::Fail => "fail",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Pass => "good",
            Self::Fail => "bad",
            Self::Known | Self::NotRun | Self::Inconclusive => "doubt",
            Self::NotApplicable => "none",
        }
    }

    fn of(document: &Document, report: &CellReport) -> Self {
        let here = document.violations.iter().filter(|violation| violation.count_in(&report.cell) > 0);
        let violated = here.map(|violation| match (&violation.known, document.strict) {
            (Some(_), false) => Self::Known,
            _ => Self::Fail,
        });
        let ended = match &report.outcome {
            CellOutcome::Ran if document.without_stacks(report).next().is_some() => Self::Inconclusive,
            CellOutcome::Ran => Self::Pass,
            CellOutcome::NotRun(NotRun::NotApplicable(_)) => Self::NotApplicable,
            CellOutcome::NotRun(_) => Self::NotRun,
            CellOutcome::Inconclusive(_) => Self::Inconclusive,
        };
        violated.fold(ended, Self::max)
    }
}

/// One field of the matrix, which combines several cells.
#[derive(Default)]
struct Field {
    state: Option<State>,
    cells: usize,
    why: Vec<String>,
}

impl Field {
    fn add(&mut self, document: &Document, report: &CellReport) {
        let state = State::of(document, report);
        self.state = self.state.max(Some(state));
        self.cells += 1;
        let why = match &report.outcome {
            CellOutcome::Ran => match document.without_stacks(report).next() {
                Some(walker) => format!("no stack of {walker}"),
                None => return,
            },
            CellOutcome::NotRun(why) => why.to_string(),
            CellOutcome::Inconclusive(why) => why.to_string(),
        };
        if !self.why.contains(&why) && self.why.len() < 5 {
            self.why.push(why);
        }
    }

    fn title(&self) -> String {
        let cells = crate::report::text::plural(self.cells, "program");
        if self.why.is_empty() { cells } else { format!("{cells}; {}", self.why.join("; ")) }
    }
}

/// One table for each lane.
pub(super) fn matrix(document: &Document) -> Markup {
    let mut fields: BTreeMap<(Lane, &str), BTreeMap<&str, Field>> = BTreeMap::new();
    let mut rows: Vec<&str> = Vec::new();
    let mut families: Vec<&str> = Vec::new();
    for report in &document.cells {
        let cell = &report.cell;
        for (list, name) in [(&mut rows, &cell.row), (&mut families, &cell.family)] {
            if !list.contains(&name.as_str()) && list.len() < MOST {
                list.push(name);
            }
        }
        let family = fields.entry((cell.lane, &cell.family)).or_default();
        family.entry(&cell.row).or_default().add(document, report);
    }
    html! {
        @for lane in Lane::ALL {
            @if fields.keys().any(|(of, _)| *of == lane) {
                div.wide { table.matrix {
                    caption.muted { (lane) " lane" }
                    thead { tr { th scope="col" { "family" } @for row in &rows { th scope="col" { (shown(row)) } } } }
                    tbody { @for family in &families {
                        @if let Some(of) = fields.get(&(lane, *family)) {
                            tr { th scope="row" { (shown(family)) } @for row in &rows {
                                @match of.get(row).and_then(|field| Some((field.state?, field))) {
                                    Some((state, field)) => td.(state.class()) title=(shown(&field.title())) { (state.name()) },
                                    None => td {},
                                }
                            } }
                        }
                    } }
                } }
            }
        }
    }
}

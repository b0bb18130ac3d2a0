//! Profiles of each walker compared with the truth.

use framewalk::printable::excerpt;
use maud::{Markup, html};
use model::oracle::distribution::{Bias, Distance};
use model::run::document::Document;
use model::run::profiles::{HEADER, LeafShare, ProgramProfiles, figures, figures_of_stopped};

use super::{shown, tag};

/// At most this many programs are shown, with [`MOST_LEAVES`] leaves each. The JSON document has all of them.
const MOST: usize = 200;
const MOST_LEAVES: usize = 12;

/// One folded section for each program: each walker's distance from the truth, and the leaves that contribute to it.
pub(super) fn section(document: &Document) -> Markup {
    html! {
        @if !document.profiles.is_empty() {
            h3 { "Profiles, compared with the truth" }
            p.muted {
                "Advice, without effect on the verdict. The truth is what the program was made to do, or where that is not known, what \
                 an uncached walk saw of the same process, stopped at random moments. One in twenty is called biased by chance \
                 alone."
            }
            @for program in document.profiles.iter().take(MOST) { (self::program(program)) }
            @if document.profiles.len() > MOST { p.muted { "… " (document.profiles.len() - MOST) " more. The JSON document lists them." } }
        }
    }
}

fn program(program: &ProgramProfiles) -> Markup {
    let worst = program.walkers.iter().map(|picture| picture.bias).max().unwrap_or(Bias::NotSeen);
    let shown_leaves = || program.leaves.iter().take(MOST_LEAVES).enumerate();
    let seen = |index: usize| program.walkers.iter().filter_map(move |picture| picture.shares.get(index).copied());
    let all = shown_leaves().flat_map(|(index, leaf)| seen(index).chain([leaf.truth]));
    let most = all.fold(0.0, f64::max);
    html! { details {
        summary { (shown(&program.row)) ", " (shown(&program.family)) " " (tag(class(worst), worst.words())) }
        table.lines.profiles {
            thead { tr { @for (index, title) in HEADER.iter().enumerate() { th.number[(1..7).contains(&index)] scope="col" { (title) } } } }
            tbody {
                (line(&figures_of_stopped(program), program.known.map_or(Bias::NotSeen, Distance::bias)))
                @for picture in &program.walkers { (line(&figures(picture), picture.bias)) }
            }
        }
        div.wide { table.leaves {
            thead { tr {
                th scope="col" { "leaf" } th scope="col" { "kind" } th scope="col" { "true" }
                @for picture in &program.walkers { th scope="col" { (picture.walker) } }
            } }
            tbody { @for (index, leaf) in shown_leaves() { (shares(program, index, leaf, most)) } }
        } }
        @if program.leaves.len() > MOST_LEAVES { p.muted { "… " (program.leaves.len() - MOST_LEAVES) " rarer leaves." } }
    } }
}

fn class(bias: Bias) -> &'static str {
    match bias {
        Bias::NotSeen => "good",
        Bias::CannotTell => "none",
        Bias::Seen => "doubt",
    }
}

fn line(figures: &[String; HEADER.len()], bias: Bias) -> Markup {
    html! { tr {
        @for (index, (title, figure)) in HEADER.iter().zip(figures).enumerate() {
            @match index {
                0 => td.title { (figure) },
                7 => td data-label=(title) { (tag(class(bias), figure)) },
                8 | 9 => td.across data-label=(title) { span { (figure) } },
                _ => td.number data-label=(title) { span { (figure) } },
            }
        }
    } }
}

/// A leaf with its shares, drawn as bars. `most` is the share of the longest bar.
fn shares(program: &ProgramProfiles, index: usize, leaf: &LeafShare, most: f64) -> Markup {
    html! { tr {
        th scope="row" { (excerpt(&leaf.leaf.function)) }
        td { @if let Some(kind) = leaf.kind { (kind) } }
        (bar("true", leaf.truth, most))
        @for picture in &program.walkers { (bar("seen", picture.shares.get(index).copied().unwrap_or(0.0), most)) }
    } }
}

/// A share as a bar, with its number.
fn bar(class: &str, share: f64, most: f64) -> Markup {
    let width = if most > 0.0 { (100.0 * share / most).clamp(0.0, 100.0) } else { 0.0 };
    let percent = 100.0 * share;
    html! { td.share { span.bar.(class) style={ "width:" (format!("{width:.1}")) "%" } {} span { (format!("{percent:.1} %")) } } }
}

//! Draws the curves as one picture: for each build, the time of a sample and the speed-up by depth, the speed-up by
//! changed frames, and the scaling with threads and targets. Bands are intervals.

use std::ops::Range;

use framewalk::printable::clean;
use framewalk::sample::WalkerKind;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::bench::derived::speed_up;
use crate::bench::document::{BenchDocument, BenchPart, BenchPoint, Series};
use crate::bench::statistics::{Interval, estimate};

/// The size of a panel in pixels. The constants below are the number of panels in a row and the heights of the
/// headings.
const PANEL: (u32, u32) = (430, 300);
const ACROSS: usize = 3;
const HEADING: u32 = 70;
const BUILD_HEADING: u32 = 30;

/// An error while drawing.
type Failure = Box<dyn std::error::Error>;

/// One curve of a panel.
struct Curve<'a> {
    contender: &'a str,
    points: Vec<(f64, Interval)>,
}

/// The content of a panel, and its curves.
type Panel<'a> = (Shows, Vec<Curve<'a>>);
/// A build's name, and its panels.
type Build<'a> = (&'a str, Vec<Panel<'a>>);

/// The content of a panel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    Time(BenchPart),
    SpeedUp(BenchPart),
}

const PANELS: [Shows; 5] = [
    Shows::Time(BenchPart::SpeedUp),
    Shows::SpeedUp(BenchPart::SpeedUp),
    Shows::SpeedUp(BenchPart::Change),
    Shows::Time(BenchPart::Threads),
    Shows::Time(BenchPart::Targets),
];

/// Draws the curves of a document as one SVG picture.
///
/// # Errors
/// No curve was measured.
pub fn render(document: &BenchDocument) -> Result<String, Failure> {
    let builds: Vec<Build<'_>> = document
        .builds
        .iter()
        .map(|build| (build.name.as_str(), panels(document, &build.name)))
        .filter(|(_, panels)| !panels.is_empty())
        .collect();
    if builds.is_empty() {
        return Err("there is no curve to draw: the cost to the target is shown only in the tables".into());
    }
    let rows = |panels: &[_]| u32::try_from(panels.len().div_ceil(ACROSS)).unwrap_or(1);
    let height: u32 = builds.iter().map(|(_, panels)| BUILD_HEADING + PANEL.1 * rows(panels)).sum();
    let across = builds.iter().map(|(_, panels)| panels.len().min(ACROSS)).max().unwrap_or(1);
    let width = PANEL.0 * u32::try_from(across.max(2)).unwrap_or(1);
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, (width, HEADING + height)).into_drawing_area();
        root.fill(&WHITE)?;
        let (heading, mut rest) = root.split_vertically(HEADING);
        legend(&heading, document, &builds)?;
        for (name, panels) in &builds {
            let (area, below) = rest.split_vertically(BUILD_HEADING + PANEL.1 * rows(panels));
            rest = below;
            let (heading, area) = area.split_vertically(BUILD_HEADING);
            heading.draw_text(&clean(name), &font(17).color(&BLACK), (12, 10))?;
            let cells = area.split_evenly((usize::try_from(rows(panels))?, across.max(2)));
            for ((shows, curves), cell) in panels.iter().zip(&cells) {
                panel(cell, *shows, curves)?;
            }
        }
        root.present()?;
    }
    Ok(picture)
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().into()
}

/// The panels of a build that have at least one curve.
fn panels<'a>(document: &'a BenchDocument, build: &str) -> Vec<Panel<'a>> {
    let of = |shows: Shows| {
        let (Shows::Time(part) | Shows::SpeedUp(part)) = shows;
        let mut points: Vec<&BenchPoint> =
            document.points.iter().filter(|point| point.build == build && point.place.part == part).collect();
        points.sort_by_key(|point| point.place);
        let mut curves: Vec<Curve<'a>> = Vec::new();
        for point in points {
            for series in &point.series {
                let Some(value) = value(shows, point, series, document.seed) else { continue };
                let point = (x(point), value);
                match curves.iter_mut().find(|curve| curve.contender == series.contender) {
                    Some(curve) => curve.points.push(point),
                    None => curves.push(Curve { contender: &series.contender, points: vec![point] }),
                }
            }
        }
        (shows, curves)
    };
    PANELS.into_iter().map(of).filter(|(_, curves)| !curves.is_empty()).collect()
}

fn x(point: &BenchPoint) -> f64 {
    let place = &point.place;
    match place.part {
        BenchPart::SpeedUp | BenchPart::Cost => f64::from(place.depth),
        BenchPart::Change => 100.0 * f64::from(place.changed) / f64::from(place.depth.max(1)),
        BenchPart::Threads => f64::from(place.threads),
        BenchPart::Targets => f64::from(place.targets),
    }
}

fn value(shows: Shows, point: &BenchPoint, series: &Series, seed: u64) -> Option<Interval> {
    match shows {
        Shows::SpeedUp(_) => speed_up(point, series, seed),
        Shows::Time(BenchPart::Threads) => {
            let Interval { low, value, high } = estimate(&series.blocks, seed)?;
            let threads = f64::from(point.place.threads.max(1));
            Some(Interval { low: low / threads, value: value / threads, high: high / threads })
        }
        Shows::Time(_) => estimate(&series.blocks, seed),
    }
}

fn title(shows: Shows) -> (&'static str, &'static str) {
    match shows {
        Shows::Time(BenchPart::Threads) => ("time of one thread of a sample", "threads of the target"),
        Shows::Time(BenchPart::Targets) => ("time of the run / all samples", "targets at once"),
        Shows::Time(_) => ("time of a sample", "frames"),
        Shows::SpeedUp(BenchPart::Change) => {
            ("speed-up, by what changes", "% of the stack that is new since the previous sample")
        }
        Shows::SpeedUp(_) => ("speed-up: uncached / cached", "frames"),
    }
}

/// Colours that most people can distinguish (Okabe and Ito): blue and green for this project's walkers, orange for
/// CPython's.
fn colour(contender: &str) -> RGBColor {
    match WalkerKind::ALL.into_iter().find(|kind| kind.name() == contender) {
        Some(WalkerKind::OwnUncached) => RGBColor(86, 180, 233),
        Some(WalkerKind::OwnCached) => RGBColor(0, 114, 178),
        Some(WalkerKind::OwnReference) => RGBColor(0, 158, 115),
        Some(WalkerKind::CpythonUncached) => RGBColor(230, 159, 0),
        Some(WalkerKind::CpythonCached) => RGBColor(213, 94, 0),
        None => RGBColor(90, 90, 90),
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn legend(area: &Area<'_>, document: &BenchDocument, builds: &[Build<'_>]) -> Result<(), Failure> {
    let machine = &document.machine;
    let text = format!(
        "framediff bench {}: {} cores of {}, {}{}",
        clean(&document.framediff),
        machine.cores,
        clean(&machine.cpu),
        clean(&machine.kernel),
        if document.optimised { "" } else { "; framediff without optimisation" },
    );
    area.draw_text(&text, &font(14).color(&BLACK), (12, 12))?;
    let mut names: Vec<&str> = Vec::new();
    for curve in builds.iter().flat_map(|(_, panels)| panels).flat_map(|(_, curves)| curves) {
        if !names.contains(&curve.contender) {
            names.push(curve.contender);
        }
    }
    for (at, name) in (12..).step_by(160).zip(names) {
        area.draw(&PathElement::new([(at, 47), (at + 22, 47)], colour(name).stroke_width(3)))?;
        area.draw(&Circle::new((at + 11, 47), 4, colour(name).filled()))?;
        area.draw_text(&clean(name), &font(14).color(&BLACK), (at + 28, 39))?;
    }
    Ok(())
}

fn panel(area: &Area<'_>, shows: Shows, curves: &[Curve<'_>]) -> Result<(), Failure> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let (least, most) = all().fold((f64::MAX, f64::MIN), |(least, most), (x, _)| (least.min(*x), most.max(*x)));
    let mut low = all().fold(f64::MAX, |low, (_, y)| low.min(y.low)) / 1.3;
    let mut high = all().fold(f64::MIN, |high, (_, y)| high.max(y.high)) * 1.3;
    if let Shows::SpeedUp(_) = shows {
        (low, high) = (low.min(0.8), high.max(1.25));
    }
    if shows == Shows::SpeedUp(BenchPart::Change) {
        return chart(area, shows, curves, 0.0..most.max(1.0), low..high);
    }
    // Put a single point in the middle.
    let x = if least < most { least..most } else { least / 2.0..most * 2.0 };
    let mut measured: Vec<f64> = all().map(|(x, _)| *x).collect();
    measured.sort_unstable_by(f64::total_cmp);
    measured.dedup();
    chart(area, shows, curves, x.log_scale().with_key_points(measured), low..high)
}

/// 1, 2 and 5 times the powers of ten within a range.
fn steps(range: &Range<f64>) -> Vec<f64> {
    let all = (-3..12).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)));
    all.filter(|step| range.contains(step)).collect()
}

/// A step with its unit.
fn tick(shows: Shows, step: f64) -> String {
    match shows {
        Shows::SpeedUp(_) => format!("{}×", round(step)),
        Shows::Time(_) if step < 1e3 => format!("{} ns", round(step)),
        Shows::Time(_) if step < 1e6 => format!("{} µs", round(step / 1e3)),
        Shows::Time(_) => format!("{} ms", round(step / 1e6)),
    }
}

/// Rounds away errors of binary fractions.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn chart<X>(area: &Area<'_>, shows: Shows, curves: &[Curve<'_>], x: X, y: Range<f64>) -> Result<(), Failure>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let (title, description) = title(shows);
    let steps = steps(&y);
    let mut chart = ChartBuilder::on(area)
        .caption(title, font(15))
        .margin(8)
        .margin_right(20)
        .x_label_area_size(38)
        .y_label_area_size(62)
        .build_cartesian_2d(x, y.log_scale().with_key_points(steps))?;
    chart
        .configure_mesh()
        .x_desc(description)
        .x_labels(6)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| tick(shows, *value))
        .label_style(font(12))
        .axis_desc_style(font(13))
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(BLACK.mix(0.12))
        .draw()?;
    for curve in curves {
        let colour = colour(curve.contender);
        let upper = curve.points.iter().map(|(x, y)| (*x, y.high));
        let lower = curve.points.iter().rev().map(|(x, y)| (*x, y.low));
        chart.draw_series([Polygon::new(upper.chain(lower).collect::<Vec<_>>(), colour.mix(0.18).filled())])?;
        // Also draw each point's interval as a line, because a single point has no band.
        chart.draw_series(
            curve.points.iter().map(|(x, y)| PathElement::new([(*x, y.low), (*x, y.high)], colour.stroke_width(1))),
        )?;
        chart.draw_series(LineSeries::new(curve.points.iter().map(|(x, y)| (*x, y.value)), colour.stroke_width(2)))?;
        chart.draw_series(curve.points.iter().map(|(x, y)| Circle::new((*x, y.value), 3, colour.filled())))?;
    }
    if let Shows::SpeedUp(_) = shows {
        let (from, to) = curves
            .iter()
            .flat_map(|curve| &curve.points)
            .fold((f64::MAX, f64::MIN), |(from, to), (x, _)| (from.min(*x), to.max(*x)));
        chart.draw_series([PathElement::new([(from, 1.0), (to, 1.0)], BLACK.mix(0.5).stroke_width(1))])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures::{BUILD, document};

    #[test]
    fn the_picture_is_well_formed_and_labelled() {
        let picture = render(&document(1.0, 1)).unwrap();
        let parsed = roxmltree::Document::parse(&picture).unwrap();
        let texts: Vec<&str> = parsed.descendants().filter_map(|node| node.text()).map(str::trim).collect();
        for words in [BUILD, "own-cached", "cpython-cached", "speed-up: uncached / cached", "frames"] {
            assert!(texts.contains(&words), "{words:?} is not in {texts:?}");
        }
        // Each panel with two depths has a line for each walker measured there.
        let lines = |colour: &str| {
            parsed
                .descendants()
                .filter(|node| node.has_tag_name("polyline") && node.attribute("stroke") == Some(colour))
                .count()
        };
        assert!(lines("#0072B2") >= 4, "{picture}");
    }

    #[test]
    fn everything_is_inside_the_picture() {
        let picture = render(&document(1.0, 1)).unwrap();
        let parsed = roxmltree::Document::parse(&picture).unwrap();
        let size = |name: &str| parsed.root_element().attribute(name).unwrap().parse::<f64>().unwrap();
        let (width, height) = (size("width"), size("height"));
        for node in parsed.descendants().filter(|node| node.has_tag_name("circle")) {
            let at = |name: &str| node.attribute(name).unwrap().parse::<f64>().unwrap();
            assert!((0.0..width).contains(&at("cx")) && (0.0..height).contains(&at("cy")), "{node:?}");
        }
    }

    #[test]
    fn a_document_without_curves_has_no_picture() {
        let mut document = document(1.0, 1);
        document.points.retain(|point| point.place.part == BenchPart::Cost);
        assert!(render(&document).unwrap_err().to_string().contains("no curve"));
    }
}

//! The drawing itself: a canvas, axes, curves, labels.
//!
//! Everything is placed by hand rather than by the library's chart builder, because sizes want binary labels and
//! labels want to stand where a reader looks for them.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::{Chart, Series};
use super::scale::{Scale, Tick};
use crate::bytes::Bytes;
use crate::palette::{self, Colour};

/// The picture's size in CSS pixels.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;
/// The plot's frame in it.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 928.0;
const TOP: f64 = 112.0;
const BOTTOM: f64 = 478.0;
/// The library draws on whole pixels; on a finer grid curves are smooth.
const GRID: f64 = 8.0;
/// The library divides font sizes by this for the sake of another backend.
const FONT_CORRECTION: f64 = 1.24;

const INK: RGBColor = rgb(palette::INK);
const MUTED: RGBColor = rgb(palette::MUTED);
const GRID_LINE: RGBColor = rgb(palette::GRID_LINE);
const FAINT_LINE: RGBColor = rgb(palette::FAINT_LINE);
/// The colours of the curves.
const SERIES: [RGBColor; 4] =
    [rgb(palette::SERIES[0]), rgb(palette::SERIES[1]), rgb(palette::SERIES[2]), rgb(palette::SERIES[3])];

/// A canvas in CSS pixels. The backend writes into a string, so drawing can't fail.
type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

const fn rgb(Colour(red, green, blue): Colour) -> RGBColor {
    RGBColor(red, green, blue)
}

/// Draws the chart as an SVG document.
pub(super) fn svg(chart: &Chart) -> String {
    let fine = |length: f64| (length * GRID) as u32;
    let mut text = String::new();
    let canvas = SVGBackend::with_string(&mut text, (fine(WIDTH), fine(HEIGHT))).into_drawing_area();
    let drawn = Picture::new(chart, &canvas).draw();
    drop(canvas);
    drawn.expect("a string takes everything");
    let drawn_size = format!("width=\"{}\" height=\"{}\" viewBox", fine(WIDTH), fine(HEIGHT));
    text.replacen(&drawn_size, &format!("width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox"), 1)
}

struct Picture<'a, 'b> {
    chart: &'a Chart,
    canvas: &'a Canvas<'b>,
    across: Scale,
    up: Scale,
}

/// The anchor of a text.
const START: HPos = HPos::Left;
const MIDDLE: HPos = HPos::Center;
const END: HPos = HPos::Right;

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

impl<'a, 'b> Picture<'a, 'b> {
    fn new(chart: &'a Chart, canvas: &'a Canvas<'b>) -> Self {
        let sizes = || chart.series.iter().flat_map(|series| series.points.iter().map(|point| point.0));
        let on_curves = chart.series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
        let in_bands =
            chart.series.iter().flat_map(|series| series.band.iter().flat_map(|band| [band.1, band.2]));
        let (least, most) = extent(on_curves.chain(in_bands));
        let up = if chart.logarithmic { Scale::log(least, most) } else { Scale::linear(most) };
        let (smallest, largest) = extent(sizes());
        Self { chart, canvas, across: Scale::sizes(smallest, largest), up }
    }

    fn draw(&self) -> Drawn {
        self.canvas.fill(&WHITE)?;
        self.text(&self.chart.title, (LEFT, 40.0), 21.0, FontStyle::Bold, &INK, START)?;
        self.text(&self.chart.subtitle, (LEFT, 63.0), 12.5, FontStyle::Normal, &MUTED, START)?;
        self.text(self.chart.quantity, (LEFT, 97.0), 12.5, FontStyle::Normal, &INK, START)?;
        self.text("Message size", (RIGHT, 522.0), 12.5, FontStyle::Normal, &INK, END)?;
        self.axes()?;
        for (series, colour) in self.chart.series.iter().zip(SERIES.iter().cycle()) {
            self.curve(series, colour)?;
        }
        self.legend()?;
        self.highlight()
    }

    fn axes(&self) -> Drawn {
        for Tick { value, labelled } in self.across.size_ticks() {
            let x = self.x(value);
            self.line(&[(x, TOP), (x, BOTTOM)], if labelled { &GRID_LINE } else { &FAINT_LINE }, 1.0)?;
            if labelled {
                let label = Bytes(value as u64).to_string();
                self.text(&label, (x, BOTTOM + 20.0), 12.0, FontStyle::Normal, &MUTED, MIDDLE)?;
            }
        }
        for Tick { value, labelled } in self.up.ticks() {
            let y = self.y(value);
            self.line(&[(LEFT, y), (RIGHT, y)], if labelled { &GRID_LINE } else { &FAINT_LINE }, 1.0)?;
            if labelled {
                let label = format!("{}", (value * 1e6).round() / 1e6);
                self.text(&label, (LEFT - 10.0, y + 4.0), 12.0, FontStyle::Normal, &MUTED, END)?;
            }
        }
        self.line(&[(LEFT, BOTTOM), (RIGHT, BOTTOM)], &MUTED, 1.2)
    }

    fn curve(&self, series: &Series, colour: &RGBColor) -> Drawn {
        if series.band.len() > 1 {
            let top = series.band.iter().map(|&(size, _, most)| self.at(size, most));
            let bottom = series.band.iter().rev().map(|&(size, least, _)| self.at(size, least));
            let outline: Vec<_> = top.chain(bottom).map(fine).collect();
            self.canvas.draw(&Polygon::new(outline, colour.mix(0.15)))?;
        }
        let points: Vec<_> = series.points.iter().map(|&(size, value)| self.at(size, value)).collect();
        self.line(&points, colour, 2.5)?;
        for &point in &points {
            // A white ring keeps the dots of crossing curves apart.
            self.canvas.draw(&Circle::new(fine(point), (4.6 * GRID) as i32, WHITE.filled()))?;
            self.canvas.draw(&Circle::new(fine(point), (3.2 * GRID) as i32, colour.filled()))?;
        }
        Ok(())
    }

    /// Names the curves at the right above the frame, where there is always room; one curve without a band has its
    /// name in the title.
    fn legend(&self) -> Drawn {
        let mut entries: Vec<(&str, RGBAColor, f64)> = Vec::new();
        if self.chart.series.len() > 1 || self.chart.band_note.is_some() {
            let lines = self.chart.series.iter().zip(SERIES.iter().cycle());
            entries.extend(lines.map(|(series, colour)| (series.name, colour.mix(1.0), 3.0)));
        }
        entries.extend(self.chart.band_note.map(|note| (note, SERIES[0].mix(0.2), 10.0)));
        let mut x = RIGHT;
        for (name, colour, thickness) in entries.into_iter().rev() {
            // Text starts beside its sample, so that a wrong guess of its width moves the two together.
            x -= estimated_width(name, 12.5);
            self.text(name, (x, 97.0), 12.5, FontStyle::Normal, &INK, START)?;
            x -= 7.0;
            let (from, to) = (fine((x - 18.0, 93.0 - thickness / 2.0)), fine((x, 93.0 + thickness / 2.0)));
            self.canvas.draw(&Rectangle::new([from, to], colour.filled()))?;
            x -= 18.0 + 22.0;
        }
        Ok(())
    }

    /// Points at the best value. The label stands towards the middle of the picture.
    fn highlight(&self) -> Drawn {
        let Some((size, value, label)) = &self.chart.highlight else { return Ok(()) };
        let (x, y) = self.at(*size, *value);
        self.canvas.draw(&Circle::new(fine((x, y)), (6.5 * GRID) as i32, stroke(&INK, 1.5)))?;
        let (anchor, towards_middle) = if x > (LEFT + RIGHT) / 2.0 { (END, -8.0) } else { (START, 8.0) };
        // The lowest latency is labelled below its curve, the highest bandwidth above.
        let lift = if self.chart.logarithmic { 22.0 } else { -14.0 };
        let place = (x + towards_middle, (y + lift).clamp(TOP + 12.0, BOTTOM - 8.0));
        self.text(label, place, 12.5, FontStyle::Bold, &INK, anchor)
    }

    fn x(&self, size: f64) -> f64 {
        LEFT + self.across.place(size) * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - self.up.place(value) * (BOTTOM - TOP)
    }

    fn at(&self, size: f64, value: f64) -> (f64, f64) {
        (self.x(size), self.y(value))
    }

    fn line(&self, points: &[(f64, f64)], colour: &RGBColor, width: f64) -> Drawn {
        let points: Vec<_> = points.iter().copied().map(fine).collect();
        self.canvas.draw(&PathElement::new(points, stroke(colour, width)))
    }

    /// Writes a text whose baseline is at `place`.
    fn text(
        &self,
        text: &str,
        place: (f64, f64),
        size: f64,
        style: FontStyle,
        colour: &RGBColor,
        anchor: HPos,
    ) -> Drawn {
        let font = FontDesc::new(FontFamily::Name(palette::FONT), size * GRID * FONT_CORRECTION, style);
        // The backend lowers a text anchored at its top by 0.76 em: lift it by as much, so that the baseline counts.
        let place = fine((place.0, place.1 - 0.76 * size));
        let style = TextStyle::from(font).color(colour).pos(Pos::new(anchor, VPos::Top));
        self.canvas.draw(&Text::new(text, place, style))
    }
}

/// Converts CSS pixels to the fine grid.
fn fine((x, y): (f64, f64)) -> (i32, i32) {
    ((x * GRID).round() as i32, (y * GRID).round() as i32)
}

fn stroke(colour: &RGBColor, width: f64) -> ShapeStyle {
    colour.stroke_width((width * GRID) as u32)
}

/// Returns how wide a text will be, roughly: nobody knows which font the reader has.
fn estimated_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.56
}

/// Returns the least and the largest of values that are more than 0; 1 and 1 if there are none.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) =
        values.fold((f64::MAX, 0.0), |(least, most): (f64, f64), v| (least.min(v), most.max(v)));
    if most > 0.0 { (least, most) } else { (1.0, 1.0) }
}

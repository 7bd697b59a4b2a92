//! The few shapes that the picture is made of, as SVG.

use std::fmt::Write;

use crate::palette::{Colour, FONT, WHITE};
use crate::xml::escaped;

/// Width of a digit over the size of its font, in the widest of the fonts.
const DIGIT: f64 = 0.66;

/// A document that grows downwards.
pub(super) struct Canvas {
    body: String,
}

/// How a text looks.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) size: f64,
    pub(super) colour: Colour,
    pub(super) bold: bool,
    pub(super) centred: bool,
}

impl Style {
    pub(super) const fn new(size: f64, colour: Colour) -> Self {
        Self { size, colour, bold: false, centred: false }
    }

    pub(super) const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) const fn centred(self) -> Self {
        Self { centred: true, ..self }
    }

    /// Returns how wide a text is, roughly: nobody knows which font the reader has.
    pub(super) fn width(self, text: &str) -> f64 {
        let factor = if self.bold { 0.66 } else { 0.6 };
        text.chars().count() as f64 * self.size * factor
    }

    /// Returns the text, cut so that it fits.
    pub(super) fn fitted(self, text: &str, width: f64) -> String {
        if self.width(text) <= width {
            return text.to_owned();
        }
        let room = (width / self.width("x")).floor().max(2.0) as usize;
        let mut cut: String = text.chars().take(room - 1).collect();
        cut.push('…');
        cut
    }

    /// Returns the end of an id, as much of it as fits: ids differ there. They are of digits, which are wider than most
    /// letters.
    pub(super) fn fitted_end(self, text: &str, width: f64) -> String {
        let room = (width / (self.size * DIGIT)).floor().max(2.0) as usize;
        let count = text.chars().count();
        if count <= room {
            return text.to_owned();
        }
        std::iter::once('…').chain(text.chars().skip(count + 1 - room)).collect()
    }

    /// Returns the text in lines that fit.
    pub(super) fn wrapped(self, text: &str, width: f64) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in text.split_whitespace() {
            let line = lines.last_mut().expect("there is always one");
            if line.is_empty() {
                *line = self.fitted(word, width);
            } else if self.width(line) + self.width(word) + self.width(" ") <= width {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(self.fitted(word, width));
            }
        }
        lines
    }
}

/// A rectangle's place and size.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Canvas {
    pub(super) fn new() -> Self {
        Self { body: String::new() }
    }

    pub(super) fn rectangle(
        &mut self,
        area: Area,
        radius: f64,
        fill: Colour,
        stroke: Colour,
        thickness: f64,
    ) {
        let Area { x, y, width, height } = area;
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius}\" fill=\"{fill}\" \
             stroke=\"{stroke}\" stroke-width=\"{thickness}\"/>"
        );
    }

    pub(super) fn circle(&mut self, x: f64, y: f64, radius: f64, fill: Colour) {
        let _ = writeln!(self.body, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{fill}\"/>");
    }

    /// Writes a text whose baseline is at `y`.
    pub(super) fn text(&mut self, x: f64, y: f64, style: Style, text: &str) {
        let weight = if style.bold { " font-weight=\"600\"" } else { "" };
        let anchor = if style.centred { " text-anchor=\"middle\"" } else { "" };
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\" fill=\"{}\"{weight}{anchor}>{}</text>",
            style.size,
            style.colour,
            escaped(text)
        );
    }

    /// Returns the whole document.
    pub(super) fn document(self, width: f64, height: f64, title: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height:.0}\" viewBox=\"0 0 {width} {height:.0}\" \
             font-family=\"{FONT}\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"{WHITE}\"/>\n{}</svg>\n",
            escaped(title),
            self.body
        )
    }
}

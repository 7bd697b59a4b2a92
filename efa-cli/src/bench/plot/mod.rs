//! `--plot`: results as a picture that people like to look at.
//!
//! A [`Chart`] says what is shown; `scale` turns values into places and ticks; `draw` puts it on the canvas.

mod chart;
mod draw;
mod scale;

use efa_core::Error;

use crate::bench::output::Record;
use chart::Chart;
pub(crate) use chart::today;

/// Draws the records of one benchmark as an SVG document.
///
/// # Errors
/// Nothing was measured that has a size to draw over.
pub(super) fn svg(records: &[Record]) -> Result<String, Error> {
    Ok(draw::svg(&Chart::of(records)?))
}

#[cfg(test)]
mod tests;

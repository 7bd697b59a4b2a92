//! `--plot`: results as a picture that people like to look at.
//!
//! A [`Chart`] says what is shown; `scale` turns values into places and ticks; `draw` puts it on the canvas.

mod chart;
mod draw;
mod scale;

use std::fs;
use std::path::Path;

use efa_core::Error;

use chart::Chart;
pub(crate) use chart::today;

use crate::bench::output::Record;

/// Draws the records of one benchmark into an SVG file.
///
/// # Errors
/// The file can't be written, or nothing was measured that has a size to draw over.
pub(crate) fn write(path: &Path, records: &[Record]) -> Result<(), Error> {
    let chart = Chart::of(records)?;
    fs::write(path, draw::svg(&chart)).map_err(|error| {
        Error::system(
            error,
            format!("cannot write the plot to {}", path.display()),
            "check the folder and its permissions",
        )
    })
}

#[cfg(test)]
mod tests;

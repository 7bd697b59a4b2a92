//! Results as people and programs read them: tables, JSON lines, CSV.

mod csv;
mod record;
mod table;

use std::io::{self, Write};

use clap::ValueEnum;

use crate::bench::case::Case;
pub(crate) use record::{Collective, InPlace, Record};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Csv,
}

/// Writes results as they come.
pub(crate) struct Printer<W> {
    out: W,
    format: Format,
    totals: table::Totals,
}

impl<W: Write> Printer<W> {
    /// Writes what stands above the results of `case`.
    pub(crate) fn begin(
        mut out: W,
        format: Format,
        case: Case,
        provider: &str,
        ranks: usize,
    ) -> io::Result<Self> {
        match format {
            Format::Table => out.write_all(table::heading(case, provider, ranks).as_bytes())?,
            Format::Csv => writeln!(out, "{}", csv::HEADING)?,
            Format::Json => {}
        }
        out.flush()?;
        Ok(Self { out, format, totals: table::Totals::default() })
    }

    /// Writes one result, at once.
    pub(crate) fn record(&mut self, record: &Record) -> io::Result<()> {
        self.totals.add(record);
        match self.format {
            Format::Table => writeln!(self.out, "{}", table::row(record))?,
            Format::Json => writeln!(self.out, "{}", serde_json::to_string(record)?)?,
            Format::Csv => writeln!(self.out, "{}", csv::row(record))?,
        }
        self.out.flush()
    }

    /// Writes what stands below.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.format == Format::Table {
            self.out.write_all(self.totals.footing().as_bytes())?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;

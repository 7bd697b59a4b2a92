//! Tables: point to point in the manner of the OSU benchmarks, collectives in that of nccl-tests.

use std::fmt::Write as _;

use super::record::{Collective, Record};
use crate::bench::case::Case;
use crate::bench::statistics::Summary;

/// Width of the first column of a point-to-point table.
const SIZE: usize = 10;
/// Width of its first value, which is the one that other benchmarks print too, and of the others.
const VALUE: usize = 22;
const FURTHER: usize = 13;

/// Returns what stands above the rows.
pub(super) fn heading(case: Case, provider: &str, ranks: usize) -> String {
    let mut text = format!("# efa bench {case}: provider {provider}, {ranks} ranks\n");
    if case.moves_data_collectively() {
        text += &format!("#{:46}{:^34}{:^34}", "", "out-of-place", "in-place");
        text.truncate(text.trim_end().len());
        text += &format!("\n#{:>11}  {:>12}  {:>8}  {:>9}", "size", "count", "type", "redop");
        text += &format!("  {:>8}  {:>6}  {:>6}  {:>6}", "time", "algbw", "busbw", "#wrong").repeat(2);
        text += "  algorithm\n";
        text += &format!("#{:>11}  {:>12}  {:>8}  {:>9}", "(B)", "(elements)", "", "");
        text += &format!("  {:>8}  {:>6}  {:>6}  {:>6}", "(us)", "(GB/s)", "(GB/s)", "").repeat(2);
        text.truncate(text.trim_end().len());
        text.push('\n');
        return text;
    }
    let first = if case == Case::Barrier { "# Ranks" } else { "# Size" };
    let _ = write!(text, "{first:<SIZE$}");
    let mut columns = Vec::new();
    if case.measures_time() {
        columns.extend(["Latency (us)", "p50", "p99", "min", "max"]);
    }
    if case.measures_bandwidth() {
        columns.push("Bandwidth (MB/s)");
    }
    if case == Case::MessageRate {
        columns.push("Messages/s");
    }
    for (index, column) in columns.iter().enumerate() {
        let _ = write!(text, "{column:>width$}", width = width(index, column));
    }
    text + "\n"
}

/// Returns the row of a result.
pub(super) fn row(record: &Record) -> String {
    match record.collective {
        Some(collective) => collective_row(record, &collective),
        None => point_to_point_row(record),
    }
}

fn point_to_point_row(record: &Record) -> String {
    let first = if record.bench == Case::Barrier { record.ranks as u64 } else { record.size };
    let mut text = format!("{first:<SIZE$}");
    let mut index = 0;
    let mut add = |value: f64, precision: usize, heading: &str| {
        let _ = write!(text, "{value:>width$.precision$}", width = width(index, heading));
        index += 1;
    };
    if let Some(Summary { min, p50, p99, max, mean }) = record.time_us {
        for value in [mean, p50, p99, min, max] {
            add(value, 2, "");
        }
    }
    if let Some(bandwidth) = record.mb_per_s {
        add(bandwidth, 2, "Bandwidth (MB/s)");
    }
    if let Some(rate) = record.messages_per_s {
        add(rate, 0, "Messages/s");
    }
    text
}

/// Returns the width of a column: what its place demands, and enough for its heading.
fn width(index: usize, heading: &str) -> usize {
    if index == 0 { VALUE } else { FURTHER.max(heading.len() + 4) }
}

fn collective_row(record: &Record, collective: &Collective) -> String {
    let dtype = record.dtype.as_deref().unwrap_or("none");
    let op = record.op.as_deref().unwrap_or("none");
    let count = record.count;
    let mut text = format!("{:>12}  {count:>12}  {dtype:>8}  {op:>9}", record.size);
    let in_place = record.in_place.map(|run| (run.time_us, run.collective));
    for run in [record.time_us.map(|time_us| (time_us, *collective)), in_place] {
        text += &match run {
            Some((time, Collective { algbw, busbw, wrong })) => {
                format!("  {:>8}  {algbw:>6.2}  {busbw:>6.2}  {wrong:>6}", duration(time.mean))
            }
            None => format!("  {:>8}  {:>6}  {:>6}  {:>6}", "-", "-", "-", "-"),
        };
    }
    let _ = write!(text, "  {}", record.algorithm.as_deref().unwrap_or("-"));
    text
}

/// Writes microseconds with about four digits that count.
fn duration(microseconds: f64) -> String {
    match microseconds {
        long if long >= 10_000.0 => format!("{long:.0}"),
        long if long >= 100.0 => format!("{long:.1}"),
        short => format!("{short:.2}"),
    }
}

/// What a table of collectives ends with.
#[derive(Debug, Default)]
pub(super) struct Totals {
    runs: u32,
    wrong: u64,
    busbw: f64,
}

impl Totals {
    pub(super) fn add(&mut self, record: &Record) {
        let in_place = record.in_place.map(|run| run.collective);
        for Collective { busbw, wrong, .. } in record.collective.into_iter().chain(in_place) {
            self.runs += 1;
            self.wrong += wrong;
            self.busbw += busbw;
        }
    }

    /// Returns the lines with wrong elements and mean bus bandwidth over all rows; none if there were no collectives.
    pub(super) fn footing(&self) -> String {
        if self.runs == 0 {
            return String::new();
        }
        let Self { wrong, busbw, .. } = self;
        let verdict = if *wrong == 0 { "OK" } else { "FAILED" };
        let mean = busbw / f64::from(self.runs);
        format!("# Out of bounds values : {wrong} {verdict}\n# Avg bus bandwidth    : {mean:.3} GB/s\n")
    }
}

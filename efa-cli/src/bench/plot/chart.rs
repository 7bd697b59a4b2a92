//! What a picture shows: titles, curves, bands, and the value worth pointing at.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use efa_core::Error;

use crate::bench::case::Case;
use crate::bench::output::Record;
use crate::bytes::Bytes;

/// A picture of one quantity over the message size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// What the values are, with their unit.
    pub(super) quantity: &'static str,
    /// Whether values span decades, so that equal ratios should look equal.
    pub(super) logarithmic: bool,
    pub(super) series: Vec<Series>,
    /// What the band around the first curve means.
    pub(super) band_note: Option<&'static str>,
    /// The best value: where it is and what to write there.
    pub(super) highlight: Option<(f64, f64, String)>,
}

/// A curve.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// Size and value, by rising size.
    pub(super) points: Vec<(f64, f64)>,
    /// Size, least and largest value, if there is a band.
    pub(super) band: Vec<(f64, f64, f64)>,
}

impl Chart {
    /// Chooses what to show of the records of one benchmark: bus bandwidth for collectives, bandwidth or message rate
    /// where they were measured, else the time.
    pub(super) fn of(records: &[Record]) -> Result<Self, Error> {
        let mut records: Vec<&Record> = records.iter().filter(|record| record.size > 0).collect();
        records.sort_by_key(|record| record.size);
        let Some(first) = records.first() else {
            return Err(Error::setting(
                "cannot draw a plot",
                "nothing was measured that has a size",
                "leave --plot out, or measure sizes from 1 byte on",
            ));
        };
        let curve = |name, value: &dyn Fn(&Record) -> Option<f64>| {
            let points = records.iter().filter_map(|record| Some((record.size as f64, value(record)?)));
            Series { name, points: points.filter(|&(_, value)| value > 0.0).collect(), band: Vec::new() }
        };
        let (quantity, logarithmic, mut series) = if first.collective.is_some() {
            let out_of_place = curve("out of place", &|record| record.collective.map(|run| run.busbw));
            let in_place = curve("in place", &|record| record.in_place.map(|run| run.collective.busbw));
            ("Bus bandwidth in GB/s", false, vec![out_of_place, in_place])
        } else if first.messages_per_s.is_some() {
            let rate = curve("message rate", &|record| record.messages_per_s.map(|rate| rate / 1e6));
            ("Million messages per second", false, vec![rate])
        } else if first.mb_per_s.is_some() {
            let bandwidth = curve("bandwidth", &|record| record.mb_per_s.map(|bandwidth| bandwidth / 1000.0));
            ("Bandwidth in GB/s", false, vec![bandwidth])
        } else {
            let mut median = curve("median", &|record| record.time_us.map(|time| time.p50));
            let band = |record: &&Record| record.time_us.map(|time| (record.size as f64, time.min, time.p99));
            median.band = records.iter().filter_map(band).filter(|&(_, least, _)| least > 0.0).collect();
            ("Latency in microseconds", true, vec![median])
        };
        series.retain(|series| !series.points.is_empty());
        let has_band = series.iter().any(|series| series.band.len() > 1);
        let highlight = best(&series, logarithmic).map(|(size, value)| {
            let unit = match quantity {
                "Latency in microseconds" => "µs",
                "Million messages per second" => "M/s",
                _ => "GB/s",
            };
            (size, value, format!("{} {unit} at {}", significant(value), Bytes(size as u64)))
        });
        Ok(Self {
            title: title(first),
            subtitle: subtitle(first),
            quantity,
            logarithmic,
            band_note: has_band.then_some("minimum to 99th percentile"),
            highlight,
            series,
        })
    }
}

/// Returns the lowest time or the highest rate.
fn best(series: &[Series], lowest: bool) -> Option<(f64, f64)> {
    let points = series.iter().flat_map(|series| &series.points).copied();
    if lowest { points.min_by(|a, b| a.1.total_cmp(&b.1)) } else { points.max_by(|a, b| a.1.total_cmp(&b.1)) }
}

fn title(record: &Record) -> String {
    let name = match record.bench {
        Case::Latency => "Latency of tagged messages",
        Case::Bandwidth => "Bandwidth of tagged messages",
        Case::Bidirectional => "Bandwidth of tagged messages, both ways",
        Case::MessageRate => "Rate of tagged messages",
        Case::Write => "Remote write",
        Case::Read => "Remote read",
        Case::AllReduce => "All-reduce",
        Case::Broadcast => "Broadcast",
        Case::Barrier => "Barrier",
    };
    match (&record.dtype, &record.op) {
        (Some(dtype), Some(op)) => format!("{name} ({op} of {dtype})"),
        _ => name.into(),
    }
}

fn subtitle(record: &Record) -> String {
    let mut parts = vec![format!("provider {}", record.provider), format!("{} ranks", record.ranks)];
    parts.extend(host_processor());
    parts.push(today());
    parts.join("  ·  ")
}

/// Returns the processor's name as the kernel tells it; Arm's kernels don't.
fn host_processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find(|line| line.starts_with("model name"))?.split(':').nth(1)?;
    Some(name.replace("(R)", "").replace("(TM)", "").split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns the date in UTC.
pub(crate) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date(seconds / 86_400)
}

/// Returns the date that is `days` after 1970-01-01, in the Gregorian calendar.
fn date(mut days: u64) -> String {
    let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, days + 1)
}

/// Returns a number with three digits that count, and no more zeros than it needs.
fn significant(value: f64) -> String {
    let places = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        small if small >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(19_782), "2024-02-29");
        assert_eq!(date(20_088), "2024-12-31");
        assert_eq!(date(20_089), "2025-01-01");
    }

    #[test]
    fn three_digits_are_enough() {
        assert_eq!(significant(4310.2), "4310");
        assert_eq!(significant(12.345), "12.3");
        assert_eq!(significant(5.4), "5.40");
        assert_eq!(significant(0.1234), "0.123");
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        let error = Chart::of(&[]).expect_err("there is nothing");
        assert_eq!(error.explanation().what, "cannot draw a plot");
    }
}

//! What a picture must contain, and that odd results don't break it.

use super::*;
use crate::bench::case::Case;
use crate::bench::output::{Collective, InPlace};
use crate::bench::statistics::Summary;

fn record(bench: Case, size: u64) -> Record {
    Record {
        bench,
        provider: "tcp".into(),
        ranks: 2,
        algorithm: None,
        dtype: None,
        op: None,
        size,
        iterations: 1000,
        time_us: None,
        mb_per_s: None,
        messages_per_s: None,
        collective: None,
        count: 0,
        in_place: None,
    }
}

/// Returns a latency that looks like one: a constant part and a bandwidth.
fn latency(size: u64) -> Record {
    let p50 = 5.2 + size as f64 / 5000.0;
    let time_us = Summary { min: p50 * 0.93, p50, p99: p50 * 1.3 + 1.0, max: p50 * 9.0, mean: p50 * 1.05 };
    Record { time_us: Some(time_us), ..record(Case::Latency, size) }
}

fn bandwidth(size: u64) -> Record {
    Record { mb_per_s: Some(size as f64 / (0.6 + size as f64 / 5300.0)), ..record(Case::Bandwidth, size) }
}

fn all_reduce(size: u64) -> Record {
    let busbw = size as f64 / 1000.0 / (11.0 + size as f64 / 3100.0);
    let collective = Collective { algbw: busbw / 1.5, busbw, wrong: 0 };
    let in_place = Collective { busbw: busbw * 1.09, ..collective };
    Record {
        ranks: 4,
        dtype: Some("f32".into()),
        op: Some("sum".into()),
        collective: Some(collective),
        in_place: Some(InPlace { time_us: Summary::default(), collective: in_place }),
        ..record(Case::AllReduce, size)
    }
}

fn drawn(records: &[Record]) -> String {
    svg(records).expect("there is something to draw")
}

fn powers() -> impl Iterator<Item = u64> {
    (3..=22).map(|exponent| 1 << exponent)
}

#[test]
fn a_picture_has_titles_units_and_binary_sizes() {
    let svg = drawn(&powers().map(latency).collect::<Vec<_>>());
    for text in [
        "<svg width=\"960\" height=\"540\"",
        "Latency of tagged messages",
        "provider tcp",
        "2 ranks",
        "Latency in microseconds",
        "median",
        "minimum to 99th percentile",
        "64 B",
        "1 KiB",
        "4 MiB",
        "µs at 8 B",
    ] {
        assert!(svg.contains(text), "{text} is missing");
    }
}

#[test]
fn every_case_has_its_quantity() {
    let bandwidths: Vec<_> = powers().map(bandwidth).collect();
    let svg = drawn(&bandwidths);
    assert!(svg.contains("Bandwidth in GB/s") && svg.contains("GB/s at 4 MiB"));
    let svg = drawn(&powers().map(all_reduce).collect::<Vec<_>>());
    assert!(
        svg.contains("All-reduce (sum of f32)") && svg.contains("in place") && svg.contains("out of place")
    );
    let rate = Record { messages_per_s: Some(1.9e6), mb_per_s: Some(120.0), ..record(Case::MessageRate, 64) };
    assert!(drawn(&[rate]).contains("1.90 M/s at 64 B"));
}

#[test]
fn odd_results_are_drawn_all_the_same() {
    drawn(&[latency(64)]);
    drawn(&[latency(3), latency(5)]);
    drawn(&[bandwidth(1 << 40), bandwidth(1)]);
    drawn(&[Record { time_us: Some(Summary::default()), ..record(Case::Latency, 8) }]);
    drawn(&[Record { mb_per_s: Some(0.0), ..record(Case::Bandwidth, 8) }]);
    assert!(Chart::of(&[latency(0)]).is_err(), "a size of 0 has no place on a logarithmic axis");
}

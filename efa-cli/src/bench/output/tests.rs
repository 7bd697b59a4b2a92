//! Golden outputs: what scripts parse must not change by accident.

use super::*;
use crate::bench::statistics::Summary;

const TIMES: Summary = Summary { min: 5.1, p50: 5.4, p99: 7.9, max: 31.0, mean: 5.5 };

fn blank(bench: Case, size: u64, iterations: u64) -> Record {
    Record {
        bench,
        provider: "tcp".into(),
        ranks: 2,
        algorithm: None,
        dtype: None,
        op: None,
        size,
        iterations,
        time_us: None,
        mb_per_s: None,
        messages_per_s: None,
        collective: None,
        count: 0,
        in_place: None,
    }
}

fn latency() -> Record {
    Record { time_us: Some(TIMES), ..blank(Case::Latency, 64, 10_000) }
}

fn bandwidth() -> Record {
    Record { mb_per_s: Some(4310.2), ..blank(Case::Bandwidth, 1 << 20, 500) }
}

fn all_reduce() -> Record {
    let collective = Collective { algbw: 1.5, busbw: 2.25, wrong: 0 };
    Record {
        ranks: 4,
        algorithm: Some("ring".into()),
        dtype: Some("f32".into()),
        op: Some("sum".into()),
        time_us: Some(Summary { mean: 699.06, ..TIMES }),
        collective: Some(collective),
        count: 1 << 18,
        in_place: Some(InPlace { time_us: TIMES, collective: Collective { wrong: 3, ..collective } }),
        ..blank(Case::AllReduce, 1 << 20, 200)
    }
}

fn printed(format: Format, case: Case, ranks: usize, records: &[Record]) -> String {
    let mut out = Vec::new();
    let mut printer =
        Printer::begin(&mut out, format, case, "tcp", ranks).expect("a vector takes everything");
    records.iter().for_each(|record| printer.record(record).expect("a vector takes everything"));
    printer.finish().expect("a vector takes everything");
    String::from_utf8(out).expect("text")
}

#[test]
fn json_has_the_documented_keys_in_their_order() {
    assert_eq!(
        printed(Format::Json, Case::Latency, 2, &[latency()]),
        concat!(
            r#"{"bench":"latency","provider":"tcp","ranks":2,"size":64,"iterations":10000,"#,
            r#""time_us":{"min":5.1,"p50":5.4,"p99":7.9,"max":31.0,"mean":5.5}}"#,
            "\n"
        )
    );
    assert_eq!(
        printed(Format::Json, Case::Bandwidth, 2, &[bandwidth()]),
        concat!(
            r#"{"bench":"bandwidth","provider":"tcp","ranks":2,"size":1048576,"iterations":500,"mb_per_s":4310.2}"#,
            "\n"
        )
    );
    assert_eq!(
        printed(Format::Json, Case::AllReduce, 4, &[all_reduce()]),
        concat!(
            r#"{"bench":"all-reduce","provider":"tcp","ranks":4,"algorithm":"ring","dtype":"f32","op":"sum","#,
            r#""size":1048576,"iterations":200,"time_us":{"min":5.1,"p50":5.4,"p99":7.9,"max":31.0,"mean":699.06},"#,
            r#""algbw_gb_per_s":1.5,"busbw_gb_per_s":2.25,"wrong":0}"#,
            "\n"
        )
    );
}

#[test]
fn csv_has_one_heading_and_empty_fields_where_there_is_nothing() {
    let csv = printed(Format::Csv, Case::Latency, 2, &[latency(), bandwidth(), all_reduce()]);
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines[1], "latency,tcp,2,,,,64,10000,5.1,5.4,7.9,31,5.5,,,,,");
    assert_eq!(lines[2], "bandwidth,tcp,2,,,,1048576,500,,,,,,4310.2,,,,");
    assert_eq!(lines[3], "all-reduce,tcp,4,ring,f32,sum,1048576,200,5.1,5.4,7.9,31,699.06,,,1.5,2.25,0");
    assert!(lines.iter().all(|line| line.split(',').count() == 18), "{csv}");
}

#[test]
fn a_point_to_point_table_looks_like_osus() {
    assert_eq!(
        printed(Format::Table, Case::Latency, 2, &[latency()]),
        "\
# efa bench latency: provider tcp, 2 ranks
# Size              Latency (us)          p50          p99          min          max
64                          5.50         5.40         7.90         5.10        31.00
"
    );
    assert_eq!(
        printed(Format::Table, Case::Bandwidth, 2, &[bandwidth()]),
        "\
# efa bench bandwidth: provider tcp, 2 ranks
# Size          Bandwidth (MB/s)
1048576                  4310.20
"
    );
    let rate =
        Record { messages_per_s: Some(1234567.0), mb_per_s: Some(79.01), ..blank(Case::MessageRate, 64, 10) };
    assert_eq!(
        printed(Format::Table, Case::MessageRate, 2, &[rate]),
        "\
# efa bench message-rate: provider tcp, 2 ranks
# Size          Bandwidth (MB/s)    Messages/s
64                         79.01       1234567
"
    );
}

#[test]
fn a_barrier_is_told_by_ranks() {
    let barrier = Record { time_us: Some(TIMES), ranks: 4, ..blank(Case::Barrier, 0, 10) };
    let table = printed(Format::Table, Case::Barrier, 4, &[barrier]);
    assert!(
        table.ends_with(
            "4                           5.50         5.40         7.90         5.10        31.00\n"
        ),
        "{table}"
    );
}

#[test]
fn a_table_of_collectives_looks_like_that_of_nccl_tests() {
    assert_eq!(
        printed(Format::Table, Case::AllReduce, 4, &[all_reduce()]),
        "\
# efa bench all-reduce: provider tcp, 4 ranks
#                                                         out-of-place                        in-place
#       size         count      type      redop      time   algbw   busbw  #wrong      time   algbw   busbw  #wrong  algorithm
#        (B)    (elements)                           (us)  (GB/s)  (GB/s)              (us)  (GB/s)  (GB/s)
     1048576        262144       f32        sum     699.1    1.50    2.25       0      5.50    1.50    2.25       3  ring
# Out of bounds values : 3 FAILED
# Avg bus bandwidth    : 2.250 GB/s
"
    );
}

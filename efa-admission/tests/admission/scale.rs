//! Large jobs.

use std::fmt::Write;
use std::time::{Duration, Instant};

use efa_admission::{evaluate, source};

use crate::build::*;

/// One second; a build without optimisation, beside other tests on a busy machine, gets more.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

#[test]
fn ten_thousand_members_are_judged_within_a_second() {
    let mut text = String::from("[");
    for rank in 0..10_000 {
        let comma = if rank == 0 { "" } else { "," };
        write!(text, "{comma}{}", member(rank, &[interface(rank, 0, "efa", "subnet-1", &["sg-1", "sg-2"])]))
            .expect("a string grows");
    }
    text += "]";
    let file = file(&text);
    for (rules, admitted) in [("right-and-empty", true), ("mutual", false)] {
        let start = Instant::now();
        let members = source::file::read_members(file.path()).expect("good members");
        let report = evaluate(&members, &groups(rules), &strict());
        let json = serde_json::to_string(&report).expect("plain data");
        let elapsed = start.elapsed();
        assert_eq!(report.admitted(), admitted);
        assert!(json.contains("rank 9999 (i-9999)"));
        assert!(elapsed < LIMIT, "{elapsed:?}");
    }
}

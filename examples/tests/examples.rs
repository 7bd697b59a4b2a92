//! Each example through the real launcher, over tcp and over shared memory, and what it must print.

mod launcher;

use launcher::{PROVIDERS, lines, run, text};

const PING_PONG: &str = env!("CARGO_BIN_EXE_ping_pong");
const REMOTE_WRITE: &str = env!("CARGO_BIN_EXE_remote_write");
const ALL_REDUCE: &str = env!("CARGO_BIN_EXE_all_reduce");
const OVERLAP: &str = env!("CARGO_BIN_EXE_overlap");
const TOKIO_ASYNC: &str = env!("CARGO_BIN_EXE_tokio_async");

#[test]
fn ping_pong_counts_every_stroke() {
    for provider in PROVIDERS {
        let printed = lines(provider, 2, PING_PONG, &[]);
        let start = format!("[0] 2000 strokes with 64 bytes over {provider}: ");
        assert!(printed.len() == 1 && printed[0].starts_with(&start), "{printed:?}");
        assert_eq!(lines(provider, 3, PING_PONG, &[])[1], "[2] rank 2 looks on: ping-pong is for two");
    }
}

#[test]
fn remote_write_finds_every_row_in_place() {
    for (provider, ranks) in PROVIDERS.into_iter().flat_map(|provider| [(provider, 2), (provider, 4)]) {
        let rows: Vec<_> =
            (1..ranks).map(|rank| format!("[0] row of rank {rank}: 65536 of 65536 numbers right")).collect();
        assert_eq!(lines(provider, ranks, REMOTE_WRITE, &[]), rows);
    }
}

#[test]
fn all_reduce_gives_every_rank_the_average() {
    for (provider, ranks) in PROVIDERS.into_iter().flat_map(|provider| [(provider, 1), (provider, 4)]) {
        let printed = lines(provider, ranks, ALL_REDUCE, &[]);
        assert_eq!(printed.len(), 2 * ranks, "{printed:?}");
        for (index, line) in printed.iter().enumerate() {
            let (rank, parameters) = (index / 2, [16, 1 << 20][index % 2]);
            let start =
                format!("[{rank}] rank {rank}: {parameters} parameters averaged over {ranks} ranks by ");
            assert!(line.starts_with(&start) && line.ends_with(", 0 wrong"), "{line}");
        }
    }
}

#[test]
fn overlap_computes_the_same_however_many_ranks_share_the_rod() {
    let rod = |provider, ranks| {
        let printed = lines(provider, ranks, OVERLAP, &[]);
        assert_eq!(printed.len(), ranks + 1, "{printed:?}");
        printed.into_iter().find(|line| line.starts_with("[0] hottest cell ")).expect("rank 0 tells")
    };
    let alone = rod("tcp", 1);
    assert!(alone.ends_with(", heat in all 1000000.000"), "{alone}");
    for (provider, ranks) in [("tcp", 2), ("tcp", 4), ("shm", 2), ("shm", 4)] {
        assert_eq!(rod(provider, ranks), alone);
    }
}

#[test]
fn tokio_async_answers_every_question() {
    for (provider, ranks) in PROVIDERS.into_iter().flat_map(|provider| [(provider, 2), (provider, 4)]) {
        let printed = lines(provider, ranks, TOKIO_ASYNC, &[]);
        let answered = format!("[0] rank 0: {} questions answered, ", 100 * (ranks - 1));
        assert!(printed[0].starts_with(&answered), "{printed:?}");
        // 0 + 1 + 4 + ... + 99 * 99.
        let sums: Vec<_> = (1..ranks)
            .map(|rank| format!("[{rank}] rank {rank}: 100 answers, whose sum is 328350"))
            .collect();
        assert_eq!(printed[1..], sums);
    }
}

#[test]
fn examples_for_two_say_so_when_alone() {
    for example in [PING_PONG, REMOTE_WRITE, TOKIO_ASYNC] {
        let output = run("tcp", 1, example, &[]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(" alone") && stderr.contains("efa run -n 2 -- target/release/"), "{stderr}");
    }
}

//! Admission in whole jobs, as users meet it: started by `efa run`, by `mpirun`, or by hand in network namespaces. Each
//! rank is this test program again, running only [`rank`], or `efa doctor`.

mod doctor;
mod emulated;
mod launch;
mod namespaces;
mod networks;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use efa_core::{Init, Result};
use launch::{PART, Seen, job, said};

/// A rank of the jobs that the tests here start: a program whose `main` returns the library's result.
#[test]
#[ignore = "runs as a rank of the jobs that the other tests here start"]
fn rank() {
    let Ok(part) = std::env::var(PART) else { return };
    let outcome = match part.as_str() {
        "report" => tell_report(),
        "join" => join(),
        other => panic!("there is no part '{other}'"),
    };
    if let Err(error) = outcome {
        // What Rust prints of an error that `main` returns.
        eprintln!("Error: {error:?}");
        std::process::exit(1);
    }
}

/// Says the report in both its forms.
fn tell_report() -> Result<()> {
    let judged = Init::from_env()?.judge()?;
    let report = judged.report();
    let json = serde_json::to_string(report).expect("plain data");
    println!("said: {:?} {json}", report.to_table(false));
    judged.control().barrier("the end", Duration::from_secs(60))
}

/// Says when the verdict was there, and joins.
fn join() -> Result<()> {
    let judged = Init::from_env()?.judge()?;
    println!("said: {} us", now().as_micros());
    let world = judged.join()?;
    println!("said: joined on {}", world.endpoint().provider());
    world.finish()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970")
}

/// How long after the first rank had its verdict the job was over.
fn time_to_end(seen: &Seen) -> Duration {
    let verdict = said(seen).iter().flatten().filter_map(|line| line.strip_suffix(" us")?.parse().ok()).max();
    now() - Duration::from_micros(verdict.expect("a rank told when it was"))
}

#[test]
fn every_rank_has_the_same_report_byte_for_byte() {
    for (provider, word) in
        [("tcp", "admitted: 4 members"), ("shm", "admitted: 4 members"), ("efa", "no-efa-device")]
    {
        let seen = job(4, "report").args(["--provider", provider]).run();
        assert_eq!(seen.status, Some(0), "{seen}");
        let said = said(&seen);
        assert!(said.iter().all(|lines| lines.len() == 1 && *lines == said[0]), "{seen}");
        assert!(said[0][0].contains(word), "{seen}");
    }
}

#[test]
fn a_refused_job_ends_on_all_ranks_within_a_second_and_tells_the_finding_once() {
    // As it is, and with ranks that outlive the launcher's SIGTERM, so that each has its say.
    for obstinate in [false, true] {
        let seen = job(4, "join").obstinate(obstinate).args(["--provider", "efa"]).run();
        let took = time_to_end(&seen);
        assert_eq!(seen.status, Some(1), "{seen}");
        assert!(took < Duration::from_secs(1), "it took {took:?}: {seen}");
        assert_eq!(seen.stderr.matches("no-efa-device").count(), 1, "{seen}");
        assert_eq!(seen.stderr.matches("no EFA device in sight").count(), 1, "{seen}");
        // Which providers there are, so that people see what they can use.
        assert!(seen.stderr.contains("shm, tcp, sockets"), "{seen}");
        let quiet = if obstinate { 3 } else { 0 };
        assert!(seen.stderr.matches("rank 0").count() >= quiet, "{seen}");
        assert_eq!(seen.stderr.matches("tells why").count(), quiet, "{seen}");
    }
}

#[test]
fn a_refused_job_tells_the_finding_once_under_mpirun_too() {
    let Some(seen) = launch::mpirun(4, "join", &[("EFA_PROVIDER", "efa")]) else { return };
    assert_ne!(seen.status, Some(0), "{seen}");
    assert_eq!(seen.stderr.matches("no-efa-device").count(), 1, "{seen}");
}

#[test]
fn a_bench_that_is_refused_tells_it_once_and_names_the_providers_there_are() {
    let seen = launch::efa(&["bench", "latency", "--provider", "efa"]).run();
    assert_eq!(seen.status, Some(1), "{seen}");
    assert_eq!(seen.stderr.matches("no-efa-device").count(), 1, "{seen}");
    assert!(seen.stderr.contains("shm, tcp, sockets"), "{seen}");
}

#[test]
fn the_policy_reaches_the_ranks_by_option_and_by_variable() {
    let by_option = job(2, "report").args(["--policy", "same-zone"]).run();
    assert!(said(&by_option)[1][0].contains("\"policy\":\"same-zone\""), "{by_option}");
    let by_variable = job(2, "report").variable("EFA_POLICY", "tcp-across-subnets").run();
    assert!(said(&by_variable)[1][0].contains("\"policy\":\"tcp-across-subnets\""), "{by_variable}");
    let empty = job(2, "report").variable("EFA_POLICY", "").variable("EFA_PROVIDER", "").run();
    assert!(said(&empty)[1][0].contains("\"policy\":\"strict\""), "{empty}");
}

#[test]
fn a_policy_that_does_not_exist_is_a_usage_error() {
    let seen = launch::efa(&["run", "-n", "2", "--policy", "lax", "--", "true"]).run();
    assert_eq!(seen.status, Some(2), "{seen}");
    assert!(seen.stderr.contains("strict, same-zone, tcp-across-subnets"), "{seen}");
    let seen = job(2, "join").variable("EFA_POLICY", "lax").run();
    assert_eq!(seen.status, Some(1), "{seen}");
    assert!(seen.stderr.contains("cannot use the policy 'lax'\n"), "{seen}");
}

#[test]
fn ranks_that_want_different_policies_do_not_get_one_by_chance() {
    let script = r#"[ "$EFA_RANK" = 1 ] && export EFA_POLICY=same-zone; exec "$@""#;
    let seen = job(2, "join").through(script).run();
    assert_eq!(seen.status, Some(1), "{seen}");
    assert!(seen.stderr.contains("do not agree on what was asked for"), "{seen}");
}

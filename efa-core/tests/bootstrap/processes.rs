//! Members as processes of their own, started as a launcher does, that are killed or stopped.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use efa_core::bootstrap::{Control, ControlConfig, Job, LaunchEnv, MAX_PAYLOAD, Status};

use super::job::DEADLINE;

/// Names the rank that does nothing, so that the others wait for it.
const VICTIM: &str = "EFA_TEST_VICTIM";

/// Times short enough to see a stopped process in a test, and long enough for a loaded machine.
fn quick() -> ControlConfig {
    ControlConfig {
        heartbeat_period: Duration::from_millis(50),
        silent_after: Duration::from_millis(1000),
        dead_after: Duration::from_millis(3000),
        ..ControlConfig::default()
    }
}

/// A member in a process of its own: this test program again, running only [`member`].
struct Member {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Member {
    /// Starts a rank that waits in a barrier, or does nothing if it is the `victim` of the test.
    fn start(launch: &LaunchEnv, rank: usize, victim: usize) -> Self {
        Self::start_as("member", launch, rank, victim)
    }

    /// Starts a rank that runs another of the functions here.
    fn start_as(part: &str, launch: &LaunchEnv, rank: usize, victim: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", &format!("processes::{part}")])
            .envs(launch.variables(rank))
            .env(VICTIM, victim.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    fn signal(&self, name: &str) {
        // The shell's own: a program of that name is not on every machine.
        let process = self.process.id().to_string();
        let kill = Command::new("sh").args(["-c", "kill $0 $1", name, &process]).status().unwrap();
        assert!(kill.success());
    }

    /// The next line that the member printed about its job.
    fn next_line(&mut self) -> String {
        let mut said = self.lines.by_ref().map(Result::unwrap).filter_map(|line| {
            // The test harness prints its own text before ours on the same line.
            line.split_once("member: ").map(|(_, said)| said.to_owned())
        });
        said.next().expect("the member ended early")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Meets the others as rank 0 while they run as processes; rank 1 is the victim.
fn meet(size: usize) -> (Control, Vec<Member>) {
    let launch = LaunchEnv::new(size).unwrap();
    let members = (1..size).map(|rank| Member::start(&launch, rank, 1)).collect();
    let variables = launch.variables(0);
    let job =
        Job::from_vars(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())).unwrap();
    (job.connect(&quick(), DEADLINE).unwrap(), members)
}

/// Waits until the condition holds.
fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "runs as a member of the jobs that the other tests here start"]
fn member() {
    let Ok(victim) = std::env::var(VICTIM) else { return };
    let job = Job::from_env().unwrap();
    let control = job.connect(&quick(), DEADLINE).unwrap();
    println!("member: arrived");
    if victim == job.rank.to_string() {
        std::thread::sleep(2 * DEADLINE);
    }
    let error = control.barrier("which never completes", DEADLINE).unwrap_err();
    println!("member: {error}");
    control.leave();
}

/// How long [`dialler`] looks for rank 0, and for how long it is stopped meanwhile.
const LOOKS: Duration = Duration::from_secs(2);
const STOPPED: Duration = Duration::from_secs(4);

#[test]
#[ignore = "runs as a member of the job that the next test starts"]
fn dialler() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let begun = Instant::now();
    println!("member: dialling");
    let error = Job::from_env().unwrap().connect(&quick(), LOOKS).unwrap_err();
    println!("member: {} ms: {error}", begun.elapsed().as_millis());
}

#[test]
fn time_for_which_a_rank_is_stopped_does_not_count_while_it_looks_for_rank_0() {
    let launch = LaunchEnv::new(2).unwrap();
    let mut member = Member::start_as("dialler", &launch, 1, 1);
    assert_eq!(member.next_line(), "dialling");
    std::thread::sleep(LOOKS / 4);
    member.signal("-STOP");
    std::thread::sleep(STOPPED);
    member.signal("-CONT");
    let line = member.next_line();
    let (millis, error) = line.split_once(" ms: ").unwrap();
    assert!(error.contains("rank 0 was never reached"), "{line}");
    let took = Duration::from_millis(millis.parse().unwrap());
    assert!(took > STOPPED + LOOKS * 3 / 4, "{line}");
}

#[test]
fn a_killed_process_is_seen_by_all_within_moments() {
    let (zero, mut members) = meet(3);
    for member in &mut members {
        assert_eq!(member.next_line(), "arrived");
    }
    members[0].signal("-KILL");
    let begun = Instant::now();
    let error = zero.barrier("which never completes", DEADLINE).unwrap_err();
    assert_eq!(error.peer().map(|peer| peer.rank), Some(1), "{error}");
    let at_other = members[1].next_line();
    assert!(at_other.contains("rank 1"), "{at_other}");
    assert!(begun.elapsed() < DEADLINE / 4);
    let liveness = zero.liveness();
    assert!(matches!(liveness.status(1), Status::Dead { .. }));
    until("rank 2 leaves", || liveness.status(2) == Status::Left);
    zero.leave();
}

#[test]
fn a_stopped_process_is_silent_then_alive_again_then_dead() {
    let (zero, mut members) = meet(2);
    assert_eq!(members[0].next_line(), "arrived");
    let liveness = zero.liveness();
    assert_eq!(liveness.status(1), Status::Alive);
    members[0].signal("-STOP");
    until("it is silent", || matches!(liveness.status(1), Status::Silent { .. }));
    members[0].signal("-CONT");
    until("it is alive again", || liveness.status(1) == Status::Alive);
    members[0].signal("-STOP");
    until("it is dead", || matches!(liveness.status(1), Status::Dead { .. }));
    let error = zero.barrier("which never completes", DEADLINE).unwrap_err();
    assert!(error.to_string().contains("nothing was heard from it for"), "{error}");
    zero.leave();
}

#[test]
fn a_rank_leaves_in_time_although_a_stopped_rank_0_reads_nothing() {
    let launch = LaunchEnv::new(2).unwrap();
    let mut zero = Member::start(&launch, 0, 0);
    let variables = launch.variables(1);
    let job =
        Job::from_vars(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())).unwrap();
    let one = job.connect(&quick(), DEADLINE).unwrap();
    assert_eq!(zero.next_line(), "arrived");
    zero.signal("-STOP");
    let large = vec![1; MAX_PAYLOAD];
    assert!(one.exchange("more than a socket holds", &large, Duration::from_millis(100)).is_err());
    let begun = Instant::now();
    one.leave();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_job_whose_rank_0_is_killed_ends_everywhere() {
    let launch = LaunchEnv::new(3).unwrap();
    let mut members: Vec<Member> = (0..3).map(|rank| Member::start(&launch, rank, 0)).collect();
    for member in &mut members {
        assert_eq!(member.next_line(), "arrived");
    }
    members[0].signal("-KILL");
    for member in &mut members[1..] {
        let line = member.next_line();
        assert!(line.contains("rank 0"), "{line}");
    }
}

//! Whole jobs of four ranks, started by `efa run` as users start them. Each rank is this test program again, running
//! only [`rank`], with the part that it shall play in an environment variable.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use efa_core::bootstrap::{ControlConfig, Job, Status};
use efa_core::collective::{Algorithm, Options, ReduceOp};
use efa_core::{Communicator, Error, Init, Judged, Source};

/// Names the part that the ranks play.
const PART: &str = "EFA_TEST_PART";
/// Which rank is killed.
const VICTIM: usize = 2;
/// Long enough for a loaded machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn efa() -> Command {
    Command::new(env!("CARGO_BIN_EXE_efa"))
}

/// `efa run` with four ranks that play a part.
fn job(provider: &str, part: &str) -> Command {
    let mut command = efa();
    command
        .args(["run", "-n", "4", "--provider", provider, "--grace", "60", "--"])
        // When one rank ends the launcher tells the others to end, which would leave them no time to say anything.
        .args(["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--ignored", "--exact", "--nocapture", "rank"])
        .env(PART, part)
        .env("EFA_TIMEOUT", "60")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What each rank said, by rank; it is told from what the test harness prints by a mark.
fn said(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut said = vec![String::new(); 4];
    for line in text.lines() {
        if let Some((who, what)) = line.split_once("said: ") {
            let rank: usize = who[1..2].parse().expect("the launcher puts the rank first");
            said[rank].push_str(what);
        }
    }
    said
}

fn everything(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A rank of the jobs below.
#[test]
#[ignore = "runs as a rank of the jobs that the other tests here start"]
fn rank() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.as_str() {
        "sum" => sum(efa_core::init().expect("the job is in order")),
        "victim" => outlive(efa_core::init().expect("the job is in order"), |world| {
            world.all_reduce_in_place(&mut vec![1u64; 1 << 20], ReduceOp::Sum)
        }),
        "receive" => outlive(efa_core::init().expect("the job is in order"), |world| {
            world.endpoint().recv_blocking(VICTIM, 1u32, &mut [0u8; 100]).map(drop)
        }),
        "send" => outlive(efa_core::init().expect("the job is in order"), |world| {
            let large = vec![1u8; 1 << 20];
            (0..200).try_for_each(|_| world.endpoint().send_blocking(VICTIM, 1u32, &large))
        }),
        "fail at once" => end_early(efa_core::init().expect("the job is in order"), |world| {
            let error = world.endpoint().send_blocking(99, 1u32, &[0u8]).expect_err("there is no rank 99");
            println!("said: {error}");
        }),
        "panic" => end_early(efa_core::init().expect("the job is in order"), |_| {
            println!("said: panicking");
            panic!("as intended by this test");
        }),
        "exit" => end_early(efa_core::init().expect("the job is in order"), |_| {
            println!("said: exiting");
            std::process::exit(3);
        }),
        "open" => open(&Init::from_env().and_then(Init::judge).expect("the job is in order")),
        "stopped" => stopped(),
        "cut" => cut(efa_core::init().expect("the job is in order")),
        "give-up" => give_up(efa_core::init().expect("the job is in order")),
        "run" => println!("said: {:?}", efa_core::run(|world| Ok::<_, Error>(world.size()))),
        "run and fail" => run_and_fail(),
        "fail and drop" => fail_and_drop(),
        "all fail and drop" => all_fail_and_drop(),
        "late" => late(efa_core::init().expect("the job is in order")),
        "rank 0 leaves" => {
            rank_0_leaves(Init::from_env().and_then(Init::judge).expect("the job is in order"))
        }
        "join" => match efa_core::init() {
            Ok(world) => println!("said: joined on {}", world.endpoint().provider()),
            Err(error) => println!("said: {error}"),
        },
        other => panic!("there is no part '{other}'"),
    }
}

fn sum(world: Communicator) {
    let mut data = vec![world.rank() as u64; 100_000];
    world.all_reduce_in_place(&mut data, ReduceOp::Sum).expect("all ranks are there");
    assert!(data.iter().all(|&value| value == 6));
    println!("said: 6 on {}", world.endpoint().provider());
    world.finish().expect("all ranks leave");
}

/// Rank 0 waits for a message that nobody sends, and drops the communicator on the error, as `?` does; the others are
/// busy for longer than that may take.
fn give_up(world: Communicator) {
    if world.rank() > 0 {
        std::thread::sleep(Duration::from_secs(3));
        println!("said: {:?}", world.finish().expect_err("rank 0 is gone").peer().map(|peer| peer.rank));
        return;
    }
    let error = world.endpoint().recv_blocking(1, 1u32, &mut [0u8]).expect_err("nobody sends");
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    let begun = Instant::now();
    drop(world);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    println!("said: gone");
}

/// Rank 0 fails with an error of its own making, which no operation has seen; the others wait in a collective.
fn run_and_fail() {
    let begun = Instant::now();
    let result: Result<(), Box<dyn std::error::Error>> = efa_core::run(|world| {
        if world.rank() == 0 {
            return Err("the training data is missing".into());
        }
        Ok(world.barrier()?)
    });
    println!("said: {} after {:?}", result.expect_err("rank 0 fails"), begun.elapsed());
}

/// As a `main` that a `?` leaves because of an error that no operation has seen, at rank 0. Rank 1 waits in `finish`, the
/// others for a message.
fn fail_and_drop() {
    fn main() -> Result<(), Box<dyn std::error::Error>> {
        let world = efa_core::init()?;
        world.barrier()?;
        match world.rank() {
            0 => Err("the training data is missing".into()),
            1 => Ok(world.finish()?),
            _ => Ok(world.endpoint().recv_blocking(1, 1u32, &mut [0u8]).map(drop)?),
        }
    }
    let begun = Instant::now();
    let error = main().expect_err("the job can't go on");
    if error.to_string() == "the training data is missing" {
        // What it takes to print on a busy machine; a rank that exits meanwhile would have the launcher end this one.
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("said: {error} after {} s", begun.elapsed().as_secs());
    std::process::exit(1);
}

/// All ranks fail alike, and drop what they have.
fn all_fail_and_drop() {
    let world = efa_core::init().expect("the job is in order");
    let rank = world.rank();
    drop(world);
    println!("said: no data for rank {rank}");
}

/// Rank 2 comes late to the end.
fn late(world: Communicator) {
    if world.rank() == VICTIM {
        std::thread::sleep(Duration::from_secs(5));
    }
    println!("said: {}", world.finish().map_or_else(|error| error.to_string(), |()| "left".into()));
}

/// Rank 0 leaves in good order, and its process ends as soon as it may; the others wait for one that is killed later.
fn rank_0_leaves(judged: Judged) {
    let endpoint = judged.open().expect("there is room");
    judged.control().barrier("all are connected", PATIENCE).expect("all ranks are there");
    let liveness = judged.control().liveness();
    match judged.control().rank() {
        0 => {
            drop(endpoint);
            return judged.leave();
        }
        VICTIM => {
            while liveness.status(0) != Status::Left {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_secs(6));
            println!("victim: {}", std::process::id());
            std::thread::sleep(2 * PATIENCE);
        }
        _ => {}
    }
    let error = endpoint.recv_blocking(VICTIM, 1u32, &mut [0u8; 100]).expect_err("the victim is killed");
    println!("said: {:?} {error}", error.peer().map(|peer| peer.rank));
}

/// Rank 0 ends early with an error; each of the others waits for the next one, and only the last for rank 0.
fn end_early(world: Communicator, end: impl Fn(&Communicator)) {
    world.barrier().expect("all ranks are there");
    if world.rank() == 0 {
        // None of the others may still be inside of the barrier when the job ends.
        for _ in 1..world.size() {
            world.endpoint().recv_blocking(Source::Any, 2u32, &mut [0u8]).expect("all say that they are out");
        }
        // What was opened is dropped after it, as where an error leaves `main`.
        return end(&world);
    }
    world.endpoint().send_blocking(0, 2u32, &[1u8]).expect("rank 0 is there");
    let begun = Instant::now();
    let next = (world.rank() + 1) % world.size();
    let error = world.endpoint().recv_blocking(next, 1u32, &mut [0u8]).expect_err("nobody sends");
    println!(
        "said: {} after {} s: {error}",
        error.peer().map_or(99, |peer| peer.rank),
        begun.elapsed().as_secs()
    );
    assert!(world.finish().is_err(), "the job was called off");
}

/// Rank 2 does not take part in a collective, as if it were cut off; rank 0 begins first, so that its time is over first.
fn cut(world: Communicator) {
    world.barrier().expect("all ranks are there");
    match world.rank() {
        0 => {}
        2 => std::thread::sleep(Duration::from_secs(20)),
        _ => std::thread::sleep(Duration::from_millis(300)),
    }
    let mut world = world;
    world.set_options(Options { algorithm: Algorithm::Ring, ..Options::default() });
    let error =
        world.all_reduce_in_place(&mut vec![1u64; 1 << 10], ReduceOp::Sum).expect_err("one is missing");
    println!("said: {error}");
}

/// The victim prints its number and sleeps; the others call what can't succeed without it, and print the error.
fn outlive(world: Communicator, call: impl Fn(&Communicator) -> Result<(), Error>) {
    world.barrier().expect("all ranks are there");
    if world.rank() == VICTIM {
        println!("victim: {}", std::process::id());
        std::thread::sleep(2 * PATIENCE);
    }
    let error = call(&world).expect_err("the victim is killed");
    let named = error.peer().map(|peer| peer.rank);
    println!("said: {named:?} {error}");
}

/// All open an endpoint, whose connections nobody tries; then the victim is killed.
fn open(judged: &Judged) {
    let endpoint = judged.open().expect("there is room");
    if judged.control().rank() == VICTIM {
        println!("victim: {}", std::process::id());
        std::thread::sleep(2 * PATIENCE);
    }
    let error = endpoint.recv_blocking(VICTIM, 1u32, &mut [0u8; 100]).expect_err("the victim is killed");
    println!("said: {error}");
}

/// The ranks but the first wait for it while all are stopped.
fn stopped() {
    let config = ControlConfig {
        heartbeat_period: Duration::from_millis(500),
        silent_after: Duration::from_secs(3),
        dead_after: Duration::from_secs(4),
        ..ControlConfig::default()
    };
    let job = Job::from_env().expect("the launcher tells");
    let control = job.connect(&config, PATIENCE).expect("all ranks come");
    println!("process: {}", std::process::id());
    if control.rank() == 0 {
        // By the time for which it runs.
        (0..20).for_each(|_| std::thread::sleep(Duration::from_millis(100)));
    }
    match control.barrier("the end", Duration::from_secs(7)) {
        Ok(()) => println!("said: met again"),
        Err(error) => println!("said: {error}"),
    }
    control.leave();
}

/// Starts a job, kills the victim with SIGKILL once it says that it is ready, and returns what came of it, and the
/// victim's process number.
fn kill_one(provider: &str, part: &str) -> (Output, String) {
    let mut child: Child = job(provider, part).spawn().expect("efa starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
    let (mut stdout, mut process) = (String::new(), String::new());
    for line in lines.by_ref() {
        let line = line.expect("UTF-8");
        if let Some((_, victim)) = line.split_once("victim: ") {
            // Let the others get to where they need it.
            std::thread::sleep(Duration::from_millis(100));
            // The shell's own: a program of that name is not on every machine.
            let kill = Command::new("sh").args(["-c", "kill -KILL $0", victim]).status().expect("sh starts");
            assert!(kill.success());
            process = victim.to_owned();
            break;
        }
        stdout += &format!("{line}\n");
    }
    let begun = Instant::now();
    for line in lines {
        stdout += &format!("{}\n", line.expect("UTF-8"));
    }
    assert!(begun.elapsed() < PATIENCE, "the others hung");
    let mut output = child.wait_with_output().expect("efa ends");
    output.stdout = stdout.into_bytes();
    (output, process)
}

/// Starts a job, stops the victim once it says that it is ready, and kills it when the others have said something.
fn stop_one(command: &mut Command) -> Output {
    let mut child: Child = command.spawn().expect("efa starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
    let signal = |name: &str, process: &str| {
        let kill = Command::new("sh").args(["-c", "kill $0 $1", name, process]).status().expect("sh starts");
        assert!(kill.success());
    };
    let (mut stdout, mut victim, mut told) = (String::new(), None, 0);
    while let Some(line) = lines.next().map(|line| line.expect("UTF-8")) {
        if let Some((_, process)) = line.split_once("victim: ") {
            signal("-STOP", process);
            victim = Some(process.to_owned());
        }
        told += usize::from(line.contains("said: "));
        stdout += &format!("{line}\n");
        if told == 3
            && let Some(victim) = victim.take()
        {
            signal("-KILL", &victim);
        }
    }
    let mut output = child.wait_with_output().expect("efa ends");
    output.stdout = stdout.into_bytes();
    output
}

/// The files in /dev/shm of endpoints of a process.
fn files_of(process: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir("/dev/shm").expect("there is a /dev/shm");
    let of_process = |path: &PathBuf| {
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        name.strip_prefix("efa-ep.").and_then(|rest| rest.split('.').nth(1)) == Some(process)
    };
    files.map(|file| file.expect("it can be read").path()).filter(of_process).collect()
}

#[test]
fn four_ranks_add_up_on_every_provider() {
    for provider in ["tcp", "shm", "sockets"] {
        let output = job(provider, "sum").output().expect("efa starts");
        assert!(output.status.success(), "{}", everything(&output));
        assert_eq!(said(&output), vec![format!("6 on {provider}"); 4]);
    }
}

#[test]
fn a_killed_rank_is_named_by_all_the_others_whatever_they_wait_for() {
    for provider in ["tcp", "shm"] {
        for part in ["victim", "receive", "send"] {
            let (output, _) = kill_one(provider, part);
            let all = everything(&output);
            assert!(!output.status.success(), "{all}");
            for (rank, said) in said(&output).into_iter().enumerate().filter(|&(rank, _)| rank != VICTIM) {
                let named = said.contains(&format!("Some({VICTIM})"));
                assert!(named, "{provider}, {part}, rank {rank} said: {said}\n{all}");
            }
        }
    }
}

#[test]
fn a_stopped_rank_is_named_before_it_counts_as_dead_and_no_other_is_blamed() {
    let size = "the all-reduce of 1048576 u64 (8388608 bytes), number 2 of this communicator, failed after";
    std::thread::scope(|scope| {
        for (provider, part, what) in
            [("tcp", "victim", size), ("shm", "victim", size), ("tcp", "receive", "")]
        {
            scope.spawn(move || {
                let mut command = job(provider, part);
                let output = stop_one(command.env("EFA_TIMEOUT", "8"));
                let (all, said) = (everything(&output), said(&output));
                for rank in [0, 1, 3] {
                    let text = &said[rank];
                    let named = text.contains("rank 2 (") && text.contains("no sign of life for");
                    assert!(named && text.contains(what), "{provider}, {part}, rank {rank}: {text}\n{all}");
                    let blamed = text.contains("is dead") || text.contains("is lost");
                    assert!(!blamed, "{provider}, {part}, rank {rank}: {text}\n{all}");
                }
            });
        }
    });
}

/// A rank that is done early meets the program before at the rendezvous, whose other ranks still leave.
#[test]
fn programs_in_a_row_under_one_launcher_do_not_mix() {
    let bench = "\"$0\" bench all-reduce --sizes 8 --iterations 2 --warmup 0 --format json";
    let script = format!("for program in 1 2 3 4; do {bench} || exit 1; done");
    for provider in ["tcp", "shm"] {
        let output = efa()
            .args(["run", "-n", "5", "--provider", provider, "--", "sh", "-c", &script])
            .arg(env!("CARGO_BIN_EXE_efa"))
            .stdin(Stdio::null())
            .output()
            .expect("efa starts");
        assert!(output.status.success(), "{}", everything(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 4, "{}", everything(&output));
    }
}

#[test]
fn a_rank_0_that_is_killed_before_it_listens_is_not_waited_for() {
    let begun = Instant::now();
    let script = "test $EFA_RANK != 0 || kill -KILL $$; exec \"$@\"";
    let output = efa()
        .args(["run", "-n", "3", "--", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--ignored", "--exact", "--nocapture", "rank"])
        .env(PART, "join")
        .stdin(Stdio::null())
        .output()
        .expect("efa starts");
    let all = everything(&output);
    assert!(all.contains("rank 0") && all.contains("SIGKILL"), "{all}");
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}: {all}", begun.elapsed());
}

#[test]
fn a_rank_whose_operation_failed_leaves_without_waiting_for_the_others() {
    let output = job("tcp", "give-up").env("EFA_TIMEOUT", "1").output().expect("efa starts");
    let said = said(&output);
    assert_eq!(said[0], "gone", "{}", everything(&output));
    assert!(said[1..].iter().all(|said| said == "Some(0)"), "{}", everything(&output));
}

#[test]
fn a_rank_that_ends_early_ends_all_others_at_once_with_the_first_cause() {
    for (part, cause) in [("fail at once", "rank 99"), ("panic", "panicked"), ("exit", "without a goodbye")] {
        let output = job("tcp", part).output().expect("efa starts");
        let all = everything(&output);
        for said in &said(&output)[1..] {
            assert!(said.starts_with("0 after ") && said.contains(cause), "{part}: {said}\n{all}");
            let seconds: u32 = said["0 after ".len()..].split(' ').next().unwrap().parse().unwrap();
            // Moments, and far less than the times that the ranks wait for one another at their ends.
            assert!(seconds < 10, "{part}: {said}\n{all}");
        }
    }
}

#[test]
fn a_rank_that_drops_its_communicator_ends_the_job_and_its_own_message_is_seen() {
    for provider in ["tcp", "shm"] {
        // The launcher ends all ranks with the first that exits.
        let output = efa()
            .args(["run", "-n", "4", "--provider", provider, "--"])
            .arg(std::env::current_exe().expect("this program has a path"))
            .args(["--ignored", "--exact", "--nocapture", "rank"])
            .envs([(PART, "fail and drop"), ("EFA_TIMEOUT", "60")])
            .stdin(Stdio::null())
            .output()
            .expect("efa starts");
        let (all, said) = (everything(&output), said(&output));
        assert!(said[0].starts_with("the training data is missing"), "{provider}: {said:?}\n{all}");
        for said in said.iter().filter(|said| !said.is_empty()) {
            let (text, seconds) = said.rsplit_once(" after ").expect("it tells the time");
            let seconds: u32 = seconds.strip_suffix(" s").unwrap().parse().unwrap();
            assert!(seconds < 10, "{provider}: {said}\n{all}");
            let named =
                text.contains("missing") || text.contains("rank 0") && text.contains("without finish()");
            assert!(named, "{provider}: {said}\n{all}");
        }
    }
}

#[test]
fn every_rank_hears_which_one_left_without_finishing() {
    let output = job("tcp", "fail and drop").output().expect("efa starts");
    let (all, said) = (everything(&output), said(&output));
    assert!(said[0].starts_with("the training data is missing"), "{all}");
    for said in &said[1..] {
        assert!(said.contains("rank 0") && said.contains("left without finish()"), "{said}\n{all}");
    }
}

#[test]
fn ranks_that_all_fail_alike_tell_it_each() {
    let output = job("tcp", "all fail and drop").output().expect("efa starts");
    let all = everything(&output);
    assert!(output.status.success(), "{all}");
    let expected: Vec<String> = (0..4).map(|rank| format!("no data for rank {rank}")).collect();
    assert_eq!(said(&output), expected, "{all}");
}

#[test]
fn a_limit_of_leaving_names_who_has_not_come() {
    let output = job("tcp", "late").env("EFA_LEAVE_TIMEOUT", "1").output().expect("efa starts");
    let (all, said) = (everything(&output), said(&output));
    for rank in [0, 1, 3] {
        assert!(
            said[rank].contains("timed out after 1.") && said[rank].contains("rank 2 ("),
            "{rank}: {}\n{all}",
            said[rank]
        );
    }
}

#[test]
fn a_rank_that_dies_after_rank_0_has_left_is_named() {
    std::thread::scope(|scope| {
        for provider in ["tcp", "shm"] {
            scope.spawn(move || {
                let (output, _) = kill_one(provider, "rank 0 leaves");
                let (all, said) = (everything(&output), said(&output));
                for rank in [1, 3] {
                    let named = said[rank].starts_with(&format!("Some({VICTIM})"));
                    assert!(named, "{provider}, rank {rank} said: {}\n{all}", said[rank]);
                }
            });
        }
    });
}

#[test]
fn a_rank_whose_time_is_over_names_its_own_peer_and_not_the_first_that_gave_up() {
    let output = job("tcp", "cut").env("EFA_TIMEOUT", "6").output().expect("efa starts");
    let all = everything(&output);
    let said = said(&output);
    assert!(said[3].contains("from rank 2"), "rank 3: {}\n{all}", said[3]);
    assert!(said[0].contains("from rank 3"), "rank 0: {}\n{all}", said[0]);
}

#[test]
fn what_a_killed_rank_leaves_in_shared_memory_is_gone_after_the_run() {
    for part in ["receive", "open"] {
        let (output, victim) = kill_one("shm", part);
        assert_eq!(files_of(&victim), Vec::<PathBuf>::new(), "{part}: {}", everything(&output));
    }
}

#[test]
fn time_for_which_all_ranks_are_stopped_counts_against_none() {
    let mut child: Child = job("tcp", "stopped").spawn().expect("efa starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
    let mut ranks = Vec::new();
    let mut stdout = String::new();
    while ranks.len() < 4 {
        let line = lines.next().expect("all ranks tell their process").expect("UTF-8");
        ranks.extend(line.split_once("process: ").map(|(_, process)| process.to_owned()));
        stdout += &format!("{line}\n");
    }
    let signal = |name: &str| {
        let kill = Command::new("sh")
            .args(["-c", "kill \"$@\"", "sh", name])
            .args(&ranks)
            .status()
            .expect("sh starts");
        assert!(kill.success());
    };
    // Longer than silence may last, and than the operation may take.
    signal("-STOP");
    std::thread::sleep(Duration::from_secs(9));
    signal("-CONT");
    for line in lines {
        stdout += &format!("{}\n", line.expect("UTF-8"));
    }
    let mut output = child.wait_with_output().expect("efa ends");
    output.stdout = stdout.into_bytes();
    assert_eq!(said(&output), ["met again"; 4], "{}", everything(&output));
}

#[test]
fn a_full_shared_memory_is_an_error_that_says_so() {
    let inside = r#"mount -t tmpfs -o size=20m none /dev/shm && exec "$@""#;
    let mut command = Command::new("unshare");
    let allowed = command.args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !allowed {
        println!("NOT TESTED: a mount namespace of its own needs root");
        return;
    }
    let plain = job("shm", "join");
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", inside, "sh"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env(PART, "join")
        .stdin(Stdio::null())
        .output()
        .expect("unshare starts");
    let all = everything(&output);
    let told = said(&output).iter().filter(|said| said.contains("/dev/shm")).count();
    assert!(told > 0, "{all}");
    assert!(!all.contains("SIGBUS") && !all.contains("panicked"), "{all}");
    assert!(said(&output).iter().all(|said| !said.is_empty() && !said.contains("joined")), "{all}");
}

#[test]
fn run_gives_every_rank_the_value_of_its_closure() {
    let output = job("tcp", "run").output().expect("efa starts");
    assert!(output.status.success(), "{}", everything(&output));
    assert_eq!(said(&output), ["Ok(4)"; 4]);
}

#[test]
fn an_error_in_run_ends_the_job_at_every_rank_with_its_message() {
    for provider in ["tcp", "shm"] {
        let output = job(provider, "run and fail").output().expect("efa starts");
        for (rank, said) in said(&output).iter().enumerate() {
            let named = rank == 0 || said.contains("rank 0");
            let all = everything(&output);
            assert!(
                named && said.contains("the training data is missing"),
                "{provider}, rank {rank}: {said}\n{all}"
            );
        }
    }
}

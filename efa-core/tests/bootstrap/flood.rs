//! Thousands of connections that prove nothing, from processes of their own, and a rank that must get in all the same.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use efa_core::bootstrap::{Control, ControlConfig, Job, LaunchEnv};

use super::job::DEADLINE;

/// What the process does, and with how many connections.
const PART: &str = "EFA_TEST_PART";
const COUNT: &str = "EFA_TEST_COUNT";

/// A process of its own: this test program again, running only [`participant`], with as many descriptors as it says.
struct Participant(Child);

impl Participant {
    fn start(launch: &LaunchEnv, rank: usize, part: &str, count: usize, descriptors: &str) -> Self {
        let limit = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
        let child = Command::new("sh")
            .args(["-c", &limit])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "flood::participant"])
            .envs(launch.variables(rank))
            .env(PART, part)
            .env(COUNT, count.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Waits until it says so.
    fn says(&mut self, what: &str) {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        let said = lines.find_map(|line| line.split_once("said: ").map(|(_, said)| said.to_owned()));
        assert_eq!(said.as_deref(), Some(what));
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "runs as the other processes of the tests here"]
fn participant() {
    let Ok(part) = std::env::var(PART) else { return };
    let count: usize = std::env::var(COUNT).unwrap().parse().unwrap();
    let job = Job::from_env().unwrap();
    match part.as_str() {
        "rank" => {
            // Strangers don't go by themselves while the test lasts.
            let config = ControlConfig { handshake_limit: 10 * DEADLINE, ..ControlConfig::default() };
            let control = job.connect(&config, DEADLINE).unwrap();
            control.barrier("both are there", DEADLINE).unwrap();
            println!("said: met");
            control.leave();
        }
        kind => keep_connections(kind, job.rendezvous.unwrap().port, count),
    }
}

/// Keeps so many connections open, until it is killed: those that were closed are opened again.
fn keep_connections(kind: &str, port: u16, count: usize) -> ! {
    let mut connections: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    let mut said = false;
    for round in 0.. {
        for (index, place) in connections.iter_mut().enumerate() {
            let alive = place.as_mut().is_some_and(|stream| bother(stream, kind, round));
            if !alive {
                let address = ([127, 0, 0, 1], port).into();
                *place = TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
                if let Some(stream) = place {
                    stream.set_nonblocking(true).unwrap();
                    bother(stream, kind, index);
                }
            }
        }
        if !said {
            println!("said: ready");
            said = true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    unreachable!("it is killed")
}

/// Does to a connection what its kind does; false once it is closed.
fn bother(stream: &mut TcpStream, kind: &str, round: usize) -> bool {
    const PREAMBLE: &[u8] = b"efa-job\n\x00\x30";
    match kind {
        "slow" => {
            // A byte at a time of what a rank says first.
            let _ = stream.write(&PREAMBLE[round % PREAMBLE.len()..][..1]);
        }
        "talkative" => {
            let _ = stream.write(PREAMBLE).and_then(|_| stream.write(&[7; 4096]));
        }
        _ => {}
    }
    match stream.read(&mut [0; 64]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// Joins as a rank of the job.
fn join(launch: &LaunchEnv, rank: usize) -> Control {
    let variables = launch.variables(rank);
    let job =
        Job::from_vars(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())).unwrap();
    job.connect(&ControlConfig::default(), DEADLINE).unwrap()
}

#[test]
fn ten_thousand_connections_that_prove_nothing_do_not_keep_a_rank_out() {
    let launch = LaunchEnv::new(2).unwrap();
    let mut zero = Participant::start(&launch, 0, "rank", 0, "1024");
    let kinds = ["idle", "idle", "slow", "talkative"];
    let mut flood = kinds.map(|kind| Participant::start(&launch, 0, kind, 2500, "$(ulimit -Hn)"));
    for strangers in &mut flood {
        strangers.says("ready");
    }
    let begun = Instant::now();
    let one = join(&launch, 1);
    one.barrier("both are there", DEADLINE).unwrap();
    zero.says("met");
    assert!(begun.elapsed() < DEADLINE / 2, "{:?}", begun.elapsed());
    one.leave();
}

#[test]
fn a_rank_0_whose_descriptors_strangers_use_up_takes_them_back_for_ranks() {
    let launch = LaunchEnv::new(2).unwrap();
    let mut zero = Participant::start(&launch, 0, "rank", 0, "40");
    let mut flood = Participant::start(&launch, 0, "idle", 500, "$(ulimit -Hn)");
    flood.says("ready");
    let one = join(&launch, 1);
    one.barrier("both are there", DEADLINE).unwrap();
    zero.says("met");
    one.leave();
}

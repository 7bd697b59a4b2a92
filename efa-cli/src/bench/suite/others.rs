//! The same measurements by other programs, if they are installed: fabtests, started by the two ranks that are measured
//! themselves, and the OSU benchmarks, started through `mpirun` where the job has one host.

use std::env;
use std::io::Read;
use std::net::{IpAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use efa_core::fabric::Provider;
use efa_core::{Communicator, Error};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::bench::case::Case;
use crate::emulation::is_emulated;
use crate::exchange::exchange;

/// How long the ranks wait for one another where none has much to do.
pub(super) const STEP: Duration = Duration::from_secs(120);
/// The iterations of each size with `--quick`.
pub(super) const QUICK_ITERATIONS: u64 = 20;
/// How long another program may take.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a server may take until it listens, and to end after its client.
const START: Duration = Duration::from_secs(10);
/// How often to look after another program.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Where AWS's installer puts programs of libfabric that are not on `PATH`.
const AWS: &str = "/opt/amazon/efa/bin";

/// What other programs have measured, and why some have not.
#[derive(Debug, Default, Serialize)]
pub(super) struct Others {
    pub(super) results: Vec<Measurement>,
    /// What was not measured, with the reason.
    pub(super) missing: Vec<String>,
}

/// The figures of one program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Measurement {
    pub(super) program: String,
    pub(super) case: Case,
    /// Bytes, and microseconds or 10^6 bytes per second.
    pub(super) figures: Vec<(u64, f64)>,
}

/// A program of fabtests, or the one that comes with libfabric.
#[derive(Clone, Copy)]
struct Fabtest {
    name: &'static str,
    case: Case,
    /// The column of its table that has the figure.
    column: &'static str,
}

const FABTESTS: [Fabtest; 2] = [
    Fabtest { name: "fi_rdm_tagged_pingpong", case: Case::Latency, column: "usec/xfer" },
    Fabtest { name: "fi_rdm_tagged_bw", case: Case::Bandwidth, column: "MB/sec" },
];
/// Comes with libfabric, and takes the place of the first where fabtests are not installed.
const PINGPONG: Fabtest = Fabtest { name: "fi_pingpong", case: Case::Latency, column: "usec/xfer" };

const OSU: [(&str, Case); 4] = [
    ("osu_latency", Case::Latency),
    ("osu_bw", Case::Bandwidth),
    ("osu_bibw", Case::Bidirectional),
    ("osu_allreduce", Case::AllReduce),
];

/// What a rank tells the others of itself.
#[derive(Serialize, Deserialize)]
struct Here {
    address: IpAddr,
    /// The names of the programs that it has.
    programs: Vec<String>,
}

/// Measures what it can with other programs; all ranks must call it. The result is complete at rank 0 only.
pub(super) fn measure(
    world: &Communicator,
    between: Option<[usize; 2]>,
    quick: bool,
) -> Result<Others, Error> {
    let mut others = Others::default();
    let Some(between) = between else {
        others.missing.push("fabtests and the OSU benchmarks: the job has one rank".into());
        return Ok(others);
    };
    if is_emulated() {
        others.missing.push("fabtests and the OSU benchmarks: this job's EFA is emulated".into());
        return Ok(others);
    }
    let known = FABTESTS.iter().chain([&PINGPONG]).map(|it| it.name);
    let programs = known.filter(|name| find(name).is_some()).map(str::to_owned).collect();
    let here = Here { address: world.control().local_address(), programs };
    let all: Vec<Here> = exchange(world.control(), "programs to compare with", &here, STEP)?;
    let have =
        |test: &Fabtest| between.iter().all(|&rank| all[rank].programs.iter().any(|it| it == test.name));
    let tests =
        FABTESTS.iter().map(|test| if have(test) || test.case != PINGPONG.case { test } else { &PINGPONG });
    for test in tests {
        if !have(test) {
            others.missing.push(format!("{}: it is not on PATH of both ranks", test.name));
            continue;
        }
        match fabtest(world, test, between, all[between[1]].address, quick)? {
            Ok(figures) => {
                others.results.push(Measurement { program: test.name.into(), case: test.case, figures })
            }
            Err(why) => others.missing.push(format!("{}: {why}", test.name)),
        }
    }
    osu(world, quick, &mut others)?;
    Ok(others)
}

/// Runs a server at the second rank and a client at the first. All ranks come to the same result.
fn fabtest(
    world: &Communicator,
    test: &Fabtest,
    [first, second]: [usize; 2],
    server: IpAddr,
    quick: bool,
) -> Result<Result<Vec<(u64, f64)>, String>, Error> {
    let (provider, address) = (world.endpoint().provider(), world.control().local_address());
    let command = |port: u16, server: Option<IpAddr>| {
        let mut command = Command::new(find(test.name).unwrap_or_else(|| test.name.into()));
        command.args(arguments(test, provider, port, address, server, quick));
        command
    };
    let mut serving = None;
    let started: Result<u16, String> = if world.rank() == second {
        free_port().and_then(|port| {
            let mut running = Running::start(command(port, None))?;
            running.until_bound(port)?;
            serving = Some(running);
            Ok(port)
        })
    } else {
        Ok(0)
    };
    let started: Vec<Result<u16, String>> =
        exchange(world.control(), "the server of another program", &started, STEP)?;
    let outcome = match &started[second] {
        Ok(port) if world.rank() == first => {
            Running::start(command(*port, Some(server))).and_then(|running| running.output(LIMIT))
        }
        Ok(_) => Ok(String::new()),
        Err(why) => Err(why.clone()),
    };
    let all: Vec<Result<String, String>> =
        exchange(world.control(), "the results of another program", &outcome, LIMIT + STEP)?;
    // A server that is left over is ended when it is dropped.
    let served = serving.map(|running| running.output(START));
    let printed = match (&all[first], served) {
        (Err(why), Some(Err(at_server))) => return Ok(Err(format!("{why}; the server: {at_server}"))),
        (Err(why), _) => return Ok(Err(why.clone())),
        (Ok(printed), _) => printed,
    };
    Ok(read_table(printed, test.column))
}

fn arguments(
    test: &Fabtest,
    provider: Provider,
    port: u16,
    own: IpAddr,
    server: Option<IpAddr>,
    quick: bool,
) -> Vec<String> {
    let mut words: Vec<String> = vec!["-p".into(), provider.to_string()];
    if test.name == PINGPONG.name {
        words.extend(["-e", "rdm", if server.is_some() { "-P" } else { "-B" }].map(str::to_owned));
        words.push(port.to_string());
    } else {
        // The two exchange their addresses over a connection of their own.
        words.push(format!("-E={port}"));
        if matches!(provider, Provider::Tcp | Provider::Sockets) {
            words.extend(["-s".into(), own.to_string()]);
        }
    }
    if quick {
        words.extend(["-I".into(), QUICK_ITERATIONS.to_string()]);
    }
    words.extend(server.map(|server| server.to_string()));
    words
}

/// Runs the OSU benchmarks at rank 0, where MPI's launcher needs to know of no other host.
fn osu(world: &Communicator, quick: bool, others: &mut Others) -> Result<(), Error> {
    let peers = world.endpoint().peers();
    let is_one_host = peers.iter().all(|peer| peer.host == peers[0].host);
    if world.rank() == 0 {
        for (name, case) in OSU {
            let ranks = if case.is_collective() { peers.len() } else { 2 };
            let by_hand = format!("mpirun -n {ranks} --map-by node {name}");
            let Some(program) = find(name) else {
                others.missing.push(format!("{name}: it is not on PATH"));
                continue;
            };
            let Some(mpirun) = find("mpirun").filter(|_| is_one_host) else {
                let why = if is_one_host { "mpirun is not on PATH" } else { "the job has several hosts" };
                others.missing.push(format!("{name}: {why}; run it yourself: {by_hand}"));
                continue;
            };
            let mut command = Command::new(mpirun);
            command.args(["-n", &ranks.to_string()]).arg(program);
            if quick {
                command.args(["-m", "65536", "-i", &QUICK_ITERATIONS.to_string(), "-x", "2"]);
            }
            // An MPI job of its own, not a part of ours.
            for (variable, _) in env::vars_os() {
                let name = variable.to_string_lossy();
                if ["EFA_", "OMPI_", "PMI", "PMIX_", "HYDI_", "SLURM_"]
                    .iter()
                    .any(|start| name.starts_with(start))
                {
                    command.env_remove(&variable);
                }
            }
            command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
            let printed = Running::start(command).and_then(|running| running.output(LIMIT));
            match printed.and_then(|printed| read_osu(&printed)) {
                Ok(figures) => {
                    others.results.push(Measurement { program: name.into(), case, figures });
                }
                Err(why) => others.missing.push(format!("{name}: {why}")),
            }
        }
    }
    let patience = LIMIT * OSU.len() as u32 + STEP;
    exchange::<()>(world.control(), "the OSU benchmarks", &(), patience)?;
    Ok(())
}

/// Reads fabtests' table: a line of headings, and lines that begin with a size such as `64` or `4k`.
fn read_table(printed: &str, column: &str) -> Result<Vec<(u64, f64)>, String> {
    let mut lines = printed.lines();
    let place = lines.find_map(|line| {
        let mut words = line.split_whitespace();
        let is_heading = words.next() == Some("bytes");
        is_heading.then(|| line.split_whitespace().position(|word| word == column)).flatten()
    });
    let figures = lines.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let value: f64 = words.get(place?)?.parse().ok()?;
        Some((bytes(words[0])?, value)).filter(|&(_, value)| value > 0.0)
    });
    non_empty(figures.collect(), printed)
}

/// Reads a table of the OSU benchmarks: a size and a figure on each line that begins with no `#`.
fn read_osu(printed: &str) -> Result<Vec<(u64, f64)>, String> {
    let figures = printed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let size = words.next()?.parse().ok()?;
        Some((size, words.next()?.parse().ok()?))
            .filter(|&(size, value): &(u64, f64)| size > 0 && value > 0.0)
    });
    non_empty(figures.collect(), printed)
}

fn non_empty(figures: Vec<(u64, f64)>, printed: &str) -> Result<Vec<(u64, f64)>, String> {
    match figures.is_empty() {
        true => Err(format!("there are no figures in what it printed: {}", last_line(printed))),
        false => Ok(figures),
    }
}

/// Returns a size as fabtests print it.
fn bytes(word: &str) -> Option<u64> {
    let (digits, factor) = match word.strip_suffix(['k', 'm', 'g']) {
        Some(digits) if word.ends_with('k') => (digits, 1 << 10),
        Some(digits) if word.ends_with('m') => (digits, 1 << 20),
        Some(digits) => (digits, 1 << 30),
        None => (word, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn last_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or("nothing")
        .chars()
        .take(200)
        .collect()
}

/// Looks for a program on `PATH`, and where AWS's installer puts it.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([Path::new(AWS).to_owned()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("0.0.0.0", 0)).and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| format!("there is no port for its server: {error}"))
}

/// A program that runs; dropped, it is ended with all that it has started.
struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
        fn reader(mut source: impl Read + Send + 'static) -> JoinHandle<String> {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                // What was read before an error counts.
                let _ = source.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        }
        let stdout = child.stdout.take().map(reader);
        let stderr = child.stderr.take().map(reader);
        Ok(Self { child, stdout, stderr })
    }

    /// Waits until the program has bound a port.
    fn until_bound(&mut self, port: u16) -> Result<(), String> {
        let until = Instant::now() + START;
        while Instant::now() < until {
            if TcpListener::bind(("0.0.0.0", port)).is_err() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("its server ended at once ({status}): {}", self.said()));
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(format!("its server did not listen within {} s", START.as_secs()))
    }

    /// Waits for the end of the program and returns what it has printed.
    fn output(mut self, limit: Duration) -> Result<String, String> {
        let until = Instant::now() + limit;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < until => thread::sleep(LOOK_EVERY),
                Ok(None) => return Err(format!("it did not end within {} s", limit.as_secs())),
                Err(error) => return Err(format!("nothing is known of its end: {error}")),
            }
        };
        if !status.success() {
            return Err(format!("it failed ({status}): {}", self.said()));
        }
        // What it has left running may keep its output open.
        self.end();
        printed(self.stdout.take()).ok_or_else(|| {
            format!("what it has started did not close its output within {} s", START.as_secs())
        })
    }

    /// Returns the last thing that it said on standard error. The program has ended.
    fn said(&mut self) -> String {
        self.end();
        last_line(&printed(self.stderr.take()).unwrap_or_default())
    }

    /// Ends the program and all that it has started.
    fn end(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Nothing may be left of it.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Returns what a program that has ended has printed; `None` if somebody else keeps its output open.
fn printed(reader: Option<JoinHandle<String>>) -> Option<String> {
    let reader = reader?;
    let until = Instant::now() + START;
    while !reader.is_finished() {
        if Instant::now() >= until {
            return None;
        }
        thread::sleep(LOOK_EVERY);
    }
    reader.join().ok()
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_fabtests_and_of_fi_pingpong_are_read() {
        let bandwidth = "bytes   iters   total       time     MB/sec    usec/xfer   Mxfers/sec\n\
                         64      20k     1.2m        0.03s     42.74       1.50       0.67\n\
                         1m      200     200m        0.03s   6892.86     152.12       0.01\n";
        assert_eq!(read_table(bandwidth, "MB/sec"), Ok(vec![(64, 42.74), (1 << 20, 6892.86)]));
        assert_eq!(read_table(bandwidth, "usec/xfer"), Ok(vec![(64, 1.5), (1 << 20, 152.12)]));
        let pingpong = "bytes   #sent   #ack     total       time     MB/sec    usec/xfer   Mxfers/sec\n\
                        64      10      =10      1.2k        0.04s      0.03    2049.70       0.00\n\
                        4k      10      =10      80k         0.00s    136.99      29.90       0.03\n";
        assert_eq!(read_table(pingpong, "usec/xfer"), Ok(vec![(64, 2049.70), (4096, 29.9)]));
        for nothing in ["", "fi_getinfo(): -61 (No data available)\n", "bytes\n64\n"] {
            assert!(read_table(nothing, "usec/xfer").is_err(), "{nothing}");
        }
    }

    #[test]
    fn tables_of_osu_are_read() {
        let printed = "# OSU MPI Latency Test v5.7.1\n# Size          Latency (us)\n0   20.29\n8   20.62\n4194304  1552.07\n";
        assert_eq!(read_osu(printed), Ok(vec![(8, 20.62), (4_194_304, 1552.07)]));
        assert!(read_osu("There are not enough slots available\n").is_err());
    }

    #[test]
    fn a_program_that_fails_or_does_not_end_is_told_and_leaves_nothing() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Running::start(command).expect("sh starts")
        };
        assert_eq!(shell("echo 1; echo 2 >&2").output(START), Ok("1\n".into()));
        // What it leaves has its output open.
        assert_eq!(shell("sleep 600 & echo 1").output(START), Ok("1\n".into()));
        let failed = shell("echo no device >&2; exit 3").output(START).expect_err("it fails");
        assert!(failed.contains("exit status: 3") && failed.ends_with("no device"), "{failed}");
        let begun = Instant::now();
        let late = shell("sleep 600 & sleep 600").output(Duration::from_millis(50)).expect_err("it is ended");
        assert!(late.contains("did not end") && begun.elapsed() < START, "{late}");
    }
}

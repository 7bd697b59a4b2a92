//! Processes of another user that try to join a job without a key, or to play its rank 0; and processes of the same user
//! that live in other namespaces.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use efa_core::Error;
use efa_core::bootstrap::{ControlConfig, Job};

use super::job::{DEADLINE, connect_all, free_port};

/// What the other process does, and at which port.
const PART: &str = "EFA_TEST_PART";
const PORT: &str = "EFA_TEST_PORT";

/// The user called nobody everywhere.
const NOBODY: u32 = 65_534;

/// Whether this process may start others as another user.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t0"));
    if !root {
        println!("NOT TESTED: starting a process of another user needs root");
    }
    root
}

/// This test program again, running only [`other`].
fn other_process(part: &str, port: u16, variables: &[(&str, String)]) -> Command {
    // By this way another user gets at it, whatever folder it lies in.
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--ignored", "--exact", "--nocapture", "strangers::other"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env(PART, part)
        .env(PORT, port.to_string())
        .current_dir("/")
        .stdout(Stdio::piped());
    command
}

/// Kills what is still there at the end of a test.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// The next line that it said.
    fn next_line(&mut self) -> String {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        let said = lines.find_map(|line| line.split_once("said: ").map(|(_, said)| said.to_owned()));
        said.expect("the other process ended early")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "runs as the other process of the tests here"]
fn other() {
    let Ok(part) = std::env::var(PART) else { return };
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    match part.as_str() {
        "join" => match Job::from_env().unwrap().connect(&ControlConfig::default(), DEADLINE) {
            Ok(control) => {
                println!("said: joined as rank {}", control.rank());
                control.leave();
            }
            Err(error) => println!("said: {error}"),
        },
        "take the name" => {
            let name = SocketAddr::from_abstract_name(format!("efa-job {port}")).unwrap();
            let _name = UnixListener::bind_addr(&name).unwrap();
            println!("said: taken");
            std::thread::sleep(2 * DEADLINE);
        }
        "take the port" => {
            let _port = TcpListener::bind(("127.0.0.1", port)).unwrap();
            println!("said: taken");
            std::thread::sleep(2 * DEADLINE);
        }
        other => panic!("there is no part '{other}'"),
    }
}

/// The variables of a rank of a job of two on one host without a key, as each launcher sets them.
fn launchers(port: u16, rank: usize) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let rendezvous = format!("127.0.0.1:{port}");
    let (rank, size) = (rank.to_string(), "2".to_owned());
    let four = |names: [&'static str; 4]| -> Vec<(&'static str, String)> {
        names.into_iter().zip([rank.clone(), size.clone(), rank.clone(), size.clone()]).collect()
    };
    let with = |mut variables: Vec<(&'static str, String)>, more: &[(&'static str, &str)]| {
        variables.extend(more.iter().map(|&(name, value)| (name, value.to_owned())));
        variables
    };
    let efa = four(["EFA_RANK", "EFA_WORLD_SIZE", "EFA_LOCAL_RANK", "EFA_LOCAL_WORLD_SIZE"]);
    let torchrun = four(["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"]);
    let open_mpi = four([
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ]);
    let mpich = four(["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"]);
    let slurm = vec![
        ("SLURM_PROCID", rank.clone()),
        ("SLURM_NTASKS", size.clone()),
        ("SLURM_LOCALID", rank.clone()),
        ("SLURM_STEP_TASKS_PER_NODE", size.clone()),
        ("SLURM_STEP_NODELIST", "localhost".to_owned()),
        ("SLURM_JOB_ID", port.to_string()),
        ("SLURM_STEP_ID", "0".to_owned()),
    ];
    let before = (port - 1).to_string();
    let (port, unused) = (port.to_string(), "unused");
    vec![
        ("explicit variables", with(efa, &[("EFA_RENDEZVOUS", &rendezvous)])),
        ("torchrun", with(torchrun, &[("MASTER_ADDR", unused), ("MASTER_PORT", &before)])),
        ("Open MPI", with(open_mpi, &[("PMIX_NAMESPACE", &port)])),
        ("MPICH", with(mpich, &[("EFA_LAUNCHER_PID", &port)])),
        ("Slurm", slurm),
    ]
}

fn job(variables: &[(&str, String)]) -> Job {
    Job::from_vars(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())).unwrap()
}

#[test]
fn without_a_key_only_the_same_user_joins_whatever_the_launcher() {
    if !is_root() {
        return;
    }
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    std::thread::scope(|scope| {
        for (which, &port) in ports.iter().enumerate() {
            scope.spawn(move || {
                let (launcher, zero) = launchers(port, 0).swap_remove(which);
                let (_, one) = launchers(port, 1).swap_remove(which);
                let zero = job(&zero);
                assert!(zero.rendezvous.as_ref().unwrap().host.starts_with("127."), "{launcher}");
                let zero = scope.spawn(move || {
                    // Long enough for the other process to start, on a loaded machine too.
                    zero.connect(&ControlConfig::default(), Duration::from_secs(8)).map(drop)
                });
                let mut stranger = other_process("join", port, &one);
                stranger.uid(NOBODY);
                let said = Running::start(stranger).next_line();
                assert!(said.contains("another user") && said.contains("id 0"), "{launcher}: {said}");
                let error = zero.join().unwrap().unwrap_err().to_string();
                let told = error.contains("rank 1 did not come") && error.contains("id 65534");
                assert!(told, "{launcher}: {error}");
            });
        }
    });
}

#[test]
fn the_same_user_joins_whatever_the_launcher_and_several_jobs_go_side_by_side() {
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    std::thread::scope(|scope| {
        for (which, &port) in ports.iter().enumerate() {
            scope.spawn(move || {
                let members = [0, 1].map(|rank| job(&launchers(port, rank).swap_remove(which).1));
                assert!(members.iter().all(|job| job.key.is_none()));
                let controls = connect_all(&members);
                assert_eq!(controls[0].secret(), controls[1].secret());
                std::thread::scope(|scope| {
                    for control in controls {
                        scope.spawn(|| control.leave());
                    }
                });
            });
        }
    });
}

#[test]
fn another_user_that_takes_the_name_first_does_not_play_rank_0() {
    if !is_root() {
        return;
    }
    let port = free_port();
    let mut stranger = other_process("take the name", port, &[]);
    stranger.uid(NOBODY);
    let mut stranger = Running::start(stranger);
    assert_eq!(stranger.next_line(), "taken");
    for rank in [0, 1] {
        let member = job(&launchers(port, rank).swap_remove(0).1);
        let error = member.connect(&ControlConfig::default(), DEADLINE).unwrap_err().to_string();
        assert!(error.contains("id 65534") && error.contains("EFA_JOB_KEY"), "{error}");
    }
}

#[test]
fn another_user_that_takes_the_port_first_does_not_play_rank_0() {
    if !is_root() {
        return;
    }
    let port = free_port();
    let mut stranger = other_process("take the port", port, &[]);
    stranger.uid(NOBODY);
    let mut stranger = Running::start(stranger);
    assert_eq!(stranger.next_line(), "taken");
    let [zero, one] = [0, 1].map(|rank| job(&launchers(port, rank).swap_remove(0).1));
    let error = zero.connect(&ControlConfig::default(), DEADLINE).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    let error = one.connect(&ControlConfig::default(), Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("rank 0 of a job without a job key does not listen"), "{error}");
}

#[test]
fn ranks_in_other_process_and_mount_namespaces_join_without_a_key() {
    let unshare = ["--mount", "--pid", "--fork"];
    let allowed = Command::new("unshare").args(unshare).arg("true").status();
    if !allowed.is_ok_and(|status| status.success()) {
        println!("NOT TESTED: namespaces of its own need root");
        return;
    }
    let port = free_port();
    let one = launchers(port, 1).swap_remove(0).1;
    let plain = other_process("join", port, &one);
    let mut command = Command::new("unshare");
    command
        .args(unshare)
        // Neither /tmp nor /proc is shared with rank 0.
        .args(["sh", "-c", "mount -t tmpfs none /tmp && mount -t proc none /proc && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(plain.get_args())
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdout(Stdio::piped());
    let mut one = Running::start(command);
    let zero = job(&launchers(port, 0).swap_remove(0).1);
    let zero = zero.connect(&ControlConfig::default(), DEADLINE).unwrap();
    assert_eq!(one.next_line(), "joined as rank 1");
    zero.leave();
}

#[test]
fn a_killed_rank_0_leaves_nothing_in_the_way_of_the_next_job() {
    let port = free_port();
    let zero = launchers(port, 0).swap_remove(0).1;
    let one = job(&launchers(port, 1).swap_remove(0).1);
    for _ in 0..2 {
        let mut killed = Running::start(other_process("join", port, &zero));
        let control = one.connect(&ControlConfig::default(), DEADLINE).unwrap();
        killed.0.kill().unwrap();
        killed.0.wait().unwrap();
        assert_eq!(
            control.barrier("with the dead", DEADLINE).unwrap_err().peer().map(|peer| peer.rank),
            Some(0)
        );
    }
    let controls = connect_all(&[job(&zero), one]);
    controls.into_iter().for_each(drop);
}

//! The command with an environment that makes no sense: it says so or goes on, and never panics nor hangs.

use std::fs::File;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a command that needs it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Variables and values that make sense by themselves. None makes the command wait long.
const VARIABLES: [(&str, &[&str]); 19] = [
    ("EFA_PROVIDER", &["auto", "tcp", "shm", "efa", "sockets"]),
    ("EFA_POLICY", &["strict", "same-zone", "tcp-across-subnets,mutual-groups"]),
    ("EFA_TIMEOUT", &["300", "0.5"]),
    ("EFA_RANK", &["0", "1"]),
    ("EFA_WORLD_SIZE", &["1", "2"]),
    ("EFA_LOCAL_RANK", &["0", "1"]),
    ("EFA_LOCAL_WORLD_SIZE", &["1", "2"]),
    ("EFA_RENDEZVOUS", &["127.0.0.1:1", "[::1]:1", "localhost:1"]),
    ("EFA_RENDEZVOUS_RESERVED", &["0", "1"]),
    ("EFA_ROOT_PROCESS", &["4711 81234 4026531836", "1 1 1"]),
    ("EFA_JOB_KEY", &["00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"]),
    ("EFA_JOB_KEY_FILE", &["/dev/null", "/nonexistent/key", "/proc/self/cmdline"]),
    ("EFA_JOB_ID", &["job", "efa-1-2"]),
    ("EFA_SECURITY_GROUPS", &["/dev/null", "/nonexistent/groups.json", "/proc"]),
    ("EFA_MEMBERS", &["/dev/null", "/nonexistent/members.json", "/proc/self/environ"]),
    ("EFA_EMULATOR_JOB", &["job"]),
    ("EFA_LOG", &["info", "debug", "efa_core=trace"]),
    ("SLURM_JOB_NODELIST", &["node[1-4,7],other", "node[001-999]"]),
    ("OMPI_COMM_WORLD_RANK", &["0", "1"]),
];

const COMMANDS: [&[&str]; 4] =
    [&["info"], &["doctor", "--json"], &["run", "-n", "1", "--", "true"], &["doctor", "--provider", "tcp"]];

#[test]
fn fuzz_environments_end_in_success_or_a_clear_error() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let printed = folder.path().join("printed");
    efa_fuzz::rounds("environment", 40, |random| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
        command.args(*random.pick(&COMMANDS));
        // A rank of a job that nobody else comes to gives up soon.
        command.env("EFA_ARRIVAL_TIMEOUT", "0.3");
        let mut environment = Vec::new();
        for (name, values) in VARIABLES {
            if random.below(3) > 0 {
                continue;
            }
            let value = random.pick(values);
            let value = if random.below(2) == 0 { random.mutate_text(value) } else { (*value).to_owned() };
            let value = value.replace('\0', "");
            command.env(name, &value);
            environment.push((name, value));
        }
        let file = File::create(&printed).expect("a scratch file");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a descriptor")).stderr(file);
        let mut child = command.spawn().expect("efa starts");
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().expect("efa is our child") {
                Some(status) => break status,
                None if begun.elapsed() > PATIENCE => {
                    child.kill().and_then(|()| child.wait()).expect("it can be killed");
                    panic!("{command:?} hangs with {environment:?}");
                }
                None => sleep(Duration::from_millis(2)),
            }
        };
        let printed = std::fs::read(&printed).expect("a scratch file");
        let printed = String::from_utf8_lossy(&printed);
        let clear = status.code().is_some_and(|code| [0, 1, 2, 3].contains(&code));
        assert!(clear, "{command:?} ended with {status} and {environment:?}: {printed}");
        let has_words = !printed.trim().is_empty() || status.success();
        assert!(has_words && !printed.contains("panicked"), "{command:?} with {environment:?}: {printed}");
    });
}

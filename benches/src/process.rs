//! Running other programs: each with a deadline, on a processor of its own where that is wanted.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use efa_core::{Error, Result};

/// How long one run of a program may take; the longest case takes a few seconds.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(10);

/// Makes the command of a program under a deadline, bound to a processor if one is given.
///
/// `timeout` and `taskset` do both; they belong to Debian's essential packages. `timeout` also ends what the program
/// has started itself.
pub fn guarded(program: impl AsRef<OsStr>, cpu: Option<usize>) -> Command {
    let mut command = Command::new("timeout");
    // The peers in C are linked to the built-in libfabric.
    command.env("EFA_LIBFABRIC", "builtin");
    command.arg("--kill-after=5").arg(DEADLINE.as_secs().to_string());
    if let Some(cpu) = cpu {
        command.args(["taskset", "--cpu-list"]).arg(cpu.to_string());
    }
    command.arg(program);
    command
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// When it can't be started, runs past its deadline or ends with a failure; the error quotes its last words.
pub fn run(command: &mut Command, what: &str) -> Result<String> {
    finish(start(command, what)?, what)
}

/// Runs a server and its client, which it starts once the server listens on `port`, and returns what the client
/// printed.
///
/// # Errors
/// When either fails; both have ended when this returns.
pub fn run_pair(server: &mut Command, client: &mut Command, port: u16, what: &str) -> Result<String> {
    let mut serving = start(server, what)?;
    if let Err(error) = wait_for_listener(&mut serving, port, what) {
        end(&mut serving);
        // The server's own words say more than that it doesn't listen.
        return finish(serving, what).and(Err(error));
    }
    let printed = match start(client, what) {
        Ok(child) => finish(child, what),
        Err(error) => Err(error),
    };
    if printed.is_err() {
        end(&mut serving);
    }
    let served = finish(serving, what);
    let printed = printed?;
    served?;
    Ok(printed)
}

/// Returns a TCP port on loopback that is free now.
///
/// # Errors
/// When the system has none to give.
pub fn free_port() -> Result<u16> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| {
            Error::system(error, "cannot find a free port on loopback", "check the limits on sockets")
        })
}

fn start(command: &mut Command, what: &str) -> Result<Child> {
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    started.map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound => "install the programs timeout and taskset (coreutils, util-linux)",
            _ => "check the limits on processes and memory",
        };
        Error::system(error, format!("cannot start {what}"), remedy)
    })
}

fn finish(child: Child, what: &str) -> Result<String> {
    let began = Instant::now();
    let output = child
        .wait_with_output()
        .map_err(|error| Error::system(error, format!("cannot wait for {what}"), "run it again"))?;
    let last_words = last_lines(&output.stderr).or_else(|| last_lines(&output.stdout));
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Some(124 | 137) => Err(Error::timeout(
            began.elapsed(),
            format!("{what} was ended"),
            format!("it ran for more than {} s", DEADLINE.as_secs()),
            "see what else this machine is doing, and run it again",
        )),
        _ => Err(Error::setting(
            format!("{what} failed"),
            last_words.unwrap_or_else(|| format!("it ended with {} and said nothing", output.status)),
            "run it alone to see more",
        )),
    }
}

/// Asks a program to end. `timeout` passes the signal on to everything that it has started.
fn end(child: &mut Child) {
    let asked = Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status();
    if !asked.is_ok_and(|status| status.success()) {
        // It has ended already, or can't be asked; its own deadline ends it at the latest.
        log_failure(child.kill());
    }
}

fn log_failure(result: std::io::Result<()>) {
    if let Err(error) = result {
        eprintln!("cannot end a program: {error}");
    }
}

/// Waits until somebody listens on the port. Looks it up rather than connecting: the server accepts only once.
fn wait_for_listener(server: &mut Child, port: u16, what: &str) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < START {
        if listens(port) {
            return Ok(());
        }
        if matches!(server.try_wait(), Ok(Some(_))) {
            break;
        }
        sleep(Duration::from_millis(5));
    }
    Err(Error::timeout(
        began.elapsed(),
        format!("{what} did not start"),
        format!("its server does not listen on port {port}"),
        "run it again, or see whether a firewall or another program has the port",
    ))
}

fn listens(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .any(|table| table.lines().skip(1).any(|line| is_listener(line, port)))
}

/// Returns `true` if a line of `/proc/net/tcp` is a socket in state LISTEN (0A) on the port.
fn is_listener(line: &str, port: u16) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next().unwrap_or(""), fields.nth(1).unwrap_or(""));
    state == "0A" && local.ends_with(&format!(":{port:04X}"))
}

fn last_lines(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join(" / ");
    (!last.is_empty()).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_quoted() {
        let error =
            run(guarded("sh", None).args(["-c", "echo no such peer >&2; exit 3"]), "the peer").unwrap_err();
        assert_eq!(error.to_string(), "the peer failed: no such peer; run it alone to see more");
    }

    #[test]
    fn a_program_that_ends_well_gives_what_it_printed() {
        assert_eq!(run(guarded("echo", Some(0)).arg("4.5"), "echo").unwrap(), "4.5\n");
    }

    #[test]
    fn a_server_that_ends_before_it_listens_is_an_error_with_its_words() {
        let mut server = guarded("sh", None);
        server.args(["-c", "echo the port is taken >&2; exit 1"]);
        let error = run_pair(&mut server, &mut guarded("true", None), 1, "a pair").unwrap_err();
        assert!(error.to_string().contains("the port is taken"), "{error}");
    }

    #[test]
    fn a_listener_is_told_from_a_connection() {
        let listener = "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000";
        assert!(is_listener(listener, 3000));
        assert!(!is_listener(listener, 3001));
        assert!(!is_listener(&listener.replace(" 0A ", " 01 "), 3000));
    }
}

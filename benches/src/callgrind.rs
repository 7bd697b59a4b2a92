//! Counts instructions under valgrind's callgrind, and tells ours from libfabric's.
//!
//! Instructions, unlike seconds, are the same on a busy machine. What counts as libfabric's is what its functions
//! execute between being called by Rust code and returning to it, with all that they call in turn. The rest is ours.

use std::path::Path;

use efa_core::{Error, Result};

use crate::process::{guarded, run};

/// Instructions of one operation, on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// On our side of libfabric's interface.
    pub ours: f64,
    /// Inside libfabric.
    pub libfabric: f64,
}

/// Runs a program under callgrind and counts what happens inside one of its functions.
///
/// The program is told the number of operations as its last argument; `function` is part of the name of the function
/// that it calls once for each.
///
/// # Errors
/// When valgrind isn't there, the program fails under it, or the function was never called.
pub fn count(
    program: &Path,
    arguments: &[&str],
    function: &str,
    operations: usize,
    folder: &Path,
) -> Result<Count> {
    let what = format!("the count of {function}");
    let profile = folder.join(format!("callgrind.{function}"));
    let mut command = guarded("valgrind", None);
    command.args([
        "--tool=callgrind",
        "--quiet",
        // Else a thread that never sleeps keeps all others from their turn, such as the progress thread.
        "--fair-sched=try",
        "--demangle=no",
        "--compress-strings=no",
        "--compress-pos=no",
    ]);
    command.arg(format!("--callgrind-out-file={}", profile.display()));
    command.arg("--collect-atstart=no").arg(format!("--toggle-collect=*{function}*"));
    command.arg(program).args(arguments).arg(operations.to_string());
    run(&mut command, &what)?;

    let text = std::fs::read_to_string(&profile).map_err(|error| Error::file(error, &profile))?;
    let costs = Costs::parse(&text);
    if costs.total == 0 {
        return Err(Error::setting(
            format!("cannot make {what}"),
            format!("{} never called it", program.display()),
            "see that the function isn't inlined",
        ));
    }
    let per_operation = |cost: u64| cost as f64 / operations as f64;
    Ok(Count {
        ours: per_operation(costs.total - costs.libfabric),
        libfabric: per_operation(costs.libfabric),
    })
}

/// Sums over a profile.
#[derive(Debug, Default, PartialEq)]
struct Costs {
    /// All instructions that were collected.
    total: u64,
    /// Those of calls from Rust into libfabric, with everything below.
    libfabric: u64,
}

impl Costs {
    /// Reads callgrind's format, version 1, without its compressions: lines `ob=`, `fn=` say where the costs that follow
    /// belong; `cob=`, `cfn=` and `calls=` say whom the next line's inclusive cost is paid to.
    fn parse(text: &str) -> Self {
        let mut costs = Self::default();
        let (mut object, mut function) = ("", "");
        let (mut called_object, mut called) = (None, "");
        let mut is_call = false;
        for line in text.lines() {
            match line.split_once('=') {
                Some(("ob", name)) => object = name,
                Some(("fn", name)) => function = name,
                Some(("cob", name)) => called_object = Some(name),
                Some(("cfn", name)) => called = name,
                Some(("calls", _)) => is_call = true,
                Some(_) => {}
                None => {
                    let Some(cost) = cost_of(line) else { continue };
                    if !is_call {
                        costs.total += cost;
                    } else if !is_libfabric(object, function)
                        && is_libfabric(called_object.unwrap_or(object), called)
                    {
                        costs.libfabric += cost;
                    }
                    if is_call {
                        (is_call, called_object) = (false, None);
                    }
                }
            }
        }
        costs
    }
}

/// Returns the instructions of a cost line, `LINE COST`; headers and empty lines have none.
fn cost_of(line: &str) -> Option<u64> {
    let (position, cost) = line.split_once(' ')?;
    position.parse::<u64>().ok()?;
    cost.parse().ok()
}

/// Returns `true` if a function belongs to libfabric: it comes from its shared library, or, where it is linked in, from
/// a C function of a program whose own code is Rust. Rust's names are mangled, but for a few of its runtime's.
fn is_libfabric(object: &str, function: &str) -> bool {
    let file = object.rsplit('/').next().unwrap_or(object);
    if file.starts_with("libfabric.so") {
        return true;
    }
    let is_shared = file.contains(".so") || object.starts_with('[') || object == "???";
    let is_rust = function.starts_with("_R") || function.starts_with("_ZN");
    let is_runtime =
        function.starts_with("__rust") || function.starts_with("rust_") || function.starts_with("__rdl");
    let is_start = ["main", "_start", "_init", "_fini", "(below main)", "???"].contains(&function);
    // What the linker puts between a program and the C library.
    let is_stub = function.starts_with("0x") || function.ends_with("@plt");
    !(is_shared || is_rust || is_runtime || is_start || is_stub)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
# callgrind format
version: 1
positions: line
events: Ir

ob=/target/release/instructions
fl=instructions.rs
fn=_ZN12instructions13measured_send17h0123456789abcdefE
10 20
cfi=???
cfn=xnet_rdm_tsend
calls=2 0
11 300
cob=/lib/x86_64-linux-gnu/libc.so.6
cfi=???
cfn=memcpy
calls=2 0
12 16

fl=???
fn=xnet_rdm_tsend
0 280
cob=/lib/x86_64-linux-gnu/libc.so.6
cfn=memcpy
calls=2 0
0 20

ob=/lib/x86_64-linux-gnu/libc.so.6
fl=???
fn=memcpy
0 36
totals: 336
";

    #[test]
    fn what_libfabric_calls_is_libfabrics_and_what_we_call_is_ours() {
        assert_eq!(Costs::parse(PROFILE), Costs { total: 336, libfabric: 300 });
    }

    #[test]
    fn a_shared_libfabric_is_known_by_its_object() {
        assert!(is_libfabric("/usr/lib/libfabric.so.1", "fi_getinfo"));
        assert!(!is_libfabric("/lib/libc.so.6", "memcpy"));
        assert!(!is_libfabric("/target/release/instructions", "_RNvCs1_12instructions4main"));
    }
}

//! Runs examples as users do: through `efa run`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Both are on every machine.
pub(crate) const PROVIDERS: [&str; 2] = ["tcp", "shm"];
/// Long enough for a loaded machine; a job that needs it hangs.
const PATIENCE: &str = "120";

/// Runs `example` as a job of `ranks` and waits until it is over.
pub(crate) fn run(provider: &str, ranks: usize, example: &str, arguments: &[&Path]) -> Output {
    // The launcher ends its ranks when it is ended.
    let mut command = Command::new("timeout");
    command.arg(PATIENCE).arg(efa()).args(["run", "--provider", provider, "-n", &ranks.to_string(), "--"]);
    command.arg(example).args(arguments).output().expect("coreutils' timeout is there")
}

/// [`run`] of an example that must end well; gives what it printed, in order of the ranks that it carries in front.
pub(crate) fn lines(provider: &str, ranks: usize, example: &str, arguments: &[&Path]) -> Vec<String> {
    let output = run(provider, ranks, example, arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{example} on {ranks} ranks over {provider}: {stdout}{stderr}");
    let mut lines: Vec<String> = stdout.lines().map(str::to_owned).collect();
    // Stable: the lines of a rank stay in their order.
    lines.sort_by_key(|line| line.split(' ').next().map(str::to_owned));
    lines
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The launcher is another package's binary: it lies beside the examples, and is built if nobody has done so yet.
fn efa() -> &'static Path {
    static EFA: OnceLock<PathBuf> = OnceLock::new();
    EFA.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_ping_pong")).parent().expect("binaries lie in a folder");
        let efa = folder.join("efa");
        if !efa.exists() {
            let profile = match folder.file_name().and_then(|name| name.to_str()) {
                Some("debug") | None => "dev",
                Some(profile) => profile,
            };
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "-p", "efa-cli", "--bin", "efa", "--profile", profile, "--target-dir"]);
            build.arg(folder.parent().expect("profiles lie in the target folder"));
            assert!(build.status().expect("cargo starts").success(), "the launcher can't be built");
        }
        efa
    })
}

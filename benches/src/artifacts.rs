//! Builds what is compared: our command through cargo, and peers in C against the libfabric that is built into it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use efa_core::{Error, Result};
use serde_json::Value;

/// Where the parts of a comparison are.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// Our command.
    pub efa: PathBuf,
    /// The program whose instructions are counted.
    pub instructions: PathBuf,
    /// The linker's arguments for the libfabric that is built into `efa`.
    pub libfabric: Vec<String>,
    /// The root of libfabric's sources, with fabtests beside them; not there in a build without them.
    pub sources: Option<PathBuf>,
    /// Where the peers are built.
    pub folder: PathBuf,
}

impl Artifacts {
    /// Builds our command in release mode, with the features of this program, and finds the rest.
    ///
    /// # Errors
    /// When cargo fails, or doesn't tell where it put things.
    pub fn build() -> Result<Self> {
        let messages = cargo_build()?;
        let metadata = cargo_metadata()?;
        let folder = target_folder(&metadata)?.join("compare");
        std::fs::create_dir_all(&folder).map_err(|error| {
            Error::system(error, format!("cannot create {}", folder.display()), "check the permissions")
        })?;
        Ok(Self {
            efa: executable(&messages, "efa")?,
            instructions: executable(&messages, "instructions")?,
            libfabric: linker_arguments(&messages),
            sources: sources(&metadata),
            folder,
        })
    }

    /// Compiles a program from C sources and returns where it is. `arguments` follow the sources, libraries among
    /// them.
    ///
    /// # Errors
    /// When the compiler isn't there or doesn't accept the sources; its words are quoted.
    pub fn compile_c(&self, name: &str, sources: &[PathBuf], arguments: &[String]) -> Result<PathBuf> {
        let program = self.folder.join(name);
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut command = Command::new(&compiler);
        command.args(["-O2", "-std=gnu11", "-o"]).arg(&program).args(sources).args(arguments);
        output_of(&mut command, &format!("compile {name}"))?;
        Ok(program)
    }

    /// Builds a program of this package against one MPI and returns where it is.
    ///
    /// `wrapper` is the MPI's compiler; `name` tells the target folders of several MPIs apart.
    ///
    /// # Errors
    /// When cargo fails; its messages have been printed.
    pub fn mpi_program(&self, program: &str, wrapper: &str, name: &str) -> Result<PathBuf> {
        let mut command = cargo();
        command.args(["build", "--release", "-p", "efa-benches", "--bin", program, "--features", "mpi"]);
        command
            .arg("--message-format=json-render-diagnostics")
            .arg("--target-dir")
            .arg(self.folder.join(name));
        same_libfabric(&mut command);
        let messages =
            messages_of(command.env("MPICC", wrapper), &format!("build {program} with {wrapper}"))?;
        executable(&messages, program)
    }
}

/// Returns the sources of the peers that are ours.
pub fn peers_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn cargo_build() -> Result<Vec<Value>> {
    let mut command = cargo();
    command.args(["build", "--release", "-p", "efa-cli", "--bin", "efa", "-p", "efa-benches"]);
    command.args(["--bin", "instructions", "--message-format=json-render-diagnostics"]);
    command.args(["--features", "efa-cli/libfabric"]);
    same_libfabric(&mut command);
    messages_of(&mut command, "build our programs")
}

/// Has cargo build in the libfabric that this program has: features of the same names.
fn same_libfabric(command: &mut Command) {
    command.arg("--no-default-features");
    if cfg!(feature = "vendored-efa") {
        command.args(["--features", "vendored-efa"]);
    } else if cfg!(feature = "vendored") {
        command.args(["--features", "vendored"]);
    }
}

fn messages_of(command: &mut Command, what: &str) -> Result<Vec<Value>> {
    let printed = output_of(command, what)?;
    Ok(printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn cargo_metadata() -> Result<Value> {
    let printed = output_of(
        cargo().args(["metadata", "--format-version", "1", "--locked"]),
        "ask cargo about the workspace",
    )?;
    serde_json::from_str(&printed).map_err(|error| {
        Error::setting(
            "cannot read what cargo says about the workspace",
            error.to_string(),
            "use a current cargo",
        )
    })
}

fn executable(messages: &[Value], name: &str) -> Result<PathBuf> {
    messages
        .iter()
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str())
        .map(PathBuf::from)
        .ok_or_else(|| {
            Error::setting(
                format!("cannot find the program {name}"),
                "cargo named no executable",
                "use a current cargo",
            )
        })
}

/// Returns what the build script of efa-sys told cargo to link, in the linker's own words.
fn linker_arguments(messages: &[Value]) -> Vec<String> {
    let scripts = messages.iter().filter(|message| {
        message["reason"] == "build-script-executed"
            && message["package_id"].as_str().is_some_and(|package| package.contains("efa-sys"))
    });
    let strings = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        // Kinds and modifiers come before an equals sign: `native=/path`, `static:+whole-archive=fabric`.
        items
            .filter_map(Value::as_str)
            .map(|item| item.split_once('=').map_or(item, |(_, rest)| rest).to_owned())
            .collect()
    };
    let mut arguments = Vec::new();
    for script in scripts {
        for path in strings(&script["linked_paths"]) {
            arguments.extend([format!("-L{path}"), format!("-Wl,-rpath,{path}")]);
        }
        arguments.extend(strings(&script["linked_libs"]).iter().map(|library| format!("-l{library}")));
    }
    // What a static libfabric needs of the C library, on systems where that is still in several files.
    arguments.extend(["-lpthread", "-ldl", "-lrt", "-lm"].map(str::to_owned));
    arguments
}

/// Returns the folder `libfabric` of the package that carries its sources.
fn sources(metadata: &Value) -> Option<PathBuf> {
    let packages = metadata["packages"].as_array()?;
    let package = packages.iter().find(|package| package["name"] == "lamellar-libfabric-src")?;
    let sources = Path::new(package["manifest_path"].as_str()?).with_file_name("libfabric");
    sources.is_dir().then_some(sources)
}

fn target_folder(metadata: &Value) -> Result<PathBuf> {
    metadata["target_directory"].as_str().map(PathBuf::from).ok_or_else(|| {
        Error::setting(
            "cannot find the target folder",
            "cargo metadata doesn't name it",
            "use a current cargo",
        )
    })
}

/// Runs a build tool; its messages for people go where ours go.
fn output_of(command: &mut Command, what: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Error::system(error, format!("cannot {what} with {program}"), "install it"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::setting(
        format!("cannot {what}"),
        format!("{program} ended with {}", output.status),
        "see its messages above",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_peers_link_what_our_command_links() {
        let messages = [
            json!({"reason": "build-script-executed", "package_id": "path+file:///src/efa-sys#0.1.0",
                   "linked_libs": ["static=fabric", "rt"], "linked_paths": ["native=/out/lib"]}),
            json!({"reason": "build-script-executed", "package_id": "registry+index#other@1.0.0",
                   "linked_libs": ["other"], "linked_paths": []}),
        ];
        let arguments = linker_arguments(&messages).join(" ");
        assert!(arguments.starts_with("-L/out/lib -Wl,-rpath,/out/lib -lfabric -lrt"), "{arguments}");
        assert!(!arguments.contains("other"));
    }

    #[test]
    fn the_executable_is_the_one_of_the_target_with_that_name() {
        let messages = [
            json!({"reason": "compiler-artifact", "target": {"name": "efa_core"}, "executable": null}),
            json!({"reason": "compiler-artifact", "target": {"name": "efa"}, "executable": "/target/release/efa"}),
        ];
        assert_eq!(executable(&messages, "efa").unwrap(), Path::new("/target/release/efa"));
        assert!(executable(&messages, "other").is_err());
    }

    #[test]
    fn the_workspace_has_a_target_folder() {
        assert!(target_folder(&cargo_metadata().unwrap()).unwrap().is_absolute());
    }
}

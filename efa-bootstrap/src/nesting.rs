//! Which of several launchers is the innermost: a program under `mpirun` in a rank of `srun` sees the variables of both.
//!
//! A launcher hands its own environment down. So a variable that the parent process had when it started, with the same
//! value, comes from farther out than one that the parent did not have. `/proc/PID/environ` shows the environment that a
//! process started with.

use std::cell::OnceCell;

use super::ancestors::name_and_parent;
use super::job::Launcher;

/// A process that this one descends from, or this one itself.
struct Ancestor {
    name: String,
    /// The environment it started with, as `NAME=value` with zeros between; `None` where it may not be read.
    environment: Option<Vec<u8>>,
}

/// This process and those it descends from, the nearest first; read when first asked for.
pub(super) struct Nesting {
    ancestors: OnceCell<Vec<Ancestor>>,
}

impl Nesting {
    /// Finds out the nesting of this process.
    pub(super) fn of_this_process() -> Self {
        Self { ancestors: OnceCell::new() }
    }

    /// Makes the nesting of variables which come from nowhere in particular: all are of one depth.
    pub(super) fn unknown() -> Self {
        Self { ancestors: OnceCell::from(Vec::new()) }
    }

    /// Returns how many generations up the variable came to have this value: 0 is in this process itself, 1 by its
    /// parent.
    pub(super) fn depth(&self, name: &str, value: &str) -> usize {
        let ancestors = self.ancestors.get_or_init(read_ancestors);
        let has_it =
            |ancestor: &Ancestor| ancestor.environment.as_ref().is_some_and(|e| holds(e, name, value));
        ancestors.iter().position(|ancestor| !has_it(ancestor)).unwrap_or(ancestors.len())
    }

    /// Returns the innermost of launchers with the variable that each is recognised by. Where two are at one depth, because
    /// a process that starts ranks had neither's variables itself, `preferred` counts, else the process's name decides, and
    /// then the order of the list.
    pub(super) fn innermost(
        &self,
        found: &[(Launcher, &str, String)],
        preferred: Option<Launcher>,
    ) -> Option<Launcher> {
        let depth = |(_, name, value): &(Launcher, &str, String)| self.depth(name, value);
        let least = match found {
            [only] => return Some(only.0),
            _ => found.iter().map(depth).min()?,
        };
        let nearest = || found.iter().filter(|launcher| depth(launcher) == least).map(|found| found.0);
        let named = self.ancestors.get().and_then(|all| all.get(least)).and_then(|a| daemon_of(&a.name));
        let any_of = |wanted: Option<Launcher>| nearest().find(|&launcher| Some(launcher) == wanted);
        any_of(preferred).or_else(|| any_of(named)).or_else(|| nearest().next())
    }
}

/// Returns the launcher whose daemon on a host has this name. The system keeps 15 characters of a name.
fn daemon_of(name: &str) -> Option<Launcher> {
    match name {
        "slurmstepd" => Some(Launcher::Slurm),
        "orted" | "prted" => Some(Launcher::OpenMpi),
        name if name.contains("pmi_pro") => Some(Launcher::Mpich),
        _ => None,
    }
}

fn holds(environment: &[u8], name: &str, value: &str) -> bool {
    environment.split(|&byte| byte == 0).any(|entry| {
        entry.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) == Some(value.as_bytes())
    })
}

fn read_ancestors() -> Vec<Ancestor> {
    /// Deeper nesting than this is not believed.
    const GENERATIONS: usize = 64;
    let mut ancestors = Vec::new();
    let mut pid = std::process::id();
    while pid > 0 && ancestors.len() < GENERATIONS {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((name, parent)) = name_and_parent(&stat) else { break };
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok();
        ancestors.push(Ancestor { name: name.to_owned(), environment });
        pid = parent;
    }
    ancestors
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A process as the tests make it up: its name and its environment, `None` where that may not be read.
    type Process<'a> = (&'a str, Option<&'a [(&'a str, &'a str)]>);

    /// Processes from the inside out.
    pub(crate) fn nesting(processes: &[Process]) -> Nesting {
        let ancestors = processes.iter().map(|(name, variables)| Ancestor {
            name: (*name).to_owned(),
            environment: variables
                .map(|all| all.iter().flat_map(|(n, v)| format!("{n}={v}\0").into_bytes()).collect()),
        });
        Nesting { ancestors: OnceCell::from(ancestors.collect::<Vec<_>>()) }
    }

    #[test]
    fn a_variable_is_as_deep_as_the_nearest_process_without_it() {
        let with: &[(&str, &str)] = &[("RANK", "1"), ("A", "2")];
        let other: &[(&str, &str)] = &[("RANK", "0"), ("A", "2")];
        let nesting = nesting(&[
            ("program", Some(with)),
            ("sh", Some(with)),
            ("torchrun", Some(other)),
            ("sshd", None),
        ]);
        assert_eq!(nesting.depth("RANK", "1"), 2);
        assert_eq!(nesting.depth("A", "2"), 3);
        assert_eq!(nesting.depth("B", "2"), 0);
        assert_eq!(Nesting::unknown().depth("RANK", "1"), 0);
    }

    #[test]
    fn this_process_has_a_name_and_an_environment() {
        let ancestors = read_ancestors();
        assert!(ancestors.len() > 1 && !ancestors[0].name.is_empty() && ancestors[0].environment.is_some());
        let path = std::env::var("PATH").unwrap();
        assert!(Nesting::of_this_process().depth("PATH", &path) > 0);
    }

    #[test]
    fn the_name_of_a_daemon_decides_between_two_of_one_depth() {
        let found = |launcher, name| (launcher, name, "1".to_owned());
        let both = [found(Launcher::OpenMpi, "OMPI_COMM_WORLD_RANK"), found(Launcher::Slurm, "SLURM_PROCID")];
        let all: &[(&str, &str)] = &[("OMPI_COMM_WORLD_RANK", "1"), ("SLURM_PROCID", "1")];
        let under = |daemon| nesting(&[("program", Some(all)), (daemon, None)]).innermost(&both, None);
        assert_eq!(under("slurmstepd"), Some(Launcher::Slurm));
        assert_eq!(under("orted"), Some(Launcher::OpenMpi));
        assert_eq!(under("sh"), Some(Launcher::OpenMpi));
        assert_eq!(nesting(&[]).innermost(&[], None), None);
    }
}

//! The state of the hosts of a job: each rank looks at its own, and hosts in the same state are told of together.

use std::collections::HashMap;
use std::path::Path;

use efa_core::admission::source;
use efa_core::fabric::{self, Provider};
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};

use super::checks::{self, Check, System};
use crate::emulation::is_emulated;
use crate::terminal::paint;

/// So many hosts are named in the table before the rest is only counted.
const HOSTS_SHOWN: usize = 3;

/// What the first rank of a host finds there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    checks: Vec<Check>,
}

/// A host of the job.
#[derive(Debug, Serialize)]
pub(super) struct Host {
    host: String,
    ranks: Vec<usize>,
    checks: Vec<Check>,
}

/// Returns the name of this host.
pub(super) fn name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

impl State {
    /// Looks at this host, on which the job has so many ranks.
    pub(super) fn of_this_host(local_ranks: usize) -> Self {
        let root = Path::new("/");
        let offers = fabric::offers().unwrap_or_default();
        let mut providers: Vec<String> = offers.iter().map(|offer| offer.provider.to_string()).collect();
        providers.dedup();
        let facts = source::host::host_facts().ok();
        let efas = || offers.iter().filter(|offer| offer.provider == Provider::Efa);
        let space = statvfs("/dev/shm").ok();
        let system = System {
            root,
            memlock: facts.as_ref().and_then(|facts| facts.memlock_bytes),
            driven: facts.as_ref().map_or(0, |facts| facts.efa_devices),
            offered: efas().count(),
            queue_pairs: efas().next().map(|offer| offer.limits.endpoints),
            providers,
            libfabric: fabric::library()
                .map(|library| library.to_string())
                .map_err(|error| error.to_string()),
            shared: space.map(|space| (space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize)),
            local_ranks,
            container: checks::container(root, |name| std::env::var(name).ok()),
            slurm: std::env::var_os("SLURM_JOB_ID").is_some(),
            emulated: is_emulated().then(|| std::env::var("EFA_EMULATOR_PLAN").unwrap_or_default()),
        };
        Self { checks: system.checks() }
    }
}

/// Returns what hosts must have in common to be told of together; figures such as free space differ everywhere.
fn outcome(checks: &[Check]) -> Vec<(&str, checks::State)> {
    checks.iter().map(|check| (check.name.as_str(), check.state)).collect()
}

/// Puts together what the ranks, in their order, have said: their host, and its state if they have looked.
pub(super) fn group(said: Vec<(String, Option<State>)>) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (rank, (name, state)) in said.into_iter().enumerate() {
        let place = *places.entry(name.clone()).or_insert_with(|| {
            hosts.push(Host { host: name, ranks: Vec::new(), checks: Vec::new() });
            hosts.len() - 1
        });
        hosts[place].ranks.push(rank);
        if let Some(state) = state
            && hosts[place].checks.is_empty()
        {
            hosts[place].checks = state.checks;
        }
    }
    hosts
}

/// How wide the column of names is at least.
const NARROWEST: usize = 14;

/// Returns the hosts for people; those in the same state share a paragraph.
pub(super) fn to_table(hosts: &[Host], coloured: bool) -> String {
    let mut alike: Vec<Vec<&Host>> = Vec::new();
    for host in hosts {
        match alike.iter_mut().find(|known| outcome(&known[0].checks) == outcome(&host.checks)) {
            Some(known) => known.push(host),
            None => alike.push(vec![host]),
        }
    }
    let names = hosts.iter().flat_map(|host| &host.checks).map(|check| check.name.len());
    let width = names.max().unwrap_or(0).max(NARROWEST);
    let paragraphs = alike.iter().map(|hosts| {
        let names: Vec<&str> = hosts.iter().take(HOSTS_SHOWN).map(|host| host.host.as_str()).collect();
        let more = match hosts.len().saturating_sub(HOSTS_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more like it"),
        };
        let ranks: usize = hosts.iter().map(|host| host.ranks.len()).sum();
        let ranks = if ranks == 1 { String::new() } else { format!(", {ranks} ranks") };
        let heading = format!("host {}{more}{ranks}\n", names.join(", "));
        hosts[0].checks.iter().fold(heading, |text, check| text + &line(check, width, coloured))
    });
    paragraphs.collect::<Vec<_>>().join("\n")
}

fn line(check: &Check, width: usize, coloured: bool) -> String {
    let state = match check.state {
        checks::State::Ok => paint(coloured, "32", "ok     "),
        checks::State::Note => paint(coloured, "2", "note   "),
        checks::State::Warning => paint(coloured, "1;33", "warning"),
    };
    let mut text = format!("  {state}  {:<width$}  {}\n", check.name, check.text.what);
    if !check.text.remedy.is_empty() {
        let fix = &check.text.remedy;
        text += &format!("  {:7}  {:<width$}  {} {fix}\n", "", "", paint(coloured, "2", "fix"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(state: checks::State) -> Option<State> {
        let check = Check { state, ..checks::ok("memlock-limit", "8 MiB".into()) };
        Some(State { checks: vec![check] })
    }

    #[test]
    fn hosts_have_their_ranks_and_those_in_one_state_share_a_paragraph() {
        use checks::State::{Ok, Warning};
        let said = [("a", state(Ok)), ("a", None), ("b", state(Warning)), ("c", state(Ok)), ("b", None)];
        let hosts = group(said.into_iter().map(|(name, state)| (name.to_owned(), state)).collect());
        let ranks: Vec<_> = hosts.iter().map(|host| (host.host.as_str(), host.ranks.clone())).collect();
        assert_eq!(ranks, [("a", vec![0, 1]), ("b", vec![2, 4]), ("c", vec![3])]);
        assert_eq!(
            to_table(&hosts, false),
            "host a, c, 3 ranks\n  ok       memlock-limit   8 MiB\n\nhost b, 2 ranks\n  warning  memlock-limit   8 MiB\n"
        );
    }

    #[test]
    fn a_long_name_moves_the_details_of_all_checks() {
        let check = |name: &str, fix: &str| Check {
            state: checks::State::Note,
            ..checks::warning(name, "as told".into(), fix.into())
        };
        let checks = vec![check("a-name-of-twenty-two-c", "do this"), check("short", "")];
        let table = to_table(&group(vec![("a".into(), Some(State { checks }))]), false);
        let columns: Vec<_> = table.lines().skip(1).filter_map(|line| line.find("as told")).collect();
        assert_eq!(columns, [35, 35], "{table}");
        assert_eq!(table.lines().find_map(|line| line.find("fix do this")), Some(35), "{table}");
    }

    #[test]
    fn many_hosts_alike_are_counted() {
        let said = (0..1000).map(|number| (format!("node-{number}"), state(checks::State::Ok))).collect();
        let table = to_table(&group(said), false);
        assert!(
            table.starts_with("host node-0, node-1, node-2 and 997 more like it, 1000 ranks\n"),
            "{table}"
        );
        assert_eq!(table.lines().count(), 2);
    }
}

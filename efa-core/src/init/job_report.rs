//! What carries a job's data, and why: [`JobReport`].

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::evaluate;
use super::introduction::{Introduction, choose_provider};
use crate::admission::{Facts, MemberName, Policy, Report, source};
use crate::error::{Result, printable};
use crate::fabric::{self, Library, Provider, ProviderChoice};

/// What carries a job's data, and why: provider, libfabric, devices, and what was not taken.
///
/// All ranks have the same report, except that each names its own device. `Display` gives the report in one line, which
/// rank 0 also logs at the level `info`:
///
/// ```text
/// shm carries the data of 2 ranks on 1 host: all ranks share memory; libfabric 1.22, built-in (/usr/local/bin/efa): this host has no EFA; 1 device per rank (shm); not taken: efa (ranks 0-1 (node-a): the host has none)
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobReport {
    /// The number of ranks.
    pub ranks: usize,
    /// The number of hosts. Containers that share no memory count as hosts of their own.
    pub hosts: usize,
    /// The provider that carries the data.
    pub provider: Provider,
    /// Why this provider was chosen.
    pub reason: String,
    /// Whether the EFA is an emulated one.
    pub emulated: bool,
    /// The libfabric of each rank.
    pub libfabric: Vec<LibraryOfRanks>,
    /// The number of devices that each rank uses.
    pub devices_per_rank: usize,
    /// The device of this rank, by libfabric's domain name.
    pub device: String,
    /// What could have carried the data, or carried it faster, and was not taken.
    pub not_taken: Vec<NotTaken>,
    /// What admission said about the job.
    #[serde(skip)]
    pub admission: Report,
}

/// A libfabric, and the ranks that use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LibraryOfRanks {
    /// The library.
    #[serde(flatten)]
    pub library: Library,
    /// The ranks, in words: `ranks 0-7 (node-a)`.
    pub ranks: String,
}

/// Something that was not taken to carry the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NotTaken {
    /// What was not taken: a provider, a libfabric, devices.
    pub what: String,
    /// Why it was not taken.
    pub why: String,
}

impl JobReport {
    /// Reports what would carry the data of a job of this process alone.
    ///
    /// # Errors
    /// As those of [`init`](super::init); a job that is refused is no error.
    pub fn of_this_host(choice: ProviderChoice, policy: &Policy) -> Result<Self> {
        let mut member = Introduction::of_this_process(0, None)?;
        let provider = choose_provider(choice, std::slice::from_ref(&member));
        let facts = [member.facts.clone()];
        let lookup = source::look_up(&facts, None)?;
        lookup.complete([&mut member.facts]);
        let admission = evaluate(&lookup, &facts, policy, provider);
        let device = fabric::find(provider, None, None)?.domain();
        Ok(Self::new(choice, provider, device, &[member], admission))
    }

    pub(super) fn new(
        choice: ProviderChoice,
        provider: Provider,
        device: String,
        members: &[Introduction],
        admission: Report,
    ) -> Self {
        let hosts = members.iter().map(|member| &member.host).collect::<BTreeSet<_>>().len();
        let reason = match (choice, provider) {
            (ProviderChoice::Only(_), _) => "it was asked for by name",
            (ProviderChoice::Auto, Provider::Efa) => "every rank has an EFA",
            (ProviderChoice::Auto, Provider::Shm) => "all ranks share memory",
            (ProviderChoice::Auto, Provider::Tcp | Provider::Sockets) => "it reaches every rank",
        };
        let mut not_taken = faster_providers(choice, provider, members);
        not_taken.extend(other_devices(provider, members));
        if provider == Provider::Shm && !fabric::shm_is_patched() {
            not_taken.push(NotTaken {
                what: "CMA".into(),
                why: "this libfabric lacks the patches that make it safe, so data is copied twice".into(),
            });
        }
        not_taken.extend(other_libraries(members));
        Self {
            ranks: members.len(),
            hosts,
            provider,
            reason: reason.into(),
            emulated: provider == Provider::Efa && fabric::is_emulated(),
            libfabric: libraries(members),
            devices_per_rank: 1,
            device,
            not_taken,
            admission,
        }
    }
}

impl fmt::Display for JobReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ranks, hosts, provider, reason, devices_per_rank, device, .. } = self;
        let plural = |number: &usize| if *number == 1 { "" } else { "s" };
        let emulated = if self.emulated { " (emulated)" } else { "" };
        let mut line = format!(
            "{provider}{emulated} carries the data of {ranks} rank{} on {hosts} host{}: {reason}",
            plural(ranks),
            plural(hosts)
        );
        for LibraryOfRanks { library, ranks } in &self.libfabric {
            let at = if self.libfabric.len() > 1 { format!("at {ranks} ") } else { String::new() };
            line += &format!("; {at}libfabric {library}");
        }
        line += &format!("; {devices_per_rank} device{} per rank ({device})", plural(devices_per_rank));
        for (place, NotTaken { what, why }) in self.not_taken.iter().enumerate() {
            line += &format!("{}{what} ({why})", if place == 0 { "; not taken: " } else { ", " });
        }
        // Other ranks wrote parts of this.
        f.write_str(&printable(&line.replace('\n', " ")))
    }
}

/// The providers that are faster and were not taken. Of those that a provider named by the user kept out, only the ones
/// that could have been used.
fn faster_providers(choice: ProviderChoice, taken: Provider, members: &[Introduction]) -> Vec<NotTaken> {
    let faster = Provider::ALL.into_iter().take_while(|&provider| provider != taken);
    let obstacle = |provider| match provider {
        Provider::Efa => why_no_efa(members),
        Provider::Shm if members.iter().any(|member| member.host != members[0].host) => {
            Some("not all ranks share memory".into())
        }
        Provider::Shm | Provider::Tcp | Provider::Sockets => None,
    };
    let not_taken = faster.filter_map(|provider| {
        let why = match (choice, obstacle(provider)) {
            (ProviderChoice::Auto, obstacle) => obstacle?,
            (ProviderChoice::Only(_), Some(_)) => return None,
            (ProviderChoice::Only(named), None) => format!("{named} was asked for"),
        };
        Some(NotTaken { what: provider.to_string(), why })
    });
    not_taken.collect()
}

/// Why efa can't carry the data, with the ranks it is because of; `None` if it can.
fn why_no_efa(members: &[Introduction]) -> Option<String> {
    let reasons: BTreeSet<&String> = members.iter().filter_map(|member| member.no_efa.as_ref()).collect();
    let parts: Vec<String> = reasons
        .into_iter()
        .map(|why| format!("{}: {why}", names(members, |member| member.no_efa.as_ref() == Some(why))))
        .collect();
    if parts.is_empty() { None } else { Some(parts.join("; ")) }
}

/// The EFAs that no rank uses although it could.
fn other_devices(provider: Provider, members: &[Introduction]) -> Option<NotTaken> {
    let efas = |facts: &Facts| facts.host.as_ref().map_or(0, |host| host.efa_devices);
    let most = members.iter().map(|member| efas(&member.facts)).max()?;
    (provider == Provider::Efa && most > 1).then(|| NotTaken {
        what: format!("{} of {most} EFAs", most - 1),
        why: "a rank uses one device, the first unless EndpointConfig names another".into(),
    })
}

/// The libraries that come earlier in the order than the one in use.
fn other_libraries(members: &[Introduction]) -> Vec<NotTaken> {
    let mut libraries = Vec::new();
    for skipped in members.iter().flat_map(|member| &member.libfabric.skipped) {
        let it = NotTaken { what: skipped.library.clone(), why: skipped.reason.clone() };
        if !libraries.contains(&it) {
            libraries.push(it);
        }
    }
    libraries
}

/// Every libfabric that a rank uses, with its ranks.
fn libraries(members: &[Introduction]) -> Vec<LibraryOfRanks> {
    let mut libraries: Vec<LibraryOfRanks> = Vec::new();
    for Introduction { libfabric, .. } in members {
        if !libraries.iter().any(|other| other.library == *libfabric) {
            let ranks = names(members, |member| member.libfabric == *libfabric);
            libraries.push(LibraryOfRanks { library: libfabric.clone(), ranks });
        }
    }
    libraries
}

/// Names the members that a condition holds for.
fn names(members: &[Introduction], holds: impl Fn(&Introduction) -> bool) -> String {
    let chosen = members.iter().filter(|member| holds(member));
    let names: Vec<MemberName> = chosen.map(|member| MemberName::of(&member.facts)).collect();
    MemberName::list(&names)
}

#[cfg(test)]
mod tests {
    use super::super::introduction::tests::member;
    use super::*;
    use crate::fabric::SkippedLibrary;

    fn report(choice: ProviderChoice, members: &[Introduction]) -> JobReport {
        let facts: Vec<Facts> = members.iter().map(|member| member.facts.clone()).collect();
        let provider = choose_provider(choice, members);
        let admission = source::look_up(&facts, None).unwrap().evaluate(&facts, &Policy::strict());
        JobReport::new(choice, provider, format!("{provider}0"), members, admission)
    }

    const AUTO: ProviderChoice = ProviderChoice::Auto;

    #[test]
    fn each_choice_of_auto_names_what_was_better_and_why_it_was_not_taken() {
        let line = |members: &[Introduction]| report(AUTO, members).to_string();
        assert_eq!(
            line(&[member(0, "a", 1), member(1, "b", 1)]),
            "efa carries the data of 2 ranks on 2 hosts: every rank has an EFA; libfabric 1.22, built-in (/program): \
             this host has no EFA; 1 device per rank (efa0)"
        );
        let shm = line(&[member(0, "a", 0), member(1, "a", 0)]);
        assert!(
            shm.starts_with("shm carries the data of 2 ranks on 1 host: all ranks share memory;"),
            "{shm}"
        );
        assert!(shm.contains("; not taken: efa (ranks 0-1 (a): the host has none)"), "{shm}");
        let tcp = line(&[member(0, "a", 1), member(1, "b", 0), member(2, "c", 0)]);
        assert!(
            tcp.ends_with(
                "; not taken: efa (ranks 1-2 (b, c): the host has none), shm (not all ranks share memory)"
            ),
            "{tcp}"
        );
    }

    #[test]
    fn a_provider_asked_for_by_name_names_the_better_ones_that_were_there() {
        let not_taken = |provider, members: &[Introduction]| -> Vec<String> {
            let report = report(ProviderChoice::Only(provider), members);
            assert_eq!(report.reason, "it was asked for by name");
            report.not_taken.into_iter().map(|it| format!("{}: {}", it.what, it.why)).collect()
        };
        let both = [member(0, "a", 1), member(1, "a", 1)];
        assert_eq!(not_taken(Provider::Tcp, &both), ["efa: tcp was asked for", "shm: tcp was asked for"]);
        let apart = [member(0, "a", 0), member(1, "b", 0)];
        assert_eq!(not_taken(Provider::Tcp, &apart), Vec::<String>::new());
    }

    #[test]
    fn devices_that_nobody_uses_are_named() {
        let line = report(AUTO, &[member(0, "a", 4), member(1, "b", 4)]).to_string();
        assert!(line.contains("1 device per rank (efa0); not taken: 3 of 4 EFAs (a rank uses one"), "{line}");
    }

    #[test]
    fn libraries_that_differ_or_were_passed_over_are_named_with_their_ranks() {
        let mut members = [member(0, "a", 0), member(1, "b", 0), member(2, "b", 0)];
        members[0].libfabric.version = "2.1".into();
        members[1].libfabric.skipped =
            vec![SkippedLibrary { library: "/opt/lib".into(), reason: "it is\n\x1b[31mred".into() }];
        members[2].libfabric.skipped = members[1].libfabric.skipped.clone();
        let line = report(AUTO, &members).to_string();
        for part in [
            "; at rank 0 (a) libfabric 2.1, built-in (/program): this host has no EFA; ",
            "; at ranks 1-2 (b) libfabric 1.22, built-in (/program): this host has no EFA; ",
            ", /opt/lib (it is \\u{1b}[31mred)",
        ] {
            assert!(line.contains(part), "'{part}' is missing in {line}");
        }
        assert_eq!((line.lines().count(), line.matches("/opt/lib").count()), (1, 1));
    }
}

//! From the environment to a communicator: [`init`].

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admission::{Facts, Policy, Report, source};
use crate::bootstrap::{Control, ControlConfig, Job};
use crate::collective::Communicator;
use crate::endpoint::tag::Space;
use crate::endpoint::{Endpoint, EndpointConfig, Source, Tag, Unconnected};
use crate::error::{Error, Peer, Result};
use crate::fabric::{self, Provider, ProviderChoice};

/// Joins the job that this process belongs to, and returns the communicator of all its ranks.
///
/// Which job that is, the environment says: that of `efa run`, torchrun, Slurm, Open MPI or MPICH; without any of them
/// the process is a job of one. The members meet, are judged ([`admission`]), agree on a provider,
/// open their endpoints and try the path to their neighbours.
///
/// ```no_run
/// use efa_core::collective::ReduceOp;
/// # fn main() -> efa_core::Result<()> {
/// let world = efa_core::init()?;
/// let mut gradient = vec![world.rank() as f32; 1024];
/// world.all_reduce_in_place(&mut gradient, ReduceOp::Sum)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Setting`] for an environment that makes no sense; [`Error::Rendezvous`] and [`Error::Timeout`] when the
/// members don't find one another; [`Error::Refused`] when the job is not admitted; [`Error::Provider`] when the
/// provider asked for is not here.
pub fn init() -> Result<Communicator> {
    Init::from_env()?.join()
}

/// How to join a job, for those who want it otherwise than [`init`] does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Init {
    /// Which job, and which of its ranks. Default: what the environment says.
    pub job: Job,
    /// Which provider. Default: `EFA_PROVIDER`, else the best that all ranks have.
    pub provider: ProviderChoice,
    /// What to judge the members by. Default: one subnet.
    pub policy: Policy,
    /// The rules of the security groups, as `aws ec2 describe-security-groups` prints them; read by rank 0. Default:
    /// none, which on EC2 means unknown.
    pub security_groups: Option<PathBuf>,
    /// How the endpoint waits; its provider and address are chosen by what the members agree on. Default: see there.
    pub endpoint: EndpointConfig,
    /// How long to wait for all members to arrive. Default: 60 s; `EFA_ARRIVAL_TIMEOUT`, in seconds, overrides it.
    pub arrival: Duration,
    /// How long the first message to a neighbour may take. Default: 10 s. On EFA a wrong security group would
    /// otherwise hang for minutes.
    pub path: Duration,
}

impl Init {
    /// The defaults, and what the environment says.
    ///
    /// # Errors
    /// [`Error::Setting`] for a variable that makes no sense.
    pub fn from_env() -> Result<Self> {
        let arrival = match std::env::var("EFA_ARRIVAL_TIMEOUT") {
            Ok(value) => match value.trim().parse::<f64>() {
                Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Duration::from_secs_f64(seconds),
                _ => {
                    return Err(Error::setting(
                        format!("cannot use EFA_ARRIVAL_TIMEOUT={value}"),
                        "it is not a number of seconds between 0.1 and a day",
                        "set it like EFA_ARRIVAL_TIMEOUT=60, or unset it",
                    ));
                }
            },
            Err(_) => Duration::from_secs(60),
        };
        Ok(Self {
            job: Job::from_env()?,
            provider: ProviderChoice::from_env()?,
            policy: Policy::strict(),
            security_groups: std::env::var_os("EFA_SECURITY_GROUPS").map(PathBuf::from),
            endpoint: EndpointConfig::from_env()?,
            arrival,
            path: Duration::from_secs(10),
        })
    }

    /// Joins the job: see [`init`].
    ///
    /// # Errors
    /// As [`init`].
    pub fn join(self) -> Result<Communicator> {
        let control = self.job.connect(&ControlConfig::default(), self.arrival)?;
        self.settle(&control)
            .map_err(|error| {
                // Without this the others would only see that we are gone.
                if !matches!(error, Error::Refused { .. } | Error::Aborted { .. } | Error::PeerLost { .. }) {
                    control.abort(&error.to_string());
                }
                error
            })
            .and_then(|(endpoint, report)| Communicator::new(endpoint, control, report))
    }

    /// What comes between meeting and the first message of the program.
    fn settle(&self, control: &Control) -> Result<(Endpoint, Report)> {
        control.agree("the provider asked for", &self.provider.to_string(), self.arrival)?;
        let members = self.introduce(control)?;
        let provider = choose_provider(self.provider, &members);
        let report = self.judge(control, &members, provider)?;
        let admission = report.admit()?;

        let mut config = self.endpoint.clone().provider(provider);
        config.local_ranks =
            members.iter().filter(|member| member.host == members[control.rank()].host).count();
        config.source = config.source.or(Some(control.local_address()));
        let opened = Endpoint::open(&admission, config)?;
        let endpoint = self.connect(control, opened)?;
        self.prove_path(control, &endpoint)?;
        Ok((endpoint, report))
    }

    /// Exchanges what the members know about themselves.
    fn introduce(&self, control: &Control) -> Result<Vec<Introduction>> {
        let mut facts = source::of_this_machine(control.rank(), Some(control.local_address()))?;
        let devices = fabric::device_count(Provider::Efa);
        if let Some(host) = &mut facts.host {
            // What libfabric sees counts: an emulated device is not in sysfs, and needs no locked memory.
            host.efa_devices = devices;
            if fabric::is_emulated() {
                host.memlock_bytes = None;
            }
        }
        let mine = Introduction { facts, host: host_identity(), efa: devices > 0 };
        let mine = serde_json::to_vec(&mine).expect("facts are plain data");
        let all = control.exchange("who the members are", &mine, self.arrival)?;
        all.iter().enumerate().map(|(rank, wire)| parse(rank, wire)).collect()
    }

    /// Judges the job; every rank comes to the same report.
    fn judge(&self, control: &Control, members: &[Introduction], provider: Provider) -> Result<Report> {
        let facts: Vec<Facts> = members.iter().map(|member| member.facts.clone()).collect();
        let file = self.security_groups.as_deref();
        let lookup = if control.rank() == 0 {
            let lookup = source::look_up(&facts, file)?;
            let wire = serde_json::to_vec(&lookup).expect("rules are plain data");
            control.broadcast_from_root("the rules of the security groups", Some(&wire), self.arrival)?;
            lookup
        } else {
            let patience = self.arrival + source::LOOK_UP_LIMIT;
            let wire = control.broadcast_from_root("the rules of the security groups", None, patience)?;
            parse(0, &wire)?
        };
        let policy = self.policy.clone().requires_efa(provider == Provider::Efa);
        Ok(lookup.evaluate(&facts, &policy))
    }

    /// Exchanges addresses and connects.
    fn connect(&self, control: &Control, opened: Unconnected) -> Result<Endpoint> {
        control.agree("the provider and its protocol", &opened.protocol(), self.arrival)?;
        let mine = AddressCard { address: opened.address().to_vec(), printable: opened.printable_address() };
        let mine = serde_json::to_vec(&mine).expect("an address is plain data");
        let all = control.exchange("endpoint addresses", &mine, self.arrival)?;
        let mut peers = Vec::with_capacity(all.len());
        for (rank, wire) in all.iter().enumerate() {
            let card: AddressCard = parse(rank, wire)?;
            let host = control.peers()[rank].host.clone();
            peers.push((Peer { rank, host, address: card.printable }, card.address));
        }
        opened.connect(control.rank(), peers, control.liveness())
    }

    /// Sends a small message around the ring of ranks, so that a path that is closed shows now and by name.
    fn prove_path(&self, control: &Control, endpoint: &Endpoint) -> Result<()> {
        let (me, size) = (endpoint.rank(), endpoint.size());
        if size > 1 {
            let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
            let tag = Tag::from(0u32);
            let receive = endpoint.recv_op(Space::Control, Source::Rank(previous), tag.into(), vec![0u32; 1]);
            let send = endpoint.send_op(Space::Control, next, tag, vec![me as u32]);
            let closed = |peer: usize, direction: &str| {
                let peer = &endpoint.peers()[peer];
                Error::timeout(
                    self.path,
                    format!("the path between rank {me} and {peer} is closed"),
                    format!("a first message {direction} did not pass within {:?}", self.path),
                    match endpoint.provider() {
                        Provider::Efa => {
                            "see that one security group with rules from and to itself is on both EFA interfaces"
                        }
                        Provider::Shm => "see that both ranks share /dev/shm",
                        _ => "see what stands between the hosts: firewall, security group, route",
                    },
                )
            };
            match receive.wait_deadline(self.path) {
                Ok((result, _)) => drop(result?),
                Err(_) => return Err(closed(previous, "from there")),
            }
            match send.wait_deadline(self.path) {
                Ok((result, _)) => drop(result?),
                Err(_) => return Err(closed(next, "to there")),
            }
        }
        control.barrier("the first messages", self.path + self.arrival)
    }
}

/// What a member says about itself when the members meet.
#[derive(Serialize, Deserialize)]
struct Introduction {
    facts: Facts,
    /// Equal for two members that share memory.
    host: String,
    /// Whether it has an EFA that libfabric can use.
    efa: bool,
}

#[derive(Serialize, Deserialize)]
struct AddressCard {
    address: Vec<u8>,
    printable: String,
}

fn parse<T: for<'a> Deserialize<'a>>(rank: usize, wire: &[u8]) -> Result<T> {
    serde_json::from_slice(wire).map_err(|error| {
        Error::rendezvous(
            format!("cannot understand rank {rank}"),
            error.to_string(),
            "use the same version of this library on all ranks",
        )
    })
}

/// The best provider that all members have.
fn choose_provider(choice: ProviderChoice, members: &[Introduction]) -> Provider {
    match choice {
        ProviderChoice::Only(provider) => provider,
        ProviderChoice::Auto if members.iter().all(|member| member.efa) => Provider::Efa,
        ProviderChoice::Auto if members.iter().all(|member| member.host == members[0].host) => Provider::Shm,
        ProviderChoice::Auto => Provider::Tcp,
    }
}

/// Two processes with the same identity run on one kernel, see each other's memory and share /dev/shm.
fn host_identity() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let pids = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let shm = std::fs::metadata("/dev/shm")
        .map(|shm| std::os::unix::fs::MetadataExt::dev(&shm))
        .unwrap_or_default();
    format!("{} {} {shm}", boot.trim(), pids.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(host: &str, efa: bool) -> Introduction {
        let facts = source::host::facts(0, Some([127, 0, 0, 1].into())).unwrap();
        Introduction { facts, host: host.into(), efa }
    }

    #[test]
    fn auto_takes_efa_only_where_every_rank_has_one() {
        let auto = ProviderChoice::Auto;
        assert_eq!(choose_provider(auto, &[member("a", true), member("b", true)]), Provider::Efa);
        assert_eq!(choose_provider(auto, &[member("a", true), member("b", false)]), Provider::Tcp);
        assert_eq!(choose_provider(auto, &[member("a", true), member("a", false)]), Provider::Shm);
    }

    #[test]
    fn a_provider_asked_for_by_name_is_never_replaced() {
        let tcp = ProviderChoice::Only(Provider::Tcp);
        assert_eq!(choose_provider(tcp, &[member("a", true), member("a", true)]), Provider::Tcp);
    }
}

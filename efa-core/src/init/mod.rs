//! From the environment to a communicator: [`init`].

mod introduction;
mod job_report;
mod judged;
mod path;
mod run;

use std::path::PathBuf;
use std::time::Duration;

use crate::admission::{Facts, Lookup, Policy, Report, source};
use crate::bootstrap::{Control, ControlConfig, Job};
use crate::collective::Communicator;
use crate::endpoint::EndpointConfig;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::fabric::{self, Provider, ProviderChoice};
use crate::input;
use crate::logging::{self, log_from_env};
pub use introduction::this_member;
use introduction::{Introduction, choose_provider, parse};
pub use job_report::{JobReport, LibraryOfRanks, NotTaken};
pub use judged::Judged;
pub use run::run;

/// Joins the job that this process belongs to, and returns the communicator of all its ranks.
///
/// Which job that is, the environment says: that of `efa run`, torchrun, Slurm, Open MPI, MPICH or Kubernetes; without
/// any of them the process is a job of one. The members meet, are judged ([`admission`](crate::admission)), agree on a
/// provider, open their endpoints and try the path to their neighbours.
///
/// ```no_run
/// use efa_core::collective::ReduceOp;
/// # fn main() -> efa_core::Result<()> {
/// let world = efa_core::init()?;
/// let mut gradient = vec![world.rank() as f32; 1024];
/// world.all_reduce_in_place(&mut gradient, ReduceOp::Sum)?;
/// world.finish()
/// # }
/// ```
///
/// A rank that drops the communicator without [`Communicator::finish`] ends the job for all: see [`Communicator`].
///
/// # Errors
/// [`Error::Setting`] for an environment that makes no sense; [`Error::Rendezvous`] and [`Error::Timeout`] when the
/// members don't find one another; [`Error::Refused`] when the job is not admitted, or a message between neighbours
/// does not get through; [`Error::Provider`] when the provider asked for is not here.
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
    /// What to judge the members by. Default: `EFA_POLICY`, else one subnet.
    pub policy: Policy,
    /// The rules of the security groups, as `aws ec2 describe-security-groups` prints them; read by rank 0. Default:
    /// none, which on EC2 means unknown.
    pub security_groups: Option<PathBuf>,
    /// How the endpoint waits; its provider and address are chosen by what the members agree on. Default: see there.
    pub endpoint: EndpointConfig,
    /// How long to wait for all members to arrive. Default: 60 s; `EFA_ARRIVAL_TIMEOUT`, in seconds, overrides it.
    pub arrival: Duration,
    /// How the ranks notice that one is gone. All ranks should have the same. Default: [`ControlConfig::from_env`].
    pub control: ControlConfig,
    /// How long [`Communicator::finish`] waits for ranks that are alive. Default: `EFA_LEAVE_TIMEOUT`, in seconds, else
    /// without limit.
    pub leave: Option<Duration>,
    /// How long the first message to a neighbour may take. Default: 10 s. On EFA a wrong security group would
    /// otherwise hang for minutes.
    pub path: Duration,
}

impl Init {
    /// The defaults, and what the environment says. With `EFA_LOG` in the environment, the library's messages go to
    /// standard error from here on: see [`log_from_env`].
    ///
    /// # Errors
    /// [`Error::Setting`] for a variable that makes no sense.
    pub fn from_env() -> Result<Self> {
        log_from_env()?;
        let arrival = input::seconds("EFA_ARRIVAL_TIMEOUT", Duration::from_secs(60), 0.1..=86_400.0)?;
        let job = Job::from_env()?;
        logging::prefix_rank(job.rank);
        Ok(Self {
            job,
            provider: ProviderChoice::from_env()?,
            policy: Policy::from_env()?,
            security_groups: input::variable("EFA_SECURITY_GROUPS").map(PathBuf::from),
            control: ControlConfig::from_env()?,
            leave: input::optional_seconds("EFA_LEAVE_TIMEOUT", 0.1..=31_536_000.0)?,
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
        self.judge()?.join()
    }

    /// Meets the other members and judges the job with them, and opens nothing yet. All ranks must call it.
    ///
    /// # Errors
    /// As [`init`], except that a job which is refused is no error here: the report says so.
    pub fn judge(self) -> Result<Judged> {
        let control = self.job.connect(&self.control, self.arrival)?;
        match self.assess(&control) {
            Ok((members, provider, report, lookup)) => {
                Ok(Judged { init: self, control, members, provider, report, lookup })
            }
            Err(error) => {
                control.give_up(&error);
                Err(error)
            }
        }
    }

    /// What the members agree on, who they are, and what follows.
    fn assess(&self, control: &Control) -> Result<(Vec<Introduction>, Provider, Report, Lookup)> {
        let wanted = format!("provider {}, {} policy", self.provider, self.policy);
        control.agree("what was asked for", &wanted, self.arrival)?;
        let mine = Introduction::of_this_process(control.rank(), Some(control.local_address()))?;
        if !mine.has_efa() && fabric::is_emulated() && self.provider == ProviderChoice::Only(Provider::Efa) {
            // The judges would speak of drivers; what is missing here is a part of the software.
            fabric::find(Provider::Efa, None, None)?;
        }
        let mine = serde_json::to_vec(&mine).expect("facts are plain data");
        let all = control.exchange("who the members are", &mine, self.arrival)?;
        let mut members: Vec<Introduction> =
            all.iter().enumerate().map(|(rank, wire)| parse(rank, wire)).collect::<Result<_>>()?;
        let provider = choose_provider(self.provider, &members);
        let (report, lookup) = self.evaluate(control, &mut members, provider)?;
        Ok((members, provider, report, lookup))
    }

    /// Judges the job by what the members say and what is looked up for them; every rank comes to the same report.
    fn evaluate(
        &self,
        control: &Control,
        members: &mut [Introduction],
        provider: Provider,
    ) -> Result<(Report, Lookup)> {
        let facts: Vec<Facts> = members.iter().map(|member| member.facts.clone()).collect();
        let file = self.security_groups.as_deref();
        let lookup: Lookup = if control.rank() == 0 {
            let lookup = source::look_up(&facts, file)?;
            let wire = serde_json::to_vec(&lookup).expect("rules are plain data");
            control.broadcast_from_root("the rules of the security groups", Some(&wire), self.arrival)?;
            lookup
        } else {
            let patience = self.arrival.saturating_add(source::LOOK_UP_LIMIT);
            let wire = control.broadcast_from_root("the rules of the security groups", None, patience)?;
            parse(0, &wire)?
        };
        // The endpoint's peer address has a digest of the facts that were judged, hence of these.
        lookup.complete(members.iter_mut().map(|member| &mut member.facts));
        Ok((evaluate(&lookup, &facts, &self.policy, provider), lookup))
    }
}

/// Judges a job that uses this provider.
fn evaluate(lookup: &Lookup, members: &[Facts], policy: &Policy, provider: Provider) -> Report {
    let policy = match provider {
        Provider::Efa => policy.clone().requires_efa(true),
        Provider::Tcp | Provider::Sockets | Provider::Shm => policy.clone().uses_tcp(true),
    };
    lookup.evaluate(members, &policy).with_provider(provider.to_string())
}

//! Which launcher started this process, and what its variables say.

use std::path::Path;

use super::address::host_name;
use super::job::{Job, Launcher, MAX_RANKS, Rendezvous};
use super::key::JobKey;
use super::nesting::Nesting;
use super::{kubernetes, slurm};
use crate::{Error, Result};
use efa_error::input::read_bounded;

/// Names the process that started all ranks of a host; asked for only where a launcher gives no job id.
pub(super) const LAUNCHER_PID: &str = "EFA_LAUNCHER_PID";

/// Ports derived from a job's id lie here: above the well-known services, below Linux's ephemeral ports.
const DERIVED_PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Where rank 0 of a job under Kubernetes listens. Each pod has its ports for itself.
const KUBERNETES_PORT: u16 = 29_400;

/// What `efa run` sets beside a rank's number, which an inner launcher's ranks must not take for theirs.
const OF_EFA_RUN: [&str; 5] =
    ["EFA_RENDEZVOUS", "EFA_RENDEZVOUS_RESERVED", "EFA_ROOT_PROCESS", "EFA_JOB_KEY", "EFA_JOB_ID"];

/// The least step id that is no step of `srun`, but the shell of a batch job, an interactive one, and the like.
const FIRST_SPECIAL_STEP: u32 = 0xffff_fff0;

/// What one launcher's variables say.
struct LaunchInfo {
    launcher: Launcher,
    rank: usize,
    size: usize,
    local_rank: usize,
    local_size: usize,
    /// Where the members meet unless told otherwise: a host, or `None` for loopback only, and a port.
    meeting: Option<(Option<String>, u16)>,
    id: String,
}

/// Builds the job from the variables of whichever launcher set them; see [`Job::from_env`].
pub(super) fn recognise(lookup: &dyn Fn(&str) -> Option<String>, nesting: &Nesting) -> Result<Job> {
    let vars = Variables(lookup);
    let found = launchers(&vars);
    // `efa run` always holds the port. Without that a wrapper inside of the launcher has given the rank a number, and may
    // have become the program itself (`srun sh -c 'EFA_RANK=$SLURM_PROCID … exec program'`).
    let preferred = (!vars.has("EFA_RENDEZVOUS_RESERVED")).then_some(Launcher::Efa);
    let Some(launcher) = nesting.innermost(&found, preferred) else {
        return Ok(Job {
            key: job_key(&vars)?,
            id: vars.text("EFA_JOB_ID").unwrap_or_default(),
            note: no_rank(&vars),
            ..Job::alone()
        });
    };
    let outer_efa = found.iter().find(|other| other.0 == Launcher::Efa && launcher != Launcher::Efa);
    let outer = outer_efa.map(|(_, name, value)| nesting.depth(name, value));
    let own = |name: &str| {
        let value = lookup(name)?;
        let is_outer =
            outer.is_some_and(|outer| OF_EFA_RUN.contains(&name) && nesting.depth(name, &value) >= outer);
        (!is_outer).then_some(value)
    };
    let vars = Variables(&own);
    let launch = match launcher {
        Launcher::Efa => efa(&vars),
        Launcher::Torchrun => torchrun(&vars),
        Launcher::OpenMpi => open_mpi(&vars),
        Launcher::Mpich => mpich(&vars),
        Launcher::Slurm => slurm_step(&vars),
        Launcher::Kubernetes => kubernetes_pod(&vars),
        Launcher::Alone => return Ok(Job::alone()),
    }?;
    let rendezvous = rendezvous(&vars, &launch)?;
    Ok(Job {
        rank: launch.rank,
        size: launch.size,
        local_rank: launch.local_rank,
        local_size: launch.local_size,
        launcher: launch.launcher,
        rendezvous,
        key: job_key(&vars)?,
        id: vars.text("EFA_JOB_ID").unwrap_or(launch.id),
        host: host_name(),
        note: None,
    })
}

/// Returns the launchers whose variables are there, with the variable that each is recognised by and its value.
fn launchers(vars: &Variables) -> Vec<(Launcher, &'static str, String)> {
    let torch = ["WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"].iter().any(|name| vars.has(name));
    // Slurm's own PMI sets PMI_RANK too, but not Hydra's MPI_LOCALRANKID.
    let hydra = vars.has("MPI_LOCALRANKID") || !vars.has("SLURM_PROCID");
    // In a pod it is the size of the job, of which Kubernetes gives the index only.
    let pod = vars.has("JOB_COMPLETION_INDEX") && !vars.has("EFA_RANK");
    let known = [
        (Launcher::Efa, "EFA_RANK", true),
        (Launcher::Efa, "EFA_WORLD_SIZE", !vars.has("EFA_RANK") && !pod),
        (Launcher::Torchrun, "RANK", torch),
        (Launcher::OpenMpi, "OMPI_COMM_WORLD_RANK", true),
        (Launcher::Mpich, "PMI_RANK", hydra),
        (Launcher::Slurm, "SLURM_PROCID", vars.has("SLURM_NTASKS") && slurm_step_id(vars).is_some()),
        (Launcher::Kubernetes, "JOB_COMPLETION_INDEX", vars.has("EFA_WORLD_SIZE") && pod),
    ];
    let found = known.into_iter().filter(|(_, _, complete)| *complete);
    found.filter_map(|(launcher, name, _)| Some((launcher, name, vars.text(name)?))).collect()
}

/// Returns why a process without a launcher is a job of one, where people may expect another.
fn no_rank(vars: &Variables) -> Option<String> {
    if let Some(job) = vars.text("SLURM_JOB_ID").or_else(|| vars.text("SLURM_JOBID")) {
        let tasks = vars.text("SLURM_NTASKS").map_or(String::new(), |tasks| format!(" with {tasks} tasks"));
        return Some(format!(
            "this is a shell of Slurm's job {job}{tasks} and no rank, so that it is a job of one; srun starts the ranks: \
             srun PROGRAM"
        ));
    }
    vars.has("JOB_COMPLETION_INDEX").then(|| {
        "this is a pod of an indexed job of Kubernetes whose size is not known, so that it is a job of one; set \
         EFA_WORLD_SIZE to the job's completions"
            .to_owned()
    })
}

fn efa(vars: &Variables) -> Result<LaunchInfo> {
    let (rank, size) = vars.member("EFA_RANK", "EFA_WORLD_SIZE")?;
    let (local_rank, local_size) = vars.member("EFA_LOCAL_RANK", "EFA_LOCAL_WORLD_SIZE")?;
    Ok(LaunchInfo {
        launcher: Launcher::Efa,
        rank,
        size,
        local_rank,
        local_size,
        meeting: None,
        id: String::new(),
    })
}

fn torchrun(vars: &Variables) -> Result<LaunchInfo> {
    let (rank, size) = vars.member("RANK", "WORLD_SIZE")?;
    let (local_rank, local_size) = vars.member("LOCAL_RANK", "LOCAL_WORLD_SIZE")?;
    let meeting = match vars.text("EFA_RENDEZVOUS") {
        Some(_) => None,
        None => {
            let host = vars.required("MASTER_ADDR")?;
            let port = beside_torchrun(vars.bounded("MASTER_PORT", 1, usize::from(u16::MAX))? as u16);
            Some((Some(host), port))
        }
    };
    // "none" is torchrun's default and the same for every job.
    let id = vars.text("TORCHELASTIC_RUN_ID").filter(|id| id != "none").unwrap_or_default();
    Ok(LaunchInfo { launcher: Launcher::Torchrun, rank, size, local_rank, local_size, meeting, id })
}

/// Returns the port beside torchrun's store, which listens on `MASTER_PORT`. Jobs whose ports follow one another get
/// different ones, none of which is a store's.
fn beside_torchrun(master_port: u16) -> u16 {
    match 10_000 + master_port % 10_000 {
        port if port == master_port => port + 10_000,
        port => port,
    }
}

fn open_mpi(vars: &Variables) -> Result<LaunchInfo> {
    let (rank, size) = vars.member("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")?;
    let (local_rank, local_size) = vars.member("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE")?;
    let id = vars.text("PMIX_NAMESPACE").or_else(|| vars.text("OMPI_MCA_ess_base_jobid")).unwrap_or_default();
    let meeting = (!id.is_empty()).then(|| (None, derived_port(&id)));
    Ok(LaunchInfo { launcher: Launcher::OpenMpi, rank, size, local_rank, local_size, meeting, id })
}

fn mpich(vars: &Variables) -> Result<LaunchInfo> {
    let (rank, size) = vars.member("PMI_RANK", "PMI_SIZE")?;
    let (local_rank, local_size) = vars.member("MPI_LOCALRANKID", "MPI_LOCALNRANKS")?;
    // Hydra gives no job id, but all ranks of a host are children of one proxy.
    let meeting = vars.text(LAUNCHER_PID).map(|pid| (None, derived_port(&pid)));
    Ok(LaunchInfo {
        launcher: Launcher::Mpich,
        rank,
        size,
        local_rank,
        local_size,
        meeting,
        id: String::new(),
    })
}

fn slurm_step(vars: &Variables) -> Result<LaunchInfo> {
    // The other one is that of the whole job where srun was asked for fewer.
    let tasks = if vars.has("SLURM_STEP_NUM_TASKS") { "SLURM_STEP_NUM_TASKS" } else { "SLURM_NTASKS" };
    let (rank, size) = vars.member("SLURM_PROCID", tasks)?;
    let local_rank = vars.bounded("SLURM_LOCALID", 0, size - 1)?;
    let local_size = slurm_tasks_here(vars, size)?;
    if local_rank >= local_size {
        return Err(bad_value(
            "SLURM_LOCALID",
            &local_rank.to_string(),
            format!("this node has {local_size} tasks"),
        ));
    }
    let job = vars.text("SLURM_JOB_ID").or_else(|| vars.text("SLURM_JOBID")).unwrap_or_default();
    let id = format!("{job}.{}", slurm_step_id(vars).unwrap_or_default());
    let nodes = ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"];
    let meeting = match nodes.iter().find_map(|name| vars.text(name).map(|list| (name, list))) {
        _ if vars.has("EFA_RENDEZVOUS") => None,
        None => None,
        Some(_)
            if local_size < size
                && vars.text("SLURM_DISTRIBUTION").is_some_and(|d| d.starts_with("arbitrary")) =>
        {
            Some((Some(first_of_host_file(vars)?), derived_port(&id)))
        }
        Some((name, list)) => match slurm::first_host(&list) {
            Some(host) => Some((Some(host), derived_port(&id))),
            None => return Err(bad_value(name, &list, "it is no node list such as node[003-007,9]")),
        },
    };
    Ok(LaunchInfo { launcher: Launcher::Slurm, rank, size, local_rank, local_size, meeting, id })
}

/// Returns the number of the step of `srun` that this process belongs to; `None` in the shell of a batch job.
fn slurm_step_id(vars: &Variables) -> Option<u32> {
    let step = vars.text("SLURM_STEP_ID").or_else(|| vars.text("SLURM_STEPID"))?;
    step.parse().ok().filter(|&step| step < FIRST_SPECIAL_STEP)
}

/// Returns the host of rank 0 with `srun -m arbitrary`, which places the ranks as a file lists the hosts.
fn first_of_host_file(vars: &Variables) -> Result<String> {
    /// A line for each of a million ranks.
    const LONGEST: usize = 64 << 20;
    let remedy =
        "set EFA_RENDEZVOUS to the host of rank 0 and a free port (host:port), the same for all ranks";
    let what = "cannot tell the host of rank 0 of a step with an arbitrary distribution";
    let Some(path) = vars.text("SLURM_HOSTFILE") else {
        return Err(Error::setting(what, "SLURM_HOSTFILE is not set", remedy));
    };
    let list = read_bounded(Path::new(&path), LONGEST).map_err(|error| {
        Error::setting(what, format!("SLURM_HOSTFILE={path}: {}", error.explanation().why), remedy)
    })?;
    let list = String::from_utf8_lossy(&list);
    let mut hosts =
        list.split(['\n', ',']).map(str::trim).filter(|host| !host.is_empty() && !host.starts_with('#'));
    hosts
        .next()
        .and_then(|host| slurm::first_host(host.split(['*', ' ']).next().unwrap_or_default()))
        .ok_or_else(|| Error::setting(what, format!("SLURM_HOSTFILE={path} lists no host"), remedy))
}

/// Recognises a pod of an Indexed Job or a JobSet.
fn kubernetes_pod(vars: &Variables) -> Result<LaunchInfo> {
    let (rank, size) = vars.member("JOB_COMPLETION_INDEX", "EFA_WORLD_SIZE")?;
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let root = kubernetes::rank_0(&host_name(), rank, &hosts);
    Ok(LaunchInfo {
        launcher: Launcher::Kubernetes,
        rank,
        size,
        local_rank: 0,
        local_size: 1,
        meeting: root.map(|host| (Some(host), KUBERNETES_PORT)),
        id: String::new(),
    })
}

/// Returns how many tasks of the step run on this node.
fn slurm_tasks_here(vars: &Variables, size: usize) -> Result<usize> {
    let names = ["SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"];
    let Some((name, list)) = names.iter().find_map(|name| vars.text(name).map(|list| (name, list))) else {
        return match size {
            1 => Ok(1),
            _ => Err(missing(names[0], "SLURM_PROCID")),
        };
    };
    let node = match vars.has("SLURM_NODEID") {
        true => vars.bounded("SLURM_NODEID", 0, MAX_RANKS)?,
        false => 0,
    };
    match slurm::tasks_on_node(&list, node) {
        Some(tasks) if (1..=size).contains(&tasks) => Ok(tasks),
        _ => Err(bad_value(
            name,
            &list,
            format!("it does not say how many of {size} tasks run on node {node}"),
        )),
    }
}

/// Returns where the members meet: as told, else where the launcher's variables lead.
fn rendezvous(vars: &Variables, launch: &LaunchInfo) -> Result<Option<Rendezvous>> {
    if let Some(text) = vars.text("EFA_RENDEZVOUS") {
        let mut given: Rendezvous = text
            .parse()
            .map_err(|error: Error| bad_value("EFA_RENDEZVOUS", &text, &error.explanation().why))?;
        given.reserved = vars.flag("EFA_RENDEZVOUS_RESERVED")?;
        if let Some(text) = vars.text("EFA_ROOT_PROCESS") {
            given.root = Some(text.parse().map_err(|why: &str| bad_value("EFA_ROOT_PROCESS", &text, why))?);
        }
        return Ok(Some(given));
    }
    let one_host = launch.local_size == launch.size;
    match &launch.meeting {
        _ if launch.size == 1 => Ok(None),
        Some((_, port)) if one_host => Ok(Some(Rendezvous::new("127.0.0.1", *port))),
        Some((Some(host), port)) => Ok(Some(Rendezvous::new(host, *port))),
        Some((None, _)) | None if launch.launcher == Launcher::Kubernetes => Err(Error::setting(
            format!(
                "rank {} does not know where to meet the others: its pod has no name in a headless service",
                launch.rank
            ),
            "/etc/hosts names no pod with a subdomain, or the host name does not end with the job's index",
            "give the pods the headless service as subdomain, or set EFA_RENDEZVOUS to the pod of rank 0 and a port",
        )),
        Some((None, _)) | None => Err(Error::setting(
            format!("rank {} does not know where to meet the others: EFA_RENDEZVOUS is not set", launch.rank),
            format!("{} says nothing from which it could be derived", launch.launcher),
            "set EFA_RENDEZVOUS to the host of rank 0 and a free port (host:port), the same for all ranks",
        )),
    }
}

/// Returns the job key, from `EFA_JOB_KEY` or the file that `EFA_JOB_KEY_FILE` names.
fn job_key(vars: &Variables) -> Result<Option<JobKey>> {
    for name in ["EFA_JOB_KEY", "EFA_JOB_KEY_FILE"] {
        if (vars.0)(name).is_some_and(|value| value.trim().is_empty()) {
            return Err(Error::setting(
                format!("{name} is set but empty"),
                "an empty key protects nothing; whatever should have filled it in has failed, most likely",
                format!("give {name} its value, or unset it for a job without a key on one host"),
            ));
        }
    }
    match (vars.text("EFA_JOB_KEY"), vars.text("EFA_JOB_KEY_FILE")) {
        (Some(_), Some(_)) => Err(Error::setting(
            "both EFA_JOB_KEY and EFA_JOB_KEY_FILE are set",
            "there is one job key",
            "unset one of them",
        )),
        (Some(digits), None) => JobKey::from_hex("EFA_JOB_KEY", &digits).map(Some),
        (None, Some(path)) => JobKey::from_file(Path::new(&path)).map(Some),
        (None, None) => Ok(None),
    }
}

/// Returns a port that all members of a job derive alike from its id (FNV-1a, since it must not depend on the program).
fn derived_port(id: &str) -> u16 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    DERIVED_PORTS.start + (hash % DERIVED_PORTS.len() as u64) as u16
}

/// The environment, or what stands in for it.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    /// Returns a variable's value without white space around it; empty counts as not set.
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    fn required(&self, name: &str) -> Result<String> {
        self.text(name).ok_or_else(|| missing(name, "the other variables of its launcher"))
    }

    /// Returns a whole number from `low` to `high`.
    fn bounded(&self, name: &str, low: usize, high: usize) -> Result<usize> {
        let text = self.required(name)?;
        match text.parse::<usize>() {
            Ok(number) if (low..=high).contains(&number) => Ok(number),
            Ok(_) => Err(bad_value(name, &text, format!("it must be from {low} to {high}"))),
            Err(_) => Err(bad_value(name, &text, "it is not a whole number")),
        }
    }

    /// Returns a number among so many: the number's and the count's variable must both be there and fit.
    fn member(&self, rank: &str, size: &str) -> Result<(usize, usize)> {
        for (name, other) in [(rank, size), (size, rank)] {
            if !self.has(name) {
                return Err(missing(name, other));
            }
        }
        let count = self.bounded(size, 1, MAX_RANKS)?;
        let number = self.bounded(rank, 0, MAX_RANKS)?;
        if number >= count {
            let why = format!("{size} is {count}, and ranks count from 0");
            return Err(bad_value(rank, &number.to_string(), why));
        }
        Ok((number, count))
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.text(name).as_deref() {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(bad_value(name, other, "it must be 0 or 1")),
        }
    }
}

fn missing(name: &str, because: &str) -> Error {
    Error::setting(
        format!("{name} is not set"),
        format!("it belongs with {because}, which the environment has"),
        format!("set {name}, or start the program through its launcher"),
    )
}

fn bad_value(name: &str, value: &str, why: impl Into<String>) -> Error {
    Error::setting(format!("{name}={value} makes no sense"), why, format!("correct {name} or unset it"))
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;

//! Which launcher started this process, and what its variables say.

use std::path::Path;

use super::address::host_name;
use super::job::{Job, Launcher, MAX_RANKS, Rendezvous};
use super::key::JobKey;
use super::slurm;
use crate::{Error, Result};

/// Names the process that started all ranks of a host; asked for only where a launcher gives no job id.
pub(super) const LAUNCHER_PID: &str = "EFA_LAUNCHER_PID";

/// Ports derived from a job's id lie here: above the well-known services, below Linux's ephemeral ports.
const DERIVED_PORTS: std::ops::Range<u16> = 20_000..30_000;

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
pub(super) fn recognise(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Job> {
    let vars = Variables(lookup);
    let launch = if vars.has("EFA_RANK") || vars.has("EFA_WORLD_SIZE") {
        efa(&vars)?
    } else if vars.has("RANK")
        && ["WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"].iter().any(|name| vars.has(name))
    {
        torchrun(&vars)?
    } else if vars.has("OMPI_COMM_WORLD_RANK") {
        open_mpi(&vars)?
    } else if vars.has("PMI_RANK") && (vars.has("MPI_LOCALRANKID") || !vars.has("SLURM_PROCID")) {
        // Slurm's own PMI sets PMI_RANK too, but not Hydra's MPI_LOCALRANKID.
        mpich(&vars)?
    } else if vars.has("SLURM_PROCID") && vars.has("SLURM_NTASKS") {
        slurm_step(&vars)?
    } else {
        return Ok(Job {
            key: job_key(&vars)?,
            id: vars.text("EFA_JOB_ID").unwrap_or_default(),
            ..Job::alone()
        });
    };
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
            // torchrun's own store listens on MASTER_PORT.
            let port = match vars.bounded("MASTER_PORT", 1, usize::from(u16::MAX))? as u16 {
                u16::MAX => u16::MAX - 1,
                port => port + 1,
            };
            Some((Some(host), port))
        }
    };
    // "none" is torchrun's default and the same for every job.
    let id = vars.text("TORCHELASTIC_RUN_ID").filter(|id| id != "none").unwrap_or_default();
    Ok(LaunchInfo { launcher: Launcher::Torchrun, rank, size, local_rank, local_size, meeting, id })
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
    let (rank, size) = vars.member("SLURM_PROCID", "SLURM_NTASKS")?;
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
    let id = match vars.text("SLURM_STEP_ID").or_else(|| vars.text("SLURM_STEPID")) {
        Some(step) => format!("{job}.{step}"),
        None => job,
    };
    let nodes = ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"];
    let meeting = match nodes.iter().find_map(|name| vars.text(name).map(|list| (name, list))) {
        _ if vars.has("EFA_RENDEZVOUS") => None,
        None => None,
        Some((name, list)) => match slurm::first_host(&list) {
            Some(host) => Some((Some(host), derived_port(&id))),
            None => return Err(bad_value(name, &list, "it is no node list such as node[003-007,9]")),
        },
    };
    Ok(LaunchInfo { launcher: Launcher::Slurm, rank, size, local_rank, local_size, meeting, id })
}

/// How many tasks of the step run on this node.
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

/// Where the members meet: as told, else where the launcher's variables lead.
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
        Some((None, _)) | None => Err(Error::setting(
            format!("rank {} does not know where to meet the others: EFA_RENDEZVOUS is not set", launch.rank),
            format!("{} says nothing from which it could be derived", launch.launcher),
            "set EFA_RENDEZVOUS to the host of rank 0 and a free port (host:port), the same for all ranks",
        )),
    }
}

/// The job key, from `EFA_JOB_KEY` or the file that `EFA_JOB_KEY_FILE` names.
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

/// A port that all members of a job derive alike from its id (FNV-1a, since it must not depend on the program).
fn derived_port(id: &str) -> u16 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    DERIVED_PORTS.start + (hash % DERIVED_PORTS.len() as u64) as u16
}

/// The environment, or what stands in for it.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    /// A variable's value without white space around it; empty counts as not set.
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    fn required(&self, name: &str) -> Result<String> {
        self.text(name).ok_or_else(|| missing(name, "the other variables of its launcher"))
    }

    /// A whole number from `low` to `high`.
    fn bounded(&self, name: &str, low: usize, high: usize) -> Result<usize> {
        let text = self.required(name)?;
        match text.parse::<usize>() {
            Ok(number) if (low..=high).contains(&number) => Ok(number),
            Ok(_) => Err(bad_value(name, &text, format!("it must be from {low} to {high}"))),
            Err(_) => Err(bad_value(name, &text, "it is not a whole number")),
        }
    }

    /// A number among so many: the number's and the count's variable must both be there and fit.
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

//! What each launcher's variables are taken to mean.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// The job that these variables describe.
fn job(variables: &[(&str, &str)]) -> Result<Job> {
    recognise(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
}

/// The same variables, one of them changed or (with "") unset.
fn with<'a>(variables: &[(&'a str, &'a str)], name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let others = variables.iter().filter(|(n, _)| *n != name).copied();
    others.chain([(name, value)]).collect()
}

/// Asserts that the variables are refused as a bad setting whose message names `name`.
fn refused(variables: &[(&str, &str)], name: &str) {
    let error = job(variables).map(|job| format!("{job:?}")).unwrap_err();
    assert!(matches!(error, Error::Setting(_)), "{error:?}");
    assert!(error.to_string().contains(name), "{error} does not name {name}");
}

fn meeting(job: &Job) -> String {
    job.rendezvous.as_ref().unwrap().to_string()
}

const EFA: &[(&str, &str)] = &[
    ("EFA_RANK", "2"),
    ("EFA_WORLD_SIZE", "4"),
    ("EFA_LOCAL_RANK", "0"),
    ("EFA_LOCAL_WORLD_SIZE", "2"),
    ("EFA_RENDEZVOUS", "node-a:4711"),
];

const TORCHRUN: &[(&str, &str)] = &[
    ("RANK", "5"),
    ("WORLD_SIZE", "8"),
    ("LOCAL_RANK", "1"),
    ("LOCAL_WORLD_SIZE", "4"),
    ("MASTER_ADDR", "node-a"),
    ("MASTER_PORT", "29500"),
    ("TORCHELASTIC_RUN_ID", "run-7"),
];

const OPEN_MPI: &[(&str, &str)] = &[
    ("OMPI_COMM_WORLD_RANK", "1"),
    ("OMPI_COMM_WORLD_SIZE", "2"),
    ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
    ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
    ("PMIX_NAMESPACE", "1234567"),
];

const MPICH: &[(&str, &str)] = &[
    ("PMI_RANK", "3"),
    ("PMI_SIZE", "4"),
    ("MPI_LOCALRANKID", "3"),
    ("MPI_LOCALNRANKS", "4"),
    (LAUNCHER_PID, "815"),
];

const SLURM: &[(&str, &str)] = &[
    ("SLURM_PROCID", "5"),
    ("SLURM_NTASKS", "11"),
    ("SLURM_LOCALID", "1"),
    ("SLURM_NODEID", "1"),
    ("SLURM_STEP_TASKS_PER_NODE", "4(x2),3"),
    ("SLURM_STEP_NODELIST", "node[003-004,9]"),
    ("SLURM_JOB_ID", "4242"),
    ("SLURM_STEP_ID", "0"),
];

#[test]
fn without_any_launcher_it_is_a_job_of_one() {
    let job = job(&[("RANK", "3"), ("SLURM_JOB_ID", "4242"), (LAUNCHER_PID, "1")]).unwrap();
    assert_eq!((job.rank, job.size, job.local_rank, job.local_size), (0, 1, 0, 1));
    assert_eq!(job.launcher, Launcher::Alone);
    assert!(job.rendezvous.is_none());
}

#[test]
fn efa_run_says_everything_itself() {
    let key = "0f".repeat(32);
    let job = job(&[EFA, &[("EFA_JOB_KEY", key.as_str()), ("EFA_JOB_ID", "j1")]].concat()).unwrap();
    assert_eq!((job.rank, job.size, job.local_rank, job.local_size), (2, 4, 0, 2));
    assert_eq!((job.launcher, job.id.as_str()), (Launcher::Efa, "j1"));
    assert_eq!(meeting(&job), "node-a:4711");
    assert_eq!(job.key.unwrap().to_hex(), key);
}

#[test]
fn the_key_may_lie_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let name = path.to_str().unwrap();
    std::fs::write(&path, "5a".repeat(32) + "\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let found = job(&with(EFA, "EFA_JOB_KEY_FILE", name)).unwrap();
    assert_eq!(found.key.unwrap().to_hex(), "5a".repeat(32));

    std::fs::write(&path, "secret").unwrap();
    refused(&with(EFA, "EFA_JOB_KEY_FILE", name), name);
    let missing = job(&with(EFA, "EFA_JOB_KEY_FILE", "/nowhere/key")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/key"), "{missing}");
}

#[test]
fn efa_variables_that_make_no_sense_are_refused_by_name() {
    for (name, value) in [
        ("EFA_RANK", "4"),
        ("EFA_RANK", "-1"),
        ("EFA_RANK", "two"),
        ("EFA_WORLD_SIZE", "0"),
        ("EFA_WORLD_SIZE", "99999999999"),
        ("EFA_LOCAL_RANK", "2"),
        ("EFA_RENDEZVOUS", "node-a"),
        ("EFA_RENDEZVOUS_RESERVED", "yes"),
        ("EFA_ROOT_PROCESS", "4711"),
        ("EFA_JOB_KEY", "abc"),
    ] {
        refused(&with(EFA, name, value), name);
    }
    for (name, _) in EFA {
        refused(&with(EFA, name, ""), name);
    }
    let key = "0f".repeat(32);
    refused(&[EFA, &[("EFA_JOB_KEY", key.as_str()), ("EFA_JOB_KEY_FILE", "x")]].concat(), "EFA_JOB_KEY_FILE");
}

#[test]
fn torchrun_is_met_one_port_above_its_own_store() {
    let found = job(TORCHRUN).unwrap();
    assert_eq!((found.rank, found.size, found.local_rank, found.local_size), (5, 8, 1, 4));
    assert_eq!((found.launcher, found.id.as_str()), (Launcher::Torchrun, "run-7"));
    assert_eq!(meeting(&found), "node-a:29501");
    assert_eq!(meeting(&job(&with(TORCHRUN, "MASTER_PORT", "65535")).unwrap()), "node-a:65534");
    assert_eq!(meeting(&job(&with(TORCHRUN, "EFA_RENDEZVOUS", "node-b:1")).unwrap()), "node-b:1");
    assert_eq!(job(&with(TORCHRUN, "TORCHELASTIC_RUN_ID", "none")).unwrap().id, "");
}

#[test]
fn a_job_on_one_host_meets_on_loopback() {
    assert_eq!(meeting(&job(&with(TORCHRUN, "LOCAL_WORLD_SIZE", "8")).unwrap()), "127.0.0.1:29501");
}

#[test]
fn torchrun_without_a_companion_variable_is_refused_by_name() {
    for name in ["WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"] {
        refused(&with(TORCHRUN, name, ""), name);
    }
    refused(&with(TORCHRUN, "MASTER_PORT", "0"), "MASTER_PORT");
    refused(&with(TORCHRUN, "RANK", "8"), "RANK");
}

#[test]
fn open_mpi_on_one_host_meets_on_a_port_that_all_its_ranks_derive() {
    let (one, two) = (job(OPEN_MPI).unwrap(), job(&with(OPEN_MPI, "OMPI_COMM_WORLD_RANK", "0")).unwrap());
    assert_eq!((one.rank, one.size, one.launcher), (1, 2, Launcher::OpenMpi));
    assert_eq!(meeting(&one), meeting(&two));
    assert!(one.rendezvous.unwrap().host == "127.0.0.1");
    assert_ne!(meeting(&two), meeting(&job(&with(OPEN_MPI, "PMIX_NAMESPACE", "7654321")).unwrap()));
}

#[test]
fn open_mpi_across_hosts_needs_a_rendezvous() {
    let across = with(OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_SIZE", "1");
    let across = with(&across, "OMPI_COMM_WORLD_LOCAL_RANK", "0");
    refused(&across, "EFA_RENDEZVOUS");
    assert_eq!(meeting(&job(&with(&across, "EFA_RENDEZVOUS", "node-a:1")).unwrap()), "node-a:1");
    refused(&with(OPEN_MPI, "OMPI_COMM_WORLD_SIZE", ""), "OMPI_COMM_WORLD_SIZE");
    refused(&with(OPEN_MPI, "PMIX_NAMESPACE", ""), "EFA_RENDEZVOUS");
}

#[test]
fn mpich_on_one_host_derives_the_port_from_its_proxy() {
    let found = job(MPICH).unwrap();
    assert_eq!((found.rank, found.size, found.local_rank, found.launcher), (3, 4, 3, Launcher::Mpich));
    assert!(DERIVED_PORTS.contains(&found.rendezvous.unwrap().port));
    refused(&with(MPICH, LAUNCHER_PID, ""), "EFA_RENDEZVOUS");
    refused(&with(MPICH, "PMI_SIZE", ""), "PMI_SIZE");
    refused(&with(MPICH, "PMI_RANK", "4"), "PMI_RANK");
}

#[test]
fn slurm_is_met_on_the_first_host_of_the_step() {
    let found = job(SLURM).unwrap();
    assert_eq!((found.rank, found.size, found.local_rank, found.local_size), (5, 11, 1, 4));
    assert_eq!((found.launcher, found.id.as_str()), (Launcher::Slurm, "4242.0"));
    let meeting = found.rendezvous.unwrap();
    assert_eq!(meeting.host, "node003");
    assert!(DERIVED_PORTS.contains(&meeting.port));
    let other_step = job(&with(SLURM, "SLURM_STEP_ID", "1")).unwrap().rendezvous.unwrap();
    assert_ne!(other_step.port, meeting.port);
}

#[test]
fn slurm_variables_that_make_no_sense_are_refused_by_name() {
    for (name, value) in [
        ("SLURM_PROCID", "11"),
        ("SLURM_LOCALID", "4"),
        ("SLURM_LOCALID", ""),
        ("SLURM_NODEID", "x"),
        ("SLURM_NODEID", "3"),
        ("SLURM_STEP_TASKS_PER_NODE", "4(x"),
        ("SLURM_STEP_TASKS_PER_NODE", "0(x3)"),
        ("SLURM_STEP_NODELIST", "node["),
    ] {
        let name_in_message =
            if name == "SLURM_NODEID" && value == "3" { "SLURM_STEP_TASKS_PER_NODE" } else { name };
        refused(&with(SLURM, name, value), name_in_message);
    }
    refused(&with(SLURM, "SLURM_STEP_TASKS_PER_NODE", ""), "SLURM_STEP_TASKS_PER_NODE");
}

#[test]
fn the_innermost_launcher_counts_and_efa_before_all() {
    let all = [SLURM, MPICH, OPEN_MPI, TORCHRUN, EFA].concat();
    let launcher = |variables: &[(&str, &str)]| job(variables).unwrap().launcher;
    assert_eq!(launcher(&all), Launcher::Efa);
    assert_eq!(launcher(&[SLURM, MPICH, OPEN_MPI, TORCHRUN].concat()), Launcher::Torchrun);
    assert_eq!(launcher(&[SLURM, OPEN_MPI].concat()), Launcher::OpenMpi);
    assert_eq!(launcher(&[SLURM, MPICH].concat()), Launcher::Mpich);
    // Slurm's own PMI, without Hydra.
    assert_eq!(launcher(&[SLURM, &[("PMI_RANK", "5"), ("PMI_SIZE", "11")]].concat()), Launcher::Slurm);
}

#[test]
fn a_key_variable_that_is_empty_is_an_error_and_not_a_job_without_a_key() {
    for name in ["EFA_JOB_KEY", "EFA_JOB_KEY_FILE"] {
        for value in ["", " \n"] {
            let error = recognise(&|asked| (asked == name).then(|| value.to_owned())).unwrap_err();
            assert!(matches!(error, Error::Setting(_)), "{error}");
            assert!(error.to_string().contains(&format!("{name} is set but empty")), "{error}");
        }
    }
}

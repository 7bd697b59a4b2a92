//! What each launcher's variables are taken to mean.

use std::os::unix::fs::PermissionsExt;

use std::collections::BTreeSet;

use super::super::nesting::tests::nesting;
use super::*;

/// Returns the job that these variables describe.
fn job(variables: &[(&str, &str)]) -> Result<Job> {
    nested(variables, &Nesting::unknown())
}

fn nested(variables: &[(&str, &str)], nesting: &Nesting) -> Result<Job> {
    let lookup =
        |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    recognise(&lookup, nesting)
}

/// Returns the same variables, one of them changed or (with "") unset.
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
fn torchrun_is_met_at_a_port_that_follows_from_its_own() {
    let found = job(TORCHRUN).unwrap();
    assert_eq!((found.rank, found.size, found.local_rank, found.local_size), (5, 8, 1, 4));
    assert_eq!((found.launcher, found.id.as_str()), (Launcher::Torchrun, "run-7"));
    assert_eq!(meeting(&found), "node-a:19500");
    assert_eq!(meeting(&job(&with(TORCHRUN, "MASTER_PORT", "65535")).unwrap()), "node-a:15535");
    assert_eq!(meeting(&job(&with(TORCHRUN, "MASTER_PORT", "19500")).unwrap()), "node-a:29500");
    assert_eq!(meeting(&job(&with(TORCHRUN, "EFA_RENDEZVOUS", "node-b:1")).unwrap()), "node-b:1");
    assert_eq!(job(&with(TORCHRUN, "TORCHELASTIC_RUN_ID", "none")).unwrap().id, "");
}

#[test]
fn a_job_on_one_host_meets_on_loopback() {
    assert_eq!(meeting(&job(&with(TORCHRUN, "LOCAL_WORLD_SIZE", "8")).unwrap()), "127.0.0.1:19500");
}

#[test]
fn torchrun_jobs_on_adjacent_ports_meet_at_ports_that_no_store_listens_on() {
    let stores: Vec<u16> = (29_490..29_510).chain(32_760..32_780).chain(19_995..20_005).collect();
    let ports: BTreeSet<u16> = stores.iter().map(|&port| beside_torchrun(port)).collect();
    assert_eq!(ports.len(), stores.len());
    assert!(stores.iter().all(|port| !ports.contains(port)), "{ports:?}");
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
fn where_nobody_knows_who_set_what_the_first_of_the_table_counts() {
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
            let error = job(&[(name, value)]).unwrap_err();
            assert!(matches!(error, Error::Setting(_)), "{error}");
            assert!(error.to_string().contains(&format!("{name} is set but empty")), "{error}");
        }
    }
}

#[test]
fn the_innermost_launcher_counts() {
    let launcher = |variables: &[&[(&str, &str)]], outer: &[&[(&str, &str)]], daemon: &str| {
        let (all, outer) = (variables.concat(), outer.concat());
        let nesting =
            nesting(&[("program", Some(&all)), ("sh", Some(&all)), (daemon, Some(&outer)), ("init", None)]);
        nested(&all, &nesting).unwrap().launcher
    };
    assert_eq!(launcher(&[SLURM, OPEN_MPI], &[SLURM], "mpirun"), Launcher::OpenMpi);
    assert_eq!(launcher(&[SLURM, OPEN_MPI], &[OPEN_MPI], "slurmstepd"), Launcher::Slurm);
    assert_eq!(launcher(&[SLURM, OPEN_MPI], &[], "slurmstepd"), Launcher::Slurm);
    assert_eq!(launcher(&[EFA, MPICH], &[EFA], "hydra_pmi_proxy"), Launcher::Mpich);
    // A wrapper that has become the program leaves no process between the daemon and the rank.
    assert_eq!(launcher(&[EFA, SLURM], &[], "slurmstepd"), Launcher::Efa);
    let efa_run: &[(&str, &str)] = &[("EFA_RENDEZVOUS_RESERVED", "1")];
    assert_eq!(launcher(&[EFA, efa_run, SLURM], &[], "slurmstepd"), Launcher::Slurm);
    assert_eq!(launcher(&[EFA, TORCHRUN], &[TORCHRUN], "efa"), Launcher::Efa);
    assert_eq!(launcher(&[SLURM, TORCHRUN], &[SLURM], "bash"), Launcher::Torchrun);
}

#[test]
fn what_an_outer_efa_run_says_is_not_for_the_ranks_of_an_inner_launcher() {
    let outer = [EFA, &[("EFA_JOB_KEY", "x"), ("EFA_JOB_ID", "outer")]].concat();
    let all = [&outer[..], OPEN_MPI].concat();
    let nesting = nesting(&[("program", Some(&all)), ("mpirun", Some(&outer)), ("efa", None)]);
    let found = nested(&all, &nesting).unwrap();
    assert_eq!((found.launcher, found.size, found.id.as_str()), (Launcher::OpenMpi, 2, "1234567"));
    assert!(found.key.is_none() && meeting(&found).starts_with("127.0.0.1:"));
    // What is set between the two is meant for the inner one.
    let set = |variables: &[(&'static str, &'static str)]| with(variables, "EFA_RENDEZVOUS", "node-b:4712");
    let (all, inner) = (set(&all), set(&outer));
    let nesting = super::super::nesting::tests::nesting(&[
        ("program", Some(&all)),
        ("mpirun", Some(&inner)),
        ("sh", Some(&outer)),
        ("efa", None),
    ]);
    let found = nested(&all, &nesting).unwrap();
    assert_eq!((found.launcher, meeting(&found).as_str()), (Launcher::OpenMpi, "node-b:4712"));
}

#[test]
fn the_shell_of_a_batch_job_is_no_rank_and_says_so() {
    let shell = with(&with(SLURM, "SLURM_STEP_ID", ""), "SLURM_PROCID", "0");
    // Slurm's ids of a batch step and of an interactive one.
    for step in ["", "4294967291", "4294967290"] {
        let found = job(&with(&shell, "SLURM_STEP_ID", step)).unwrap();
        assert_eq!((found.launcher, found.rank, found.size), (Launcher::Alone, 0, 1));
        let note = found.note.unwrap();
        assert!(note.contains("srun") && note.contains("4242") && note.contains("11 tasks"), "{note}");
    }
    assert!(job(SLURM).unwrap().note.is_none());
    assert!(job(&[]).unwrap().note.is_none());
}

#[test]
fn a_step_of_fewer_tasks_than_the_job_has_its_own_size() {
    assert_eq!(job(&with(SLURM, "SLURM_STEP_NUM_TASKS", "9")).unwrap().size, 9);
}

#[test]
fn an_arbitrary_distribution_puts_rank_0_on_the_first_host_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hosts");
    let arbitrary = with(SLURM, "SLURM_DISTRIBUTION", "arbitrary");
    refused(&arbitrary, "SLURM_HOSTFILE");
    let arbitrary = with(&arbitrary, "SLURM_HOSTFILE", path.to_str().unwrap());
    refused(&arbitrary, "EFA_RENDEZVOUS");
    for (text, host) in [("node9\nnode003\n", "node9"), ("# hosts\n\nnode004,node003", "node004")] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(job(&arbitrary).unwrap().rendezvous.unwrap().host, host);
    }
    std::fs::write(&path, "\n").unwrap();
    refused(&arbitrary, "lists no host");
}

#[test]
fn a_pod_of_an_indexed_job_is_a_rank() {
    let pod = [
        ("JOB_COMPLETION_INDEX", "3"),
        ("EFA_WORLD_SIZE", "4"),
        ("EFA_RENDEZVOUS", "trainer-0.trainer:29400"),
    ];
    let found = job(&pod).unwrap();
    assert_eq!((found.rank, found.size, found.local_size, found.launcher), (3, 4, 1, Launcher::Kubernetes));
    // This host is no pod.
    refused(&with(&pod, "EFA_RENDEZVOUS", ""), "subdomain");
    refused(&with(&pod, "EFA_WORLD_SIZE", "3"), "JOB_COMPLETION_INDEX");
    let note = job(&pod[..1]).unwrap().note.unwrap();
    assert!(note.contains("EFA_WORLD_SIZE"), "{note}");
    // A launcher in the pod counts.
    assert_eq!(job(&[&pod[..], TORCHRUN].concat()).unwrap().launcher, Launcher::Torchrun);
    assert_eq!(job(&[&pod[..1], EFA].concat()).unwrap().launcher, Launcher::Efa);
}

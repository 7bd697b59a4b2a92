//! Builds jobs whose members are threads of this process.

use std::net::TcpListener;
use std::time::Duration;

use efa_core::bootstrap::{Control, ControlConfig, Job, JobKey, Launcher, Rendezvous};

/// Long enough for a loaded machine; no test that passes waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A port that nobody listens on. The system hands out others before it comes back to this one.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The members of a new job with a key, on made-up hosts.
pub(crate) fn jobs(size: usize) -> Vec<Job> {
    let rendezvous = Some(Rendezvous::new("127.0.0.1", free_port()));
    let key = Some(JobKey::generate().unwrap());
    (0..size)
        .map(|rank| Job {
            rank,
            size,
            local_rank: rank,
            local_size: size,
            launcher: Launcher::Efa,
            rendezvous: rendezvous.clone(),
            key: key.clone(),
            id: "test".into(),
            host: format!("node-{rank}"),
            note: None,
        })
        .collect()
}

/// Connects all members, each on a thread of its own; the results by rank.
pub(crate) fn try_connect_all(jobs: &[Job], deadline: Duration) -> Vec<efa_core::Result<Control>> {
    let config = &ControlConfig::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            jobs.iter().map(|job| scope.spawn(move || job.connect(config, deadline))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Connects all members of a job that is in order.
pub(crate) fn connect_all(jobs: &[Job]) -> Vec<Control> {
    try_connect_all(jobs, DEADLINE).into_iter().map(Result::unwrap).collect()
}

/// Runs a program on every rank of a new job; what they return, by rank.
pub(crate) fn run<T: Send>(size: usize, program: impl Fn(Control) -> T + Sync) -> Vec<T> {
    let controls = connect_all(&jobs(size));
    std::thread::scope(|scope| {
        let program = &program;
        let threads: Vec<_> =
            controls.into_iter().map(|control| scope.spawn(move || program(control))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

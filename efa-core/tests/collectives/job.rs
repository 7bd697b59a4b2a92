//! Jobs whose ranks are threads of this process: they meet, are judged and connect as processes do.

use std::net::TcpListener;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use efa_core::bootstrap::{Job, JobKey, Launcher, Rendezvous};
use efa_core::fabric::ProviderChoice;
use efa_core::{Communicator, Init, Result};

use crate::common::{config, provider};

/// How each rank of a new job joins it.
pub(crate) fn members(size: usize) -> Vec<Init> {
    // The system hands out other ports before it comes back to this one.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let key = JobKey::generate().unwrap();
    (0..size)
        .map(|rank| {
            let mut init = Init::from_env().unwrap();
            init.job = Job {
                rank,
                size,
                local_rank: rank,
                local_size: size,
                launcher: Launcher::Efa,
                rendezvous: Some(Rendezvous::new("127.0.0.1", port)),
                key: Some(key.clone()),
                id: "test".into(),
                host: format!("node-{rank}"),
                note: None,
            };
            init.provider = ProviderChoice::Only(provider());
            init.endpoint = config();
            init.path = Duration::from_secs(60);
            init
        })
        .collect()
}

/// Joins a job with all its ranks, each on a thread, and hands what came of it to `body`.
///
/// The threads end together: libfabric's shm wants the endpoints of one process to be open while others use them.
pub(crate) fn join(members: Vec<Init>, body: impl Fn(usize, Result<Communicator>) + Sync) {
    let done = Barrier::new(members.len());
    let first_panic = Mutex::new(None);
    std::thread::scope(|scope| {
        for init in members {
            let (body, done, first_panic) = (&body, &done, &first_panic);
            scope.spawn(move || {
                let rank = init.job.rank;
                let run = std::panic::AssertUnwindSafe(|| body(rank, init.join()));
                if let Err(panic) = std::panic::catch_unwind(run) {
                    first_panic.lock().unwrap().get_or_insert(panic);
                }
                done.wait();
            });
        }
    });
    if let Some(panic) = first_panic.into_inner().unwrap() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `body` on every rank of a new job.
pub(crate) fn run(size: usize, body: impl Fn(Communicator) + Sync) {
    join(members(size), |_, world| body(world.unwrap()));
}

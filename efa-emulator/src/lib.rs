//! An EFA device in user space.
//!
//! Loaded with `LD_PRELOAD`, `libefa_emulator.so` takes the place of rdma-core's libibverbs and libefa: libfabric's own
//! efa provider then runs, unmodified, between the processes of one machine. Versions 1.22 to 2.6 find all they call.
//!
//! ```text
//! LD_PRELOAD=target/release/libefa_emulator.so FI_EFA_ENABLE_SHM_TRANSFER=0 fi_info -p efa
//! ```
//!
//! What it can't show is a real EFA's timing, congestion and firmware. `FABTESTS.md` beside this crate lists which of
//! libfabric's own tests pass on it.
//!
//! # How it works
//!
//! The processes of a job share a folder in `/dev/shm`. A process has a file with its registered regions, and a file
//! per queue pair with a ring of posted receives. Who sends does the work of both devices: it claims a receive in the
//! peer's ring, copies the message there, and queues its own completion; reads and writes go through
//! `process_vm_readv` and `process_vm_writev`, or, where that is denied, through requests that the peer's helper thread
//! answers. There is no thread until something must happen later: a retry, a fault, an event for a sleeping program.
//!
//! Processes may die at any point. Each holds a lock of the kernel's while it lives, which is how others know; no state
//! in shared memory waits for a particular process; the next process to start removes what the dead left behind. Their
//! memory is gone with them: the files have no names, only links to them in the folder.
//! What is read from shared memory is never trusted: indices and lengths are bounded by sizes checked when mapping.
//!
//! # Environment
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `EFA_EMULATOR_JOB` | jobs with different names don't see each other | `default` |
//! | `EFA_EMULATOR_DIR` | folder for shared memory | `/dev/shm` |
//! | `EFA_EMULATOR_DEVICES` | devices of this process, 1 to 32 | 1 |
//! | `EFA_EMULATOR_PLAN` | faults: a plan, or `@` and the name of a file with one | none |
//! | `EFA_EMULATOR_LOG` | file for the log; `%p` stands for the process number, `%r` for the rank | none |
//! | `EFA_EMULATOR_RDMA` | what the devices can do to remote memory: `none`, `read`, `write` (and read) | `write` |
//! | `EFA_EMULATOR_QUEUE_PAIRS` | queue pairs that a device has, those of all processes together; one more fails with ENOMEM | 256 |
//! | `EFA_EMULATOR_FILES` | `named`: shared files have names, for jobs across containers that don't see each other's processes; a killed process then leaves megabytes until the next start | `unnamed` |
//! | `EFA_EMULATOR_CMA` | `off`: don't access other processes' memory by system call | `on` |
//! | `EFA_RANK` | this process's rank in plan and log | order of opening, from 0 |
//!
//! `SYSFS_PATH` is set by the library when it is loaded: libfabric looks the device up in a tree of files that lies in
//! the job's folder. Every process has an address of its own, so that libfabric's provider takes the others
//! for remote ones; `FI_EFA_ENABLE_SHM_TRANSFER=0` makes it use the device within one process too.
//!
//! # Plan
//!
//! Items `name=value` between semicolons or line ends; `#` starts a comment. Shares are between 0 and 1, ranks may be
//! `*` for any. Work requests are the sends, reads and writes that a process posts, counted from 1; libfabric posts some
//! for its own purposes too. The same seed gives the same faults to a program that posts the same work.
//!
//! | item | what happens |
//! |---|---|
//! | `seed=N` | chooses which work requests the shares hit |
//! | `reorder=P` | this share of the work requests is held back for 20 to 300 microseconds, so that later ones overtake |
//! | `delay=P,US` | this share is held back for so many microseconds |
//! | `rnr=P,COUNT` | this share of the sends finds no posted receive so many times in a row |
//! | `badkey=P` | the remote key of this share of the reads and writes is refused: status 7 |
//! | `unreachable=A>B` | sends of rank A to rank B end with status 15, at once |
//! | `unresponsive=A>B` | sends of rank A to rank B end with status 13, after `timeout` |
//! | `timeout=MS` | see above, in milliseconds; 500 |
//! | `kill=RANK@N` | the process ends by SIGKILL when it posts its Nth work request |
//! | `device-gone=DEV@N` or `RANK/DEV@N` | at the Nth work request the device goes away: what is posted on it, receives too, ends with status 1, its port is down, and peers that send to it get status 13 after half a second |
//!
//! A wrong plan is told on stderr, and the list of devices is empty with `errno` EINVAL.
//!
//! # Log
//!
//! One line per event: `NANOSECONDS EVENT key=value …`. Events are `open`, `create`, `register`, `post`, `fault`,
//! `done`, `receive`, `deregister`, `destroy`, `close`. `id` is the work request's identifier, `status` the device's
//! number for the outcome, `from` and `to` are ranks.

pub mod abi;
mod attempt;
mod channel;
mod completion;
mod device;
mod errno;
pub mod faults;
mod futex;
#[cfg(test)]
mod fuzz;
mod handles;
mod helper;
mod job;
mod letters;
mod log;
mod mapping;
mod pages;
mod peers;
mod process;
mod queue;
mod rdma;
mod receive;
mod regions;
mod settings;
mod spin;
pub mod status;
mod transmit;
pub mod verbs;
mod wire;
mod work;

/// Runs when the library is loaded, before any thread of the program: the only safe moment to change the environment.
extern "C" fn on_load() {
    if let Some(dir) = settings::sysfs_dir() {
        // SAFETY: the dynamic loader runs this before the program starts, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var("SYSFS_PATH", dir) };
    }
}

extern "C" fn on_exit() {
    process::leave();
}

#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = on_load;

#[used]
#[unsafe(link_section = ".fini_array")]
static ON_EXIT: extern "C" fn() = on_exit;

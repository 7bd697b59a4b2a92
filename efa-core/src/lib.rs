//! OS-bypass messaging and collectives over libfabric, in the manner of AWS's Elastic Fabric Adapter.
//!
//! This library moves tensors between processes the way an EFA does: from user memory through libfabric to the device,
//! with no system call on the fast path where the provider allows it. The same program runs on a laptop (providers tcp
//! and shm, with libfabric built in) and on EC2 with AWS's libfabric and a real EFA.
//!
//! # Quick start
//!
//! ```no_run
//! use efa_core::collective::ReduceOp;
//!
//! fn main() -> efa_core::Result<()> {
//!     efa_core::run(|world| {
//!         let (rank, size) = (world.rank(), world.size());
//!         let mut gradient = vec![rank as f32; 1 << 20];
//!         world.all_reduce_in_place(&mut gradient, ReduceOp::Average)?;
//!
//!         let mut from = [0usize];
//!         let greeting = world.endpoint().send((rank + 1) % size, 7u32, vec![rank]);
//!         world.endpoint().recv_blocking((rank + size - 1) % size, 7u32, &mut from)?;
//!         greeting.wait().0?;
//!         println!("rank {rank}: the average is {}, rank {} greets", gradient[0], from[0]);
//!         Ok(())
//!     })
//! }
//! ```
//!
//! [`run`] joins the job, runs the closure at every rank, and leaves; a rank that fails ends the job everywhere, with its
//! message. [`init()`] returns the communicator to a program that wants to do this itself.
//!
//! Start it on one machine with `efa run -n 4 -- target/release/program`, on several with `torchrun`, `srun` or
//! `mpirun`; started by itself it is a job of one.
//!
//! # Layers
//!
//! | module | what it is | used by itself |
//! |---|---|---|
//! | [`collective`] | all ranks together: [`Communicator`], the algorithms, a simulator for them | [`init()`] gives a communicator |
//! | [`tensor`] | element types and views of tensors whose type is known at run time only | |
//! | [`messaging`] | the verbs of an endpoint: send, receive, remote read, write and atomics | [`Communicator::endpoint`] |
//! | [`endpoint`] | one open [`Endpoint`]: operations under way, progress, waiting, closing | |
//! | [`memory`] | what memory the device may use, and who owns it meanwhile | [`Endpoint::allocate`] |
//! | [`fabric`] | which libfabric, providers and devices there are, and their limits | [`fabric::offers`] |
//! | [`admission`] | whether the members belong together: facts in, verdict out | [`admission::evaluate`] |
//! | [`bootstrap`] | who is in the job, how its members meet, and who is still alive | [`bootstrap::Job::connect`] |
//!
//! # Three ideas
//!
//! **No endpoint without admission.** An EFA delivers nothing between subnets, or without a security group that admits
//! itself, and it says so by hanging for minutes. So [`admission`] judges the job before anything is opened: facts
//! about all members go in, a [`Report`](admission::Report) comes out, which names member, rule and remedy.
//! [`Endpoint::open`] takes the [`Admission`](admission::Admission) that only a report without an error gives; a
//! program that skips the check does not compile. An endpoint connects only to those it was admitted with. After that,
//! the first message around the ring of ranks has a deadline of its own, and its error names the pair. A job that is
//! refused is refused at every rank; rank 0's error says why.
//!
//! **Whoever uses memory owns it.** The device may touch a buffer until its operation is over. So an operation takes
//! its buffer by value and gives it back with the result, good or bad: an [`Op`] is a future for any executor, and can
//! be waited for without one. Dropped, it keeps the buffer until the device is done. Blocking calls and
//! [`Endpoint::scope`] borrow instead, and return only when the device is done. Memory that others may change at any
//! time ([`memory::Region`], [`memory::MappedFile`]) never turns into a slice.
//!
//! **Collectives are schedules.** An algorithm is a pure function from rank, size and element count to a
//! [`Schedule`](collective::Schedule) of sends, receives, reductions and copies. The same schedule runs on
//! an endpoint and in a [simulator](collective::simulate) that follows each rank's contribution to each element, so
//! every algorithm is checked at sizes that no test machine has.
//!
//! # Waiting, and what can go wrong
//!
//! Every wait has a deadline, and none is infinite. Every [`Error`] has three sentences: what failed, why, and what to
//! do about it. A rank that dies, panics, or drops its communicator after an operation has failed calls the job off:
//! what the others have under way ends with its name and that first error. After a collective has failed the ranks are
//! at different points: start the job again. A rank that gives up for a reason of its own should say so by
//! [`Control::abort`](bootstrap::Control::abort), so that the others end at once instead of at a deadline.
//!
//! # Providers and limits
//!
//! | provider | reaches | |
//! |---|---|---|
//! | `efa` | members in one subnet (a policy can allow one zone) with an EFA each | needs a libfabric that has it: AWS's installation, or the feature `vendored-efa` |
//! | `shm` | ranks on one host that share memory | has no descriptor to sleep on: a waiter naps |
//! | `tcp` | whatever IP reaches | |
//! | `sockets` | whatever IP reaches | libfabric's former tcp; slower, for comparison |
//!
//! By default a job takes efa where every rank has one, else shm when all ranks are on one host, else tcp. A provider
//! asked for by name is that or an error, never another. [`Endpoint::limits`] tells what a provider can do at most.
//!
//! - Linux on x86_64 and aarch64, libfabric 1.22 or newer, memory of the host only (none of a GPU).
//! - Up to 2²⁰ ranks; a [`Tag`] has 40 bits, an immediate 32.
//! - Every provider here needs the target of an operation to make progress; a thread of the library sees to that while
//!   the program computes.
//! - On EC2 the facts and rules that admission needs must be known; unknown means refused.
//! - Tensors travel as the provider sends them: not encrypted by us. The control connection is, with the job key.
//!
//! # Environment
//!
//! | variable | means | default |
//! |---|---|---|
//! | `EFA_PROVIDER` | `auto`, `efa`, `shm`, `tcp` or `sockets`; the same on all ranks | `auto` |
//! | `EFA_TIMEOUT` | seconds that one operation may take, 0.001 to a year | 300 |
//! | `EFA_ARRIVAL_TIMEOUT` | seconds to wait for all members to arrive, 0.1 to a day | 60 |
//! | `EFA_POLICY` | how far apart members may be: `strict`, `same-zone`, `tcp-across-subnets`, `mutual-groups`, or several with commas between; the same on all ranks | `strict` |
//! | `EFA_SECURITY_GROUPS` | file with the rules of the job's security groups, as `aws ec2 describe-security-groups` prints them; read by rank 0 | none: the EC2 API, with the feature `aws`; else unknown on EC2 |
//! | `EFA_MEMBERS` | a members file in place of the instance metadata, on all ranks: see docs/admission.md | none |
//! | `EFA_RANK`, `EFA_WORLD_SIZE` | this process's rank and how many there are; set by `efa run`, and stronger than any other launcher's variables | what torchrun, Open MPI, MPICH or Slurm says; else a job of one |
//! | `EFA_LOCAL_RANK`, `EFA_LOCAL_WORLD_SIZE` | the same among the ranks of this host; needed with the two above | the same |
//! | `EFA_RENDEZVOUS` | `host:port` where rank 0 waits for the others | derived from the launcher's variables where they tell |
//! | `EFA_RENDEZVOUS_RESERVED` | `1` if the launcher holds that port for rank 0 | `0` |
//! | `EFA_JOB_KEY` | the job's secret, 64 hexadecimal digits, the same on all ranks | none: the members meet on loopback only |
//! | `EFA_JOB_KEY_FILE` | a file with the same, instead | none |
//! | `EFA_JOB_ID` | tells one job from another | what the launcher says |
//! | `EFA_LAUNCHER_PID` | under MPICH, what the ranks of a host have in common, to derive a port from | the parent process |
//!
//! libfabric reads its own, `FI_LOG_LEVEL=warn` for one; `fi_info -e` lists them. At build time `LIBFABRIC_DIR` names
//! the libfabric to use. Of the tests, those that take a provider read `EFA_TEST_PROVIDER`.
//!
//! # Features
//!
//! - `vendored`: build libfabric 1.22 from source and link it statically. Needs a C compiler and nothing else.
//! - `vendored-efa`: the same with the efa provider; needs rdma-core's headers and libraries.

pub mod bootstrap;
pub mod collective;
pub mod endpoint;
pub mod fabric;
mod ffi;
mod init;
pub mod memory;
pub mod messaging;
mod settings;
pub mod tensor;

#[cfg(test)]
use efa_fuzz as fuzz;

pub use efa_admission as admission;
pub use efa_admission::placement;
use efa_error as error;

pub use collective::Communicator;
pub use endpoint::{Completion, Endpoint, EndpointConfig, Op, Source, Tag, TagMatch};
pub use error::{Code, Error, Explanation, Peer, Result, printable};
pub use init::{Init, Judged, init, run, this_member};

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
//!         greeting.wait()?;
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
//! be waited for without one. `op.wait()?` returns the completion and the buffer; an [`OpError`] has the buffer of an
//! operation that failed. [`endpoint::Pending`] has lists of different operations. Dropped, it keeps the buffer until the device is done. Blocking calls and
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
//! do about it. Its [kind](Error::kind) tells a misuse, which the same call repeats, from a failure of the world around,
//! and both from a defect of this library ([`Origin`]). A rank that dies, panics, or drops its communicator after an operation has failed calls the job off:
//! what the others have under way ends with its name and that first error. After a collective has failed the ranks are
//! at different points: start the job again. A rank that gives up for a reason of its own should say so by
//! [`Control::abort`](bootstrap::Control::abort), so that the others end at once instead of at a deadline.
//!
//! # Providers and limits
//!
//! | provider | reaches | |
//! |---|---|---|
//! | `efa` | members in one subnet (a policy can allow one zone) with an EFA each | needs a libfabric that has it: AWS's or the system's, or the feature `vendored-efa` |
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
#![doc = include_str!("../ENVIRONMENT.md")]
//!
//! Of the tests, those that take a provider read `EFA_TEST_PROVIDER`.
//!
//! # Features
//!
//! - `vendored`: build libfabric 1.22 in, from source. Needs a C compiler and nothing else. A program without it loads
//!   the system's libfabric when it runs; whether a program with it uses the built-in one depends on the host, see
//!   [`fabric::library`].
//! - `vendored-efa`: the same with the efa provider; needs rdma-core's headers and libraries.
//! - `bytes`: [`Buf`](memory::Buf) for `bytes::Bytes`, and [`BufMut`](memory::BufMut) for `bytes::BytesMut`.

pub mod collective;
pub mod endpoint;
pub mod fabric;
mod ffi;
mod init;
mod logging;
pub mod memory;
pub mod messaging;
pub mod tensor;

#[cfg(test)]
use efa_fuzz as fuzz;

/// The crate whose [`Pod`](bytemuck::Pod) says which types are plain data, which messages are made of.
pub use bytemuck;
pub use efa_admission as admission;
pub use efa_admission::placement;
pub use efa_bootstrap as bootstrap;
use efa_error as error;
use efa_error::input;

pub use collective::Communicator;
pub use endpoint::{Completion, Endpoint, EndpointConfig, Op, OpError, OpResult, Source, Tag, TagMatch};
pub use error::{Code, Error, ErrorKind, Explanation, Origin, Peer, Result, printable};
pub use init::{Init, JobReport, Judged, LibraryOfRanks, NotTaken, init, run, this_member};
pub use logging::log_from_env;

//! A group of ranks that call collectives together: [`Communicator`].

use std::collections::HashMap;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::execute::{Buffers, Elements, ExecutorState, Prepared, run};
use super::select::{choose, plan, plan_in_order};
use super::{Algorithm, BufferMode, Call, Collective, Options, ReduceOp, reduce};
use crate::bootstrap::Control;
use crate::endpoint::{Endpoint, Progress};
use crate::error::{Error, Result};
use crate::init::JobReport;
use crate::memory::RegisteredBuf;
use crate::tensor::{DType, Element, TensorViewMut};

/// How many schedules are kept; a training step has a few dozen sizes.
const SCHEDULES: usize = 256;
/// All ranks of a job, with an endpoint each, calling collectives together.
///
/// Every rank makes the same calls in the same order, with the same counts, types and options. A communicator may be
/// used from several threads; their collectives are then done one at a time, and it is up to the program that all
/// ranks get them in the same order. Messages of another length than was due are an error at once; ranks that differed in
/// anything else have wrong results, and are told when they [finish](Communicator::finish). A waker that calls one on a thread that is in another gets [`Error::Misuse`].
///
/// A program that has done its work calls [`Communicator::finish`]. Dropping a communicator without that, as an error
/// does that leaves `main` by `?`, calls the job off: the operations of all other ranks end at once with an error that
/// names this rank and carries its first error, and so does their `finish`. Only if no operation has failed here and
/// nothing panics, the drop first waits up to a second for the other ranks to drop theirs as well, and if they do, the
/// job ends in good order. The other ranks leave it a moment to print, before they go: so its own message is not lost
/// when the launcher ends a job with the first rank that exits.
pub struct Communicator {
    // The endpoint closes before the others are told that we left: see `leave`.
    state: Mutex<State>,
    /// The thread that has `state`, as [`this_thread`] names it, or zero.
    holder: AtomicUsize,
    endpoint: Option<Endpoint>,
    control: Option<Control>,
    options: Options,
    report: JobReport,
    /// How long the ranks wait for one another at the end.
    patience: Duration,
}

struct State {
    schedules: HashMap<Key, Arc<Prepared>>,
    /// The one used last: loops call the same collective again and again.
    last: Option<(Key, Arc<Prepared>)>,
    executor: ExecutorState,
    scratch: RegisteredBuf<u8>,
    /// How many collectives there have been; part of their messages' tags.
    number: u64,
    /// A digest of them, in which ranks differ that did not call the same.
    history: u64,
    /// The last of them that succeeded.
    latest: Option<(Call, Elements)>,
    /// A collective failed: ranks may be at different points now.
    failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    call: Call,
    element_bytes: usize,
    options: Options,
}

/// Returns a number that no other thread has while this one lives, and not zero.
fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| ptr::from_ref(here).addr())
}

/// Adds a collective to the digest of those before it. What may differ between the ranks is left out.
fn remember(history: u64, call: &Call, elements: u64) -> u64 {
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let what = (call.root as u64) << 32 | elements << 8 | call.collective as u64;
    let mixed = (history.rotate_left(23) ^ what).wrapping_mul(SPREAD);
    (mixed.rotate_left(23) ^ call.elements as u64).wrapping_mul(SPREAD)
}

/// Tells who has the state, for as long as it has it.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn by(holder: &'a AtomicUsize, thread: usize) -> Self {
        holder.store(thread, Ordering::Relaxed);
        Self(holder)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Communicator {
    pub(crate) fn new(
        endpoint: Endpoint,
        control: Control,
        report: JobReport,
        patience: Option<Duration>,
    ) -> Result<Self> {
        let scratch = endpoint.allocate(1)?;
        let state = State {
            schedules: HashMap::new(),
            last: None,
            executor: ExecutorState::default(),
            scratch,
            number: 0,
            history: 0,
            latest: None,
            failed: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            holder: AtomicUsize::new(0),
            endpoint: Some(endpoint),
            control: Some(control),
            options: Options::default(),
            report,
            patience: patience.unwrap_or(Duration::MAX),
        })
    }

    /// This process's rank, from 0.
    pub fn rank(&self) -> usize {
        self.endpoint().rank()
    }

    /// How many ranks there are.
    pub fn size(&self) -> usize {
        self.endpoint().size()
    }

    /// The endpoint underneath, for messages and remote memory.
    pub fn endpoint(&self) -> &Endpoint {
        self.endpoint.as_ref().expect("present until the communicator is dropped")
    }

    /// The control connection: small exchanges, and who is alive.
    pub fn control(&self) -> &Control {
        self.control.as_ref().expect("present until the communicator is dropped")
    }

    /// Returns what carries the job's data, and why, and what admission said about the job.
    ///
    /// ```no_run
    /// # fn main() -> efa_core::Result<()> {
    /// let world = efa_core::init()?;
    /// if world.rank() == 0 {
    ///     println!("{}", world.report());
    /// }
    /// # world.finish()
    /// # }
    /// ```
    pub fn report(&self) -> &JobReport {
        &self.report
    }

    /// Sets how collectives are carried out from now on. All ranks must choose the same.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// The algorithm that a collective of so many elements is carried out by.
    pub fn algorithm(&self, collective: Collective, elements: usize, dtype: DType) -> Algorithm {
        match self.options.algorithm {
            Algorithm::Auto => choose(&self.call(collective, elements), dtype.size(), &self.options),
            chosen => chosen,
        }
    }

    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// Those of messages: [`Error::PeerLost`], [`Error::Timeout`], [`Error::Aborted`] and so on.
    pub fn barrier(&self) -> Result<()> {
        self.run::<u8>(self.call(Collective::Barrier, 0), ReduceOp::Sum, &[], &mut [])
    }

    /// Gives `root`'s elements to every rank. `data` has the same length everywhere.
    ///
    /// ```no_run
    /// # fn main() -> efa_core::Result<()> {
    /// let world = efa_core::init()?;
    /// let mut weights = vec![0.0f32; 1 << 20];
    /// if world.rank() == 0 {
    ///     weights.fill(1.5);
    /// }
    /// world.broadcast(&mut weights, 0)?;
    /// assert_eq!(weights[77], 1.5);
    /// world.finish()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Misuse`] for a root outside the job; else as [`Communicator::barrier`].
    pub fn broadcast<T: Element>(&self, data: &mut [T], root: usize) -> Result<()> {
        let call = self
            .call(Collective::Broadcast, data.len())
            .with_root(root)
            .with_buffer_mode(BufferMode::InPlace);
        self.run(call, ReduceOp::Sum, &[], data)
    }

    /// Combines everybody's `input` element by element, and puts the result into `output` at every rank. All have the
    /// same length. Every rank gets the same bits.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the lengths differ; else as [`Communicator::barrier`].
    pub fn all_reduce<T: Element>(&self, input: &[T], output: &mut [T], op: ReduceOp) -> Result<()> {
        self.check_lengths("all-reduce", input.len(), output.len(), 1, 1)?;
        self.run(self.call(Collective::AllReduce, output.len()), op, input, output)
    }

    /// [`Communicator::all_reduce`] of `data` into itself.
    ///
    /// # Errors
    /// As [`Communicator::barrier`].
    pub fn all_reduce_in_place<T: Element>(&self, data: &mut [T], op: ReduceOp) -> Result<()> {
        let call = self.call(Collective::AllReduce, data.len()).with_buffer_mode(BufferMode::InPlace);
        self.run(call, op, &[], data)
    }

    /// [`Communicator::all_reduce_in_place`] for a tensor whose element type is known at run time only.
    ///
    /// # Errors
    /// As [`Communicator::barrier`].
    pub fn all_reduce_tensor(&self, tensor: &mut TensorViewMut<'_>, op: ReduceOp) -> Result<()> {
        let call = self.call(Collective::AllReduce, tensor.elements()).with_buffer_mode(BufferMode::InPlace);
        let elements = Elements { dtype: tensor.dtype(), op };
        self.run_bytes(call, elements, &[], tensor.bytes_mut())
    }

    /// Puts everybody's `input`, in the order of the ranks, into `output`, which is as many times as long.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the lengths don't fit; else as [`Communicator::barrier`].
    pub fn all_gather<T: Element>(&self, input: &[T], output: &mut [T]) -> Result<()> {
        self.check_lengths("all-gather", input.len(), output.len(), self.size(), 1)?;
        self.run(self.call(Collective::AllGather, input.len()), ReduceOp::Sum, input, output)
    }

    /// Combines everybody's `input`, and gives to each rank its part of the result: `input` is as many times as long as
    /// `output` as there are ranks.
    ///
    /// # Errors
    /// As [`Communicator::all_gather`].
    pub fn reduce_scatter<T: Element>(&self, input: &[T], output: &mut [T], op: ReduceOp) -> Result<()> {
        self.check_lengths("reduce-scatter", input.len(), output.len(), 1, self.size())?;
        self.run(self.call(Collective::ReduceScatter, output.len()), op, input, output)
    }

    /// Waits until all ranks have come here, and leaves the job in good order. As long as all ranks are alive the wait has
    /// no limit, unless [`Init::leave`](crate::Init::leave) sets one: a rank may take its time for a last checkpoint.
    ///
    /// # Errors
    /// [`Error::PeerLost`] naming a rank that has died or has been silent for too long; [`Error::Aborted`] when the job has
    /// been called off, also by this rank because a collective failed or its endpoint has closed itself;
    /// [`Error::Rendezvous`] when the ranks did not call the same collectives, whose results are wrong then;
    /// [`Error::Timeout`] naming the ranks that did not come within the limit, which calls the job off.
    pub fn finish(mut self) -> Result<()> {
        self.leave(Exit::Finished)
    }

    /// Leaves because the program at this rank has failed, with `error`; `lost` is the rank that the error says is lost.
    pub(crate) fn fail(mut self, lost: Option<usize>, error: &str) {
        // The error that the program returns says more.
        let _ = self.leave(Exit::Failed { lost, error });
    }

    fn call(&self, collective: Collective, elements: usize) -> Call {
        Call::new(collective, self.rank(), self.size(), elements)
    }

    fn check_lengths(
        &self,
        verb: &str,
        input: usize,
        output: usize,
        times: usize,
        parts: usize,
    ) -> Result<()> {
        if input.checked_mul(times) == output.checked_mul(parts) {
            return Ok(());
        }
        Err(Error::misuse(
            format!("cannot {verb} {input} elements into {output}"),
            match (times, parts) {
                (1, 1) => "input and output must have the same length".into(),
                (n, 1) => format!("with {n} ranks the output must be {n} times as long as the input"),
                (_, n) => format!("with {n} ranks the input must be {n} times as long as the output"),
            },
            "make the buffers fit",
        ))
    }

    fn run<T: Element>(&self, call: Call, op: ReduceOp, input: &[T], output: &mut [T]) -> Result<()> {
        let elements = Elements { dtype: T::DTYPE, op };
        self.run_bytes(call, elements, bytemuck::cast_slice(input), bytemuck::cast_slice_mut(output))
    }

    fn run_bytes(&self, call: Call, elements: Elements, input: &[u8], output: &mut [u8]) -> Result<()> {
        let thread = this_thread();
        // A waker, say, that runs while this thread carries a collective out. It would wait for itself.
        if self.holder.load(Ordering::Relaxed) == thread {
            return Err(Error::misuse(
                format!("cannot call {} inside of another collective", call.collective),
                "a waker or the drop of a buffer called it, on the thread that carries the other one out",
                "wake a task or tell another thread, and let that call it",
            ));
        }
        // A panic while it was held left a collective half done, which `failed` tells the next call.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = Held::by(&self.holder, thread);
        if state.failed {
            return Err(Error::Closed(crate::error::Explanation::new(
                format!("cannot call {}", call.collective),
                "an earlier collective failed, so the ranks are at different points",
                "look for the first error; start the job again when it is mended",
            )));
        }
        let key = Key { call, element_bytes: elements.dtype.size(), options: self.options };
        let state = &mut *state;
        let prepared = match &state.last {
            Some((last, prepared)) if *last == key => prepared,
            _ => {
                let prepared = self.prepare(&mut state.schedules, key)?;
                &state.last.insert((key, prepared)).1
            }
        };
        // Set until the end is reached, however this is left.
        state.failed = true;
        let wanted = prepared.schedule().len_of(super::schedule::BufferId::Scratch) * key.element_bytes;
        if state.scratch.len() < wanted {
            state.scratch = self.endpoint().allocate(wanted.next_power_of_two())?;
        }
        let buffers = Buffers { input, output: &mut *output, scratch: &mut state.scratch };
        let shared = &self.endpoint().shared;
        let begun = shared.clock.now();
        run(self.endpoint(), prepared, &mut state.executor, elements, state.number, buffers)
            .map_err(|error| {
                name_collective(error, &call, elements.dtype, state.number, shared.clock.since(begun))
            })
            .inspect_err(|error| shared.note_failure(error))?;
        let reduces = matches!(call.collective, Collective::AllReduce | Collective::ReduceScatter);
        if reduces && elements.op == ReduceOp::Average {
            reduce::finish_average(elements.dtype, output, self.size())?;
        }
        state.number += 1;
        state.latest = Some((call, elements));
        let op = if reduces { 1 + elements.op as u64 } else { 0 };
        state.history = remember(state.history, &call, op << 8 | elements.dtype as u64);
        state.failed = false;
        Ok(())
    }

    /// The schedule for a call, made when there is none yet.
    fn prepare(&self, schedules: &mut HashMap<Key, Arc<Prepared>>, key: Key) -> Result<Arc<Prepared>> {
        if let Some(prepared) = schedules.get(&key) {
            return Ok(prepared.clone());
        }
        let schedule = match self.report.admission.ring_order() {
            Some(order) => plan_in_order(&key.call, key.element_bytes, &key.options, order)?,
            None => plan(&key.call, key.element_bytes, &key.options)?,
        };
        let prepared = Arc::new(Prepared::new(schedule)?);
        if schedules.len() >= SCHEDULES {
            schedules.clear();
        }
        schedules.insert(key, prepared.clone());
        Ok(prepared)
    }

    /// Leaves in good order, if the job can be left so.
    fn leave(&mut self, exit: Exit<'_>) -> Result<()> {
        let (Some(control), Some(endpoint)) = (self.control.take(), self.endpoint.take()) else {
            return Ok(());
        };
        // A panic in a collective leaves the lock poisoned, and the ranks at different points.
        let state = self.state.get_mut();
        let failed = state.as_ref().map_or(true, |state| state.failed);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        // Those who called something else are at another barrier, and are told so.
        let label = format!("leaving the job after {}", describe_calls(state));
        let closed = endpoint.closed_by_itself();
        let first = endpoint.first_failure().filter(|_| failed || closed.is_some() || exit == Exit::Dropped);
        let mut together = false;
        if std::thread::panicking() {
            control.give_up_with(None, "it panicked; its own output says where and why");
        } else if let Exit::Failed { lost, error } = exit {
            together = control.fail_together();
            if !together {
                control.give_up_with(lost, error);
            }
        } else if let Some(first) = first {
            control.give_up_with(first.lost, &first.text);
        } else if failed || closed.is_some() {
            control.give_up_with(None, closed.as_deref().unwrap_or("a collective failed"));
        } else if exit == Exit::Dropped {
            together = control.fail_together();
            if !together {
                control.give_up_with(None, "it left without finish(); its own output may say why");
            }
        }
        let mut met = Ok(());
        // Nobody waits for anybody in a job that has been called off.
        if !together && !control.liveness().is_called_off() {
            met = part(&control, &endpoint, &label, self.patience);
        }
        let called_off = endpoint.called_off("cannot leave the job in good order");
        drop(endpoint);
        let Some(error) = called_off else {
            match &met {
                Ok(()) => control.leave(),
                Err(error) => control.give_up(error),
            }
            return met;
        };
        if let Error::Aborted { by, .. } = &error {
            control.let_speak(by.rank);
        }
        Err(error)
    }
}

/// Says in words what was called, in which ranks differ that did not call the same. The checksum differs, too, if only a
/// collective before the last was another one.
fn describe_calls(state: &State) -> String {
    let Some((call, Elements { dtype, op })) = state.latest else { return "no collective".into() };
    let Call { collective, elements, root, .. } = call;
    let last = match collective {
        Collective::Barrier => collective.to_string(),
        Collective::Broadcast => format!("{collective} of {elements} {dtype} from rank {root}"),
        Collective::AllReduce | Collective::ReduceScatter => {
            format!("{collective} of {elements} {dtype} with {op}")
        }
        Collective::AllGather => format!("{collective} of {elements} {dtype}"),
    };
    let State { number, history, .. } = state;
    format!("collective number {number}, {last} (checksum of all calls so far: {history:016x})")
}

/// Says which collective an error is of, and for how long that has been under way.
#[cold]
fn name_collective(error: Error, call: &Call, dtype: DType, number: u64, elapsed: Duration) -> Error {
    let Call { collective, elements, .. } = *call;
    let size = match collective {
        Collective::Barrier => String::new(),
        _ => format!(" of {elements} {dtype} ({} bytes)", elements * dtype.size()),
    };
    error.in_the_course_of(&format!(
        "the {collective}{size}, number {} of this communicator, failed after {elapsed:.1?}",
        number + 1
    ))
}

/// How a rank leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exit<'a> {
    Finished,
    /// Without a word: on an error, most likely.
    Dropped,
    /// The program failed with this error, because of the rank that is lost if there is one.
    Failed {
        lost: Option<usize>,
        error: &'a str,
    },
}

/// Waits until all ranks have come here, and all messages where it can be told that some are missing. Calls the job off if
/// some are lost.
fn part(control: &Control, endpoint: &Endpoint, label: &str, patience: Duration) -> Result<()> {
    let Some(sent) = endpoint.sent_messages() else { return control.barrier(label, patience) };
    let mine: Vec<u8> = (0u32..)
        .zip(&sent)
        .filter(|&(_, &count)| count > 0)
        .flat_map(|(rank, count)| [&rank.to_le_bytes()[..], &count.to_le_bytes()].concat())
        .collect();
    let all = control.exchange(label, &mine, patience)?;
    let here = endpoint.rank() as u32;
    let sent_here: Vec<u64> = all.iter().map(|wire| count_for(here, wire)).collect();
    let mut progress = Progress::new();
    loop {
        let came = match endpoint.await_messages(&sent_here, &mut progress) {
            Ok(came) => came,
            Err(why) => {
                control.give_up_with(None, &why);
                return Ok(());
            }
        };
        let all = control.exchange("waiting for the last messages", &[u8::from(came)], patience)?;
        let waiting: Vec<usize> = (0..all.len()).filter(|&rank| all[rank] == [0]).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        waiting.into_iter().filter(|&rank| sent[rank] > 0).for_each(|rank| endpoint.send_last(rank));
    }
}

/// The count for a rank in a list of ranks and counts.
fn count_for(rank: u32, wire: &[u8]) -> u64 {
    let (entries, _) = wire.as_chunks::<12>();
    let mut words = entries.iter().map(|entry| {
        let (rank, count) = entry.split_at(4);
        (
            u32::from_le_bytes(rank.try_into().unwrap_or_default()),
            u64::from_le_bytes(count.try_into().unwrap_or_default()),
        )
    });
    words.find(|entry| entry.0 == rank).map_or(0, |entry| entry.1)
}

impl Drop for Communicator {
    fn drop(&mut self) {
        if let Err(error) = self.leave(Exit::Dropped) {
            log::warn!("{error}");
        }
    }
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Communicator").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

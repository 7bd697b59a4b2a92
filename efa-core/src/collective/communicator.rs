//! A group of ranks that call collectives together: [`Communicator`].

mod counts;
mod leave;
mod operations;
mod tensors;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytemuck::Pod;

use super::execute::{Buffers, Elements, ExecutorState, Prepared, run};
use super::reduce::Operation;
use super::schedule::BufferId;
use super::select::{choose, plan, plan_in_order};
use super::{Algorithm, BufferMode, Call, Collective, Counts, Options, Reduction, reduce};
use crate::bootstrap::Control;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::init::JobReport;
use crate::memory::RegisteredBuf;
use crate::tensor::{DType, Element};

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
    /// The lengths of blocks that calls had.
    counts: HashSet<Counts>,
    /// Room for the lengths of one call.
    lengths: Vec<usize>,
    /// How many collectives there have been; part of their messages' tags.
    number: u64,
    /// A digest of them, in which ranks differ that did not call the same.
    history: u64,
    /// The last of them that succeeded.
    latest: Option<Latest>,
    /// A collective failed: ranks may be at different points now.
    failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
fn remember(history: u64, call: &Call, elements: Elements<'_>) -> u64 {
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let what = (call.root as u64) << 32 | elements.operation.digest() << 8 | call.collective as u64;
    let mixed = (history.rotate_left(23) ^ what).wrapping_mul(SPREAD);
    let how_much = (call.elements as u64) << 8 | elements.size as u64;
    (mixed.rotate_left(23) ^ how_much).wrapping_mul(SPREAD)
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
            counts: HashSet::new(),
            lengths: Vec::new(),
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

    fn call(&self, collective: Collective, elements: usize) -> Call {
        Call::new(collective, self.rank(), self.size(), elements)
    }

    /// The same with the contribution in the output.
    fn call_in_place(&self, collective: Collective, elements: usize) -> Call {
        self.call(collective, elements).with_buffer_mode(BufferMode::InPlace)
    }

    fn run<T: Pod>(
        &self,
        call: Call,
        blocks: Blocks<'_>,
        op: impl Reduction<T>,
        input: &[T],
        output: &mut [T],
    ) -> Result<()> {
        op.erased(|operation| {
            let elements = Elements { name: element_name::<T>(), size: size_of::<T>(), operation };
            let (input, output) = (bytemuck::cast_slice(input), bytemuck::cast_slice_mut(output));
            self.run_bytes(call, blocks, elements, input, output)
        })
    }

    /// Runs a collective that moves elements and combines none.
    fn move_elements<T: Element>(
        &self,
        call: Call,
        blocks: Blocks<'_>,
        input: &[T],
        output: &mut [T],
    ) -> Result<()> {
        let elements = Elements { name: T::DTYPE.name(), size: size_of::<T>(), operation: Operation::None };
        let (input, output) = (bytemuck::cast_slice(input), bytemuck::cast_slice_mut(output));
        self.run_bytes(call, blocks, elements, input, output)
    }

    fn run_bytes(
        &self,
        call: Call,
        blocks: Blocks<'_>,
        elements: Elements<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<()> {
        let thread = this_thread();
        // A waker, say, that runs while this thread carries a collective out. It would wait for itself.
        if self.holder.load(Ordering::Relaxed) == thread {
            return Err(Error::misuse(
                format!("cannot call {} inside of another collective", call.collective),
                "a waker, the drop of a buffer or an operation of the program called it, on the thread that carries \
                 the other one out",
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
        let state = &mut *state;
        let mut call = match blocks {
            Blocks::Equal => call,
            given => call.with_counts(given.known(state)),
        };
        call.ordered = elements.operation.is_ordered();
        let key = Key { call, element_bytes: elements.size, options: self.options };
        let prepared = match &state.last {
            Some((last, prepared)) if *last == key => {
                fits(&key.call, elements, input.len(), output.len())?;
                prepared
            }
            _ => {
                check_operation(elements.operation, &key.call).map_err(|error| at_rank(error, &key.call))?;
                key.call.check()?;
                fits(&key.call, elements, input.len(), output.len())?;
                let prepared = self.prepare(&mut state.schedules, &key)?;
                &state.last.insert((key.clone(), prepared)).1
            }
        };
        let Key { call, .. } = &key;
        // Set until the end is reached, however this is left.
        state.failed = true;
        let wanted = prepared.schedule().len_of(BufferId::Scratch) * key.element_bytes;
        if state.scratch.len() < wanted {
            state.scratch = self.endpoint().allocate(wanted.next_power_of_two())?;
        }
        let buffers = Buffers { input, output: &mut *output, scratch: &mut state.scratch };
        let shared = &self.endpoint().shared;
        let begun = shared.clock.now();
        run(self.endpoint(), prepared, &mut state.executor, elements, state.number, buffers)
            .map_err(|error| name_collective(error, call, elements, state.number, shared.clock.since(begun)))
            .inspect_err(|error| shared.note_failure(error))?;
        if let Some(dtype) = elements.operation.averages() {
            let result = result_of(call);
            let result = &mut output[result.start * elements.size..result.end * elements.size];
            reduce::finish_average(dtype, result, self.size())?;
        }
        state.number += 1;
        state.latest = Some(Latest::new(call, elements));
        state.history = remember(state.history, call, elements);
        state.failed = false;
        Ok(())
    }

    /// The schedule for a call, made when there is none yet.
    fn prepare(&self, schedules: &mut HashMap<Key, Arc<Prepared>>, key: &Key) -> Result<Arc<Prepared>> {
        if let Some(prepared) = schedules.get(key) {
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
        schedules.insert(key.clone(), prepared.clone());
        Ok(prepared)
    }
}

/// What is said of a collective that succeeded.
#[derive(Clone, Copy)]
struct Latest {
    collective: Collective,
    root: usize,
    /// None where the blocks had lengths of their own.
    elements: Option<usize>,
    type_name: &'static str,
    operation: &'static str,
}

impl Latest {
    fn new(call: &Call, elements: Elements<'_>) -> Self {
        Self {
            collective: call.collective,
            root: call.root,
            elements: call.counts().is_none().then_some(call.elements),
            type_name: elements.name,
            operation: elements.operation.name(),
        }
    }
}

impl fmt::Display for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { collective, root, elements, type_name, operation } = *self;
        write!(f, "{collective}")?;
        match elements {
            _ if collective == Collective::Barrier => {}
            Some(elements) => write!(f, " of {elements} {type_name}")?,
            None => write!(f, " of {type_name} in blocks of given lengths")?,
        }
        match collective {
            Collective::Broadcast | Collective::Scatter => write!(f, " from rank {root}")?,
            Collective::Reduce | Collective::Gather => write!(f, " to rank {root}")?,
            _ => {}
        }
        if collective.reduces() { write!(f, " with {operation}") } else { Ok(()) }
    }
}

/// How long the blocks of a collective are.
#[derive(Clone, Copy)]
enum Blocks<'a> {
    /// All the same, or there are none.
    Equal,
    /// One length for each rank.
    Given(&'a [usize]),
    /// What goes to each rank, and what comes from each.
    Exchanged(&'a [usize], &'a [usize]),
}

impl Blocks<'_> {
    /// The lengths, made when they are not known from an earlier call.
    fn known(self, state: &mut State) -> Counts {
        let (first, second) = match self {
            Blocks::Equal => (&[][..], &[][..]),
            Blocks::Given(counts) => (counts, &[][..]),
            Blocks::Exchanged(sent, received) => (sent, received),
        };
        state.lengths.clear();
        state.lengths.extend_from_slice(first);
        state.lengths.extend_from_slice(second);
        if let Some(counts) = state.counts.get(&state.lengths[..]) {
            return counts.clone();
        }
        let counts = Counts::new(&state.lengths[..]);
        if state.counts.len() >= SCHEDULES {
            state.counts.clear();
        }
        state.counts.insert(counts.clone());
        counts
    }
}

/// The name of an element type, without the path to it.
fn element_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    // Of `Pair<a::b::C>`, nothing: the path of a parameter is part of the name.
    if name.contains('<') { name } else { name.rsplit("::").next().unwrap_or(name) }
}

/// Refuses an operation that does not exist for the type, or not in this collective.
fn check_operation(operation: Operation<'_>, call: &Call) -> Result<()> {
    operation.check()?;
    let scans = matches!(call.collective, Collective::Scan | Collective::ExclusiveScan);
    if !scans || operation.averages().is_none() {
        return Ok(());
    }
    Err(Error::misuse(
        "cannot average",
        "each rank has the result of another number of ranks",
        "take the sum, and divide it by the number of ranks it is of",
    ))
}

/// Refuses buffers that are not as long as the call says.
fn fits(call: &Call, elements: Elements<'_>, input: usize, output: usize) -> Result<()> {
    let wanted_input = if call.buffer_mode == BufferMode::InPlace { 0 } else { call.input_len() };
    let wanted_output = call.output_len();
    if input == wanted_input * elements.size && output == wanted_output * elements.size && elements.size > 0 {
        return Ok(());
    }
    Err(misfit(call, elements, (input, wanted_input), (output, wanted_output)))
}

/// Says which buffer has a wrong length.
#[cold]
fn misfit(
    call: &Call,
    elements: Elements<'_>,
    (input, wanted_input): (usize, usize),
    (output, wanted_output): (usize, usize),
) -> Error {
    let Elements { size, name, .. } = elements;
    let why = if size == 0 {
        format!("elements of type {name} have no bytes")
    } else if input == wanted_input * size {
        format!("the output has {} elements and must have {wanted_output}", output / size)
    } else {
        format!("the input has {} elements and must have {wanted_input}", input / size)
    };
    let error = Error::misuse(format!("cannot run {}", call.collective), why, "make the buffers fit");
    at_rank(error, call)
}

/// Adds the rank to an error that names the call.
#[cold]
fn at_rank(error: Error, call: &Call) -> Error {
    error.in_the_course_of(&format!("the {} at rank {} of {}", call.collective, call.rank, call.size))
}

/// Where in the output the result of a reduction lies; nowhere at ranks that get none.
fn result_of(call: &Call) -> Range<usize> {
    match (call.collective, call.buffer_mode) {
        (Collective::Reduce, _) if call.rank != call.root => 0..0,
        (Collective::ReduceScatter, BufferMode::InPlace) => call.block(call.rank),
        _ => 0..call.output_len(),
    }
}

/// Says which collective an error is of, and for how long that has been under way.
#[cold]
fn name_collective(
    error: Error,
    call: &Call,
    elements: Elements<'_>,
    number: u64,
    elapsed: Duration,
) -> Error {
    let count = call.input_len().max(call.output_len());
    let size = match call.collective {
        Collective::Barrier => String::new(),
        _ => format!(" of {count} {} ({} bytes)", elements.name, count * elements.size),
    };
    error.in_the_course_of(&format!(
        "the {}{size}, number {} of this communicator, failed after {elapsed:.1?}",
        call.collective,
        number + 1
    ))
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Communicator").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

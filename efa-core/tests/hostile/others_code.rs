//! Code of the program's that the endpoint runs (wakers, drops of buffers, a panicking scope), against the endpoint.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::task::{Context, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use efa_core::endpoint::wait_any_timeout;
use efa_core::{Communicator, Endpoint, Error, Op, OpError};

use super::{common, job};

/// Longer than anything here takes, shorter than the endpoints' timeout.
const SOON: Duration = Duration::from_secs(20);

/// Runs `body` with an endpoint whose only peer is itself, and fails if that does not end.
fn in_time(body: impl FnOnce(Arc<Endpoint>) + Send + 'static) {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let (mut all, _) = common::endpoints(1, common::config());
        let result = catch_unwind(AssertUnwindSafe(|| body(Arc::new(all.pop().unwrap()))));
        done.send(result).unwrap();
    });
    match ended.recv_timeout(2 * SOON) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => panic!("the endpoint hangs"),
    }
}

fn is_pending(op: &mut Op<Vec<u8>>, waker: &Waker) -> bool {
    pin!(op).poll(&mut Context::from_waker(waker)).is_pending()
}

/// A waker that uses the endpoint whenever it is cloned, dropped or woken.
struct Nosy {
    endpoint: Arc<Endpoint>,
    uses: AtomicUsize,
}

impl Nosy {
    fn waker(self: &Arc<Self>) -> Waker {
        // SAFETY: the functions of the table treat the pointer as an `Arc<Nosy>`, which it is.
        unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(self.clone()).cast(), &NOSY)) }
    }

    fn use_endpoint(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
        if self.endpoint.is_open() {
            self.endpoint.send_blocking(0, 500u32, &[1u8; 16]).unwrap();
            self.endpoint.recv_blocking(0, 500u32, &mut [0u8; 16]).unwrap();
        }
    }
}

static NOSY: RawWakerVTable = RawWakerVTable::new(
    |nosy| {
        // SAFETY: see `Nosy::waker`.
        let nosy = unsafe { Arc::from_raw(nosy.cast::<Nosy>()) };
        nosy.use_endpoint();
        let another = nosy.clone();
        std::mem::forget(nosy);
        RawWaker::new(Arc::into_raw(another).cast(), &NOSY)
    },
    drop_nosy,
    |nosy| {
        // SAFETY: see `Nosy::waker`; the pointer stays with the waker.
        unsafe { (*nosy.cast::<Nosy>()).use_endpoint() }
    },
    drop_nosy,
);

fn drop_nosy(nosy: *const ()) {
    // SAFETY: see `Nosy::waker`; the waker's reference ends here.
    let nosy = unsafe { Arc::from_raw(nosy.cast::<Nosy>()) };
    nosy.use_endpoint();
}

#[test]
fn a_waker_may_use_the_endpoint_when_it_is_cloned_woken_and_dropped() {
    in_time(|endpoint| {
        let nosy = Arc::new(Nosy { endpoint: endpoint.clone(), uses: AtomicUsize::new(0) });
        let mut receive = endpoint.recv(0, 1u32, vec![0u8; 8]);
        assert!(is_pending(&mut receive, &nosy.waker()));
        // Another waker replaces the first, which is dropped.
        let other = Arc::new(Nosy { endpoint: endpoint.clone(), uses: AtomicUsize::new(0) });
        assert!(is_pending(&mut receive, &other.waker()));
        endpoint.send_blocking(0, 1u32, &[3u8; 8]).unwrap();
        assert_eq!(receive.wait().unwrap().1, [3; 8]);
        assert!(nosy.uses.load(Ordering::Relaxed) >= 3 && other.uses.load(Ordering::Relaxed) >= 2);
    });
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        // Without a message of its own: this panic is part of the test.
        std::panic::resume_unwind(Box::new("the waker is broken"));
    }
}

#[test]
fn a_waker_that_panics_closes_the_endpoint_and_all_operations_name_it() {
    in_time(|endpoint| {
        let mut woken = endpoint.recv(0, 1u32, vec![0u8; 8]);
        assert!(is_pending(&mut woken, &Waker::from(Arc::new(Panics))));
        let waiting = endpoint.recv(0, 2u32, vec![0u8; 8]);
        endpoint.send_blocking(0, 1u32, &[3u8; 8]).unwrap();
        let error = waiting.wait().unwrap_err().error;
        assert!(matches!(error, Error::Closed(_)), "{error}");
        assert!(error.to_string().contains("the waker is broken"), "{error}");
        assert!(!endpoint.is_open());
        let error = endpoint.send_blocking(0, 3u32, &[1u8]).unwrap_err();
        assert!(error.to_string().contains("the waker is broken"), "{error}");
    });
}

/// A waker that receives what nobody sends, on the thread that ends what takes too long.
struct Blocks(Arc<Endpoint>, Mutex<mpsc::Sender<Error>>);

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        let error = self.0.recv_blocking(0, 404u32, &mut [0u8]).unwrap_err();
        self.1.lock().unwrap().send(error).unwrap();
    }
}

#[test]
fn a_waker_that_waits_for_ever_on_the_progress_thread_does_not_stop_deadlines() {
    let (mut all, _) = common::endpoints(1, common::config().timeout(Duration::from_secs(2)));
    let endpoint = Arc::new(all.pop().unwrap());
    let (sender, ended) = mpsc::channel();
    let mut woken = endpoint.recv(0, 1u32, vec![0u8; 8]);
    let waker = Waker::from(Arc::new(Blocks(endpoint.clone(), Mutex::new(sender))));
    assert!(is_pending(&mut woken, &waker));
    endpoint.send(0, 1u32, vec![3u8; 8]).wait().unwrap();
    let error = ended.recv_timeout(SOON).expect("the wait in the waker has no deadline");
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

/// A waker that does not return for a while.
struct Sleeps(mpsc::Sender<()>);

impl Wake for Sleeps {
    fn wake(self: Arc<Self>) {
        self.0.send(()).unwrap();
        thread::sleep(SOON / 2);
    }
}

#[test]
fn while_a_waker_does_not_return_waits_still_end_at_their_deadline() {
    let (mut all, _) = common::endpoints(1, common::config().timeout(Duration::from_secs(1)));
    let endpoint = all.pop().unwrap();
    let (sender, asleep) = mpsc::channel();
    let mut woken = endpoint.recv(0, 1u32, vec![0u8; 8]);
    assert!(is_pending(&mut woken, &Waker::from(Arc::new(Sleeps(sender)))));
    endpoint.send(0, 1u32, vec![3u8; 8]).wait().unwrap();
    asleep.recv_timeout(SOON).unwrap();
    let begun = Instant::now();
    let error = endpoint.recv_blocking(0, 2u32, &mut [0u8]).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(begun.elapsed() < SOON / 3, "the receive ended with the waker, after {:?}", begun.elapsed());
    drop(woken);
}

/// A waker that does not return before it is told to.
struct Stays(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);

impl Wake for Stays {
    fn wake(self: Arc<Self>) {
        self.0.send(()).unwrap();
        let _ = self.1.lock().unwrap().recv();
    }
}

#[test]
fn while_a_waker_does_not_return_a_list_of_several_endpoints_ends_at_its_deadline() {
    let alone = |limit| common::endpoints(1, common::config().timeout(limit)).0.remove(0);
    let (endpoint, other) = (alone(Duration::from_secs(1)), alone(2 * SOON));
    let ((sender, stays), (go, told)) = (mpsc::channel(), mpsc::channel());
    let mut woken = endpoint.recv(0, 1u32, vec![0u8; 8]);
    assert!(is_pending(&mut woken, &Waker::from(Arc::new(Stays(sender, Mutex::new(told))))));
    // Nobody waits for it, so the progress thread finds that the receive is over.
    drop(endpoint.send(0, 1u32, vec![3u8; 8]));
    stays.recv_timeout(SOON).unwrap();
    let pending = [other.recv(0, 2u32, vec![0u8]), endpoint.recv(0, 2u32, vec![0u8])];
    let over = wait_any_timeout(&pending, SOON);
    drop(go);
    assert_eq!(over, Some(1));
    for receive in pending {
        receive.cancel();
        receive.wait().unwrap_err();
    }
    drop(woken);
}

/// A waker that has the last handle on the endpoint that wakes it.
struct Last(Mutex<Option<Arc<Endpoint>>>);

impl Wake for Last {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

#[test]
fn an_endpoint_may_be_dropped_by_the_waker_that_it_wakes() {
    in_time(|endpoint| {
        let weak: Weak<Endpoint> = Arc::downgrade(&endpoint);
        let mut woken = endpoint.recv(0, 1u32, vec![0u8; 8]);
        let waiting = endpoint.recv(0, 2u32, vec![0u8; 8]);
        let mine = endpoint.clone();
        assert!(is_pending(&mut woken, &Waker::from(Arc::new(Last(Mutex::new(Some(endpoint)))))));
        let send = mine.send(0, 1u32, vec![3u8; 8]);
        drop(mine);
        // The progress thread runs the waker. A wait before that would have the waker forgotten, and the endpoint with it.
        common::until("the endpoint is gone", || weak.strong_count() == 0);
        woken.wait().unwrap();
        assert!(matches!(waiting.wait(), Err(OpError { error: Error::Closed(_), .. })));
        let _ = send.wait();
    });
}

#[test]
fn a_panic_in_a_scope_does_not_wait_for_receives_that_can_be_cancelled() {
    in_time(|endpoint| {
        let (mut one, mut other) = ([7u8; 8], [7u8; 8]);
        let run = AssertUnwindSafe(|| {
            endpoint.scope(|scope| {
                let _receive = scope.recv(0, 1u32, &mut one[..]);
                std::mem::forget(scope.recv(0, 2u32, &mut other[..]));
                std::panic::resume_unwind(Box::new("as intended"));
            })
        });
        let panic = catch_unwind(run).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"as intended"));
        assert_eq!((one, other), ([7; 8], [7; 8]));
        assert!(endpoint.is_open());
        // The receives are gone: the message goes to the next one.
        endpoint.send_blocking(0, 1u32, &[1u8; 8]).unwrap();
        endpoint.recv_blocking(0, 1u32, &mut one).unwrap();
    });
}

/// Receives each of which is completed by the waker of the one before it.
struct Chain {
    endpoint: Arc<Endpoint>,
    receives: Mutex<Vec<Option<Op<Vec<u8>>>>>,
}

struct Link(Arc<Chain>, u32);

impl Wake for Link {
    fn wake(self: Arc<Self>) {
        let Self(chain, number) = &*self;
        let next = chain.receives.lock().unwrap().get_mut(*number as usize + 1).and_then(Option::take);
        if let Some(next) = next {
            chain.endpoint.send_blocking(0, number + 1, &[1u8]).unwrap();
            common::until("the next is over", || next.is_done());
        }
    }
}

#[test]
fn wakers_that_wake_one_another_do_not_overflow_the_stack() {
    const LINKS: u32 = 5_000;
    in_time(|endpoint| {
        let receives = (0..LINKS).map(|number| Some(endpoint.recv(0, number, vec![0u8; 1]))).collect();
        let chain = Arc::new(Chain { endpoint: endpoint.clone(), receives: Mutex::new(receives) });
        for number in 0..LINKS {
            let waker = Waker::from(Arc::new(Link(chain.clone(), number)));
            assert!(is_pending(chain.receives.lock().unwrap()[number as usize].as_mut().unwrap(), &waker));
        }
        let first = chain.receives.lock().unwrap()[0].take().unwrap();
        endpoint.send_blocking(0, 0u32, &[1u8]).unwrap();
        first.wait().unwrap();
        let is_over = || chain.receives.lock().unwrap().iter().all(Option::is_none);
        common::until("all have been woken", is_over);
        endpoint.send_blocking(0, LINKS, &[1u8]).unwrap();
        endpoint.recv_blocking(0, LINKS, &mut [0u8]).unwrap();
    });
}

#[test]
fn scopes_within_scopes_end_in_order_even_when_the_inner_one_panics() {
    in_time(|endpoint| {
        let (mut outer, mut inner) = ([0u8; 8], [7u8; 8]);
        endpoint.scope(|scope| {
            let receive = scope.recv(0, 1u32, &mut outer[..]);
            let run = AssertUnwindSafe(|| {
                endpoint.scope(|scope| {
                    let _receive = scope.recv(0, 2u32, &mut inner[..]);
                    endpoint.scope(|scope| drop(scope.send(0, 3u32, &[3u8; 8][..])));
                    std::panic::resume_unwind(Box::new("as intended"));
                })
            });
            catch_unwind(run).unwrap_err();
            endpoint.send_blocking(0, 1u32, &[1u8; 8]).unwrap();
            receive.wait().unwrap();
        });
        assert_eq!((outer, inner), ([1; 8], [7; 8]));
        endpoint.recv_blocking(0, 3u32, &mut [0u8; 8]).unwrap();
    });
}

thread_local! {
    static OF_THREAD: std::cell::RefCell<Option<Endpoint>> = const { std::cell::RefCell::new(None) };
}

#[test]
fn an_endpoint_may_end_with_its_thread() {
    let receive = thread::spawn(|| {
        let (mut all, _) = common::endpoints(1, common::config());
        let endpoint = all.pop().unwrap();
        let receive = endpoint.recv(0, 1u32, vec![0u8; 8]);
        OF_THREAD.set(Some(endpoint));
        receive
    });
    let receive = receive.join().unwrap();
    assert!(matches!(receive.wait(), Err(OpError { error: Error::Closed(_), .. })));
}

/// A waker that calls a collective when it is woken on a thread that is in one.
struct Reentrant {
    world: Arc<Communicator>,
    thread: ThreadId,
    is_inside: Arc<AtomicBool>,
    errors: Arc<Mutex<Vec<Option<Error>>>>,
}

impl Wake for Reentrant {
    fn wake(self: Arc<Self>) {
        if thread::current().id() == self.thread && self.is_inside.load(Ordering::Relaxed) {
            self.errors.lock().unwrap().push(self.world.barrier().err());
        }
    }
}

#[test]
fn a_collective_inside_of_another_is_refused_and_does_not_wait_for_itself() {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        job::run(2, |world| {
            let world = Arc::new(world);
            let errors = Arc::new(Mutex::new(Vec::new()));
            for tag in 0..200u32 {
                if world.rank() == 1 {
                    // Now before the other is in its barrier, now after that.
                    (0..tag * 97 % 5000).for_each(|_| std::hint::spin_loop());
                    world.endpoint().send_blocking(0, tag, &[1u8; 8]).unwrap();
                    world.barrier().unwrap();
                    continue;
                }
                let is_inside = Arc::new(AtomicBool::new(false));
                let waker = Reentrant {
                    world: world.clone(),
                    thread: thread::current().id(),
                    is_inside: is_inside.clone(),
                    errors: errors.clone(),
                };
                let mut receive = world.endpoint().recv(1, tag, vec![0u8; 8]);
                let _ = is_pending(&mut receive, &Waker::from(Arc::new(waker)));
                is_inside.store(true, Ordering::Relaxed);
                world.barrier().unwrap();
                is_inside.store(false, Ordering::Relaxed);
                drop(receive);
            }
            let errors = errors.lock().unwrap();
            if world.rank() == 0 && errors.is_empty() {
                println!("NOT TESTED: no waker ran inside of a collective");
            }
            for error in errors.iter() {
                let error = error.as_ref().expect("no second barrier was called at the other rank");
                assert!(matches!(error, Error::Misuse(_)), "{error}");
            }
        });
        done.send(()).unwrap();
    });
    assert!(ended.recv_timeout(3 * SOON).is_ok(), "it failed or hangs");
}

//! The path of a message through the library and libfabric, both sides in one thread: an endpoint sends to itself.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use efa_benches::alone;
use efa_core::Endpoint;
use efa_core::fabric::Provider;

/// One that every provider sends by copying, and one that none does.
const SIZES: [usize; 2] = [64, 16 << 10];

/// Messages under way at once where there is more than one.
const WINDOW: usize = 64;

fn messaging(c: &mut Criterion) {
    for provider in [Provider::Shm, Provider::Tcp] {
        let endpoint = alone::endpoint(provider).expect("every Linux has shm and tcp");
        round_trip(c, &endpoint);
        window(c, &endpoint);
        pool(c, &endpoint);
    }
}

/// A receive is posted, a message sent to it, and both are waited for.
fn round_trip(c: &mut Criterion, endpoint: &Endpoint) {
    let mut group = c.benchmark_group(format!("to itself over {}", endpoint.provider()));
    for size in SIZES {
        let message = vec![1u8; size];
        let mut space = Some(vec![0u8; size]);
        group.bench_function(BenchmarkId::new("one message", size), |bencher| {
            bencher.iter(|| {
                let receive = endpoint.recv(0, 1u32, space.take().expect("given back by the last round"));
                endpoint.send_blocking(0, 1u32, &message).expect("the endpoint is open");
                let (completion, buffer) = receive.wait().expect("the message has come");
                space = Some(buffer);
                completion
            });
        });
    }
    group.finish();
}

/// Completions come in batches: a window of receives, as many sends, then all are waited for.
fn window(c: &mut Criterion, endpoint: &Endpoint) {
    let message = [1u8; SIZES[0]];
    let mut buffers: Vec<Vec<u8>> = vec![vec![0; SIZES[0]]; WINDOW];
    let mut receives = Vec::with_capacity(WINDOW);
    c.bench_function(&format!("to itself over {}/window of {WINDOW}", endpoint.provider()), |bencher| {
        bencher.iter(|| {
            receives.extend(buffers.drain(..).map(|buffer| endpoint.recv(0, 1u32, buffer)));
            for _ in 0..WINDOW {
                endpoint.send_blocking(0, 1u32, &message).expect("the endpoint is open");
            }
            for receive in receives.drain(..) {
                let (_, buffer) = receive.wait().expect("the message has come");
                buffers.push(buffer);
            }
        });
    });
}

/// A buffer is taken from a pool of registered memory and given back.
fn pool(c: &mut Criterion, endpoint: &Endpoint) {
    let pool = endpoint.pool(4096, 16).expect("there is memory for 16 pages");
    c.bench_function(&format!("pool over {}/take and give back", endpoint.provider()), |bencher| {
        bencher.iter(|| pool.take().expect("one at a time is taken"));
    });
}

criterion_group!(benches, messaging);
criterion_main!(benches);

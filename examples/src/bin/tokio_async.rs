//! Operations are futures: on one thread, under tokio, rank 0 answers questions of all other ranks as they come,
//! and its clock goes on ticking meanwhile.
//!
//! ```sh
//! cargo build --release -p efa-examples
//! cargo run --release --bin efa -- run -n 4 -- target/release/tokio_async
//! ```

use std::process::ExitCode;
use std::time::Duration;

use efa_core::{Communicator, Error, Result, Source};
use tokio::task::JoinSet;

/// How many questions each rank has under way at once.
const QUESTIONS: u32 = 100;
const QUESTION: u32 = 0;
/// The answer to question `n` has the tag `ANSWER + n`.
const ANSWER: u32 = 1;

fn main() -> ExitCode {
    efa_examples::run(|world| {
        efa_examples::needs_two_ranks(world, "tokio_async")?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(|source| {
                Error::system(source, "cannot start tokio", "see what limits this process (ulimit -a)")
            })?;
        runtime.block_on(async {
            match world.rank() {
                0 => answer(world).await,
                _ => ask(world).await,
            }
        })
    })
}

async fn answer(world: &Communicator) -> Result<()> {
    let endpoint = world.endpoint();
    let expected = QUESTIONS as usize * (world.size() - 1);
    let mut clock = tokio::time::interval(Duration::from_millis(1));
    let (mut ticks, mut answers) = (0, JoinSet::new());

    let mut question = endpoint.recv(Source::Any, QUESTION, vec![0u64]);
    while answers.len() < expected {
        // The operation is only borrowed here: one that is dropped, because the clock ticked first, would take its
        // message along.
        tokio::select! {
            received = &mut question => {
                let (completion, asked) = received?;
                let (peer, number) = (completion.peer, asked[0]);
                // An operation owns its buffer, so it can be a task of its own.
                answers.spawn(endpoint.send(peer, ANSWER + number as u32, vec![number * number]));
                question = endpoint.recv(Source::Any, QUESTION, asked);
            }
            _ = clock.tick() => ticks += 1,
        }
    }
    // No further question will come: the last receive is taken back.
    question.cancel();
    match question.await.map_err(Error::from) {
        Ok(_) | Err(Error::Cancelled(_)) => {}
        Err(error) => return Err(error),
    }
    for sent in answers.join_all().await {
        sent?;
    }
    println!("rank 0: {expected} questions answered, {ticks} ticks of the clock meanwhile");
    Ok(())
}

async fn ask(world: &Communicator) -> Result<()> {
    let endpoint = world.endpoint();
    let (mut questions, mut answers) = (JoinSet::new(), JoinSet::new());
    for number in 0..QUESTIONS {
        answers.spawn(endpoint.recv(0, ANSWER + number, vec![0u64]));
        questions.spawn(endpoint.send(0, QUESTION, vec![u64::from(number)]));
    }
    for sent in questions.join_all().await {
        sent?;
    }
    let mut sum = 0;
    for received in answers.join_all().await {
        let (_, answer) = received?;
        sum += answer[0];
    }
    println!("rank {}: {QUESTIONS} answers, whose sum is {sum}", world.rank());
    Ok(())
}

//! Loads a checkpoint into the registered memory of every rank, reading the file once: rank 0 maps it and sends its
//! pages as they are, and each rank passes on to the next what it has received while more is coming. Prints every
//! tensor's name, type, shape and the SHA-256 of its bytes.
//!
//! ```sh
//! cargo build --release -p efa-examples
//! cargo run --release --bin efa -- run -n 4 -- target/release/broadcast_weights model.safetensors
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use efa_core::memory::{MappedFile, RegisteredBuf};
use efa_core::{Communicator, Error, Result};
use safetensors::tensor::{Metadata, TensorInfo};
use sha2::{Digest, Sha256};

const TAG: u32 = 1;
/// Bytes of one message: large enough for full bandwidth, small enough that all ranks soon have something to pass on.
const CHUNK: usize = 1 << 20;
/// The format's own limit.
const LONGEST_HEADER: usize = 100_000_000;

fn main() -> ExitCode {
    efa_examples::run(|world| {
        // What goes wrong at rank 0 is told by all, so that none waits for tensors that won't come.
        let opened = (world.rank() == 0).then(open);
        let metadata =
            share(world, opened.as_ref().map(|opened| opened.as_ref().map(|(_, metadata, _)| metadata)))?;
        let source = opened.and_then(Result::ok);

        let mut lines = String::new();
        let mut weights = Vec::new();
        for name in metadata.offset_keys() {
            let info = metadata.info(&name).expect("a name from the same list");
            let file = source.as_ref().map(|(file, _, data)| (file, data + info.data_offsets.0));
            let tensor = receive(world, info.data_offsets.1 - info.data_offsets.0, file)?;
            lines += &describe(&name, info, &tensor);
            weights.push(tensor);
        }
        print!("{lines}");
        Ok(())
    })
}

/// Maps the file and reads its header: where the tensors are, from which byte on.
fn open() -> Result<(MappedFile, Metadata, usize)> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).ok_or_else(|| {
        Error::misuse(
            "no file given",
            "broadcast_weights needs a checkpoint to send",
            "start it with: efa run -n 4 -- target/release/broadcast_weights FILE.safetensors",
        )
    })?;
    let broken = |why: String| {
        let what = format!("cannot read the weights in {}", path.display());
        Error::setting(what, why, "check that it is a whole .safetensors file; copy or download it again")
    };
    let file = MappedFile::open(&path)?;
    let rest =
        file.len().checked_sub(8).ok_or_else(|| broken(format!("it has only {} bytes", file.len())))?;
    let mut length = [0; 8];
    file.read_at(0, &mut length)?;
    let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > rest.min(LONGEST_HEADER) {
        return Err(broken(format!(
            "its header shall have {length} bytes, of which {rest} are there at most"
        )));
    }
    let mut header = vec![0; length];
    file.read_at(8, &mut header)?;
    // Refuses tensors that overlap, leave gaps, or are not as long as their shapes say.
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| broken(format!("its header is wrong: {error}")))?;
    if metadata.data_len() != rest - length {
        let there = rest - length;
        return Err(broken(format!("its tensors take {} bytes, but {there} are there", metadata.data_len())));
    }
    Ok((file, metadata, 8 + length))
}

/// Gives every rank what rank 0 found: the list of tensors or an error.
fn share(world: &Communicator, found: Option<Result<&Metadata, &Error>>) -> Result<Metadata> {
    let mut wire = found.map_or(Vec::new(), |found| {
        let found = found.map_err(Error::explanation).map_err(|text| (&text.what, &text.why, &text.remedy));
        serde_json::to_vec(&found).expect("plain data")
    });
    let mut length = [wire.len() as u64];
    world.broadcast(&mut length, 0)?;
    wire.resize(length[0] as usize, 0);
    world.broadcast(&mut wire, 0)?;
    let found: Result<Metadata, (String, String, String)> =
        serde_json::from_slice(&wire).map_err(|error| {
            Error::setting("cannot understand rank 0", error.to_string(), "run the same program on all ranks")
        })?;
    found.map_err(|(what, why, remedy)| Error::setting(what, why, remedy))
}

/// One tensor's bytes: from the file at rank 0, at the others from the rank before; and on to the rank after.
fn receive(
    world: &Communicator,
    bytes: usize,
    source: Option<(&MappedFile, usize)>,
) -> Result<RegisteredBuf<u8>> {
    let (endpoint, previous, next) = (world.endpoint(), world.rank().wrapping_sub(1), world.rank() + 1);
    let last = next == world.size();
    let mut tensor = endpoint.allocate::<u8>(bytes)?;
    if let Some((file, start)) = source {
        let chunks = (start..start + bytes).step_by(CHUNK).map(|at| at..(at + CHUNK).min(start + bytes));
        let sends: Vec<_> = chunks
            .filter(|_| !last)
            .map(|chunk| Ok(endpoint.send(next, TAG, file.slice(chunk)?)))
            .collect::<Result<_>>()?;
        file.read_at(start, &mut tensor)?;
        for send in sends {
            send.wait()?;
        }
    } else {
        endpoint.scope(|scope| -> Result<()> {
            let arriving: Vec<_> =
                tensor.pieces_mut(CHUNK).map(|piece| scope.recv(previous, TAG, piece)).collect();
            let mut leaving = Vec::new();
            for chunk in arriving {
                let (_, chunk) = chunk.wait()?;
                if !last {
                    leaving.push(scope.send(next, TAG, chunk));
                }
            }
            for send in leaving {
                send.wait()?;
            }
            Ok(())
        })?;
    }
    Ok(tensor)
}

/// Returns a line for people and for `diff`: `name dtype [shape] sha256`. A name may hold anything, a line break too.
fn describe(name: &str, info: &TensorInfo, bytes: &[u8]) -> String {
    let shape: Vec<_> = info.shape.iter().map(usize::to_string).collect();
    format!("{} {} [{}] {:x}\n", name.escape_debug(), info.dtype, shape.join(","), Sha256::digest(bytes))
}

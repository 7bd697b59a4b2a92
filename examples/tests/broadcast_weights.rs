//! `broadcast_weights` on whole and on broken checkpoints.

mod launcher;

use std::fmt::Write;
use std::path::PathBuf;

use launcher::{PROVIDERS, lines, run, text};
use sha2::{Digest, Sha256};

const BROADCAST_WEIGHTS: &str = env!("CARGO_BIN_EXE_broadcast_weights");

/// A header of the format: its length in eight bytes, then JSON.
fn header(json: &str) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()
}

/// A checkpoint of several types and shapes, with a tensor of more than one message, one that is empty and one of a
/// single number; and the lines that it must give.
fn checkpoint() -> (Vec<u8>, Vec<String>) {
    let tensors = [
        ("embeddings.weight", "F32", "[1000,700]", 2_800_000),
        ("bias", "BF16", "[1,3]", 6),
        ("empty", "F16", "[0,7]", 0),
        ("scale", "F64", "[]", 8),
        ("a name with a \\n in it", "U8", "[1048577]", 1_048_577),
    ];
    let (mut json, mut data, mut lines) =
        (r#"{"__metadata__":{"format":"pt"}"#.to_owned(), Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let (start, end) = (data.len(), data.len() + bytes);
        write!(json, r#","{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
            .unwrap();
        data.extend((start..end).map(|at| (at * 7 + at / 251) as u8));
        lines.push(format!("{name} {dtype} {shape} {:x}", Sha256::digest(&data[start..])));
    }
    json.push('}');
    (header(&json).into_iter().chain(data).collect(), lines)
}

#[test]
fn every_rank_gets_every_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.safetensors");
    let (bytes, expected) = checkpoint();
    std::fs::write(&file, bytes).unwrap();
    for (provider, ranks) in [("tcp", 1), ("tcp", 2), ("tcp", 4), ("shm", 2), ("shm", 4)] {
        let printed = lines(provider, ranks, BROADCAST_WEIGHTS, &[&file]);
        let expected: Vec<_> =
            (0..ranks).flat_map(|rank| expected.iter().map(move |line| format!("[{rank}] {line}"))).collect();
        assert_eq!(printed, expected, "{ranks} ranks over {provider}");
    }
}

#[test]
fn a_broken_file_is_explained_by_every_rank() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, _) = checkpoint();
    let one = |dtype: &str, shape: &str, offsets: &str| {
        let json = format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#);
        [header(&json), vec![0; 16]].concat()
    };
    let cases = [
        ("truncated", whole[..whole.len() - 1].to_vec(), "3848590 are there"),
        ("too-long", [&whole[..], b"x"].concat(), "3848592 are there"),
        ("empty", Vec::new(), "it has only 0 bytes"),
        (
            "header-too-long",
            [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
            "header shall have 18446744073709551615",
        ),
        ("bad-json", header(r#"{"w":"#), "its header is wrong"),
        ("not-text", header("\u{0}\u{1}"), "its header is wrong"),
        ("out-of-bounds", one("F32", "[8]", "[0,32]"), "its tensors take 32 bytes, but 16 are there"),
        ("backwards", one("F32", "[4]", "[16,0]"), "its header is wrong"),
        ("shape-lies", one("F32", "[5]", "[0,16]"), "its header is wrong"),
        ("shape-overflows", one("F32", "[9223372036854775807,8]", "[0,16]"), "its header is wrong"),
        ("unknown-type", one("F7", "[4]", "[0,16]"), "its header is wrong"),
    ];
    for (index, (name, bytes, why)) in cases.into_iter().enumerate() {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        fails(PROVIDERS[index % 2], Some(file), name, why);
    }
    fails("tcp", Some(folder.path().join("missing")), "cannot read", "No such file");
    fails("shm", Some(folder.path().to_owned()), "cannot read", "");
    fails("shm", None, "no file given", "needs a checkpoint");
}

/// All four ranks must tell the same in three lines, print nothing else, and exit with 1.
fn fails(provider: &str, file: Option<PathBuf>, what: &str, why: &str) {
    let arguments: Vec<_> = file.iter().map(PathBuf::as_path).collect();
    let output = run(provider, 4, BROADCAST_WEIGHTS, &arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{what}: {stderr}");
    assert_eq!(stdout, "", "{what}");
    let of = |rank| -> Vec<&str> {
        stderr.lines().filter_map(|line| line.strip_prefix(&format!("[{rank}] "))).collect()
    };
    let told = of(0);
    assert!(told.len() == 3 && told[0].starts_with("error: ") && told[0].contains(what), "{stderr}");
    assert!(told[1].starts_with("  why: ") && told[1].contains(why), "{stderr}");
    assert!(told[2].starts_with("  fix: "), "{stderr}");
    for rank in 1..4 {
        assert_eq!(of(rank), told, "{stderr}");
    }
}

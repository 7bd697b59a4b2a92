//! Files that somebody else has put into `/dev/shm`: it is everybody's folder, and who a process is can be seen by all.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use efa_core::Endpoint;

use super::again::{self, Again};
use super::{common, is_ours};

/// The path of an endpoint's file.
fn file_of(address: &[u8]) -> PathBuf {
    Path::new("/dev/shm").join(String::from_utf8(address.strip_suffix(&[0]).unwrap().to_vec()).unwrap())
}

#[test]
fn no_endpoint_uses_a_file_that_was_there_before_it() {
    if !is_ours() {
        return;
    }
    if again::given().is_none() {
        // In a process of its own, which an empty file in the place of an endpoint's ends with SIGBUS.
        return Again::start(no_endpoint_uses_a_file_that_was_there_before_it, "", &[]).passes();
    }
    let members = common::members(1);
    let admission = common::admit(&members);
    let open = || {
        let endpoint = Endpoint::open(&admission, common::config()).unwrap();
        let file = file_of(endpoint.peer_address(&members[0]).address());
        (endpoint, file)
    };
    // What the names of this process's endpoints look like, anybody sees.
    let (first, seen) = open();
    let seen = seen.to_str().unwrap().to_owned();
    drop(first);
    let stem = seen.splitn(5, '.').take(4).collect::<Vec<_>>().join(".");
    let guesses = (0..8).map(|number| format!("{stem}.{number}")).chain([seen]);
    let planted: Vec<PathBuf> = guesses.map(PathBuf::from).collect();
    for path in &planted {
        // As another user would, so that both can use it.
        let _ = OpenOptions::new().write(true).create(true).truncate(false).mode(0o666).open(path).unwrap();
    }
    let opened: Vec<_> = (0..3).map(|_| open()).collect();
    for (_, file) in &opened {
        assert!(!planted.contains(file), "{} was there before", file.display());
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    }
    drop(opened);
    planted.iter().for_each(|path| drop(fs::remove_file(path)));
}

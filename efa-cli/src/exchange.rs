//! What the ranks of a job tell one another as plain data.

use std::time::Duration;

use efa_core::Error;
use efa_core::bootstrap::Control;
use serde::{Serialize, de::DeserializeOwned};

/// Gives what every rank has to every rank.
///
/// # Errors
/// As [`Control::exchange`]; [`Error::Rendezvous`] if what a rank sends can't be understood.
pub(crate) fn exchange<T: Serialize + DeserializeOwned>(
    control: &Control,
    label: &str,
    mine: &T,
    patience: Duration,
) -> Result<Vec<T>, Error> {
    let mine = serde_json::to_vec(mine).expect("plain data");
    let all = control.exchange(label, &mine, patience)?;
    let understand = |(rank, wire): (usize, &Vec<u8>)| {
        serde_json::from_slice(wire).map_err(|error| {
            Error::rendezvous(
                format!("cannot understand rank {rank}"),
                error.to_string(),
                "start the same build of efa on every host",
            )
        })
    };
    all.iter().enumerate().map(understand).collect()
}

//! Which cores each rank runs on: cores of its own, where there are enough.

use std::collections::BTreeMap;

use efa_core::Error;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Whether ranks are bound to cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bind {
    /// Every rank has cores of its own: an equal share of those that this process may use
    Core,
    /// All ranks share all cores
    None,
}

/// The processors of each rank.
pub(super) struct Places {
    /// What this process itself may use.
    all: CpuSet,
    /// By rank; empty where ranks are not bound.
    of_rank: Vec<CpuSet>,
}

impl Places {
    /// Shares the cores that this process may use among so many ranks. Unless `wanted` says otherwise they are bound where
    /// each can have one.
    ///
    /// # Errors
    /// [`Error::Setting`] when ranks are to be bound and there are too few cores.
    pub(super) fn new(wanted: Option<Bind>, ranks: usize) -> Result<Self, Error> {
        let Ok(all) = sched_getaffinity(None) else {
            // A machine with more processors than the set holds.
            return Ok(Self { all: CpuSet::new(), of_rank: Vec::new() });
        };
        let cores = match wanted {
            Some(Bind::None) => Vec::new(),
            Some(Bind::Core) | None => cores(&all),
        };
        if wanted == Some(Bind::Core) && cores.len() < ranks {
            return Err(Error::setting(
                format!("cannot bind {ranks} ranks to cores"),
                format!("this process may use {} cores", cores.len()),
                "start fewer ranks, or leave out --bind core",
            ));
        }
        Ok(Self { all, of_rank: shares(&cores, ranks) })
    }

    /// Calls `start` in the place of a rank: what it starts runs there.
    pub(super) fn at<T>(&self, rank: usize, start: impl FnOnce() -> T) -> T {
        let place = self.of_rank.get(rank);
        // A processor may have been taken away in between: the rank then runs where it may.
        place.map(|place| sched_setaffinity(None, place).ok());
        let started = start();
        place.map(|_| sched_setaffinity(None, &self.all).ok());
        started
    }
}

/// The cores among these processors, each with those that are threads of it.
fn cores(all: &CpuSet) -> Vec<Vec<usize>> {
    let mut cores: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut order = Vec::new();
    for processor in (0..CpuSet::MAX_CPU).filter(|&processor| all.is_set(processor)) {
        let path = format!("/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list");
        let core = std::fs::read_to_string(path).unwrap_or_else(|_| processor.to_string());
        let threads = cores.entry(core.clone()).or_default();
        if threads.is_empty() {
            order.push(core);
        }
        threads.push(processor);
    }
    order.iter().filter_map(|core| cores.remove(core)).collect()
}

/// An equal share of neighbouring cores for each rank; none where there are fewer cores than ranks.
fn shares(cores: &[Vec<usize>], ranks: usize) -> Vec<CpuSet> {
    if cores.len() < ranks {
        return Vec::new();
    }
    let share = |rank: usize| {
        let mut set = CpuSet::new();
        let mine = &cores[rank * cores.len() / ranks..(rank + 1) * cores.len() / ranks];
        mine.iter().flatten().for_each(|&processor| set.set(processor));
        set
    };
    (0..ranks).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processors(set: &CpuSet) -> Vec<usize> {
        (0..CpuSet::MAX_CPU).filter(|&processor| set.is_set(processor)).collect()
    }

    #[test]
    fn every_rank_has_whole_cores_of_its_own() {
        let cores = [vec![0, 4], vec![1, 5], vec![2, 6], vec![3, 7]];
        let shared = |ranks| shares(&cores, ranks).iter().map(processors).collect::<Vec<_>>();
        assert_eq!(shared(4), [[0, 4], [1, 5], [2, 6], [3, 7]]);
        assert_eq!(shared(3), [vec![0, 4], vec![1, 5], vec![2, 3, 6, 7]]);
        assert_eq!(shared(1), [[0, 1, 2, 3, 4, 5, 6, 7]]);
        assert!(shared(5).is_empty());
    }

    #[test]
    fn the_cores_here_are_those_that_this_process_may_use() {
        let all = sched_getaffinity(None).expect("it is known");
        let mut found: Vec<usize> = cores(&all).into_iter().flatten().collect();
        found.sort_unstable();
        assert_eq!(found, processors(&all));
    }
}

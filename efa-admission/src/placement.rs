//! Where ranks are in the network, and the order in which a ring should go through them.
//!
//! A cluster's network is a tree: instances hang below nodes of a bottom layer, these below nodes of the layer above,
//! and so on. Two ranks below different nodes of an upper layer are far from each other, and what they exchange
//! competes for links with much else. A ring passes all data over every one of its links, so it should leave no node
//! before it has been to everything below it.
//!
//! ```
//! use efa_admission::placement::{crossings, ring_order};
//!
//! // Four ranks on two instances each below two nodes, dealt out in turns.
//! let path = |node: &'static str, instance: &'static str| Some(vec![node, instance]);
//! let paths = [path("nn-1", "i-0a"), path("nn-2", "i-0b"), path("nn-1", "i-0a"), path("nn-2", "i-0b")];
//! let order = ring_order(&paths);
//! assert_eq!(order, [0, 2, 1, 3]);
//! assert_eq!(crossings(&[0, 1, 2, 3], &paths), [4, 4]);
//! assert_eq!(crossings(&order, &paths), [2, 2]);
//! ```

use std::collections::BTreeMap;

/// Returns the order of ranks in which a ring crosses each layer of the network as rarely as any ring can.
///
/// `paths` has for each rank the nodes above it from the top layer down, and last perhaps the instance itself; EC2
/// tells them by `DescribeInstanceTopology`. Ranks below one node stay together, in the order of their numbers, and
/// nodes come in the order of their first ranks, so the result is the same wherever it is worked out, and begins with
/// rank 0. While the path of any rank is unknown, the order is kept as it is.
pub fn ring_order<P: AsRef<[S]>, S: Ord>(paths: &[Option<P>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..paths.len()).collect();
    let known: Option<Vec<&[S]>> = paths.iter().map(|path| Some(path.as_ref()?.as_ref())).collect();
    let Some(known) = known else { return order };
    // The first rank below each node. A node is told apart by its whole path, whatever names are used twice.
    let mut first: BTreeMap<&[S], usize> = BTreeMap::new();
    for (rank, path) in known.iter().enumerate() {
        for layers in 1..=path.len() {
            first.entry(&path[..layers]).or_insert(rank);
        }
    }
    order.sort_by_cached_key(|&rank| {
        let path = known[rank];
        let nodes: Vec<usize> = (1..=path.len()).map(|layers| first[&path[..layers]]).collect();
        (nodes, rank)
    });
    order
}

/// Returns how often a ring in this order goes from a rank below one node to a rank below another, for each layer from
/// the top down. Steps from or to a rank whose path is unknown are not counted.
pub fn crossings<P: AsRef<[S]>, S: Ord>(order: &[usize], paths: &[Option<P>]) -> Vec<usize> {
    let path = |rank: usize| paths.get(rank)?.as_ref().map(AsRef::as_ref);
    let layers = order.iter().filter_map(|&rank| path(rank)).map(<[S]>::len).max().unwrap_or(0);
    let mut crossings = vec![0; layers];
    let after = order.iter().cycle().skip(1);
    for (from, to) in order.iter().zip(after) {
        let (Some(from), Some(to)) = (path(*from), path(*to)) else { continue };
        let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        // What parts above parts below as well, as far down as either goes.
        for layer in crossings.iter_mut().take(from.len().max(to.len())).skip(shared) {
            *layer += 1;
        }
    }
    crossings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Paths = Vec<Option<Vec<u8>>>;

    fn known(paths: &[&[u8]]) -> Paths {
        paths.iter().map(|path| Some(path.to_vec())).collect()
    }

    #[test]
    fn ranks_below_one_node_stay_together_at_every_layer() {
        let paths = known(&[&[1, 1], &[2, 1], &[1, 2], &[2, 2], &[1, 1], &[2, 1]]);
        let order = ring_order(&paths);
        assert_eq!(order, [0, 4, 2, 1, 5, 3]);
        assert_eq!(crossings(&order, &paths), [2, 4]);
    }

    #[test]
    fn a_node_is_known_by_all_that_is_above_it() {
        // The same name below two nodes is two nodes.
        let paths = known(&[&[1, 7], &[2, 7], &[1, 7], &[2, 7]]);
        assert_eq!(ring_order(&paths), [0, 2, 1, 3]);
        assert_eq!(crossings(&[0, 1, 2, 3], &paths), [4, 4]);
    }

    #[test]
    fn one_unknown_path_keeps_the_order() {
        let mut paths = known(&[&[1], &[2], &[1], &[2]]);
        assert_eq!(ring_order(&paths), [0, 2, 1, 3]);
        paths[3] = None;
        assert_eq!(ring_order(&paths), [0, 1, 2, 3]);
        assert_eq!(crossings(&[0, 1, 2, 3], &paths), [2]);
    }

    #[test]
    fn a_ring_of_one_or_none_crosses_nothing() {
        assert_eq!(ring_order(&known(&[])), [0; 0]);
        assert_eq!(crossings(&[], &known(&[])), [0; 0]);
        assert_eq!(crossings(&ring_order(&known(&[&[1, 2]])), &known(&[&[1, 2]])), [0, 0]);
    }

    #[test]
    fn paths_may_be_of_different_lengths() {
        let paths = known(&[&[1], &[1, 1], &[1], &[1, 1]]);
        let order = ring_order(&paths);
        assert_eq!(order, [0, 2, 1, 3]);
        assert_eq!(crossings(&order, &paths), [0, 2]);
    }

    /// Returns every order of up to five ranks.
    fn permutations(count: usize) -> Vec<Vec<usize>> {
        if count == 0 {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for shorter in permutations(count - 1) {
            for place in 0..count {
                let mut longer = shorter.clone();
                longer.insert(place, count - 1);
                all.push(longer);
            }
        }
        all
    }

    fn any_paths(ranks: std::ops::Range<usize>) -> impl Strategy<Value = Paths> {
        (1usize..4).prop_flat_map(move |layers| {
            prop::collection::vec(prop::collection::vec(0u8..3, layers), ranks.clone())
                .prop_map(|paths| paths.into_iter().map(Some).collect())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_order_is_a_permutation_that_begins_with_rank_0(paths in any_paths(1..40)) {
            let order = ring_order(&paths);
            prop_assert_eq!(order[0], 0);
            let mut ranks = order;
            ranks.sort_unstable();
            prop_assert_eq!(ranks, (0..paths.len()).collect::<Vec<_>>());
        }

        #[test]
        fn no_layer_is_crossed_more_often_than_in_the_given_order(paths in any_paths(0..40)) {
            let given: Vec<usize> = (0..paths.len()).collect();
            let (before, after) = (crossings(&given, &paths), crossings(&ring_order(&paths), &paths));
            prop_assert!(after.iter().zip(&before).all(|(after, before)| after <= before), "{after:?} {before:?}");
        }

        #[test]
        fn no_order_at_all_crosses_any_layer_less_often(paths in any_paths(0..6)) {
            let ours = crossings(&ring_order(&paths), &paths);
            for order in permutations(paths.len()) {
                let theirs = crossings(&order, &paths);
                prop_assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| ours <= theirs), "{order:?}: {theirs:?}");
            }
        }

        #[test]
        fn an_order_that_is_good_already_is_kept(paths in any_paths(0..40)) {
            let sorted: Paths = ring_order(&paths).into_iter().map(|rank| paths[rank].clone()).collect();
            prop_assert_eq!(ring_order(&sorted), (0..paths.len()).collect::<Vec<_>>());
        }

        #[test]
        fn any_unknown_path_keeps_the_order(paths in any_paths(1..40), rank: prop::sample::Index) {
            let mut paths = paths;
            let rank = rank.index(paths.len());
            paths[rank] = None;
            prop_assert_eq!(ring_order(&paths), (0..paths.len()).collect::<Vec<_>>());
        }
    }
}

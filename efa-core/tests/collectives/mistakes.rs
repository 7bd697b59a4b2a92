//! Calls that make no sense are refused at the rank that makes them, with an error that names call and rank, and nothing
//! is broken: the ranks go on together.

use efa_core::collective::{Algorithm, Located, Options, ReduceOp};
use efa_core::tensor::{DType, TensorView, TensorViewMut};
use efa_core::{Error, Result};

use crate::job::run;

/// Checks that a call was refused with these words.
fn refused(result: Result<()>, words: &[&str]) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Misuse(_)), "{error}");
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}: {words:?}");
}

#[test]
fn mistakes_are_refused_by_name_and_nothing_is_broken() {
    run(3, |mut world| {
        let at = format!("at rank {} of 3", world.rank());
        let (me, at) = (world.rank(), at.as_str());
        let (two, mut three, mut four) = ([1u32; 2], [0u32; 3], [0u32; 4]);
        let sum = ReduceOp::Sum;

        // Lengths.
        refused(world.all_reduce(&two, &mut three, sum), &["all-reduce", at, "output has 3", "have 2"]);
        refused(world.scan(&two, &mut three, sum), &["scan", at, "output has 3"]);
        refused(world.exclusive_scan(&two, &mut three, sum), &["exclusive-scan", at, "output has 3"]);
        refused(world.reduce(&two, &mut three, sum, me), &["reduce", at, "output has 3"]);
        refused(world.gather(&two, &mut three, me), &["gather", at, "output has 3", "have 6"]);
        refused(world.scatter(&two, &mut three, me), &["scatter", at, "input has 2", "have 9"]);
        refused(world.all_gather(&two, &mut three), &["all-gather", at, "output has 3", "have 6"]);
        refused(
            world.reduce_scatter(&two, &mut three, sum),
            &["reduce-scatter", at, "input has 2", "have 9"],
        );
        refused(world.all_to_all(&[1u32; 3], &mut four), &["all-to-all", at, "output has 4", "have 3"]);
        for result in [
            world.all_to_all(&two, &mut three),
            world.all_to_all_in_place(&mut four),
            world.all_gather_in_place(&mut four),
            world.reduce_scatter_in_place(&mut four, sum),
            world.gather_in_place(&mut four, me),
            world.scatter_in_place(&mut four, me),
        ] {
            refused(result, &[at, "in 3 parts"]);
        }

        // Counts.
        let counts = [1, 0, 2];
        refused(world.all_gather_counts(&two, &mut four, &counts), &["all-gather", at, "elements"]);
        refused(world.all_gather_counts(&two, &mut four, &[2, 2]), &["all-gather", "2 counts and not 3"]);
        refused(world.gather_counts_in_place(&mut four, &[1; 4], 0), &["gather", "4 counts and not 3"]);
        refused(world.scatter_counts(&two, &mut four, &[1, usize::MAX, 2], 0), &["scatter", "overflow"]);
        refused(world.reduce_scatter_counts(&two, &mut four, &counts, sum), &["reduce-scatter", at]);
        refused(
            world.all_to_all_counts(&two, &counts, &mut four, &counts),
            &["all-to-all", at, "input has 2"],
        );
        refused(world.all_to_all_counts(&two, &[2], &mut four, &[2]), &["all-to-all", "2 counts and not 6"]);
        // As many as both have together, and lengths that fit if a count of the one is taken for one of the other.
        refused(
            world.all_to_all_counts(&two, &[1, 1], &mut four, &[0, 1, 1, 2]),
            &["all-to-all", at, "send by 2 counts", "receive by 4"],
        );

        // Roots.
        refused(world.broadcast(&mut three, 3), &["broadcast", "rank 3 is not in the group"]);
        refused(world.reduce_in_place(&mut three, sum, 9), &["reduce", "rank 9 is not in the group"]);
        refused(world.gather(&two, &mut [], usize::MAX), &["gather", "is not in the group"]);
        refused(world.scatter(&[], &mut three, 3), &["scatter", "rank 3 is not in the group"]);

        // Operations.
        let bits = world.all_reduce_in_place(&mut [1.0f32], ReduceOp::BitXor);
        refused(bits, &["all-reduce", at, "f32 by bit-xor"]);
        refused(world.scan_in_place(&mut three, ReduceOp::Average), &["scan", at, "average"]);
        let located = world.reduce_in_place(&mut [Located::new(1u8, 2)], sum, 0);
        refused(located, &["reduce", at, "u8 with its location by sum"]);

        // Types.
        let input = TensorView::from_slice(&two, &[2]).unwrap();
        let mut bytes = [0; 12];
        let mut output = TensorViewMut::new(DType::F16, &[6], &mut bytes).unwrap();
        refused(world.all_gather_tensor(&input, &mut output), &["all-gather", at, "u32", "f16"]);

        // Algorithms.
        world.set_options(Options { algorithm: Algorithm::RecursiveDoubling, ..Options::default() });
        refused(
            world.all_gather(&[1u32], &mut three),
            &["all-gather", "recursive-doubling at 3 ranks", "power of two"],
        );
        refused(
            world.broadcast(&mut three, 0),
            &["broadcast", "recursive-doubling", "choose auto or one of tree"],
        );
        world.set_options(Options { algorithm: Algorithm::Bruck, ..Options::default() });
        refused(world.all_to_all_counts_in_place(&mut three, &[1; 3]), &["all-to-all", "equal length"]);
        world.set_options(Options::default());

        world.all_reduce(&[1u32; 3], &mut three, sum).unwrap();
        assert_eq!(three, [3; 3]);
        world.finish().unwrap();
    });
}

//! Every algorithm at many sizes, proved on paper: right contributions in every element, no deadlock even with one
//! send and one receive at a time that end only when the other side is there, no two unordered steps in conflict.

use efa_core::collective::schedule::{Action, Step};
use efa_core::collective::select;
use efa_core::collective::simulate::{self, Profile};
use efa_core::collective::{
    Algorithm, BufferMode, Call, Collective, Counts, MAX_RANKS, Options, Schedule, algorithms,
};
use proptest::prelude::*;

const PLACEMENTS: [BufferMode; 2] = [BufferMode::InPlace, BufferMode::OutOfPlace];

/// Nothing is buffered and one message of each kind is under way: whoever waits in a circle, waits for ever.
fn strictest() -> Profile {
    Profile { eager_bytes: 0, in_flight: 1, ..Profile::named("tcp").unwrap() }
}

/// Everything is buffered and any number of messages are under way.
fn loosest() -> Profile {
    Profile {
        eager_bytes: usize::MAX,
        in_flight: usize::MAX,
        ranks_per_node: 3,
        ..Profile::named("efa-100g").unwrap()
    }
}

fn check(algorithm: Algorithm, call: &Call, segment: usize) {
    let schedules: Vec<Schedule> = (0..call.size)
        .map(|rank| algorithms::build(algorithm, &call.at_rank(rank), segment).unwrap())
        .collect();
    let with = |reason| format!("{algorithm}, segments of {segment}, {call:?}: {reason}");
    for schedule in &schedules {
        schedule.validate().map_err(with).unwrap();
    }
    // Contents don't depend on the profile, as no two unordered steps conflict; what may get stuck does.
    simulate::prove(&schedules, 4, &strictest()).map_err(with).unwrap();
    simulate::predict(&schedules, 4, &loosest()).map_err(with).unwrap();
}

/// The algorithms that can carry out a call.
fn able(call: &Call) -> impl Iterator<Item = Algorithm> {
    Algorithm::of(call.collective).iter().copied().filter(|algorithm| algorithm.obstacle(call).is_none())
}

fn check_all(call: &Call, segment: usize) {
    for algorithm in able(call) {
        for buffer_mode in PLACEMENTS {
            check(algorithm, &call.with_buffer_mode(buffer_mode), segment);
        }
    }
}

/// Numbers of elements that are easily wrong: none, fewer than ranks, one more, several pieces. Blocks count for each
/// rank.
fn critical_lengths(collective: Collective, size: usize) -> Vec<usize> {
    match collective {
        Collective::Barrier => vec![0],
        collective if collective.has_blocks() => vec![0, 1, 2],
        _ => vec![0, size - 1, size + 1],
    }
}

#[test]
fn all_are_right_at_small_sizes_with_any_count() {
    for collective in Collective::ALL {
        for size in 1..=9 {
            for elements in [0, 1, 2, 3, 5, size - 1, size, size + 1, 1000] {
                check_all(&Call::new(collective, 0, size, elements).with_root(size / 2), 16);
            }
        }
    }
}

#[test]
fn all_are_right_at_every_size_up_to_33() {
    for collective in Collective::ALL {
        for size in 10..=33 {
            for elements in critical_lengths(collective, size) {
                check_all(&Call::new(collective, 0, size, elements).with_root(size / 2), 1);
            }
        }
    }
}

#[test]
fn those_with_a_root_are_right_from_every_root() {
    for collective in Collective::ALL.into_iter().filter(|collective| collective.has_root()) {
        for size in 1..=12 {
            for root in 0..size {
                for elements in [1, size, 3 * size + 1] {
                    check_all(&Call::new(collective, 0, size, elements).with_root(root), 2);
                }
            }
        }
    }
}

#[test]
fn operations_that_do_not_commute_get_the_ranks_in_order() {
    for collective in Collective::ALL.into_iter().filter(|collective| collective.reduces()) {
        for size in (1..=33).chain([64, 71]) {
            let call = Call::new(collective, 0, size, 3).with_root(size / 3).with_order(true);
            assert!(able(&call).count() > 0, "{collective}");
            check_all(&call, 2);
        }
    }
}

#[test]
fn an_algorithm_that_mixes_the_ranks_is_found_out_and_refused() {
    for collective in Collective::ALL.into_iter().filter(|collective| collective.reduces()) {
        let call = Call::new(collective, 0, 6, 12).with_root(4);
        let ordered = call.with_order(true);
        for &algorithm in Algorithm::of(collective) {
            // What the check says of the schedules that ignore the order.
            let schedules: Vec<Schedule> =
                (0..6).map(|rank| algorithms::build(algorithm, &call.at_rank(rank), 4).unwrap()).collect();
            assert!(simulate::prove(&schedules, 4, &strictest()).is_ok());
            let refused = algorithms::build(algorithm, &ordered, 4);
            assert_eq!(refused.is_err(), algorithm.obstacle(&ordered).is_some());
            if let Err(error) = refused {
                let text = error.to_string();
                assert!(text.contains(algorithm.name()) && text.contains("does not commute"), "{text}");
            }
        }
    }
}

#[test]
fn an_algorithm_that_cannot_do_a_size_or_counts_says_so() {
    let gather = Call::new(Collective::AllGather, 2, 6, 10);
    let text = algorithms::build(Algorithm::RecursiveDoubling, &gather, 1).unwrap_err().to_string();
    assert!(text.contains("all-gather by recursive-doubling at 6 ranks"), "{text}");
    assert!(text.contains("power of two"), "{text}");
    let exchange = Call::new(Collective::AllToAll, 1, 2, 0).with_counts(Counts::new([1, 2, 3, 4]));
    let text = algorithms::build(Algorithm::Bruck, &exchange, 1).unwrap_err().to_string();
    assert!(text.contains("equal length"), "{text}");
}

#[test]
fn all_are_right_at_large_sizes() {
    for collective in Collective::ALL {
        for size in [64, 71, 100, 128, 257] {
            // A single element for each, as there are many messages where all send to all. Every other rank is in place.
            let elements = if collective.has_blocks() { 1 } else { size + 6 };
            let call = Call::new(collective, 0, size, elements).with_root(size - 1);
            for algorithm in able(&call) {
                let mode = |rank: usize| call.at_rank(rank).with_buffer_mode(PLACEMENTS[rank % 2]);
                let schedules: Vec<Schedule> =
                    (0..size).map(|rank| algorithms::build(algorithm, &mode(rank), size).unwrap()).collect();
                let with = |reason| format!("{algorithm}, {call:?}: {reason}");
                for schedule in &schedules {
                    schedule.validate().map_err(with).unwrap();
                }
                simulate::prove(&schedules, 4, &strictest()).map_err(with).unwrap();
            }
        }
    }
    for size in [511, 512] {
        let broadcast = Call::new(Collective::Broadcast, 0, size, 1000).with_root(3);
        check(Algorithm::Tree, &broadcast, 1000);
        check(Algorithm::Chain, &broadcast, 100);
        check(Algorithm::Dissemination, &Call::new(Collective::Barrier, 0, size, 0), 1);
        check(Algorithm::RecursiveDoubling, &Call::new(Collective::AllReduce, 0, size, 1000), 1);
    }
}

/// The schedules of all ranks of a collective whose blocks have these lengths: `lengths[i][j]` of an all-to-all from rank
/// `i` to rank `j`, and else `lengths[0][j]` for rank `j`.
fn check_counts(collective: Collective, lengths: &[Vec<usize>], root: usize, in_place: u32, segment: usize) {
    let size = lengths.len();
    let call = Call::new(collective, 0, size, 0).with_root(root);
    let at_rank = |rank: usize| {
        let counts = match collective {
            Collective::AllToAll => {
                let from = lengths.iter().map(|from| from[rank]);
                lengths[rank].iter().copied().chain(from).collect()
            }
            _ => lengths[0].clone(),
        };
        let mode = PLACEMENTS[(in_place >> rank & 1) as usize];
        call.at_rank(rank).with_buffer_mode(mode).with_counts(Counts::new(counts))
    };
    for algorithm in able(&at_rank(0)) {
        let schedules: Vec<Schedule> =
            (0..size).map(|rank| algorithms::build(algorithm, &at_rank(rank), segment).unwrap()).collect();
        let with = |reason| format!("{collective} by {algorithm}, {lengths:?} from {root}: {reason}");
        for schedule in &schedules {
            schedule.validate().map_err(with).unwrap();
        }
        simulate::prove(&schedules, 4, &strictest()).map_err(with).unwrap();
        simulate::predict(&schedules, 4, &loosest()).map_err(with).unwrap();
    }
}

#[test]
fn large_blocks_in_many_pieces_are_right() {
    for collective in Collective::ALL {
        for size in [2, 3, 5] {
            for segment in [1, 7, 64, usize::MAX] {
                check_all(&Call::new(collective, 0, size, 150), segment);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_collective_is_right(
        collective in prop::sample::select(&Collective::ALL),
        size in 1usize..24, root in 0usize..24, elements in 0usize..3000, segment in 1usize..600,
    ) {
        // Tiny segments of much data only take long.
        let segment = segment.max(elements / 50);
        check_all(&Call::new(collective, 0, size, elements).with_root(root % size), segment);
    }

    #[test]
    fn blocks_may_differ_in_length(
        lengths in (1usize..14).prop_flat_map(|size| {
            let length = prop_oneof![2 => Just(0usize), 3 => 1usize..40];
            prop::collection::vec(prop::collection::vec(length, size), size)
        }),
        root in 0usize..14, in_place: u32, segment in 1usize..50,
    ) {
        let size = lengths.len();
        for collective in Collective::ALL.into_iter().filter(|collective| collective.has_blocks()) {
            // In place as much comes as goes.
            let lengths: Vec<Vec<usize>> = match collective {
                Collective::AllToAll => {
                    (0..size).map(|i| (0..size).map(|j| lengths[i.min(j)][i.max(j)]).collect()).collect()
                }
                _ => lengths.clone(),
            };
            check_counts(collective, &lengths, root % size, in_place, segment);
        }
        check_counts(Collective::AllToAll, &lengths, 0, u32::MAX, segment);
    }

    #[test]
    fn ranks_may_stand_in_any_order(
        order in (1usize..14).prop_flat_map(|size| Just((0..size).collect::<Vec<_>>()).prop_shuffle()),
        lengths in prop::collection::vec(0usize..20, 14),
        root in 0usize..14, elements in 0usize..100, in_place: u32, segment in 1usize..50,
    ) {
        let size = order.len();
        for collective in Collective::ALL {
            let equal = Call::new(collective, 0, size, elements).with_root(root % size);
            let counted = matches!(collective, Collective::AllGather | Collective::ReduceScatter)
                .then(|| equal.with_counts(Counts::new(&lengths[..size])));
            for call in [Some(equal), counted].into_iter().flatten() {
                for algorithm in able(&call) {
                    let options = Options { algorithm, segment_bytes: segment, ..Options::default() };
                    let schedule = |rank: usize| {
                        let call = call.at_rank(rank);
                        let call = call.with_buffer_mode(PLACEMENTS[(in_place >> rank & 1) as usize]);
                        let schedule = select::plan_in_order(&call, 1, &options, &order).unwrap();
                        assert_eq!(*schedule.call(), call);
                        schedule
                    };
                    let schedules: Vec<Schedule> = (0..size).map(schedule).collect();
                    for schedule in &schedules {
                        schedule.validate().unwrap();
                    }
                    simulate::prove(&schedules, 8, &strictest()).unwrap();
                }
            }
        }
    }

    #[test]
    fn any_mix_of_placements_is_right(size in 1usize..14, elements in 0usize..100, in_place: u32, segment in 1usize..50) {
        for collective in Collective::ALL {
            for algorithm in able(&Call::new(collective, 0, size, elements)) {
                let schedules: Vec<Schedule> = (0..size)
                    .map(|rank| {
                        let buffer_mode = PLACEMENTS[(in_place >> rank & 1) as usize];
                        let call = Call::new(collective, rank, size, elements).with_buffer_mode(buffer_mode);
                        algorithms::build(algorithm, &call, segment).unwrap()
                    })
                    .collect();
                prop_assert!(simulate::prove(&schedules, 8, &strictest()).is_ok());
            }
        }
    }

    #[test]
    fn bad_calls_are_refused_and_never_panic(
        collective in prop::sample::select(&Collective::ALL),
        rank: usize, root: usize, size in prop_oneof![0usize..4, MAX_RANKS - 1..usize::MAX],
        elements in prop_oneof![0usize..9, (usize::MAX - 9)..],
    ) {
        let call = Call::new(collective, rank, size, elements).with_root(root);
        let sensible = size > 0 && size <= MAX_RANKS && rank < size && elements < 9
            && (root < size || !collective.has_root());
        for &algorithm in Algorithm::of(collective) {
            let sensible = sensible && algorithm.obstacle(&call).is_none();
            // A ring of a million ranks is sensible and takes a million steps: too many for a test.
            if !sensible || size < 4 {
                prop_assert_eq!(algorithms::build(algorithm, &call, 1).is_ok(), sensible);
            }
        }
    }
}

#[test]
fn schedules_of_different_collectives_do_not_run_together() {
    let of = |call: &Call| simulate::schedules(call, 4, &Options::default()).unwrap();
    let call = Call::new(Collective::AllReduce, 0, 4, 10);
    let profile = strictest();
    assert!(simulate::prove(&of(&call), 4, &profile).is_ok());
    assert!(simulate::prove(&[], 4, &profile).is_err());
    assert!(simulate::prove(&of(&call)[..3], 4, &profile).is_err());
    let mut mixed = of(&call);
    mixed[2] = of(&Call::new(Collective::AllReduce, 0, 4, 11)).swap_remove(2);
    assert!(simulate::prove(&mixed, 4, &profile).is_err());
    let mut swapped = of(&call);
    swapped.swap(0, 1);
    assert!(simulate::prove(&swapped, 4, &profile).is_err());
}

#[test]
fn predictions_follow_the_costs_of_the_algorithms() {
    let profile = Profile::named("efa-100g").unwrap();
    let time = |algorithm, size, bytes: usize| {
        let call = Call::new(Collective::AllReduce, 0, size, bytes / 4);
        let options = Options { algorithm, ..Options::default() };
        let schedules = simulate::schedules(&call, 4, &options).unwrap();
        simulate::predict(&schedules, 4, &profile).unwrap().time().as_secs_f64() * 1e6
    };
    // Six rounds of one latency each, and little else.
    let doubling = time(Algorithm::RecursiveDoubling, 64, 8);
    assert!((6.0 * 15.0..6.0 * 17.0).contains(&doubling), "{doubling}");
    let ring = time(Algorithm::Ring, 64, 8);
    assert!((60.0 * 15.0..140.0 * 17.0).contains(&ring), "{ring}");
    // One latency, and what the further messages of each rank take to send and to receive.
    let pairs = time(Algorithm::AllPairs, 4, 8);
    assert!(pairs < time(Algorithm::RecursiveDoubling, 4, 8) && pairs > 15.0, "{pairs}");
    // 7/8 of the bytes reduced at 8 GB/s while they arrive, then moved at 12.5 GB/s, and little else.
    let bytes = 64 << 20;
    let least = 7.0 / 8.0 * bytes as f64 * (1.0 / 8e3 + 1.0 / 12.5e3);
    let ring = time(Algorithm::Ring, 8, bytes);
    assert!((least..1.05 * least).contains(&ring), "{ring}, at least {least}");
    assert!(time(Algorithm::RecursiveDoubling, 8, bytes) > 1.5 * ring);
}

#[test]
fn a_prediction_repeats_and_counts_its_messages() {
    let call = Call::new(Collective::AllReduce, 0, 12, 1 << 20);
    let predict = || {
        let schedules = simulate::schedules(&call, 2, &Options::default()).unwrap();
        simulate::predict(&schedules, 2, &Profile::named("efa-3200g").unwrap()).unwrap()
    };
    let prediction = predict();
    assert_eq!(prediction, predict());
    assert_eq!(prediction.finish.len(), 12);
    // Every rank sends eleven twelfths of two megabytes, twice.
    assert_eq!(prediction.bytes, 2 * 11 * (2 << 20));
}

#[test]
fn more_than_memory_holds_is_refused_before_it_is_made() {
    let call = Call::new(Collective::AllReduce, 0, 100_000, 1 << 30);
    let error = simulate::schedules(&call, 4, &Options::default()).unwrap_err();
    assert!(matches!(error, efa_core::Error::Unsupported(_)), "{error}");
}

#[test]
fn a_ring_goes_through_the_ranks_in_the_order_given() {
    let order = [2, 0, 3, 1];
    for collective in [Collective::AllReduce, Collective::AllGather, Collective::ReduceScatter] {
        let options = Options { algorithm: Algorithm::Ring, ..Options::default() };
        for (place, &rank) in order.iter().enumerate() {
            let call = Call::new(collective, rank, 4, 100);
            let schedule = select::plan_in_order(&call, 4, &options, &order).unwrap();
            let peers = |step: &Step| match step.action {
                Action::Send { to, .. } => assert_eq!(to, order[(place + 1) % 4]),
                Action::Receive { from, .. } => assert_eq!(from, order[(place + 3) % 4]),
                _ => {}
            };
            schedule.steps().iter().for_each(peers);
        }
    }
}

#[test]
fn an_order_that_lacks_a_rank_or_repeats_one_is_refused() {
    let schedule =
        algorithms::build(Algorithm::Ring, &Call::new(Collective::AllReduce, 1, 3, 10), 4).unwrap();
    let scan = algorithms::build(Algorithm::Chain, &Call::new(Collective::Scan, 1, 3, 10), 4).unwrap();
    let text = scan.in_order(&[2, 1, 0]).unwrap_err().to_string();
    assert!(text.contains("depends on the numbers of the ranks"), "{text}");
    for order in [&[0, 1][..], &[0, 1, 1], &[0, 1, 3], &[0, 1, 2, 3], &[]] {
        assert!(schedule.clone().in_order(order).is_err(), "{order:?}");
    }
    assert!(schedule.in_order(&[2, 1, 0]).is_ok());
}

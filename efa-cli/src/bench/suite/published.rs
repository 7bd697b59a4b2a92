//! Figures that others have published for instance types with an EFA. Each stands as its source has it, and what a source
//! does not tell is not filled in.

use crate::bench::case::Case;

/// Figures of one benchmark on one instance type.
pub(super) struct Published {
    pub(super) instance_type: &'static str,
    pub(super) case: Case,
    /// What was measured with, and who published it.
    pub(super) by: &'static str,
    pub(super) source: &'static str,
    /// When the source was written, or which state of the source was read when.
    pub(super) date: &'static str,
    /// Bytes, and microseconds one way or 10^6 bytes per second.
    pub(super) figures: &'static [(u64, f64)],
}

/// All figures, read on 2026-11-26.
const ALL: &[Published] = &[
    Published {
        instance_type: "c5n.18xlarge",
        case: Case::Latency,
        by: "OSU 5.7.1 with Open MPI, expected by AWS ParallelCluster's tests on Rocky Linux 8",
        source: "https://github.com/aws/aws-parallelcluster/blob/dde8088a0f2db74989f360db5f2a80186d9766d6/tests/integration-tests/tests/efa/test_efa/test_efa/osu_benchmarks/results/rocky8/c5n.18xlarge/openmpi/osu_latency",
        date: "commit dde8088, read 2026-11-26",
        figures: &[
            (8, 20.62),
            (64, 20.69),
            (1024, 21.47),
            (4096, 24.27),
            (65_536, 44.55),
            (1_048_576, 423.57),
            (4_194_304, 1552.07),
        ],
    },
    Published {
        instance_type: "c5n.18xlarge",
        case: Case::Bidirectional,
        by: "OSU 5.7.1 with Open MPI, expected by AWS ParallelCluster's tests on Rocky Linux 8",
        source: "https://github.com/aws/aws-parallelcluster/blob/dde8088a0f2db74989f360db5f2a80186d9766d6/tests/integration-tests/tests/efa/test_efa/test_efa/osu_benchmarks/results/rocky8/c5n.18xlarge/openmpi/osu_bibw",
        date: "commit dde8088, read 2026-11-26",
        figures: &[
            (8, 9.31),
            (64, 74.56),
            (1024, 1170.90),
            (4096, 4315.76),
            (65_536, 9980.26),
            (1_048_576, 10_407.42),
            (4_194_304, 10_199.04),
        ],
    },
    Published {
        instance_type: "c5n.18xlarge",
        case: Case::Bandwidth,
        by: "fabtests' fi_rdm_tagged_bw in one placement group, by a user of libfabric",
        source: "https://github.com/ofiwg/libfabric/issues/5694",
        date: "2020-03-03",
        figures: &[
            (64, 42.74),
            (1024, 596.41),
            (4096, 2305.92),
            (65_536, 6189.06),
            (1_048_576, 6892.86),
            (4_194_304, 6851.09),
        ],
    },
    Published {
        instance_type: "hpc6a.48xlarge",
        case: Case::Latency,
        by: "OSU 7.5 with Intel MPI 2021.6 and EFA installer 1.30.0 in a cluster placement group, by a user of AWS \
             ParallelCluster",
        source: "https://github.com/aws/aws-parallelcluster/issues/6449",
        date: "2025-08-20",
        figures: &[
            (8, 10.37),
            (64, 10.42),
            (1024, 10.71),
            (4096, 11.92),
            (65_536, 18.43),
            (1_048_576, 196.56),
            (4_194_304, 725.62),
        ],
    },
    Published {
        instance_type: "p5.48xlarge",
        case: Case::Bidirectional,
        by: "OSU 5.7.1 with Open MPI, expected by AWS ParallelCluster's tests",
        source: "https://github.com/aws/aws-parallelcluster/blob/6e81b4e5110569f93ac0813ce5495d8fa7c0fb8f/tests/integration-tests/tests/efa/test_efa/test_efa/osu_benchmarks/results/p5.48xlarge/openmpi/osu_bibw",
        date: "commit 6e81b4e, read 2026-11-26",
        figures: &[
            (8, 11.84),
            (64, 94.06),
            (1024, 1478.87),
            (4096, 5138.04),
            (65_536, 16_349.49),
            (1_048_576, 17_392.92),
            (4_194_304, 18_666.02),
        ],
    },
];

/// Returns the figures for an instance type.
pub(super) fn figures(instance_type: &str) -> impl Iterator<Item = &'static Published> {
    ALL.iter().filter(move |published| published.instance_type == instance_type)
}

/// Returns the instance types that there are figures for.
pub(super) fn types() -> Vec<&'static str> {
    let mut types: Vec<_> = ALL.iter().map(|published| published.instance_type).collect();
    types.dedup();
    types
}

#[cfg(test)]
mod tests {
    use super::*;
    use efa_core::admission::most_efas;

    #[test]
    fn every_figure_has_a_source_and_a_type_with_an_efa() {
        for published in ALL {
            assert!(published.source.starts_with("https://") && published.date.contains("20"));
            assert!(
                most_efas(published.instance_type).is_some_and(|most| most > 0),
                "{}",
                published.instance_type
            );
            assert!(published.figures.iter().all(|&(size, value)| size > 0 && value > 0.0));
            assert!(published.figures.is_sorted_by_key(|&(size, _)| size));
        }
    }
}

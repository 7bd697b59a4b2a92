//! What instance types can have: EFAs, network cards, interfaces on each.
//!
//! The table is written by `ci/instance-types` from the output of DescribeInstanceTypes. A type that it does not have is
//! newer than the table, and there is no finding about that type.

use std::collections::HashMap;
use std::sync::OnceLock;

const TABLE: &str = include_str!("../data/instance-types.txt");

/// What one instance type can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstanceType {
    /// How many EFA interfaces it can have at most; 0 for a type without EFA.
    pub(crate) efas: usize,
    /// Its network cards; empty when they are not known.
    pub(crate) cards: Vec<Card>,
}

/// One network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    /// How many interfaces it takes.
    pub(crate) slots: u32,
    /// Whether one of them can be an EFA.
    pub(crate) efa: bool,
}

/// Returns what the table says of the type; `None` for one that it does not have.
pub(crate) fn find(name: &str) -> Option<&'static InstanceType> {
    static TYPES: OnceLock<HashMap<&str, InstanceType>> = OnceLock::new();
    TYPES.get_or_init(|| TABLE.lines().filter_map(parse).collect()).get(name)
}

/// Returns how many EFA interfaces an instance of the type can have at most; `None` for a type that the table of this
/// version does not have.
pub fn most_efas(instance_type: &str) -> Option<usize> {
    find(instance_type).map(|it| it.efas)
}

/// Returns `true` if the table knows the type and says that it has no EFA.
pub(crate) fn lacks_efa(name: &str) -> bool {
    find(name).is_some_and(|it| it.efas == 0)
}

/// Returns where the table comes from, with its date.
pub(crate) fn source() -> &'static str {
    let heading = TABLE.lines().next().unwrap_or_default();
    heading.trim_start_matches("# ").split(';').next().unwrap_or_default()
}

/// Parses a line: `p6-b300.48xlarge 16 1x4,16x4e` is 16 EFAs, one card with 4 slots, then 16 cards with 4 slots that take an EFA.
fn parse(line: &'static str) -> Option<(&'static str, InstanceType)> {
    let mut words = line.split_whitespace();
    let (name, efas, cards) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let runs = cards.split(',').map_while(|run| {
        let (count, kind) = run.split_once('x')?;
        let card = Card { slots: kind.trim_end_matches('e').parse().ok()?, efa: kind.ends_with('e') };
        Some(std::iter::repeat_n(card, count.parse().ok()?))
    });
    Some((name, InstanceType { efas, cards: runs.flatten().collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood() {
        assert!(source().starts_with("DescribeInstanceTypes, "), "{}", source());
        for line in TABLE.lines().skip(1) {
            let (name, it) = parse(line).unwrap_or_else(|| panic!("{line}"));
            let takes_efa = it.cards.iter().filter(|card| card.efa).count();
            assert!(it.efas <= takes_efa || it.cards.is_empty(), "{name}: {it:?}");
        }
    }

    #[test]
    fn types_have_the_efas_that_aws_documents() {
        let efas = |name: &str| find(name).expect("a known type").efas;
        assert_eq!((efas("p5.48xlarge"), efas("hpc7a.96xlarge"), efas("p4d.24xlarge")), (32, 2, 4));
        assert_eq!(efas("dl1.24xlarge"), 4);
        assert!(lacks_efa("t3.micro") && !lacks_efa("p99.huge"));
        let b300 = find("p6-b300.48xlarge").expect("a known type");
        assert_eq!((b300.cards.len(), b300.cards[0].efa, b300.cards[1].efa), (17, false, true));
    }
}

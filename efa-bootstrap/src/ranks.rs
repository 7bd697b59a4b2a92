//! How messages name several ranks at once.

use crate::Peer;

/// Names one rank with its host, several as ranges: `rank 3 (node-b)`, `ranks 0-2, 5`.
pub(super) fn name_ranks(ranks: &[usize], peers: &[Peer]) -> String {
    if let [rank] = ranks {
        return match peers.get(*rank) {
            Some(peer) if !peer.host.is_empty() => format!("rank {rank} ({})", peer.host),
            _ => format!("rank {rank}"),
        };
    }
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for &rank in ranks {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == rank => *last = rank,
            _ => spans.push((rank, rank)),
        }
    }
    let mut text = String::from("ranks ");
    for (i, (first, last)) in spans.iter().enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        match first == last {
            true => text.push_str(&first.to_string()),
            false => text.push_str(&format!("{first}-{last}")),
        }
    }
    text
}

/// Returns the distinct values with the ranks that have each, by the lowest rank that has it.
pub(super) fn group_by_value<T: PartialEq>(
    values: impl IntoIterator<Item = (usize, T)>,
) -> Vec<(T, Vec<usize>)> {
    let mut groups: Vec<(T, Vec<usize>)> = Vec::new();
    for (rank, value) in values {
        match groups.iter_mut().find(|(other, _)| *other == value) {
            Some((_, ranks)) => ranks.push(rank),
            None => groups.push((value, vec![rank])),
        }
    }
    groups
}

/// Lists who has which value, at most so many of them that the message stays readable.
pub(super) fn list_groups(groups: &[(String, Vec<usize>)], peers: &[Peer], verb: (&str, &str)) -> String {
    /// More groups than this are only counted.
    const SHOWN: usize = 8;
    let mut parts: Vec<String> = groups
        .iter()
        .take(SHOWN)
        .map(|(value, ranks)| {
            let verb = if ranks.len() == 1 { verb.0 } else { verb.1 };
            format!("{} {verb} {value}", name_ranks(ranks, peers))
        })
        .collect();
    if groups.len() > SHOWN {
        parts.push(format!("and {} more differ", groups.len() - SHOWN));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> Vec<Peer> {
        let host = |rank| ["node-a", "node-a", "node-a", "node-b"][rank];
        (0..4).map(|rank| Peer { rank, host: host(rank).into(), address: String::new() }).collect()
    }

    #[test]
    fn one_rank_is_named_with_its_host_and_several_as_ranges() {
        assert_eq!(name_ranks(&[3], &peers()), "rank 3 (node-b)");
        assert_eq!(name_ranks(&[9], &peers()), "rank 9");
        assert_eq!(name_ranks(&[0, 1, 2, 5, 7, 8], &peers()), "ranks 0-2, 5, 7-8");
    }

    #[test]
    fn groups_say_who_has_what() {
        let values = ["tcp", "tcp", "tcp", "shm"].map(String::from);
        let groups = group_by_value(values.into_iter().enumerate());
        let text = list_groups(&groups, &peers(), ("uses", "use"));
        assert_eq!(text, "ranks 0-2 use tcp, rank 3 (node-b) uses shm");
    }

    #[test]
    fn a_thousand_different_values_stay_readable() {
        let groups = group_by_value((0..1000).map(|rank| (rank, rank.to_string())));
        let text = list_groups(&groups, &[], ("says", "say"));
        assert!(text.ends_with("and 992 more differ") && text.len() < 200, "{text}");
    }
}

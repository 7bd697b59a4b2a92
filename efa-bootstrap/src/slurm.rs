//! Slurm's own notations: node lists such as `node[003-007,9]` and task counts such as `4(x2),3`.

/// Returns the first host of a node list, or `None` if the list can't be read.
///
/// `node[003-007,9],login1` gives `node003`; several brackets in one name are allowed, as in `r[1-2]n[01-16]`.
pub(super) fn first_host(list: &str) -> Option<String> {
    let mut host = String::new();
    let mut rest = list.trim();
    while let Some(at) = rest.find(['[', ',', ']']) {
        host.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b',' => return named(host),
            b'[' => {
                let (inside, after) = rest[at + 1..].split_once(']')?;
                let first = inside.split([',', '-']).next()?.trim();
                if first.is_empty() || !first.bytes().all(|c| c.is_ascii_digit()) {
                    return None;
                }
                host.push_str(first);
                rest = after;
            }
            _ => return None,
        }
    }
    host.push_str(rest);
    named(host)
}

/// Returns how many tasks run on node number `node` by a list such as `4(x2),3`: four each on nodes 0 and 1, three on
/// 2.
pub(super) fn tasks_on_node(list: &str, node: usize) -> Option<usize> {
    let mut before = 0_usize;
    for entry in list.trim().split(',') {
        let (tasks, nodes) = match entry.split_once("(x") {
            Some((tasks, nodes)) => (tasks, nodes.strip_suffix(')')?.parse().ok()?),
            None => (entry, 1_usize),
        };
        before = before.checked_add(nodes)?;
        let tasks = tasks.trim().parse().ok()?;
        if node < before {
            return Some(tasks);
        }
    }
    None
}

/// Returns the host, if it has a name at all.
fn named(host: String) -> Option<String> {
    let host = host.trim();
    (!host.is_empty()).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_of_a_node_list_is_found() {
        for (list, first) in [
            ("node-a", "node-a"),
            ("node-a,node-b", "node-a"),
            ("node[003-007,9]", "node003"),
            ("node[3,5-7],login1", "node3"),
            ("r[1-2]n[01-16]", "r1n01"),
            ("gpu[12].cluster.example", "gpu12.cluster.example"),
            (" node[0-1] ", "node0"),
        ] {
            assert_eq!(first_host(list).as_deref(), Some(first), "{list}");
        }
    }

    #[test]
    fn a_broken_node_list_gives_nothing() {
        for list in ["", ",", "node[", "node[]", "node[a-b]", "node]", "node[-3]"] {
            assert_eq!(first_host(list), None, "{list}");
        }
    }

    #[test]
    fn tasks_per_node_are_counted() {
        let on = |list, node| tasks_on_node(list, node);
        assert_eq!(on("4(x2),3", 0), Some(4));
        assert_eq!(on("4(x2),3", 1), Some(4));
        assert_eq!(on("4(x2),3", 2), Some(3));
        assert_eq!(on("4(x2),3", 3), None);
        assert_eq!(on("2", 0), Some(2));
        for broken in ["", "x", "4(x", "4(x2", "4(xy)"] {
            assert_eq!(on(broken, 0), None, "{broken}");
        }
        assert_eq!(on("1(x18446744073709551615),1(x2)", usize::MAX), None);
    }
}

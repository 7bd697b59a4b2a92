//! Finds the launcher among the processes that this one descends from.

/// Returns the process that started all ranks of this host: the nearest ancestor that is a proxy of Hydra, or the
/// parent.
///
/// A script around the program comes in between, and each rank has its own.
pub(super) fn launcher_pid() -> u32 {
    /// Deeper nesting than this is not believed.
    const GENERATIONS: usize = 64;
    let parent = std::os::unix::process::parent_id();
    let mut pid = parent;
    for _ in 0..GENERATIONS {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        match name_and_parent(&stat) {
            // The system keeps 15 characters of a name; Intel MPI calls it pmi_proxy.
            Some((name, _)) if name.contains("pmi_pro") => return pid,
            Some((_, next)) if next > 1 => pid = next,
            _ => break,
        }
    }
    parent
}

/// Returns the name and the parent in a line as `/proc/PID/stat` has it; the name is in parentheses and may hold some,
/// too.
pub(super) fn name_and_parent(stat: &str) -> Option<(&str, u32)> {
    let (front, rest) = stat.rsplit_once(')')?;
    let (_, name) = front.split_once('(')?;
    let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
    Some((name, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        assert_eq!(name_and_parent("12 (hydra_pmi_proxy) S 7 12 12 0"), Some(("hydra_pmi_proxy", 7)));
        assert_eq!(name_and_parent("12 (a) b (c)) R 7 1"), Some(("a) b (c)", 7)));
        for broken in ["", "12", "12 (x)", "12 (x) S", "12 (x) S y"] {
            assert_eq!(name_and_parent(broken), None, "{broken}");
        }
    }

    #[test]
    fn without_hydra_it_is_the_parent() {
        assert_eq!(launcher_pid(), std::os::unix::process::parent_id());
    }
}

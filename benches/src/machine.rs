//! What a comparison ran on: figures mean nothing without it.

use std::fs;

/// Returns the processors that this process may use, in order.
pub fn processors() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    parse_list(list.unwrap_or("0").trim())
}

/// Returns a few lines about processor, kernel, and the variables that change what libfabric does.
pub fn description() -> Vec<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut settings: Vec<String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("FI_"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    settings.sort();
    if settings.is_empty() {
        settings.push("none".to_owned());
    }
    vec![
        format!("machine: {} x {model}, Linux {}", processors().len(), kernel.trim()),
        format!("libfabric's variables, the same for every program: {}", settings.join(" ")),
    ]
}

/// Reads a list of processors as the kernel writes it: `0-1,4`.
fn parse_list(list: &str) -> Vec<usize> {
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_is_read_with_its_ranges() {
        assert_eq!(parse_list("0-1,4"), [0, 1, 4]);
        assert_eq!(parse_list("3"), [3]);
    }

    #[test]
    fn this_process_may_use_at_least_one_processor() {
        assert!(!processors().is_empty());
    }
}

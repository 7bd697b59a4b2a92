//! Where the pods of an Indexed Job or a JobSet find rank 0: by the name that a headless service gives to its pod.

/// Returns the full name of the pod with index 0, by this pod's host name, its index and what `/etc/hosts` says.
///
/// Kubernetes names a pod of an Indexed Job after the job and the index, `trainer-3`. Where the pod belongs to a headless
/// service (`subdomain`), `/etc/hosts` has its full name first, `trainer-3.trainer.default.svc.cluster.local`.
pub(super) fn rank_0(host: &str, index: usize, hosts: &str) -> Option<String> {
    let job = host.strip_suffix(&format!("-{index}"))?;
    let full = hosts.lines().find_map(|line| {
        let mut names = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
        names.find_map(|name| name.strip_prefix(host)?.strip_prefix('.'))
    })?;
    Some(format!("{job}-0.{full}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\
        192.0.2.7\ttrainer-3.trainer.default.svc.cluster.local\ttrainer-3\n";

    #[test]
    fn rank_0_is_the_pod_with_index_0() {
        let name = Some("trainer-0.trainer.default.svc.cluster.local".to_owned());
        assert_eq!(rank_0("trainer-3", 3, HOSTS), name);
    }

    #[test]
    fn without_a_headless_service_there_is_no_name() {
        assert_eq!(rank_0("trainer-3", 3, "192.0.2.7\ttrainer-3\n"), None);
        assert_eq!(rank_0("trainer-3", 3, ""), None);
        // Somebody gave the pod a name of its own.
        assert_eq!(rank_0("node", 3, HOSTS), None);
        assert_eq!(rank_0("trainer-3", 2, HOSTS), None);
    }
}

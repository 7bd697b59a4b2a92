//! Remote operations on regions that are closed.

use crate::job::{Outcome, is_built_in, run_with};

const OPERATIONS: [&str; 4] = ["write", "short write", "read", "atomic"];

fn on_closed(operation: &str, variables: &[(&str, &str)]) -> Outcome {
    let mut all = vec![("EFA_TIMEOUT", "1")];
    all.extend(variables);
    let outcome = run_with(2, &format!("closed region, {operation}"), "", &all);
    assert!(outcome.success, "{operation}: {}", outcome.all);
    assert_eq!(outcome.said[1], "unharmed true\n", "{operation}: {}", outcome.all);
    outcome
}

#[test]
fn an_operation_on_a_closed_region_leaves_its_owner_unharmed() {
    for operation in OPERATIONS {
        let outcome = on_closed(operation, &[]);
        let said = &outcome.said[0];
        // Without our patch a region for all kinds of access goes on being registered, for the sake of atomics.
        let is_lenient = !is_built_in() && said == "done\n";
        let is_told = match operation {
            "atomic" => said.contains("nothing came of it within 1s"),
            _ => said.contains("the remote key or address was refused (device status 7)"),
        };
        assert!(is_lenient || is_told, "{operation}: {}", outcome.all);
    }
}

#[test]
fn so_it_does_where_the_device_cannot_access_remote_memory_and_messages_take_its_place() {
    for device in ["none", "read"] {
        for operation in OPERATIONS {
            let outcome = on_closed(operation, &[("EFA_EMULATOR_RDMA", device)]);
            let said = &outcome.said[0];
            let is_told = said.contains("nothing came of it within 1s") || said.contains("device status 7");
            assert!(is_told || !is_built_in() && said == "done\n", "{operation}: {}", outcome.all);
        }
    }
}

//! The layouts that people launch, from the files that they write: what each is taken for, and its verdict.

use std::path::{Path, PathBuf};

use efa_admission::source::file::{Described, read_described, read_security_groups};
use efa_admission::source::look_up_described;
use efa_admission::{Facts, InterfaceKind, Policy, Report};

use crate::build::*;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/layouts").join(name)
}

fn layout(name: &str, only: Option<&str>) -> Described {
    read_described(&path(name), only).expect("a good layout")
}

/// The verdict on so many instances of what the file describes, with the rules of the file and of `sg-1`.
fn judged(name: &str, only: Option<&str>, count: usize, policy: &Policy) -> Report {
    let mut described = layout(name, only);
    if described.is_template {
        described.members = copies(&described.members, count);
    }
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/groups/right.json");
    let lookup = look_up_described(&described, Some(&rules)).expect("good rules");
    lookup.evaluate(&described.members, policy)
}

pub(crate) fn copies(models: &[Facts], count: usize) -> Vec<Facts> {
    let copy = |rank: usize| {
        let mut facts = models[rank % models.len()].clone();
        facts.member.rank = rank;
        facts.member.instance_id += &format!(".{rank}");
        facts
    };
    (0..count).map(copy).collect()
}

fn kinds(facts: &Facts) -> Vec<(u32, u32, InterfaceKind)> {
    let interfaces = facts.member.interfaces.iter();
    interfaces.map(|it| (it.network_card.unwrap_or(9), it.device_number.unwrap_or(9), it.kind)).collect()
}

fn efas(facts: &Facts) -> usize {
    let is_efa = |kind| matches!(kind, InterfaceKind::Efa | InterfaceKind::EfaOnly);
    facts.member.interfaces.iter().filter(|it| is_efa(it.kind)).count()
}

fn has_note(described: &Described, text: &str) -> bool {
    described.notes.iter().any(|note| note.contains(text))
}

#[test]
fn each_file_says_what_it_was_taken_for() {
    for (name, only, form) in [
        ("parallelcluster-hpc7a.yaml", None, "an AWS ParallelCluster configuration"),
        ("eks-karpenter.yaml", None, "Karpenter's node classes and pools"),
        ("eks-eksctl.yaml", Some("train"), "an eksctl ClusterConfig"),
        ("eks-managed-node-group.yaml", None, "a CloudFormation template"),
        ("hyperpod.json", Some("Cluster/workers"), "a CloudFormation template"),
        ("shared-vpc.json", None, "what 'aws ec2 describe-instances' prints"),
        ("terraform-plan.json", None, "a Terraform plan"),
        ("terraform-state.json", None, "a Terraform state"),
    ] {
        let described = layout(name, only);
        assert_eq!(described.notes[0], format!("the members file was taken for {form}"), "{name}");
    }
}

#[test]
fn parallelcluster_on_hpc7a_is_admitted() {
    let described = layout("parallelcluster-hpc7a.yaml", None);
    use InterfaceKind::{EfaOnly, Interface};
    assert_eq!(kinds(&described.members[0]), [(0, 0, Interface), (0, 1, EfaOnly), (1, 1, EfaOnly)]);
    assert!(has_note(&described, "version 3.15") && has_note(&described, "ComputeSecurityGroup"));
    let report = judged("parallelcluster-hpc7a.yaml", None, 8, &strict());
    assert_eq!((report.exit_status(), report.findings().len()), (0, 0), "{report}");
}

#[test]
fn parallelcluster_on_p5_has_32_efas_beside_a_plain_primary() {
    let described = layout("parallelcluster-p5.yaml", Some("train"));
    assert_eq!((efas(&described.members[0]), described.members[0].member.interfaces.len()), (32, 33));
    let report = judged("parallelcluster-p5.yaml", Some("train"), 16, &strict());
    assert_eq!(report.exit_status(), 0, "{report}");
    // Two queues are two jobs, unless somebody says otherwise.
    let error = read_described(&path("parallelcluster-p5.yaml"), None).expect_err("two queues").to_string();
    assert!(error.contains("--only one of train/p5, prepare/cpu"), "{error}");
    let error = read_described(&path("parallelcluster-p5.yaml"), Some("nothing")).expect_err("no such queue");
    assert!(error.to_string().contains("nothing in it is called nothing"), "{error}");
    let prepare = judged("parallelcluster-p5.yaml", Some("prepare"), 2, &strict());
    assert_eq!(prepare.findings()[0].code.name(), "no-efa-interface", "{prepare}");
}

#[test]
fn parallelcluster_on_p6_leaves_the_first_card_of_a_b300_plain() {
    let of = |only| layout("parallelcluster-p6.yaml", Some(only)).members.remove(0);
    assert_eq!((efas(&of("b200")), efas(&of("b300"))), (8, 16));
    assert_eq!(kinds(&of("b300"))[..2], [(0, 0, InterfaceKind::Interface), (1, 1, InterfaceKind::EfaOnly)]);
    for queue in ["b200", "b300"] {
        let report = judged("parallelcluster-p6.yaml", Some(queue), 4, &strict());
        assert_eq!(report.exit_status(), 0, "{report}");
    }
}

#[test]
fn eks_with_karpenter_is_admitted() {
    let described = layout("eks-karpenter.yaml", None);
    let member = &described.members[0].member;
    assert_eq!((member.instance_type.as_deref(), efas(&described.members[0])), (Some("p6-b200.48xlarge"), 8));
    assert_eq!(member.availability_zone_id.as_deref(), Some("use1-az4"));
    assert!(has_note(&described, "by tag or name"), "{:?}", described.notes);
    let report = judged("eks-karpenter.yaml", None, 4, &strict());
    assert_eq!(report.exit_status(), 0, "{report}");
}

#[test]
fn karpenter_by_tags_is_undetermined_and_says_why() {
    let text = std::fs::read_to_string(path("eks-karpenter.yaml")).expect("a fixture");
    let text = text.replace("- id: subnet-0train", "- tags: {Name: private}");
    let described = read_described(file(&text).path(), None).expect("a good layout");
    assert!(has_note(&described, "selects subnets by their tags"), "{:?}", described.notes);
    let lookup = look_up_described(&described, None).expect("no rules");
    assert_eq!(lookup.evaluate(&described.members, &strict()).exit_status(), 3);
}

#[test]
fn eks_with_a_managed_node_group_is_admitted() {
    let report = judged("eks-managed-node-group.yaml", None, 4, &strict());
    assert_eq!(report.exit_status(), 0, "{report}");
    let described = layout("eks-managed-node-group.yaml", None);
    assert_eq!(described.members[0].member.interfaces[0].subnet_id, "NodeSubnet");
    let text = std::fs::read_to_string(path("eks-managed-node-group.yaml")).expect("a fixture");
    // Without its rule out, the group of the template is known to be wrong.
    let broken = text
        .replace("DestinationSecurityGroupId: {\"Fn::GetAtt\": [EfaGroup, GroupId]}", "CidrIp: 0.0.0.0/0");
    let described = read_described(file(&broken).path(), None).expect("a good layout");
    let report =
        look_up_described(&described, None).expect("its rules").evaluate(&described.members, &strict());
    assert_eq!(report.exit_status(), 1, "{report}");
    let report = report.for_a_plan();
    let finding = &report.findings()[0];
    assert_eq!(finding.code.name(), "missing-self-egress");
    assert!(
        finding.text.remedy.starts_with("in the file: give EfaGroup an outbound rule"),
        "{}",
        finding.text.remedy
    );
}

#[test]
fn a_node_group_over_two_subnets_breaks_the_strict_rule() {
    let text = std::fs::read_to_string(path("eks-managed-node-group.yaml")).expect("a fixture");
    let subnets = "        - !Ref NodeSubnet\n        - subnet-0b\n";
    let two = text
        .replace("        - !Ref NodeSubnet\n", subnets)
        .replace("Type: AWS::EC2::Subnet::Id", "Type: AWS::EC2::Subnet::Id\n    Default: subnet-0a");
    let described = read_described(file(&two).path(), None).expect("a good layout");
    assert!(has_note(&described, "may start its instances in 2 subnets"), "{:?}", described.notes);
    assert!(has_note(&described, "parameters have their defaults: NodeSubnet"), "{:?}", described.notes);
    let lookup = look_up_described(&described, None).expect("its rules");
    let report = lookup.evaluate(&described.members, &strict());
    assert_eq!((report.exit_status(), report.findings()[0].code.name()), (1, "different-subnet"), "{report}");
    // A parameter without a value may be the other subnet.
    let open = text.replace("        - !Ref NodeSubnet\n", subnets);
    let described = read_described(file(&open).path(), None).expect("a good layout");
    assert!(has_note(&described, "the values of NodeSubnet, which may be equal"), "{:?}", described.notes);
    let lookup = look_up_described(&described, None).expect("its rules");
    assert_eq!(lookup.evaluate(&described.members, &strict()).exit_status(), 3);
}

#[test]
fn eks_with_eksctl_is_admitted() {
    let described = layout("eks-eksctl.yaml", Some("train"));
    assert_eq!(efas(&described.members[0]), 32);
    assert_eq!(described.members[0].member.interfaces[0].vpc_id.as_deref(), Some("vpc-1"));
    let report = judged("eks-eksctl.yaml", Some("train"), 4, &strict());
    assert_eq!(report.exit_status(), 0, "{report}");
    let error = read_described(&path("eks-eksctl.yaml"), None).expect_err("two groups").to_string();
    assert!(error.contains("system, train"), "{error}");
}

#[test]
fn hyperpod_is_admitted_by_the_groups_that_it_names() {
    let described = layout("hyperpod.json", Some("Cluster/workers"));
    assert_eq!(described.members[0].member.instance_type.as_deref(), Some("p5.48xlarge"));
    let report = judged("hyperpod.json", Some("Cluster/workers"), 16, &strict());
    assert_eq!(report.exit_status(), 0, "{report}");
}

#[test]
fn a_shared_vpc_is_judged_by_the_groups_of_the_participant() {
    let described = layout("shared-vpc.json", None);
    let rules = read_security_groups(&path("shared-vpc-groups.json")).expect("good rules");
    let report = efa_admission::evaluate(&described.members, &rules, &strict());
    assert_eq!((report.exit_status(), report.findings().len()), (0, 0), "{report}");
}

#[test]
fn a_local_zone_is_a_zone_of_its_own() {
    let described = layout("local-zone.json", None);
    let judge =
        |members: &[Facts], policy: &Policy| efa_admission::evaluate(members, &groups("right"), policy);
    assert_eq!(judge(&described.members, &strict()).exit_status(), 0);
    let mut apart = described.members.clone();
    apart[1].member.availability_zone_id = Some("usw2-az1".into());
    for interface in &mut apart[1].member.interfaces {
        interface.subnet_id = "subnet-parent".into();
    }
    let report = judge(&apart, &Policy::same_zone().requires_efa(true));
    assert_eq!((report.exit_status(), report.findings()[0].code.name()), (1, "different-zone"), "{report}");
}

#[test]
fn a_terraform_plan_is_judged_by_what_its_configuration_refers_to() {
    let described = layout("terraform-plan.json", None);
    let member = &described.members[0].member;
    assert_eq!(member.interfaces[0].subnet_id, "aws_subnet.nodes");
    assert_eq!(
        member.interfaces[1].security_groups,
        Some(vec!["module.nodes.aws_security_group.efa".into()])
    );
    assert_eq!(member.availability_zone_id.as_deref(), Some("use1-az4"));
    let lookup = look_up_described(&described, None).expect("its rules");
    let report = lookup.evaluate(&copies(&described.members, 4), &strict());
    assert_eq!((report.exit_status(), report.findings().len()), (0, 0), "{report}");
    let text = std::fs::read_to_string(path("terraform-plan.json")).expect("a fixture");
    let broken = text.replace("aws_vpc_security_group_egress_rule", "aws_something_else");
    let described = read_described(file(&broken).path(), None).expect("a good layout");
    let lookup = look_up_described(&described, None).expect("its rules");
    let report = lookup.evaluate(&described.members, &strict());
    assert_eq!(
        (report.exit_status(), report.findings()[0].code.name()),
        (1, "missing-self-egress"),
        "{report}"
    );
}

#[test]
fn a_terraform_state_has_its_instances_interfaces_and_rules() {
    let described = layout("terraform-state.json", None);
    let ids: Vec<&str> = described.members.iter().map(|it| it.member.instance_id.as_str()).collect();
    assert_eq!((ids, described.is_plan), (vec!["i-00", "i-01"], false));
    let lookup = look_up_described(&described, None).expect("its rules");
    let report = lookup.evaluate(&described.members, &strict());
    assert_eq!((report.exit_status(), report.findings().len()), (0, 0), "{report}");
    let text = std::fs::read_to_string(path("terraform-state.json")).expect("a fixture");
    let broken = text.replacen("\"self\": true", "\"self\": false", 1);
    let described = read_described(file(&broken).path(), None).expect("a good layout");
    let lookup = look_up_described(&described, None).expect("its rules");
    assert_eq!(lookup.evaluate(&described.members, &strict()).exit_status(), 1);
}

#[test]
fn eks_auto_mode_and_listings_of_objects_are_read_too() {
    let class = serde_json::json!({"apiVersion": "eks.amazonaws.com/v1", "kind": "NodeClass", "metadata": {"name": "efa"}, "spec": {
        "subnetSelectorTerms": [{"id": "subnet-1"}], "securityGroupSelectorTerms": [{"id": "sg-1"}],
        "placementGroupSelector": {"name": "pg-1"},
        "advancedNetworking": {"networkInterfaces": [
            {"networkCardIndex": 0, "deviceIndex": 0, "interfaceType": "interface"},
            {"networkCardIndex": 1, "deviceIndex": 0, "interfaceType": "efa-only"}]}}});
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [class]});
    for text in [class.to_string(), list.to_string()] {
        let described = read_described(file(&text).path(), None).expect("a good class");
        assert_eq!(described.notes[0], "the members file was taken for Karpenter's node classes and pools");
        assert_eq!(efas(&described.members[0]), 1);
        let report = efa_admission::evaluate(&copies(&described.members, 2), &groups("right"), &strict());
        assert_eq!(report.exit_status(), 0, "{report}");
    }
}

#[test]
fn instances_of_a_plan_get_the_interfaces_with_their_own_index() {
    let resource = |kind: &str, index: usize, values: serde_json::Value| serde_json::json!({"address": format!("{kind}.it[{index}]"), "mode": "managed", "type": kind, "name": "it", "index": index, "values": values});
    let mut resources = Vec::new();
    for (index, subnet) in ["subnet-1", "subnet-2"].into_iter().enumerate() {
        let values =
            serde_json::json!({"interface_type": "efa", "subnet_id": subnet, "security_groups": ["sg-1"]});
        resources.push(resource("aws_network_interface", index, values));
        let values = serde_json::json!({"instance_type": "hpc7a.96xlarge", "network_interface": [{"device_index": 0, "network_card_index": 0}]});
        resources.push(resource("aws_instance", index, values));
    }
    let plan = serde_json::json!({"format_version": "1.2", "planned_values": {"root_module": {"resources": resources}},
        "configuration": {"root_module": {"resources": [{"type": "aws_instance", "name": "it", "expressions": {"network_interface": [
            {"network_interface_id": {"references": ["aws_network_interface.it", "count.index"]}}]}}]}}});
    let described = read_described(file(&plan.to_string()).path(), None).expect("a good plan");
    let subnets: Vec<&str> =
        described.members.iter().map(|it| it.member.interfaces[0].subnet_id.as_str()).collect();
    assert_eq!(subnets, ["subnet-1", "subnet-2"]);
    assert_eq!(efas(&described.members[0]), 1);
}

#[test]
fn what_only_the_stack_can_tell_is_left_open() {
    let with = |subnet: &str| {
        format!(
            "Parameters: {{Subnets: {{Type: 'List<AWS::EC2::Subnet::Id>'}}}}\nResources:\n  A: &a\n    Type: AWS::EC2::LaunchTemplate\n    \
             Properties:\n      LaunchTemplateData:\n        NetworkInterfaces:\n          - {{InterfaceType: efa, SubnetId: {subnet}, Groups: [sg-1]}}\n"
        )
    };
    let subnet = |text: &str| {
        let described = read_described(file(&with(text)).path(), None).expect("a good template");
        described.members[0].member.interfaces[0].subnet_id.clone()
    };
    assert_eq!(subnet("subnet-1"), "subnet-1");
    assert_eq!(subnet("!Select [1, [subnet-1, subnet-2]]"), "subnet-2");
    assert_eq!(subnet("!Select [0, !Ref Subnets]"), "Subnets.0");
    assert_eq!(subnet("!ImportValue net-Subnet"), "import.net-Subnet");
    assert_eq!(subnet("!Sub '${Subnets}'"), "Subnets");
    assert_eq!(subnet("!If [Big, subnet-1, subnet-1]"), "subnet-1");
    assert_eq!(subnet("!If [Big, subnet-1, subnet-2]"), "");
    assert_eq!(subnet("!FindInMap [Zones, a, Subnet]"), "");
}

#[test]
fn files_that_only_look_alike_say_what_to_give_instead() {
    let state =
        r#"{"version": 4, "terraform_version": "1.14.0", "serial": 3, "lineage": "a", "resources": []}"#;
    let error = read_described(file(state).path(), None).expect_err("a raw state").to_string();
    assert!(error.contains("terraform show -json"), "{error}");
    let pool = "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {name: a}\nspec: {template: {spec: {nodeClassRef: {name: b}}}}\n";
    let error = read_described(file(pool).path(), None).expect_err("no class").to_string();
    assert!(error.contains("put the class into the same file"), "{error}");
    for text in ["just text\n", "a: 1\n", "--- {}\n---\n", "apiVersion: v1\nkind: Pod\n"] {
        let error = read_described(file(text).path(), None).expect_err(text).to_string();
        assert!(error.contains("it is none of"), "{error}");
    }
}

#[test]
fn a_rule_that_only_the_apply_can_tell_leaves_the_group_open() {
    let text = std::fs::read_to_string(path("terraform-plan.json")).expect("a fixture");
    let judged = |text: &str| {
        let described = read_described(file(text).path(), None).expect("a good layout");
        let lookup = look_up_described(&described, None).expect("its rules");
        lookup.evaluate(&described.members, &strict()).exit_status()
    };
    let plan: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(judged(&plan.to_string()), 0);
    let module = "/configuration/root_module/module_calls/nodes/module/resources";
    for key in ["security_group_id", "referenced_security_group_id"] {
        let mut open = plan.clone();
        let rule = open.pointer_mut(&format!("{module}/2/expressions/{key}")).expect("the rule out");
        *rule = serde_json::json!({"references": ["local.group"]});
        assert_eq!(judged(&open.to_string()), 3, "{key}");
    }
    let text = std::fs::read_to_string(path("eks-managed-node-group.yaml")).expect("a fixture");
    for whole in ["GroupId: !Ref EfaGroup\n", "SourceSecurityGroupId: !GetAtt EfaGroup.GroupId\n"] {
        let key = whole.split(": ").next().expect("a key");
        let open = text.replace(whole, &format!("{key}: !If [Own, !Ref EfaGroup, sg-9]\n"));
        assert_ne!(open, text);
        assert_eq!(judged(&open), 3, "{key}");
    }
}

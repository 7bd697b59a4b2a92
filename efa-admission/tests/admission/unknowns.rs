//! What a file leaves open is undetermined, never admitted.

use efa_admission::source::file::{Described, read_described};
use efa_admission::source::look_up_described;
use efa_admission::{Facts, Report};
use serde_json::{Value, json};

use crate::build::*;
use crate::layouts::copies;

fn described(text: &str) -> Described {
    read_described(file(text).path(), None).expect("a good file")
}

/// The verdict on what a file describes: on two instances of a description, or on its instances.
fn judged(text: &str) -> Report {
    let mut described = described(text);
    if described.is_template {
        described.members = copies(&described.members, 2);
    }
    let lookup = look_up_described(&described, None).expect("its rules");
    lookup.evaluate(&described.members, &strict())
}

fn status(text: &Value) -> u8 {
    judged(&text.to_string()).exit_status()
}

fn references(names: &[&str]) -> Value {
    json!({"references": names})
}

fn resource(kind: &str, name: &str, index: Option<usize>, values: Value) -> Value {
    let address = index.map_or(format!("{kind}.{name}"), |index| format!("{kind}.{name}[{index}]"));
    json!({"address": address, "mode": "managed", "type": kind, "name": name, "index": index, "values": values})
}

fn configured(kind: &str, name: &str, expressions: Value) -> Value {
    json!({"type": kind, "name": name, "expressions": expressions})
}

/// A plan with a group that admits itself, a plain one, a subnet, and what is given.
fn plan(resources: Vec<Value>, expressions: Vec<Value>) -> Value {
    let rule = json!({"protocol": "-1", "self": true, "from_port": 0, "to_port": 0});
    let rules = json!({"ingress": [rule], "egress": [rule]});
    let mut all = vec![
        resource("aws_security_group", "efa", None, rules),
        resource("aws_security_group", "plain", None, json!({"ingress": [], "egress": []})),
        resource("aws_subnet", "a", None, json!({})),
    ];
    all.extend(resources);
    json!({"format_version": "1.2", "planned_values": {"root_module": {"resources": all}},
           "configuration": {"root_module": {"resources": expressions}}})
}

/// Two instances, each with an interface whose subnet and groups have these expressions.
fn instances(subnet: &[&str], groups: &[&str]) -> Value {
    let mut resources = Vec::new();
    for index in 0..2 {
        resources.push(resource(
            "aws_network_interface",
            "it",
            Some(index),
            json!({"interface_type": "efa"}),
        ));
        let values = json!({"instance_type": "hpc7a.96xlarge", "network_interface": [{"device_index": 0, "network_card_index": 0}]});
        resources.push(resource("aws_instance", "it", Some(index), values));
    }
    let interface = json!({"subnet_id": references(subnet), "security_groups": references(groups)});
    let named = json!({"network_interface": [{"network_interface_id": references(&["aws_network_interface.it", "count.index"])}]});
    plan(
        resources,
        vec![configured("aws_network_interface", "it", interface), configured("aws_instance", "it", named)],
    )
}

const SUBNET: [&str; 2] = ["aws_subnet.a.id", "aws_subnet.a"];
const GROUP: [&str; 2] = ["aws_security_group.efa.id", "aws_security_group.efa"];

#[test]
fn a_list_of_subnets_that_is_not_in_a_plan_is_not_one_subnet() {
    let with = |kind: &str, key: &str, names: &[&str]| {
        let data = json!({"instance_type": "hpc7a.96xlarge",
            "network_interfaces": [{"device_index": 0, "network_card_index": 0, "interface_type": "efa"}]});
        let group = json!({"network_interfaces": [{"security_groups": references(&GROUP)}]});
        let starts = json!({key: references(names),
            "launch_template": [{"id": references(&["aws_launch_template.it.id", "aws_launch_template.it"])}]});
        plan(
            vec![
                resource("aws_launch_template", "it", None, data),
                resource(kind, "it", None, json!({"launch_template": [{}]})),
            ],
            vec![configured("aws_launch_template", "it", group), configured(kind, "it", starts)],
        )
    };
    for (kind, key) in
        [("aws_autoscaling_group", "vpc_zone_identifier"), ("aws_eks_node_group", "subnet_ids")]
    {
        assert_eq!(status(&with(kind, key, &SUBNET)), 0, "{kind}");
        for open in
            [&["local.subnets"][..], &["data.aws_subnets.a.ids", "data.aws_subnets.a"], &["var.subnets"]]
        {
            let plan = with(kind, key, open).to_string();
            assert_eq!(judged(&plan).exit_status(), 3, "{kind} {open:?}");
            let notes = described(&plan).notes;
            assert!(notes.iter().any(|it| it.contains("the subnets of")), "{notes:?}");
        }
    }
}

#[test]
fn elements_of_a_list_that_is_not_in_a_plan_are_not_one_subnet() {
    assert_eq!(status(&instances(&SUBNET, &GROUP)), 0);
    assert_eq!(status(&instances(&["local.subnet"], &GROUP)), 0);
    for list in ["local.subnets", "var.subnets", "data.aws_subnets.a.ids"] {
        assert_eq!(status(&instances(&[list, "count.index"], &GROUP)), 3, "{list}");
    }
    let mut plan = instances(&["module.m.subnets", "module.m", "count.index"], &GROUP);
    let output = json!({"subnets": {"expression": references(&["local.subnets"])}});
    plan["configuration"]["root_module"]["module_calls"] = json!({"m": {"module": {"outputs": output}}});
    assert_eq!(status(&plan), 3);
}

#[test]
fn groups_that_a_plan_lists_together_are_taken_together_with_a_note() {
    let note = |plan: &Value| {
        let notes = described(&plan.to_string()).notes;
        notes.iter().any(|it| it.contains("all of those of aws_network_interface.it.security_groups"))
    };
    // `[efa.id, plain.id]`, which a plan writes as it does `coalesce(efa.id, plain.id)`.
    let two = instances(
        &SUBNET,
        &[&GROUP[..], &["aws_security_group.plain.id", "aws_security_group.plain"]].concat(),
    );
    assert_eq!(status(&two), 0);
    assert!(note(&two));
    assert!(!note(&instances(&SUBNET, &GROUP)));
}

/// Two instances of resources of their own, whose subnets have these expressions.
fn one_instance_each(subnets: [&[&str]; 2], groups: &[&str]) -> Value {
    let values = json!({"instance_type": "hpc7a.96xlarge"});
    let data = json!({"network_interfaces": [{"interface_type": "efa"}]});
    let (mut resources, mut expressions) = (Vec::new(), Vec::new());
    for (name, subnet) in ["one", "two"].into_iter().zip(subnets) {
        let template = format!("{name}_template");
        let named = format!("aws_launch_template.{template}");
        resources.push(resource("aws_launch_template", &template, None, data.clone()));
        resources.push(resource("aws_instance", name, None, values.clone()));
        let interface = json!({"subnet_id": references(subnet), "security_groups": references(groups)});
        let interfaces = json!({"network_interfaces": [interface]});
        expressions.push(configured("aws_launch_template", &template, interfaces));
        let start = json!({"launch_template": [{"id": references(&[&format!("{named}.id"), &named])}]});
        expressions.push(configured("aws_instance", name, start));
    }
    for it in &mut resources {
        if it["type"] == "aws_instance" {
            it["values"]["launch_template"] = json!([{}]);
        }
    }
    plan(resources, expressions)
}

#[test]
fn elements_that_two_expressions_take_of_a_list_are_not_one_subnet() {
    let same = |subnet: &[&str]| status(&one_instance_each([subnet, subnet], &GROUP));
    assert_eq!(same(&SUBNET), 0);
    assert_eq!(same(&["data.aws_subnet.a.id", "data.aws_subnet.a"]), 0);
    for list in ["local.subnets", "data.aws_subnets.a.ids"] {
        let plan = one_instance_each([&[list], &[list]], &GROUP).to_string();
        assert_eq!(judged(&plan).exit_status(), 3, "{list}");
        let notes = described(&plan).notes;
        assert!(notes.iter().any(|it| it.contains("subnet")), "{notes:?}");
    }
}

#[test]
fn a_group_that_may_not_be_made_is_not_held_beside_another() {
    let either = [
        "aws_security_group.efa[0].id",
        "aws_security_group.efa[0]",
        "aws_security_group.efa",
        "aws_security_group.plain.id",
        "aws_security_group.plain",
    ];
    assert_eq!(status(&instances(&SUBNET, &either[..3])), 0);
    assert_eq!(status(&instances(&SUBNET, &either)), 3);
}

#[test]
fn a_value_that_differs_among_copies_of_a_module_is_not_one_subnet() {
    let subnets = |copies: [&str; 2], passed: &[&str], used: &str| {
        let of = |module: &str| {
            let values = json!({"instance_type": "hpc7a.96xlarge"});
            let mut instance = resource("aws_instance", "it", None, values);
            instance["address"] = json!(format!("{module}.aws_instance.it"));
            json!({"address": module, "resources": [instance]})
        };
        let inner = configured("aws_instance", "it", json!({"subnet_id": references(&[used])}));
        let call = json!({"expressions": {"subnet": references(passed)}, "module": {"resources": [inner]}});
        let plan = json!({"format_version": "1.2",
            "planned_values": {"root_module": {"child_modules": copies.map(of)}},
            "configuration": {"root_module": {"module_calls": {"n": call, "m": call}}}});
        let subnet = |facts: &Facts| facts.member.interfaces[0].subnet_id.clone();
        described(&plan.to_string()).members.iter().map(subnet).collect::<Vec<_>>()
    };
    let (copies, others) = (["module.n[0]", "module.n[1]"], ["module.n", "module.m"]);
    // Each call may pass another element of a list.
    let each = subnets(others, &["local.subnet"], "var.subnet");
    assert_ne!(each[0], each[1]);
    let id = "data.aws_subnet.a.id";
    assert_eq!(subnets(others, &[id, "data.aws_subnet.a"], "var.subnet"), [id, id]);
    assert_eq!(subnets(others, &["local.subnet"], "local.subnet"), ["n.local.subnet", "m.local.subnet"]);
    assert_eq!(subnets(copies, &["local.subnets", "count.index"], "var.subnet"), ["", ""]);
    assert_eq!(subnets(copies, &["local.subnet"], "local.subnet"), ["", ""]);
}

#[test]
fn a_choice_among_groups_holds_neither() {
    let plain = ["aws_security_group.plain.id", "aws_security_group.plain"];
    let both = [&GROUP[..], &plain].concat();
    assert_eq!(status(&instances(&SUBNET, &both)), 0, "an interface may have both");
    for condition in [
        "var.efa",
        "local.efa",
        "data.aws_region.here.name",
        "terraform.workspace",
        "count.index",
        "aws_subnet.a.map_public_ip_on_launch",
    ] {
        let names = [&[condition][..], &both].concat();
        assert_eq!(status(&instances(&SUBNET, &names)), 3, "{condition}");
    }
    // The other branch is a constant, which a plan does not list.
    assert_eq!(status(&instances(&["aws_subnet.a.id", "aws_subnet.a", "count.index"], &GROUP)), 3);
}

#[test]
fn a_value_known_as_nothing_is_not_what_its_expression_names() {
    for nothing in [json!(null), json!([])] {
        let mut plan = instances(&SUBNET, &GROUP);
        for it in plan["planned_values"]["root_module"]["resources"].as_array_mut().expect("resources") {
            if it["type"] == "aws_network_interface" {
                it["values"]["security_groups"] = nothing.clone();
            }
        }
        assert_eq!(status(&plan), 3, "{nothing}");
    }
}

#[test]
fn an_element_that_is_not_known_stands_beside_those_that_are() {
    let mut plan = instances(&SUBNET, &GROUP);
    for it in plan["planned_values"]["root_module"]["resources"].as_array_mut().expect("resources") {
        if it["type"] == "aws_network_interface" {
            it["values"]["security_groups"] = json!([null, "sg-9"]);
        }
    }
    let described = described(&plan.to_string());
    let groups = described.members[0].member.interfaces[0].security_groups.clone();
    assert_eq!(groups.expect("groups"), ["aws_security_group.efa", "sg-9"]);
}

#[test]
fn a_port_that_a_plan_leaves_out_leaves_the_group_open() {
    for side in ["ingress", "egress"] {
        let mut plan = instances(&SUBNET, &GROUP);
        let rule = plan.pointer_mut(&format!("/planned_values/root_module/resources/0/values/{side}/0"));
        rule.and_then(Value::as_object_mut).expect("a rule").remove("from_port");
        let written = json!({side: [{"from_port": references(&["local.port"])}]});
        let all = plan["configuration"]["root_module"]["resources"].as_array_mut().expect("resources");
        all.push(configured("aws_security_group", "efa", written));
        assert_eq!(status(&plan), 3, "{side}");
    }
    let mut plan = instances(&SUBNET, &GROUP);
    plan["planned_values"]["root_module"]["resources"][0]["values"]["ingress"][0]["from_port"] = json!("any");
    assert_eq!(status(&plan), 3);
}

/// A template with two instances in a group with these rules, each with more keys of its resource and its properties.
fn template(resource: Value, properties: Value) -> Value {
    let rule = |kind: &str, key: &str| {
        let group = json!({"Fn::GetAtt": ["Group", "GroupId"]});
        let mut rule = json!({"Type": format!("AWS::EC2::SecurityGroup{kind}"),
            "Properties": {"GroupId": group, "IpProtocol": "-1", key: group}});
        let extend = |rule: &mut Value, more: &Value| {
            rule.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        };
        extend(&mut rule, &resource);
        extend(&mut rule["Properties"], &properties);
        rule
    };
    let data = json!({"LaunchTemplateData": {"InstanceType": "hpc7a.96xlarge", "NetworkInterfaces": [
        {"InterfaceType": "efa", "SubnetId": "subnet-1", "Groups": [{"Ref": "Group"}]}]}});
    json!({"Resources": {
        "Group": {"Type": "AWS::EC2::SecurityGroup", "Properties": {"GroupDescription": "x",
            "SecurityGroupEgress": []}},
        "In": rule("Ingress", "SourceSecurityGroupId"),
        "Out": rule("Egress", "DestinationSecurityGroupId"),
        "Node": {"Type": "AWS::EC2::LaunchTemplate", "Properties": data},
    }})
}

#[test]
fn a_port_that_only_the_stack_can_tell_leaves_the_group_open() {
    assert_eq!(status(&template(json!({}), json!({}))), 0);
    assert_eq!(status(&template(json!({}), json!({"FromPort": -1, "ToPort": "-1"}))), 0);
    for port in [json!({"Ref": "Port"}), json!("any"), json!([1])] {
        for key in ["FromPort", "ToPort"] {
            assert_eq!(status(&template(json!({}), json!({key: port}))), 3, "{key} {port}");
        }
    }
}

#[test]
fn a_rule_under_a_condition_leaves_the_group_open() {
    assert_eq!(status(&template(json!({"Condition": "Big"}), json!({}))), 3);
}

#[test]
fn what_a_template_makes_under_a_condition_or_in_a_loop_is_told() {
    let mut conditional = template(json!({}), json!({}));
    conditional["Resources"]["Node"]["Condition"] = json!("Big");
    let notes = described(&conditional.to_string()).notes;
    assert!(notes.iter().any(|it| it.contains("as if it were met") && it.contains("Node")), "{notes:?}");
    let mut looped = template(json!({}), json!({}));
    let rule = looped["Resources"]["In"].take();
    looped["Resources"].as_object_mut().expect("a map").remove("In");
    looped["Resources"]["Fn::ForEach::Rules"] = json!(["Name", ["A", "B"], {"In${Name}": rule}]);
    let notes = described(&looped.to_string()).notes;
    assert!(notes.iter().any(|it| it.contains("loops") && it.contains("ForEach::Rules")), "{notes:?}");
    assert_eq!(status(&looped), 3, "the loop may make the rule");
}

#[test]
fn long_keys_are_cut_in_paths() {
    let key = "k".repeat(100_000);
    let text =
        json!({"Resources": {key: {"Type": "AWS::EC2::Instance", "Properties": {"NetworkInterfaces": 1}}}});
    let error = read_described(file(&text.to_string()).path(), None).expect_err("no list").to_string();
    assert!(error.contains("NetworkInterfaces: expected a list"), "{}", error.len());
    assert!(error.len() < 1000, "{}", error.len());
}

#[test]
fn different_names_have_different_ids() {
    let long = "n".repeat(250);
    for names in [["a b", "a c"], ["a b", "a.b"], ["a]", "a"], ["a[\"x y\"]", "a[\"x.y\"]"]] {
        let named = |name: &str, end: &str| {
            let interface = json!({"interface_type": "efa", "subnet_id": "subnet-1"});
            let mut it =
                resource("aws_launch_template", "it", None, json!({"network_interfaces": [interface]}));
            it["address"] = json!(format!("{name}{end}"));
            let file = file(&plan(vec![it], Vec::new()).to_string());
            let described = read_described(file.path(), None).expect("a good plan");
            described.members[0].member.instance_id.clone()
        };
        assert_ne!(named(names[0], ""), named(names[1], ""));
        assert_ne!(named(&long, "1"), named(&long, "2"));
        assert!(named(&long, "1").len() <= 200);
        assert_eq!(named("a[0]", ""), "a.0");
        assert_eq!(named("a[\"x\"]", ""), "a.x");
    }
}

//! The commands that mend what is wrong, ready to be pasted into a shell.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, InterfaceFacts, InterfaceKind, known};
use super::failure::{ApiFailure, MetadataFailure};
use super::groups::Direction;
use super::names::MemberName;

/// A name for a placement group or security group that has to be created.
const NEW_GROUP: &str = "efa-job";

/// Lets all traffic of the group with itself pass in one direction.
pub(super) fn authorize(group: &str, direction: Direction) -> String {
    let direction = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    format!(
        "aws ec2 authorize-security-group-{direction} --group-id {group} \
         --ip-permissions 'IpProtocol=-1,UserIdGroupPairs=[{{GroupId={group}}}]'"
    )
}

/// Lets tcp of that other group pass in one direction.
pub(super) fn authorize_tcp(group: &str, other: &str, direction: Direction) -> String {
    let direction = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    format!(
        "aws ec2 authorize-security-group-{direction} --group-id {group} \
         --ip-permissions 'IpProtocol=tcp,FromPort=0,ToPort=65535,UserIdGroupPairs=[{{GroupId={other}}}]'"
    )
}

/// Puts the interface into one more group. The command replaces the list, so it repeats the groups it has.
pub(super) fn join_group(
    facts: &Facts,
    interface: &InterfaceFacts,
    groups: &[String],
    group: &str,
) -> String {
    let mut all: BTreeSet<&str> = groups.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
    all.insert(group);
    let all: Vec<&str> = all.into_iter().collect();
    let id = interface_id(facts, interface);
    format!(
        "aws ec2 modify-network-interface-attribute --network-interface-id {id} --groups {}",
        all.join(" ")
    )
}

/// Creates a security group where there is none at all.
pub(super) fn create_group() -> String {
    format!(
        "aws ec2 create-security-group --group-name {NEW_GROUP} --description 'EFA traffic among its members'"
    )
}

/// Shows the rules of the groups.
pub(super) fn describe_groups(groups: &[String]) -> String {
    format!("aws ec2 describe-security-groups --group-ids {}", groups.join(" "))
}

/// Lets the API tell the rules, and as the other way, takes them from a file.
pub(super) fn know_rules(failure: Option<&ApiFailure>, groups: &[String]) -> String {
    let by_file =
        format!("{} > groups.json  # then judge with --security-groups groups.json", describe_groups(groups));
    let first = match failure {
        Some(ApiFailure::Denied) => {
            "aws iam put-role-policy --role-name ROLE_NAME --policy-name efa-admission --policy-document \
             '{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Resource\":\"*\",\"Action\":[\
             \"ec2:DescribeSecurityGroups\",\"ec2:DescribeNetworkInterfaces\",\"ec2:DescribePlacementGroups\",\
             \"ec2:DescribeInstanceTopology\"]}]}'"
        }
        Some(ApiFailure::NoCredentials) => {
            "aws ec2 associate-iam-instance-profile --instance-id INSTANCE_ID --iam-instance-profile Name=PROFILE_NAME"
        }
        Some(ApiFailure::BadCredentials | ApiFailure::Expired) => {
            "aws sts get-caller-identity  # shows whose credentials are used; renew them"
        }
        Some(ApiFailure::ClockSkew(_)) => "sudo chronyc makestep  # sets the clock; see that chronyd runs",
        Some(ApiFailure::NoRegion) => "export AWS_REGION=us-east-1  # the region of the instances",
        _ => return by_file,
    };
    format!("{first}\n{by_file}")
}

/// Shows zone, VPC, subnet, kind and groups of the instances' interfaces.
pub(super) fn describe_interfaces(instances: &[&str]) -> String {
    let instances: BTreeSet<&str> = instances.iter().copied().filter(|id| !id.is_empty()).collect();
    let instances: Vec<&str> = instances.into_iter().collect();
    format!(
        "aws ec2 describe-network-interfaces --filters Name=attachment.instance-id,Values={}",
        instances.join(",")
    )
}

/// Shows the kinds of the instances' interfaces.
pub(super) fn describe_kinds(instances: &[&str]) -> String {
    format!(
        "{} --query 'NetworkInterfaces[].[Attachment.InstanceId,NetworkInterfaceId,InterfaceType]' --output table",
        describe_interfaces(instances)
    )
}

/// Lets the metadata service answer, or shows what it answers.
pub(super) fn metadata(failure: &MetadataFailure, members: &[MemberName]) -> String {
    const SERVICE: &str = "${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}/latest";
    let options = |options: &str| {
        each_instance(members, |id| {
            let id = if id.is_empty() { "INSTANCE_ID" } else { id };
            format!("aws ec2 modify-instance-metadata-options --instance-id {id} {options}")
        })
    };
    let token =
        format!("curl -sS -X PUT -H 'x-aws-ec2-metadata-token-ttl-seconds: 60' \"{SERVICE}/api/token\"");
    match (failure, failure.key()) {
        (MetadataFailure::Disabled, _) => "unset AWS_EC2_METADATA_DISABLED".into(),
        (MetadataFailure::TimedOut, _) => options("--http-put-response-hop-limit 2"),
        (MetadataFailure::Slow, _) => {
            "for device in /sys/class/net/*; do ethtool -S \"${device##*/}\" 2>/dev/null | grep linklocal_allowance; done  \
             # above 0: programs on this instance exceed the 1,024 packets a second of link-local services"
                .into()
        }
        (MetadataFailure::Forbidden, _) => options("--http-endpoint enabled"),
        (_, Some(key)) if !key.ends_with("api/token") => {
            format!("curl -sS -H \"x-aws-ec2-metadata-token: $({token})\" \"{SERVICE}/meta-data/{key}\"")
        }
        _ => format!(
            "{token}  # on the instance, and see what stands between: firewall, proxy, network policy"
        ),
    }
}

/// Shows whether the instances are running and pass their checks.
pub(super) fn describe_status(instances: &[&str]) -> String {
    let instances: BTreeSet<&str> = instances.iter().copied().collect();
    let instances: Vec<&str> = instances.into_iter().collect();
    format!("aws ec2 describe-instance-status --instance-ids {}", instances.join(" "))
}

/// Launches instances like the strays beside the model member, whose subnet, groups and placement they get. One
/// command for each instance type.
pub(super) fn launch_beside(
    model: &Facts,
    beside: &InterfaceFacts,
    strays: &[(&Facts, &[&InterfaceFacts])],
    efa: bool,
) -> String {
    let mut by_type: BTreeMap<Option<&str>, Vec<&(&Facts, &[&InterfaceFacts])>> = BTreeMap::new();
    for stray in strays {
        by_type.entry(known(&stray.0.member.instance_type)).or_default().push(stray);
    }
    let commands = by_type.into_iter().map(|(instance_type, strays)| {
        let (first, interfaces) = strays[0];
        let instances: BTreeSet<&str> =
            strays.iter().map(|(facts, _)| facts.member.instance_id.as_str()).collect();
        let instance_type =
            instance_type.map_or_else(|| ask_instance(first, "InstanceType"), ToOwned::to_owned);
        let group = model.member.placement.as_ref().and_then(|placement| known(&placement.group));
        let placement =
            group.map(|group| format!(" --placement GroupName={}", quoted(group))).unwrap_or_default();
        format!(
            "aws ec2 run-instances --image-id {} --instance-type {instance_type} --count {}{placement} \
             --network-interfaces {}",
            ask_instance(first, "ImageId"),
            instances.len(),
            launch_interfaces(interfaces, beside, efa)
        )
    });
    commands.collect::<Vec<_>>().join("\n")
}

/// Gives each instance an EFA in the model's subnet and groups; that takes a stopped instance.
pub(super) fn attach_efa(lacking: &[&Facts], model: Option<&InterfaceFacts>) -> String {
    let subnet = model.map_or("SUBNET_ID", |model| model.subnet_id.as_str());
    let groups = match model.map(group_list).unwrap_or_default() {
        none if none.is_empty() => String::new(),
        groups => format!(" --groups {}", groups.join(" ")),
    };
    let mut seen = BTreeSet::new();
    let commands = lacking.iter().filter(|facts| seen.insert(facts.member.instance_id.as_str())).map(|facts| {
        let id = &facts.member.instance_id;
        let create = format!(
            "aws ec2 create-network-interface --interface-type efa --subnet-id {subnet}{groups} \
             --query NetworkInterface.NetworkInterfaceId --output text"
        );
        let device = facts.member.interfaces.len();
        stopped(
            id,
            &format!(
                "aws ec2 attach-network-interface --instance-id {id} --network-card-index 0 --device-index {device} \
                 --network-interface-id \"$({create})\""
            ),
        )
    });
    commands.collect::<Vec<_>>().join("\n")
}

/// Changes the type of each instance, which takes a stopped one.
pub(super) fn change_type(members: &[MemberName], instance_type: &str) -> String {
    each_instance(members, |id| {
        let change = format!(
            "aws ec2 modify-instance-attribute --instance-id {id} --instance-type Value={instance_type}"
        );
        stopped(id, &change)
    })
}

/// Moves each instance into the placement group, or into a new one; that takes a stopped instance.
pub(super) fn move_into_placement_group(members: &[MemberName], group: Option<&str>) -> String {
    let create = match group {
        Some(_) => String::new(),
        None => format!("aws ec2 create-placement-group --group-name {NEW_GROUP} --strategy cluster\n"),
    };
    let group = quoted(group.unwrap_or(NEW_GROUP));
    create
        + &each_instance(members, |id| {
            stopped(id, &format!("aws ec2 modify-instance-placement --instance-id {id} --group-name {group}"))
        })
}

/// The interface's groups in the order of their ids.
pub(super) fn group_list(interface: &InterfaceFacts) -> Vec<&str> {
    let groups: BTreeSet<&str> = interface.security_groups.iter().flatten().map(String::as_str).collect();
    groups.into_iter().collect()
}

fn each_instance(members: &[MemberName], command: impl Fn(&str) -> String) -> String {
    let mut seen = BTreeSet::new();
    let ids = members.iter().map(|member| member.instance_id.as_str()).filter(|id| seen.insert(*id));
    ids.map(command).collect::<Vec<_>>().join("\n")
}

fn stopped(id: &str, command: &str) -> String {
    format!(
        "aws ec2 stop-instances --instance-ids {id} && aws ec2 wait instance-stopped --instance-ids {id} && \
         {command} && aws ec2 start-instances --instance-ids {id}"
    )
}

/// The interfaces of an instance to be launched: as many as the stray has, on the same network cards.
fn launch_interfaces(interfaces: &[&InterfaceFacts], beside: &InterfaceFacts, efa: bool) -> String {
    let groups = match group_list(beside) {
        groups if groups.is_empty() => String::new(),
        groups => format!(",Groups=[{}]", groups.join(",")),
    };
    let mut on_card: BTreeMap<u32, u32> = BTreeMap::new();
    let parts = interfaces.iter().map(|interface| {
        let card = interface.network_card.unwrap_or(0);
        // Only card 0 has the primary interface, device 0; elsewhere devices count from 1.
        let used = on_card.entry(card).or_insert(u32::from(card > 0));
        let device = *used;
        *used += 1;
        let kind = match interface.kind {
            InterfaceKind::EfaOnly => "efa-only",
            InterfaceKind::Efa => "efa",
            InterfaceKind::Unknown if efa => "efa",
            InterfaceKind::Unknown | InterfaceKind::Interface => "interface",
        };
        format!(
            "'NetworkCardIndex={card},DeviceIndex={device},InterfaceType={kind},SubnetId={}{groups}'",
            beside.subnet_id
        )
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// The interface's id, or a command that finds it.
fn interface_id(facts: &Facts, interface: &InterfaceFacts) -> String {
    if let Some(id) = known(&interface.interface_id) {
        return id.to_owned();
    }
    let filter = match known(&interface.mac) {
        Some(mac) => format!("Name=mac-address,Values={mac}"),
        None => format!(
            "Name=attachment.instance-id,Values={} Name=subnet-id,Values={}",
            facts.member.instance_id, interface.subnet_id
        ),
    };
    format!(
        "\"$(aws ec2 describe-network-interfaces --filters {filter} \
         --query 'NetworkInterfaces[0].NetworkInterfaceId' --output text)\""
    )
}

/// A command that asks for a property of the member's instance.
fn ask_instance(facts: &Facts, property: &str) -> String {
    format!(
        "\"$(aws ec2 describe-instances --instance-ids {} --query 'Reservations[0].Instances[0].{property}' \
         --output text)\"",
        facts.member.instance_id
    )
}

/// The text as one word of a shell's command line.
fn quoted(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte)) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

//! The commands that mend what is wrong, ready to be pasted into a shell.

use std::collections::BTreeSet;

use super::facts::{Facts, InterfaceFacts, known};
use super::failure::{ApiFailure, MetadataFailure};
use super::groups::Direction;
use super::names::MemberName;

/// AWS takes no more values in one filter.
const MOST_VALUES: usize = 200;

/// What a command that stops an instance takes away.
const STOPS: &str = "stops the instance: data on instance store volumes is lost, its capacity may be gone at the start, \
                     and an Auto Scaling group or node pool may replace it";

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

/// Creates a security group where there is none at all, in the VPC of the interface.
pub(super) fn create_group(beside: Option<&InterfaceFacts>) -> String {
    let vpc = match beside {
        Some(beside) => known(&beside.vpc_id).map_or_else(
            || {
                format!(
                    "\"$(aws ec2 describe-subnets --subnet-ids {} --query 'Subnets[0].VpcId' --output text)\"",
                    beside.subnet_id
                )
            },
            ToOwned::to_owned,
        ),
        None => "VPC_ID".into(),
    };
    format!(
        "aws ec2 create-security-group --group-name {NEW_GROUP} --vpc-id {vpc} \
         --description 'EFA traffic among its members'"
    )
}

/// Shows the rules of the groups.
pub(super) fn describe_groups(groups: &[String]) -> String {
    if groups.is_empty() {
        return "aws ec2 describe-security-groups --output json".into();
    }
    format!("aws ec2 describe-security-groups --output json --group-ids {}", groups.join(" "))
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
    let commands = instances.chunks(MOST_VALUES).map(|some| {
        format!(
            "aws ec2 describe-network-interfaces --output json --filters Name=attachment.instance-id,Values={}",
            some.join(",")
        )
    });
    commands.collect::<Vec<_>>().join("\n")
}

/// Shows the kinds of the instances' interfaces.
pub(super) fn describe_kinds(instances: &[&str]) -> String {
    let query = "--output table --query \
                 'NetworkInterfaces[].[Attachment.InstanceId,NetworkInterfaceId,InterfaceType]'";
    describe_interfaces(instances).replace("--output json", query)
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
    format!("aws ec2 describe-instance-status --include-all-instances --instance-ids {}", instances.join(" "))
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

/// Shows types and placement of the instances. What would be better takes other instances, which is said beside it: a
/// warning never asks to stop one.
pub(super) fn describe_placement(members: &[MemberName], better: &str) -> String {
    let ids: BTreeSet<&str> = members.iter().map(|member| member.instance_id.as_str()).collect();
    let ids: Vec<&str> = ids.into_iter().collect();
    format!(
        "aws ec2 describe-instances --output table \
         --query 'Reservations[].Instances[].[InstanceId,InstanceType,SubnetId,Placement.GroupName]' \
         --instance-ids {}  # {better}",
        ids.join(" ")
    )
}

/// Names the placement group to launch the next instances in, and creates it if there is none.
pub(super) fn launch_in_placement_group(members: &[MemberName], group: Option<&str>) -> String {
    let create = match group {
        Some(_) => String::new(),
        None => format!("aws ec2 create-placement-group --group-name {NEW_GROUP} --strategy cluster\n"),
    };
    let group = quoted(group.unwrap_or(NEW_GROUP));
    create
        + &describe_placement(
            members,
            &format!("launch the next instances with --placement GroupName={group}"),
        )
}

/// Returns the interface's groups in the order of their ids.
pub(super) fn group_list(interface: &InterfaceFacts) -> Vec<&str> {
    let groups: BTreeSet<&str> = interface.security_groups.iter().flatten().map(String::as_str).collect();
    groups.into_iter().collect()
}

fn each_instance(members: &[MemberName], command: impl Fn(&str) -> String) -> String {
    let mut seen = BTreeSet::new();
    let ids = members.iter().map(|member| member.instance_id.as_str()).filter(|id| seen.insert(*id));
    ids.map(command).collect::<Vec<_>>().join("\n")
}

pub(super) fn stopped(id: &str, command: &str) -> String {
    format!(
        "aws ec2 stop-instances --instance-ids {id} && aws ec2 wait instance-stopped --instance-ids {id} && \
         {command} && aws ec2 start-instances --instance-ids {id}  # {STOPS}"
    )
}

/// Returns the interface's id, or a command that finds it.
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

/// Returns a command that asks for a property of the member's instance.
pub(super) fn ask_instance(facts: &Facts, property: &str) -> String {
    format!(
        "\"$(aws ec2 describe-instances --instance-ids {} --query 'Reservations[0].Instances[0].{property}' \
         --output text)\"",
        facts.member.instance_id
    )
}

/// Returns the text as one word of a shell's command line.
pub(super) fn quoted(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte)) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

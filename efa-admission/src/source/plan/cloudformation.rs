//! CloudFormation templates: instances, launch templates and what starts them, HyperPod clusters, groups with their
//! rules, subnets. Logical ids stand for what the stack will create.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use super::node::{Node, Spot, id, interface, kind, note_spots, one_type, port};
use super::tree::{At, Reading, Tree};
use crate::facts::{InterfaceFacts, InterfaceKind, PlacementFacts};
use crate::groups::{GroupPair, GroupRules, IpRange, Ipv6Range, Permission, PrefixList};
use crate::types;

/// What starts instances of a launch template in one of several subnets: its type, where it names the subnets, the
/// template and the instance types.
const STARTERS: [(&str, &str, [&str; 2], &str); 3] = [
    ("AWS::AutoScaling::AutoScalingGroup", "VPCZoneIdentifier", ["LaunchTemplate", "LaunchTemplateId"], ""),
    ("AWS::EKS::Nodegroup", "Subnets", ["LaunchTemplate", "Id"], "InstanceTypes"),
    ("AWS::PCS::ComputeNodeGroup", "SubnetIds", ["CustomLaunchTemplate", "TemplateId"], "InstanceConfigs"),
];

/// Ids in one list; more than AWS allows anywhere.
const LONGEST_LIST: usize = 256;

pub(super) fn read(root: &At<'_>) -> Reading<Plan> {
    let template = Template::of(root)?;
    let mut plan = Plan::new("a CloudFormation template");
    plan.is_symbolic = true;
    let mut launch_templates = BTreeMap::new();
    for (name, data) in template.of_type("AWS::EC2::LaunchTemplate")? {
        let Some(data) = data.get("LaunchTemplateData")? else { continue };
        let node = template.launch_template(name, &data, &mut plan.notes)?.checked()?;
        launch_templates.insert(name.to_owned(), node);
    }
    let mut used = BTreeSet::new();
    for (resource_type, subnets, [outer, inner], types) in STARTERS {
        for (name, properties) in template.of_type(resource_type)? {
            let reference = properties.find(&[outer, inner])?;
            let Some(found) = reference.map(|it| template.name(&it)).transpose()?.flatten() else { continue };
            let Some(model) = launch_templates.get(&found) else {
                plan.notes.push(format!(
                    "the launch template of {name} is not in the file, so {name} was left out"
                ));
                continue;
            };
            used.insert(found);
            let mut node = Node { name: name.to_owned(), is_template: true, ..model.clone() };
            node.spots = template.spots(properties.get(subnets)?.as_ref(), &mut plan.notes)?;
            let mut listed = Vec::new();
            for it in if types.is_empty() { Vec::new() } else { properties.list_of(types)? } {
                match it.tree {
                    Tree::Map(_) => listed.extend(it.text_of("InstanceType")?),
                    _ => listed.extend(template.name(&it)?),
                }
            }
            if let Some(one) = one_type(name, listed, &mut plan.notes) {
                node.instance_type = Some(one);
            }
            plan.push(node)?;
        }
    }
    for (name, properties) in template.of_type("AWS::EC2::Instance")? {
        let node = template.instance(name, &properties, &launch_templates, &mut used, &mut plan.notes)?;
        plan.push(node)?;
    }
    for (name, properties) in template.of_type("AWS::SageMaker::Cluster")? {
        template.hyperpod(name, &properties, &mut plan)?;
    }
    for (name, node) in launch_templates {
        if !used.contains(&name) {
            plan.push(node)?;
        }
    }
    plan.nodes.iter().for_each(|node| note_spots(node, &mut plan.notes));
    if plan.nodes.is_empty() {
        return Err("at $.Resources: it has no instances, launch templates or HyperPod clusters".into());
    }
    template.note_open(&mut plan.notes);
    plan.rules = template.rules()?;
    plan.opaque = template.opaque.take();
    if !template.defaults.borrow().is_empty() {
        let names: Vec<String> = template.defaults.borrow().iter().cloned().collect();
        plan.notes.push(format!("parameters have their defaults: {}", names.join(", ")));
    }
    Ok(plan)
}

struct Template<'a> {
    resources: BTreeMap<&'a str, (&'a str, At<'a>)>,
    parameters: BTreeMap<&'a str, At<'a>>,
    /// Resources that are only created under a condition.
    conditional: BTreeSet<&'a str>,
    /// What has no type and was left out: loops (`Fn::ForEach`) and transforms.
    left_out: BTreeMap<&'a str, &'a Tree>,
    /// Names that stand for a value that the file does not have.
    opaque: RefCell<BTreeSet<String>>,
    /// Attachments by the instance that they are about.
    attachments: BTreeMap<String, Vec<At<'a>>>,
    /// Parameters whose defaults were used.
    defaults: RefCell<BTreeSet<String>>,
}

impl<'a> Template<'a> {
    fn of(root: &At<'a>) -> Reading<Self> {
        let (mut resources, mut conditional, mut left_out) =
            (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let empty: &'static Tree = EMPTY.get_or_init(|| Tree::Map(BTreeMap::new()));
        for (name, resource) in root.get("Resources")?.map_or(Ok(Vec::new()), |it| it.entries())? {
            // A loop (Fn::ForEach) has a list in the place of a resource.
            let kind = if let Tree::Map(_) = resource.tree { resource.get("Type")? } else { None };
            let Some(kind) = kind else {
                left_out.insert(name, resource.tree);
                continue;
            };
            let kind = kind.text()?;
            if resource.has("Condition") {
                conditional.insert(name);
            }
            let properties = resource.get("Properties")?.unwrap_or_else(|| At::root(empty));
            resources.insert(name, (kind, properties));
        }
        let parameters = root.get("Parameters")?.map_or(Ok(Vec::new()), |it| it.entries())?;
        let parameters = parameters.into_iter().collect();
        let (opaque, defaults) = (RefCell::default(), RefCell::default());
        let attachments = BTreeMap::new();
        let mut template =
            Self { resources, parameters, conditional, left_out, opaque, attachments, defaults };
        for (_, attachment) in template.of_type("AWS::EC2::NetworkInterfaceAttachment")? {
            let instance = attachment.get("InstanceId")?.map_or(Ok(None), |it| template.name(&it))?;
            template.attachments.entry(instance.unwrap_or_default()).or_default().push(attachment);
        }
        Ok(template)
    }

    /// Notes resources that may not be created, and what was left out.
    fn note_open(&self, notes: &mut Vec<String>) {
        let listed = |names: Vec<&str>| names.into_iter().take(12).map(id).collect::<Vec<_>>().join(", ");
        if !self.conditional.is_empty() {
            let names = listed(self.conditional.iter().copied().collect());
            notes.push(format!(
                "resources with a condition were judged as if it were met, except for rules: {names}"
            ));
        }
        if !self.left_out.is_empty() {
            let names = listed(self.left_out.keys().copied().collect());
            notes.push(format!("loops and transforms were left out, with all that they make: {names}"));
        }
    }

    fn of_type(&self, wanted: &str) -> Reading<Vec<(&'a str, At<'a>)>> {
        let all = self.resources.iter().filter(|(_, (kind, _))| *kind == wanted);
        Ok(all.map(|(name, (_, properties))| (*name, properties.clone())).collect())
    }

    /// The one value that this stands for: text as it is, references by the name of what they refer to; `None` for what
    /// only the stack can tell.
    fn name(&self, value: &At<'_>) -> Reading<Option<String>> {
        match value.tree {
            Tree::Map(fields) if fields.len() == 1 => self.call(value),
            Tree::Text(text) => Ok(Some(text.clone())),
            _ => value.text().map(|_| None),
        }
    }

    fn call(&self, value: &At<'_>) -> Reading<Option<String>> {
        let Some((function, argument)) = value.entries()?.into_iter().next() else { return Ok(None) };
        Ok(match function {
            "Ref" => self.reference(argument.text()?),
            "Fn::GetAtt" => match argument.tree {
                Tree::Text(text) => Some(self.attribute(text)),
                _ => {
                    let parts = argument.list()?;
                    let parts: Vec<&str> = parts.iter().map_while(|it| it.text().ok()).collect();
                    Some(self.attribute(&parts.join(".")))
                }
            },
            "Fn::Sub" => match argument.tree {
                Tree::Text(text) => match text.strip_prefix("${").and_then(|text| text.strip_suffix('}')) {
                    Some(name) if name.contains('.') => Some(self.attribute(name)),
                    Some(name) if !name.contains("${") => self.reference(name),
                    None if !text.contains("${") => Some(text.clone()),
                    _ => None,
                },
                _ => None,
            },
            "Fn::ImportValue" => self.name(&argument)?.map(|name| self.unknown(&format!("import.{name}"))),
            "Fn::Select" => {
                let parts = argument.list()?;
                let [index, list] = &parts[..] else { return Ok(None) };
                let index = match index.tree {
                    Tree::Number(text) | Tree::Text(text) => text.parse::<usize>().ok(),
                    _ => None,
                };
                match (index, self.names(list)?) {
                    (Some(index), Some(names)) if matches!(list.tree, Tree::List(_)) => {
                        names.get(index).cloned()
                    }
                    (Some(index), Some(names)) if names.len() == 1 => {
                        Some(self.unknown(&format!("{}.{index}", names[0])))
                    }
                    _ => None,
                }
            }
            "Fn::If" => {
                let parts = argument.list()?;
                let [_, yes, no] = &parts[..] else { return Ok(None) };
                let (yes, no) = (self.name(yes)?, self.name(no)?);
                if yes == no { yes } else { None }
            }
            _ => None,
        })
    }

    fn reference(&self, name: &str) -> Option<String> {
        if name.starts_with("AWS::") {
            return None;
        }
        let Some(parameter) = self.parameters.get(name) else { return Some(id(name)) };
        match parameter.tree.get("Default") {
            Some(Tree::Text(text)) if !text.is_empty() => {
                self.defaults.borrow_mut().insert(name.to_owned());
                Some(text.clone())
            }
            _ => Some(self.unknown(name)),
        }
    }

    /// The id of a resource is the resource; any other attribute is a value that only the stack knows.
    fn attribute(&self, text: &str) -> String {
        match text.split_once('.') {
            Some((name, "GroupId" | "SubnetId" | "VpcId" | "Id" | "LaunchTemplateId"))
                if self.resources.contains_key(name) =>
            {
                let is_vpc_of_other = text.ends_with(".VpcId")
                    && self.resources.get(name).is_some_and(|(kind, _)| *kind != "AWS::EC2::VPC");
                if is_vpc_of_other { self.unknown(text) } else { id(name) }
            }
            _ => self.unknown(text),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let name = id(name);
        self.opaque.borrow_mut().insert(name.clone());
        name
    }

    /// The values of a list; `None` where only the stack can tell.
    fn names(&self, value: &At<'_>) -> Reading<Option<Vec<String>>> {
        if let Tree::List(elements) = value.tree {
            if elements.len() > LONGEST_LIST {
                return Err(value
                    .wrong(&format!("a list of {} ids, and {LONGEST_LIST} are the most", elements.len())));
            }
            let mut all = Vec::new();
            for element in value.list()? {
                match self.name(&element)? {
                    Some(name) => all.push(name),
                    None => return Ok(None),
                }
            }
            return Ok(Some(all));
        }
        let split =
            |text: String| text.split(',').take(LONGEST_LIST).map(|it| it.trim().to_owned()).collect();
        Ok(self.name(value)?.map(split))
    }

    fn spots(&self, subnets: Option<&At<'_>>, notes: &mut Vec<String>) -> Reading<Vec<Spot>> {
        let Some(subnets) = subnets else { return Ok(Vec::new()) };
        let names = self.names(subnets)?;
        // A parameter that is a list may hold one subnet or several.
        let is_open = |names: &[String]| {
            !matches!(subnets.tree, Tree::List(_)) && names.iter().any(|it| self.opaque.borrow().contains(it))
        };
        match names {
            Some(names) if !is_open(&names) => names.iter().map(|name| self.spot(name)).collect(),
            _ => {
                notes.push(
                    "a list of subnets is not in the file, so where instances start is not known".into(),
                );
                Ok(Vec::new())
            }
        }
    }

    /// A subnet with the zone id and VPC that its resource names.
    fn spot(&self, name: &str) -> Reading<Spot> {
        let mut spot = Spot::of(name);
        if let Some(("AWS::EC2::Subnet", properties)) = self.resources.get(name) {
            let of = |key| properties.get(key)?.map_or(Ok(None), |it| self.name(&it));
            spot.zone = of("AvailabilityZoneId")?;
            spot.vpc = of("VpcId")?;
        }
        Ok(spot)
    }

    fn launch_template(&self, name: &str, data: &At<'_>, notes: &mut Vec<String>) -> Reading<Node> {
        let mut interfaces = Vec::new();
        let own = data.get("SecurityGroupIds")?.map_or(Ok(None), |it| self.names(&it))?;
        for it in data.list_of("NetworkInterfaces")? {
            interfaces.push(self.interface(&it, "Groups", notes)?);
        }
        if interfaces.is_empty() {
            interfaces.push(interface(InterfaceKind::Interface, 0, 0, own));
        }
        let group = data.find(&["Placement", "GroupName"])?.or(data.find(&["Placement", "GroupId"])?);
        Ok(Node {
            name: name.to_owned(),
            is_template: true,
            instance_type: self.at_key(data, "InstanceType")?,
            placement: Some(self.placement(group)?),
            zone: None,
            spots: Vec::new(),
            interfaces,
        })
    }

    fn at_key(&self, place: &At<'_>, key: &str) -> Reading<Option<String>> {
        let value = place.get(key)?.map_or(Ok(None), |it| self.name(&it))?;
        Ok(value.filter(|it| !self.opaque.borrow().contains(it)))
    }

    fn placement(&self, group: Option<At<'_>>) -> Reading<PlacementFacts> {
        let group = group.map_or(Ok(None), |it| self.name(&it))?;
        let resource = group.as_deref().and_then(|name| self.resources.get(name));
        let strategy = match resource {
            Some(("AWS::EC2::PlacementGroup", properties)) => properties.text_of("Strategy")?,
            _ => None,
        };
        Ok(PlacementFacts { group, strategy, partition: None })
    }

    /// An interface of a launch template or an instance.
    fn interface(&self, it: &At<'_>, groups: &str, notes: &mut Vec<String>) -> Reading<InterfaceFacts> {
        let number = |key: &str, notes: &mut Vec<String>| -> Reading<u32> {
            match it.get(key)? {
                Some(value) if matches!(value.tree, Tree::Map(_)) => {
                    notes.push(format!("{key} of an interface is not in the file, and counts as 0"));
                    Ok(0)
                }
                _ => Ok(it.number_of(key)?.unwrap_or(0)),
            }
        };
        let (card, device) = (number("NetworkCardIndex", notes)?, number("DeviceIndex", notes)?);
        let groups = it.get(groups)?.map_or(Ok(None), |it| self.names(&it))?;
        // Without groups, AWS gives the interface the default one of the VPC, which the file does not name.
        let groups = groups.filter(|groups| !groups.is_empty());
        let kind = match it.get("InterfaceType")? {
            Some(value) => match self.name(&value)? {
                Some(name) if !self.opaque.borrow().contains(&name) => kind(Some(&name)),
                _ => InterfaceKind::Unknown,
            },
            None => InterfaceKind::Interface,
        };
        let mut made = interface(kind, card, device, groups);
        if let Some(subnet) = it.get("SubnetId")? {
            let spot = self.name(&subnet)?.map(|name| self.spot(&name)).transpose()?.unwrap_or_default();
            (made.subnet_id, made.vpc_id) = (spot.subnet, spot.vpc);
        }
        Ok(made)
    }

    fn instance(
        &self,
        name: &str,
        properties: &At<'_>,
        launch_templates: &BTreeMap<String, Node>,
        used: &mut BTreeSet<String>,
        notes: &mut Vec<String>,
    ) -> Reading<Node> {
        let from = properties.find(&["LaunchTemplate", "LaunchTemplateId"])?;
        let from = from.map_or(Ok(None), |it| self.name(&it))?;
        let model = from.as_ref().and_then(|name| launch_templates.get(name));
        used.extend(from.clone());
        let mut node =
            Node { name: name.to_owned(), is_template: false, ..model.cloned().unwrap_or_default() };
        if let Some(instance_type) = self.at_key(properties, "InstanceType")? {
            node.instance_type = Some(instance_type);
        }
        let group = properties.get("PlacementGroupName")?;
        if group.is_some() || node.placement.is_none() {
            node.placement = Some(self.placement(group)?);
        }
        let subnet = properties.get("SubnetId")?.map_or(Ok(None), |it| self.name(&it))?;
        node.spots = subnet.map(|subnet| self.spot(&subnet)).transpose()?.into_iter().collect();
        let listed = properties.list_of("NetworkInterfaces")?;
        if !listed.is_empty() || node.interfaces.is_empty() {
            node.interfaces.clear();
        }
        for it in listed {
            let device = it.number_of("DeviceIndex")?.unwrap_or(0);
            let found = it.get("NetworkInterfaceId")?.map_or(Ok(None), |it| self.name(&it))?;
            node.interfaces.push(match found {
                Some(found) => self.attached(&found, 0, device, notes)?,
                None => self.interface(&it, "GroupSet", notes)?,
            });
        }
        if node.interfaces.is_empty() {
            let groups = properties.get("SecurityGroupIds")?.map_or(Ok(None), |it| self.names(&it))?;
            node.interfaces.push(interface(InterfaceKind::Interface, 0, 0, groups));
        }
        for attachment in self.attachments.get(name).into_iter().flatten() {
            let found = attachment.get("NetworkInterfaceId")?.map_or(Ok(None), |it| self.name(&it))?;
            if let Some(found) = found {
                let card = attachment.number_of("NetworkCardIndex")?.unwrap_or(0);
                let device = attachment.number_of("DeviceIndex")?.unwrap_or(0);
                node.interfaces.push(self.attached(&found, card, device, notes)?);
            }
        }
        Ok(node)
    }

    /// An interface that is a resource of its own.
    fn attached(
        &self,
        name: &str,
        card: u32,
        device: u32,
        notes: &mut Vec<String>,
    ) -> Reading<InterfaceFacts> {
        let Some(("AWS::EC2::NetworkInterface", properties)) = self.resources.get(name) else {
            notes.push(format!("the interface {name} is not in the file"));
            return Ok(interface(InterfaceKind::Unknown, card, device, None));
        };
        let mut made = self.interface(properties, "GroupSet", notes)?;
        (made.interface_id, made.network_card, made.device_number) =
            (Some(id(name)), Some(card), Some(device));
        Ok(made)
    }

    /// HyperPod attaches interfaces itself; a group's `NetworkInterface` says of which kind.
    fn hyperpod(&self, name: &str, properties: &At<'_>, plan: &mut Plan) -> Reading<()> {
        let config = properties.get("VpcConfig")?;
        for group in properties.list_of("InstanceGroups")? {
            let own = group.get("OverrideVpcConfig")?.or_else(|| config.clone());
            let of = |key: &str| own.as_ref().map_or(Ok(None), |it| it.get(key));
            let groups = of("SecurityGroupIds")?.map_or(Ok(None), |it| self.names(&it))?;
            let spots = self.spots(of("Subnets")?.as_ref(), &mut plan.notes)?;
            let instance_type = self.at_key(&group, "InstanceType")?;
            let instance_type = instance_type.map(|it| it.trim_start_matches("ml.").to_owned());
            let named = group.find(&["NetworkInterface", "InterfaceType"])?;
            let kind = match named {
                Some(it) => kind(self.name(&it)?.as_deref()),
                None if instance_type.as_deref().is_some_and(types::lacks_efa) => InterfaceKind::Interface,
                None => InterfaceKind::Unknown,
            };
            // An efa-only interface can't be the primary one, which HyperPod adds.
            let device = u32::from(kind == InterfaceKind::EfaOnly);
            let group_name = group.text_of("InstanceGroupName")?.unwrap_or_else(|| "group".into());
            plan.push(Node {
                name: format!("{name}/{group_name}"),
                is_template: true,
                instance_type,
                placement: None,
                zone: None,
                spots,
                interfaces: vec![interface(kind, 0, device, groups)],
            })?;
        }
        plan.notes.push("HyperPod attaches the interfaces itself: one of each instance was judged".into());
        Ok(())
    }

    /// The groups of the file whose rules can all be told.
    fn rules(&self) -> Reading<Vec<GroupRules>> {
        let mut groups: BTreeMap<String, Option<GroupRules>> = BTreeMap::new();
        for (name, properties) in self.of_type("AWS::EC2::SecurityGroup")? {
            let mut rules = GroupRules { group_id: id(name), ..GroupRules::default() };
            let mut known = true;
            for (key, egress) in [("SecurityGroupIngress", false), ("SecurityGroupEgress", true)] {
                let Some(listed) = properties.get(key)? else { continue };
                let Tree::List(_) = listed.tree else {
                    known = false;
                    continue;
                };
                for it in listed.list()? {
                    match self.permission(&it, egress)? {
                        Some(rule) if egress => rules.ip_permissions_egress.push(rule),
                        Some(rule) => rules.ip_permissions.push(rule),
                        None => known = false,
                    }
                }
            }
            if properties.get("SecurityGroupEgress")?.is_none() {
                rules.ip_permissions_egress.push(Permission {
                    ip_protocol: "-1".into(),
                    ip_ranges: vec![IpRange { cidr_ip: Some("0.0.0.0/0".into()) }],
                    ..Permission::default()
                });
            }
            groups.insert(id(name), known.then_some(rules));
        }
        for (kind, egress) in
            [("AWS::EC2::SecurityGroupIngress", false), ("AWS::EC2::SecurityGroupEgress", true)]
        {
            if self.left_out.values().any(|it| mentions(it, kind)) {
                groups.values_mut().for_each(|group| *group = None);
            }
            for (rule, properties) in self.of_type(kind)? {
                let Some(name) = properties.get("GroupId")?.map_or(Ok(None), |it| self.name(&it))? else {
                    // It may be a rule of any group.
                    groups.values_mut().for_each(|group| *group = None);
                    continue;
                };
                let Some(group) = groups.get_mut(&name) else { continue };
                if self.conditional.contains(rule) {
                    *group = None;
                    continue;
                }
                let rule = self.permission(&properties, egress)?;
                match (rule, group.as_mut()) {
                    (Some(rule), Some(group)) if egress => group.ip_permissions_egress.push(rule),
                    (Some(rule), Some(group)) => group.ip_permissions.push(rule),
                    _ => *group = None,
                }
            }
        }
        Ok(groups.into_values().flatten().collect())
    }

    /// A rule; `None` where only the stack can tell what it allows.
    fn permission(&self, rule: &At<'_>, egress: bool) -> Reading<Option<Permission>> {
        let Tree::Map(fields) = rule.tree else { return Err(rule.wrong("expected a rule")) };
        if fields.keys().any(|key| key.starts_with("Fn::")) {
            return Ok(None);
        }
        let Some(protocol) = rule.scalar_of("IpProtocol")? else {
            return Err(rule.wrong("it has no IpProtocol"));
        };
        let of = |key: &str| rule.get(key)?.map_or(Ok(None), |it| self.name(&it));
        let side = if egress { "Destination" } else { "Source" };
        let key = format!("{side}SecurityGroupId");
        let group = of(&key)?;
        // A condition may choose the group itself.
        if group.is_none() && rule.get(&key)?.is_some() {
            return Ok(None);
        }
        let prefix = of(&format!("{side}PrefixListId"))?;
        let (cidr, cidr6) = (of("CidrIp")?, of("CidrIpv6")?);
        let (Ok(from_port), Ok(to_port)) = (port(rule, "FromPort"), port(rule, "ToPort")) else {
            return Ok(None);
        };
        Ok(Some(Permission {
            ip_protocol: protocol,
            from_port,
            to_port,
            user_id_group_pairs: group
                .map(|it| GroupPair { group_id: Some(it), ..GroupPair::default() })
                .into_iter()
                .collect(),
            ip_ranges: cidr.map(|it| IpRange { cidr_ip: Some(it) }).into_iter().collect(),
            ipv6_ranges: cidr6.map(|it| Ipv6Range { cidr_ipv6: Some(it) }).into_iter().collect(),
            prefix_list_ids: prefix.map(|it| PrefixList { prefix_list_id: Some(it) }).into_iter().collect(),
        }))
    }
}

/// Whether a text is anywhere in a tree.
fn mentions(tree: &Tree, wanted: &str) -> bool {
    match tree {
        Tree::Text(text) => text == wanted,
        Tree::List(values) => values.iter().any(|it| mentions(it, wanted)),
        Tree::Map(fields) => fields.values().any(|it| mentions(it, wanted)),
        Tree::Null | Tree::Bool(_) | Tree::Number(_) => false,
    }
}

static EMPTY: std::sync::OnceLock<Tree> = std::sync::OnceLock::new();

//! What `terraform show -json` prints of a plan or a state: instances, interfaces, launch templates and what starts them,
//! groups with their rules, subnets.
//!
//! A plan does not know the ids of what is still to be created. The addresses of resources stand for them, and the
//! configuration that the plan carries says which resource a value refers to.

mod references;
mod rules;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use super::node::{Node, Spot, id, interface, kind, note_spots, one_type};
use super::tree::{At, Reading, Tree};
use crate::facts::{InterfaceFacts, InterfaceKind, PlacementFacts};
use references::strip_index;

/// Modules inside each other, and references that lead to references.
const DEEPEST: usize = 24;
/// The kind under which launch templates are looked up by name.
const TEMPLATE_NAME: &str = "launch template by name";
/// What is looked up by its id.
const LOOKED_UP: [&str; 3] = ["aws_network_interface", "aws_subnet", "aws_placement_group"];

/// One resource as it will be or is.
struct Resource<'a> {
    address: String,
    /// The module that it is in, without indices: `` or `module.a.module.b`.
    module: Vec<String>,
    /// Whether its module, or one around it, has an index, so that the same expressions may have other values elsewhere.
    is_in_copy: bool,
    /// Its index among those of `count` or `for_each`, as text.
    index: Option<String>,
    values: At<'a>,
    /// The expressions of its configuration, in a plan.
    expressions: Option<At<'a>>,
}

impl Resource<'_> {
    /// What other resources know it by.
    fn id(&self) -> Reading<String> {
        Ok(id(&self.values.text_of("id")?.unwrap_or_else(|| self.address.clone())))
    }
}

struct Terraform<'a> {
    resources: Vec<Resource<'a>>,
    /// Where the resources of a kind are.
    kinds: BTreeMap<&'a str, Vec<usize>>,
    /// Where the instances of a resource are: by module, kind and name.
    named: BTreeMap<(String, &'a str, &'a str), Vec<usize>>,
    /// Where the resources of a kind that others look up are, by their ids.
    by_id: BTreeMap<(&'a str, String), usize>,
    /// Attachments by the ids of their instances: the resource, and the block in an interface.
    attachments: BTreeMap<String, Vec<(usize, Option<At<'a>>)>>,
    /// The configuration's modules by their paths, in a plan.
    modules: BTreeMap<String, At<'a>>,
    /// The expressions of the configuration's resources: by module, kind and name.
    expressions: BTreeMap<(String, &'a str, &'a str), At<'a>>,
    opaque: RefCell<BTreeSet<String>>,
    /// The first expression that refers to a value that is not known, by the name of the value.
    places: RefCell<BTreeMap<String, String>>,
    /// The expressions that refer to several groups.
    with_groups: RefCell<BTreeSet<String>>,
    /// How many references were followed.
    steps: Cell<usize>,
}

pub(super) fn read(root: &At<'_>) -> Reading<Plan> {
    let version = root.text_of("format_version")?.unwrap_or_default();
    if !version.starts_with("0.") && !version.starts_with("1.") {
        return Err(format!("at $.format_version: version {version} is not known; 1 is"));
    }
    let planned = root.get("planned_values")?;
    let is_plan = planned.is_some();
    let mut plan = Plan::new(if is_plan { "a Terraform plan" } else { "a Terraform state" });
    plan.is_symbolic = is_plan;
    let mut terraform = Terraform {
        resources: Vec::new(),
        kinds: BTreeMap::new(),
        named: BTreeMap::new(),
        by_id: BTreeMap::new(),
        attachments: BTreeMap::new(),
        modules: BTreeMap::new(),
        expressions: BTreeMap::new(),
        opaque: RefCell::default(),
        places: RefCell::default(),
        with_groups: RefCell::default(),
        steps: Cell::new(0),
    };
    if let Some(module) = root.find(&["configuration", "root_module"])? {
        terraform.configure(&module, &[], 0)?;
    }
    let values = planned.or(root.get("values")?);
    if let Some(module) = values.map_or(Ok(None), |it| it.get("root_module"))? {
        terraform.collect(&module, "", 0)?;
    }
    terraform.attach()?;
    terraform.nodes(&mut plan)?;
    if plan.nodes.is_empty() {
        return Err("it has no aws_instance and no aws_launch_template".into());
    }
    if !is_plan {
        plan.notes.push(
            "what is mended by hand is taken back by the next apply: change the configuration as well".into(),
        );
    }
    if let Some(first) = terraform.with_groups.borrow().first() {
        plan.notes.push(format!(
            "a plan lists the groups that an expression refers to, not how: all of those of {first} are taken to be used \
             together; if the expression chooses among them, judge the state after the apply"
        ));
    }
    plan.rules = terraform.rules()?;
    plan.opaque = terraform.opaque.take();
    Ok(plan)
}

impl<'a> Terraform<'a> {
    /// Takes the resources of the module with this address, and of those inside it.
    fn collect(&mut self, module: &At<'a>, at: &str, depth: usize) -> Reading<()> {
        let path = module_path(at);
        if depth > DEEPEST {
            return Err(module.wrong("modules are nested too deep"));
        }
        for resource in module.list_of("resources")? {
            let (Some(kind), Some(name)) = (resource.get("type")?, resource.get("name")?) else {
                return Err(resource.wrong("a resource has type and name"));
            };
            let is_data = resource.text_of("mode")?.as_deref() == Some("data");
            let Some(values) = resource.get("values")?.filter(|_| !is_data) else { continue };
            let (kind, name) = (kind.text()?, name.text()?);
            let address = resource.text_of("address")?.unwrap_or_else(|| format!("{kind}.{name}"));
            let place = (path.join("."), kind, name);
            let expressions = self.expressions.get(&place).cloned();
            let number = self.resources.len();
            self.kinds.entry(kind).or_default().push(number);
            self.named.entry(place).or_default().push(number);
            self.resources.push(Resource {
                address,
                module: path.clone(),
                is_in_copy: at.contains('['),
                index: resource.scalar_of("index")?,
                values,
                expressions,
            });
            if kind == "aws_launch_template"
                && let Some(name) = self.resources[number].values.text_of("name")?
            {
                self.by_id.insert((TEMPLATE_NAME, name), number);
            }
            if LOOKED_UP.contains(&kind) {
                self.by_id.insert((kind, self.resources[number].id()?), number);
            }
        }
        for child in module.list_of("child_modules")? {
            let address = child.text_of("address")?.unwrap_or_default();
            self.collect(&child, &address, depth + 1)?;
        }
        Ok(())
    }

    /// Notes the modules and expressions of the configuration.
    fn configure(&mut self, module: &At<'a>, path: &[String], depth: usize) -> Reading<()> {
        if depth > DEEPEST {
            return Err(module.wrong("modules are nested too deep"));
        }
        for resource in module.list_of("resources")? {
            let (Some(kind), Some(name)) = (resource.get("type")?, resource.get("name")?) else { continue };
            if let Some(expressions) = resource.get("expressions")? {
                self.expressions.insert((path.join("."), kind.text()?, name.text()?), expressions);
            }
        }
        for (name, call) in module.get("module_calls")?.map_or(Ok(Vec::new()), |it| it.entries())? {
            if let Some(child) = call.get("module")? {
                let mut inner = path.to_vec();
                inner.push(name.to_owned());
                self.configure(&child, &inner, depth + 1)?;
            }
        }
        self.modules.insert(path.join("."), module.clone());
        Ok(())
    }

    /// Notes which interfaces belong to which instances.
    fn attach(&mut self) -> Reading<()> {
        let mut attachments: BTreeMap<String, Vec<(usize, Option<At<'a>>)>> = BTreeMap::new();
        for &place in self.kinds.get("aws_network_interface_attachment").into_iter().flatten() {
            let it = &self.resources[place];
            if let Some(instance) = self.one_id(it, &it.values, it.expressions.as_ref(), "instance_id")? {
                attachments.entry(instance).or_default().push((place, None));
            }
        }
        for &place in self.kinds.get("aws_network_interface").into_iter().flatten() {
            let it = &self.resources[place];
            let written = Blocks::of(it.expressions.as_ref(), "attachment")?;
            for (number, listed) in it.values.list_of("attachment")?.into_iter().enumerate() {
                if let Some(instance) = self.one_id(it, &listed, written.get(number), "instance")? {
                    attachments.entry(instance).or_default().push((place, Some(listed)));
                }
            }
        }
        self.attachments = attachments;
        Ok(())
    }

    fn module(&self, path: &[String]) -> Option<&At<'a>> {
        self.modules.get(&path.join("."))
    }

    fn of_kind<'s>(&'s self, kind: &str) -> impl Iterator<Item = &'s Resource<'a>> + use<'s, 'a> {
        self.kinds.get(kind).into_iter().flatten().map(|&place| &self.resources[place])
    }

    fn lookup(&self, kind: &'static str, id: &str) -> Option<&Resource<'a>> {
        self.by_id.get(&(kind, id.to_owned())).map(|&place| &self.resources[place])
    }

    fn nodes(&self, plan: &mut Plan) -> Reading<()> {
        let mut templates: BTreeMap<String, Node> = BTreeMap::new();
        for resource in self.of_kind("aws_launch_template") {
            templates.insert(resource.id()?, self.template(resource)?.checked()?);
        }
        let mut used = BTreeSet::new();
        for (kind, subnets) in
            [("aws_autoscaling_group", "vpc_zone_identifier"), ("aws_eks_node_group", "subnet_ids")]
        {
            for resource in self.of_kind(kind) {
                let (values, expressions) = (&resource.values, resource.expressions.as_ref());
                let Some(model) = self.model(resource, &templates, &mut used)? else { continue };
                let mut node = Node { name: resource.address.clone(), is_template: true, ..model };
                match self.ids(resource, values, expressions, subnets)? {
                    Some(subnets) if !subnets.iter().any(|it| self.may_be_list(it)) => {
                        node.spots = subnets.iter().map(|it| self.spot(it)).collect::<Reading<_>>()?;
                    }
                    _ => plan.notes.push(format!(
                        "the subnets of {} are not in the file, so where its instances start is not known",
                        node.name
                    )),
                }
                let types =
                    if kind == "aws_eks_node_group" { values.texts_of("instance_types")? } else { None };
                if let Some(one) = one_type(&node.name, types.unwrap_or_default(), &mut plan.notes) {
                    node.instance_type = Some(one);
                }
                note_spots(&node, &mut plan.notes);
                plan.push(node)?;
            }
        }
        for resource in self.of_kind("aws_instance") {
            let model = self.model(resource, &templates, &mut used)?;
            let node = self.instance(resource, model, &mut plan.notes)?;
            plan.push(node)?;
        }
        for (id, node) in templates {
            if !used.contains(&id) {
                plan.push(node)?;
            }
        }
        Ok(())
    }

    /// Whether a name in a list of subnets may stand for several of them: any reference but one to a subnet.
    fn may_be_list(&self, name: &str) -> bool {
        let is_address = name.contains('.') && self.lookup("aws_subnet", name).is_none();
        is_address || self.opaque.borrow().contains(name)
    }

    /// The launch template in the file that a resource starts instances from.
    fn model(
        &self,
        resource: &Resource<'_>,
        templates: &BTreeMap<String, Node>,
        used: &mut BTreeSet<String>,
    ) -> Reading<Option<Node>> {
        let listed = resource.values.list_of("launch_template")?.into_iter().next();
        let written = Blocks::of(resource.expressions.as_ref(), "launch_template")?;
        let nothing = Tree::Map(BTreeMap::new());
        let known = listed.unwrap_or_else(|| At::root(&nothing));
        for key in ["id", "name"] {
            let Some(found) = self.one_id(resource, &known, written.get(0), key)? else { continue };
            let id = self.by_id.get(&(TEMPLATE_NAME, found.clone()));
            let id = id.map_or(Ok(found), |&place| self.resources[place].id())?;
            if let Some(node) = templates.get(&id) {
                used.insert(id);
                return Ok(Some(node.clone()));
            }
        }
        Ok(None)
    }

    fn template(&self, resource: &Resource<'_>) -> Reading<Node> {
        let (values, expressions) = (&resource.values, resource.expressions.as_ref());
        let mut interfaces = Vec::new();
        let written = Blocks::of(expressions, "network_interfaces")?;
        for (number, listed) in values.list_of("network_interfaces")?.iter().enumerate() {
            interfaces.push(self.interface(resource, listed, written.get(number))?);
        }
        if interfaces.is_empty() {
            let groups = self.ids(resource, values, expressions, "vpc_security_group_ids")?;
            interfaces.push(interface(InterfaceKind::Interface, 0, 0, groups));
        }
        let placement = values.list_of("placement")?.into_iter().next();
        let written = Blocks::of(expressions, "placement")?;
        let group = match &placement {
            Some(placement) => self.one_id(resource, placement, written.get(0), "group_name")?,
            None => None,
        };
        Ok(Node {
            name: resource.address.clone(),
            is_template: true,
            instance_type: values.text_of("instance_type")?,
            placement: Some(self.placement(group)?),
            zone: None,
            spots: Vec::new(),
            interfaces,
        })
    }

    fn placement(&self, group: Option<String>) -> Reading<PlacementFacts> {
        let mut strategy = None;
        if let Some(resource) = group.as_ref().and_then(|group| self.lookup("aws_placement_group", group)) {
            strategy = resource.values.text_of("strategy")?;
        }
        Ok(PlacementFacts { group, strategy, partition: None })
    }

    fn interface(
        &self,
        resource: &Resource<'_>,
        values: &At<'_>,
        expressions: Option<&At<'_>>,
    ) -> Reading<InterfaceFacts> {
        let interface_type = values.text_of("interface_type")?;
        let groups = self.ids(resource, values, expressions, "security_groups")?;
        let number = |key: &str| values.number_of(key).map(|it| it.unwrap_or(0));
        let (card, device) = (number("network_card_index")?, number("device_index")?);
        let mut made = interface(kind(interface_type.as_deref()), card, device, groups);
        if let Some(subnet) = self.one_id(resource, values, expressions, "subnet_id")? {
            let spot = self.spot(&subnet)?;
            (made.subnet_id, made.vpc_id) = (spot.subnet, spot.vpc);
        }
        Ok(made)
    }

    /// A subnet with the zone id and VPC that its resource names.
    fn spot(&self, subnet: &str) -> Reading<Spot> {
        let mut spot = Spot::of(id(subnet));
        if let Some(resource) = self.lookup("aws_subnet", &spot.subnet) {
            let (values, expressions) = (&resource.values, resource.expressions.as_ref());
            spot.zone = values.text_of("availability_zone_id")?;
            spot.vpc = self.one_id(resource, values, expressions, "vpc_id")?;
        }
        Ok(spot)
    }

    fn instance(
        &self,
        resource: &Resource<'_>,
        model: Option<Node>,
        notes: &mut Vec<String>,
    ) -> Reading<Node> {
        let (values, expressions) = (&resource.values, resource.expressions.as_ref());
        let name = values.text_of("id")?.unwrap_or_else(|| resource.address.clone());
        let mut node = Node { name, is_template: false, ..model.unwrap_or_default() };
        if let Some(instance_type) = values.text_of("instance_type")? {
            node.instance_type = Some(instance_type);
        }
        let group = self.one_id(resource, values, expressions, "placement_group")?;
        if group.is_some() || node.placement.is_none() {
            node.placement = Some(self.placement(group)?);
        }
        let subnet = self.one_id(resource, values, expressions, "subnet_id")?;
        node.spots = subnet.map(|it| self.spot(&it)).transpose()?.into_iter().collect();
        let attached = self.attached(resource, notes)?;
        if !attached.is_empty() {
            node.interfaces = attached;
        }
        if !node.interfaces.iter().any(|it| it.is_primary()) {
            let groups = self.ids(resource, values, expressions, "vpc_security_group_ids")?;
            node.interfaces.insert(0, interface(InterfaceKind::Interface, 0, 0, groups));
        }
        Ok(node)
    }

    /// The interfaces that are resources of their own and that an instance names, or that name it.
    fn attached(&self, instance: &Resource<'_>, notes: &mut Vec<String>) -> Reading<Vec<InterfaceFacts>> {
        let mut all = Vec::new();
        let own = instance.id()?;
        for key in ["network_interface", "primary_network_interface"] {
            let written = Blocks::of(instance.expressions.as_ref(), key)?;
            for (number, listed) in instance.values.list_of(key)?.iter().enumerate() {
                let found = self.one_id(instance, listed, written.get(number), "network_interface_id")?;
                let card = listed.number_of("network_card_index")?.unwrap_or(0);
                let device = listed.number_of("device_index")?.unwrap_or(0);
                all.push(self.found(found.as_deref(), card, device, notes)?);
            }
        }
        for (place, block) in self.attachments.get(&own).into_iter().flatten() {
            let it = &self.resources[*place];
            let (found, listed) = match block {
                None => {
                    let expressions = it.expressions.as_ref();
                    (self.one_id(it, &it.values, expressions, "network_interface_id")?, it.values.clone())
                }
                Some(listed) => (Some(it.id()?), listed.clone()),
            };
            let is_known = all.iter().any(|it: &InterfaceFacts| found.is_some() && it.interface_id == found);
            if !is_known {
                let card = listed.number_of("network_card_index")?.unwrap_or(0);
                let device = listed.number_of("device_index")?.unwrap_or(0);
                all.push(self.found(found.as_deref(), card, device, notes)?);
            }
        }
        Ok(all)
    }

    fn found(
        &self,
        wanted: Option<&str>,
        card: u32,
        device: u32,
        notes: &mut Vec<String>,
    ) -> Reading<InterfaceFacts> {
        if let Some(resource) = wanted.and_then(|wanted| self.lookup("aws_network_interface", wanted)) {
            let mut made = self.interface(resource, &resource.values, resource.expressions.as_ref())?;
            made.interface_id = Some(resource.id()?);
            (made.network_card, made.device_number) = (Some(card), Some(device));
            return Ok(made);
        }
        notes.push(
            "an interface that an instance names is not in the file: its kind and groups are not known"
                .into(),
        );
        Ok(interface(InterfaceKind::Unknown, card, device, None))
    }
}

/// The expressions of nested blocks. A dynamic block is written once for all.
struct Blocks<'a>(Vec<At<'a>>);

impl<'a> Blocks<'a> {
    fn of(expressions: Option<&At<'a>>, key: &str) -> Reading<Self> {
        let listed = expressions.map(|it| it.get(key)).transpose()?.flatten();
        Ok(Self(listed.filter(|it| matches!(it.tree, Tree::List(_))).map_or(Ok(Vec::new()), |it| it.list())?))
    }

    fn get(&self, number: usize) -> Option<&At<'a>> {
        self.0.get(number).or(self.0.last())
    }
}

/// `module.a[0].module.b` as `a`, `b`.
fn module_path(address: &str) -> Vec<String> {
    address
        .split("module.")
        .filter(|it| !it.is_empty())
        .map(|it| strip_index(it.trim_end_matches('.')).to_owned())
        .collect()
}

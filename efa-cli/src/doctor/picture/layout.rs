//! What stands where: heading, groups, subnets with their members, findings.

use std::collections::{BTreeMap, BTreeSet};

use efa_admission::{Facts, FindingCode, InterfaceFacts, InterfaceKind, Report, SecurityGroups, Severity};

use super::svg::{Area, Canvas, Style};
use crate::palette::{
    AMBER, BLUE, Colour, GREEN, GREY, GROUPS, INK, LINE, MUTED, PALE_BLUE, PALE_GREY, RED, WHITE, YELLOW,
};

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 32.0;
const GAP: f64 = 12.0;
/// Members that are drawn; those that a finding is about come first.
const MOST_MEMBERS: usize = 256;
/// Findings that are spelt out below.
const MOST_FINDINGS: usize = 12;
/// Members on wide cards, with a line for each interface.
const FEW_MEMBERS: usize = 8;
/// Interfaces that have a line each on a wide card.
const FEW_INTERFACES: usize = 6;

const TITLE: Style = Style::new(22.0, INK).bold();
const TEXT: Style = Style::new(13.0, INK);
const SMALL: Style = Style::new(11.0, MUTED);
const BADGE: Style = Style::new(10.0, WHITE).bold().centred();

/// Returns the picture of a judged job as an SVG document.
pub(in crate::doctor) fn picture(report: &Report, members: &[Facts], rules: &SecurityGroups) -> String {
    let mut picture = Picture::new(report, members, rules);
    picture.heading();
    picture.group_list();
    picture.kinds();
    picture.subnets();
    picture.findings();
    let Picture { canvas, y, .. } = picture;
    canvas.document(WIDTH, y + MARGIN, &format!("efa doctor: {}", verdict(report).0))
}

fn verdict(report: &Report) -> (&'static str, Colour) {
    match report.exit_status() {
        0 => ("Admitted", GREEN),
        1 => ("Refused", RED),
        _ => ("Undetermined", AMBER),
    }
}

struct Picture<'a> {
    canvas: Canvas,
    y: f64,
    report: &'a Report,
    members: &'a [Facts],
    rules: &'a SecurityGroups,
    /// The groups with their places in the list, by which they have a letter and a colour.
    groups: BTreeMap<&'a str, usize>,
    /// The numbers of the findings about each member, where a finding is not about all.
    marks: BTreeMap<usize, Vec<usize>>,
}

impl<'a> Picture<'a> {
    fn new(report: &'a Report, members: &'a [Facts], rules: &'a SecurityGroups) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for group in members
            .iter()
            .flat_map(|it| &it.member.interfaces)
            .flat_map(|it| it.security_groups.iter().flatten())
        {
            *counts.entry(group).or_default() += 1;
        }
        let mut order: Vec<(&str, usize)> = counts.into_iter().collect();
        order.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let groups = order.into_iter().enumerate().map(|(place, (group, _))| (group, place)).collect();
        let mut marks: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, finding) in report.findings().iter().enumerate() {
            if finding.members.len() < members.len() || members.len() == 1 {
                for name in &finding.members {
                    marks.entry(name.rank).or_default().push(number);
                }
            }
        }
        Self { canvas: Canvas::new(), y: MARGIN, report, members, rules, groups, marks }
    }

    fn heading(&mut self) {
        let (word, colour) = verdict(self.report);
        let pill = TEXT.bold().centred();
        let width = pill.width(word) + 28.0;
        self.canvas.rectangle(Area { x: MARGIN, y: self.y, width, height: 28.0 }, 14.0, colour, colour, 0.0);
        let white = Style { colour: WHITE, ..pill };
        self.canvas.text(MARGIN + width / 2.0, self.y + 19.0, white, word);
        let count = self.members.len();
        let noun = if count == 1 { "member" } else { "members" };
        self.canvas.text(MARGIN + width + 14.0, self.y + 22.0, TITLE, &format!("{count} {noun}"));
        let (mut errors, mut warnings) = (0, 0);
        for finding in self.report.findings() {
            match finding.severity {
                Severity::Error => errors += 1,
                Severity::Warning => warnings += 1,
            }
        }
        let of = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let text = format!(
            "policy {}, provider {}, {}, {}",
            self.report.policy(),
            self.report.provider(),
            of(errors, "error"),
            of(warnings, "warning")
        );
        self.canvas.text(MARGIN, self.y + 50.0, Style { colour: MUTED, ..TEXT }, &text);
        self.y += 84.0;
    }

    /// Draws each group with what it lets through.
    fn group_list(&mut self) {
        let mut order: Vec<(&str, usize)> =
            self.groups.iter().map(|(group, place)| (*group, *place)).collect();
        order.sort_by_key(|(_, place)| *place);
        if order.is_empty() {
            return;
        }
        self.canvas.text(MARGIN, self.y, TEXT.bold(), "Security groups");
        self.y += 12.0;
        let mut x = MARGIN;
        let hidden = order.len().saturating_sub(24);
        for (group, place) in order.into_iter().take(24) {
            let rights = self.rules.admits_itself(group);
            let name = TEXT.fitted(group, 260.0);
            let parts = match rights {
                Some((ingress, egress)) => {
                    [("in from itself", Some(ingress)), ("out to itself", Some(egress))]
                }
                None => [("rules not known", None), ("", None)],
            };
            let width = 34.0
                + TEXT.width(&name)
                + parts
                    .iter()
                    .map(|(text, _)| if text.is_empty() { 0.0 } else { SMALL.width(text) + 22.0 })
                    .sum::<f64>();
            if x + width > WIDTH - MARGIN && x > MARGIN {
                x = MARGIN;
                self.y += 34.0;
            }
            let is_broken = self.is_blamed(group);
            let stroke = if is_broken { RED } else { LINE };
            let area = Area { x, y: self.y, width, height: 28.0 };
            self.canvas.rectangle(area, 6.0, WHITE, stroke, if is_broken { 2.0 } else { 1.0 });
            self.group_mark(x + 15.0, self.y + 14.0, place);
            self.canvas.text(x + 28.0, self.y + 18.5, TEXT, &name);
            let mut at = x + 38.0 + TEXT.width(&name);
            for (text, granted) in parts {
                if text.is_empty() {
                    continue;
                }
                let (sign, colour) = match granted {
                    Some(true) => ("✓", GREEN),
                    // Only one group has to have the rules.
                    Some(false) => ("✗", if is_broken { RED } else { MUTED }),
                    None => ("?", AMBER),
                };
                self.canvas.text(at, self.y + 18.5, Style { colour, ..TEXT }.bold(), sign);
                self.canvas.text(at + 14.0, self.y + 18.0, SMALL, text);
                at += SMALL.width(text) + 22.0;
            }
            x += width + GAP;
        }
        if hidden > 0 {
            self.canvas.text(x, self.y + 18.0, SMALL, &format!("and {hidden} more"));
        }
        self.y += 50.0;
    }

    /// Returns `true` if an error is about the rules of the group.
    fn is_blamed(&self, group: &str) -> bool {
        self.report.findings().iter().any(|finding| {
            let about_rules = matches!(
                finding.code,
                FindingCode::MissingSelfIngress
                    | FindingCode::MissingSelfEgress
                    | FindingCode::SecurityGroupNotFound
                    | FindingCode::TcpIngressBlocked
                    | FindingCode::TcpEgressBlocked
            );
            about_rules && finding.security_groups.iter().any(|it| it == group)
        })
    }

    fn group_mark(&mut self, x: f64, y: f64, place: usize) {
        self.canvas.circle(x, y, 8.0, GROUPS[place % GROUPS.len()]);
        self.canvas.text(x, y + 3.6, BADGE, &letter(place));
    }

    /// Draws what the colours of interfaces mean, for the kinds that there are.
    fn kinds(&mut self) {
        let kinds: BTreeSet<InterfaceKind> =
            self.members.iter().flat_map(|it| &it.member.interfaces).map(|it| it.kind).collect();
        let mut x = MARGIN;
        for kind in kinds {
            self.chip(x, self.y - 10.0, 12.0, kind, false);
            let name = kind_name(kind);
            self.canvas.text(x + 18.0, self.y, SMALL, name);
            x += 18.0 + SMALL.width(name) + 22.0;
        }
        self.y += 18.0;
    }

    fn chip(&mut self, x: f64, y: f64, size: f64, kind: InterfaceKind, is_broken: bool) {
        let (fill, stroke) = match kind {
            InterfaceKind::Efa => (BLUE, BLUE),
            InterfaceKind::EfaOnly => (PALE_BLUE, BLUE),
            InterfaceKind::Interface => (GREY, GREY),
            InterfaceKind::Unknown => (YELLOW, AMBER),
        };
        let thickness = if is_broken { 2.5 } else { 1.2 };
        let stroke = if is_broken { RED } else { stroke };
        self.canvas.rectangle(Area { x, y, width: size, height: size }, 2.0, fill, stroke, thickness);
    }

    fn subnets(&mut self) {
        let mut boxes: BTreeMap<&str, Vec<&'a Facts>> = BTreeMap::new();
        let mut order: Vec<&'a Facts> = self.members.iter().collect();
        order.sort_by_key(|facts| (!self.marks.contains_key(&facts.member.rank), facts.member.rank));
        let hidden = order.len().saturating_sub(MOST_MEMBERS);
        order.truncate(MOST_MEMBERS);
        order.sort_by_key(|facts| facts.member.rank);
        for facts in order {
            boxes.entry(home(facts)).or_default().push(facts);
        }
        let mut boxes: Vec<(&str, Vec<&Facts>)> = boxes.into_iter().collect();
        boxes.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(b.0)));
        for (place, (subnet, members)) in boxes.into_iter().enumerate() {
            self.subnet(subnet, &members, place > 0);
        }
        if hidden > 0 {
            self.canvas.text(
                MARGIN,
                self.y + 4.0,
                TEXT,
                &format!("and {hidden} members more, which no finding singles out"),
            );
            self.y += 28.0;
        }
    }

    fn subnet(&mut self, subnet: &str, members: &[&'a Facts], is_apart: bool) {
        let columns = match self.members.len() {
            1..=FEW_MEMBERS => 4,
            9..=32 => 8,
            _ => 16,
        };
        let inner = WIDTH - 2.0 * MARGIN - 2.0 * GAP;
        let width = (inner - GAP * (columns - 1) as f64) / columns as f64;
        let heights: Vec<f64> = members.iter().map(|facts| self.card_height(facts, width)).collect();
        let rows: Vec<f64> =
            heights.chunks(columns).map(|row| row.iter().copied().fold(0.0, f64::max)).collect();
        let height = 44.0 + rows.iter().sum::<f64>() + GAP * rows.len() as f64;
        let area = Area { x: MARGIN, y: self.y, width: WIDTH - 2.0 * MARGIN, height };
        let apart = self.report.findings().iter().find(|finding| {
            matches!(
                finding.code,
                FindingCode::DifferentSubnet | FindingCode::DifferentZone | FindingCode::DifferentVpc
            )
        });
        let stroke = match apart.filter(|_| is_apart).map(|finding| finding.severity) {
            Some(Severity::Error) => RED,
            Some(Severity::Warning) => AMBER,
            None => LINE,
        };
        self.canvas.rectangle(area, 10.0, PALE_GREY, stroke, if stroke == LINE { 1.0 } else { 2.0 });
        let name = if subnet.is_empty() { "subnet not known" } else { subnet };
        let mut title = vec![name.to_owned()];
        let judged =
            |facts: &&Facts| facts.member.interfaces.iter().find(|it| it.subnet_id == subnet).cloned();
        title.extend(members.iter().find_map(judged).and_then(|it| it.vpc_id));
        title.extend(members.iter().find_map(|facts| facts.member.availability_zone_id.clone()));
        let count = members.len();
        title.push(format!("{count} member{}", if count == 1 { "" } else { "s" }));
        let title = TEXT.bold().fitted(&title.join(", "), inner);
        self.canvas.text(MARGIN + GAP, self.y + 26.0, TEXT.bold(), &title);
        let mut y = self.y + 40.0;
        for (row, row_height) in members.chunks(columns).zip(&rows) {
            let mut x = MARGIN + GAP;
            for facts in row {
                self.card(facts, Area { x, y, width, height: *row_height });
                x += width + GAP;
            }
            y += row_height + GAP;
        }
        self.y += height + 16.0;
    }

    fn is_wide(&self, facts: &Facts) -> bool {
        self.members.len() <= FEW_MEMBERS && facts.member.interfaces.len() <= FEW_INTERFACES
    }

    /// Returns the side of a chip on cards that have no lines for interfaces, and how many stand in a row.
    fn chip_grid(&self, width: f64) -> (f64, usize) {
        let size = match self.members.len() {
            1..=FEW_MEMBERS => 14.0,
            9..=32 => 9.0,
            _ => 6.0,
        };
        (size, ((width - 16.0 + 3.0) / (size + 3.0)).floor().max(1.0) as usize)
    }

    fn card_height(&self, facts: &Facts, width: f64) -> f64 {
        let head = if self.members.len() <= 32 { 42.0 } else { 26.0 };
        let count = facts.member.interfaces.len();
        if self.is_wide(facts) {
            return head + 22.0 * count.max(1) as f64 + 8.0;
        }
        let (size, columns) = self.chip_grid(width);
        let marks = if self.groups_of(facts).is_empty() { 0.0 } else { 24.0 };
        head + count.div_ceil(columns).max(1) as f64 * (size + 3.0) + marks + 6.0
    }

    fn groups_of(&self, facts: &Facts) -> BTreeSet<usize> {
        let groups = facts.member.interfaces.iter().flat_map(|it| it.security_groups.iter().flatten());
        groups.filter_map(|group| self.groups.get(group.as_str()).copied()).collect()
    }

    fn card(&mut self, facts: &'a Facts, area: Area) {
        let rank = facts.member.rank;
        let marks = self.marks.get(&rank).cloned().unwrap_or_default();
        let worst = marks.iter().map(|number| self.report.findings()[*number].severity).min();
        let (stroke, thickness) = match worst {
            Some(Severity::Error) => (RED, 2.5),
            Some(Severity::Warning) => (AMBER, 1.8),
            None => (LINE, 1.0),
        };
        self.canvas.rectangle(area, 6.0, WHITE, stroke, thickness);
        let is_narrow = self.members.len() > 32;
        let shown = marks.len().min(if is_narrow { 1 } else { 3 });
        let room = area.width - 16.0 - 18.0 * shown as f64;
        let name = if is_narrow { rank.to_string() } else { format!("rank {rank}") };
        let head = if is_narrow { SMALL.bold() } else { TEXT.bold() };
        let head = Style { colour: INK, ..head };
        self.canvas.text(area.x + 8.0, area.y + 18.0, head, &head.fitted(&name, room));
        let mut top = area.y + 26.0;
        if !is_narrow {
            let kind = facts.member.instance_type.as_deref().filter(|_| self.members.len() <= FEW_MEMBERS);
            let kind = kind.map(|kind| format!(", {kind}")).unwrap_or_default();
            let id = SMALL.fitted_end(&facts.member.instance_id, area.width - 16.0 - SMALL.width(&kind));
            self.canvas.text(
                area.x + 8.0,
                area.y + 34.0,
                SMALL,
                &SMALL.fitted(&(id + &kind), area.width - 16.0),
            );
            top = area.y + 42.0;
        }
        for (place, number) in marks.iter().take(shown).enumerate() {
            let more = place + 1 == shown && marks.len() > shown && !is_narrow;
            let x = area.x + area.width - 13.0 - 18.0 * (shown - 1 - place) as f64;
            self.badge(x, area.y + 13.0, *number, more);
        }
        if facts.member.interfaces.is_empty() {
            self.canvas.text(
                area.x + 8.0,
                top + 12.0,
                SMALL,
                &SMALL.fitted("no interfaces", area.width - 16.0),
            );
        } else if self.is_wide(facts) {
            self.lines(facts, area, top);
        } else {
            self.chips(facts, area, top);
        }
    }

    fn badge(&mut self, x: f64, y: f64, number: usize, more: bool) {
        let severity = self.report.findings().get(number).map(|finding| finding.severity);
        let colour = if severity == Some(Severity::Warning) { AMBER } else { RED };
        self.canvas.circle(x, y, 8.0, colour);
        let text = if more { "…".to_owned() } else { (number + 1).to_string() };
        self.canvas.text(x, y + 3.6, BADGE, &text);
    }

    /// Draws a line for each interface: its kind, its place, its groups.
    fn lines(&mut self, facts: &'a Facts, area: Area, top: f64) {
        for (row, interface) in in_order(facts).into_iter().enumerate() {
            let y = top + 22.0 * row as f64;
            self.chip(area.x + 8.0, y + 3.0, 14.0, interface.kind, self.is_wrong(facts, interface));
            let groups: BTreeSet<usize> = interface
                .security_groups
                .iter()
                .flatten()
                .filter_map(|group| self.groups.get(group.as_str()).copied())
                .collect();
            let shown = groups.len().min(4);
            let mut text = format!("card {}", interface.network_card.unwrap_or(0));
            if let Some(id) = &interface.interface_id {
                text = format!("{text}, {id}");
            }
            if interface.subnet_id != home(facts) {
                text = format!("{text}, in {}", interface.subnet_id);
            }
            let room = area.width - 40.0 - 19.0 * shown as f64;
            self.canvas.text(area.x + 28.0, y + 14.0, SMALL, &SMALL.fitted(&text, room));
            for (place, group) in groups.into_iter().take(shown).enumerate() {
                let x = area.x + area.width - 14.0 - 19.0 * (shown - 1 - place) as f64;
                self.group_mark(x, y + 10.0, group);
            }
        }
    }

    /// Draws a square for each interface, and all groups below.
    fn chips(&mut self, facts: &'a Facts, area: Area, top: f64) {
        let (size, columns) = self.chip_grid(area.width);
        let all = in_order(facts);
        let rows = all.len().div_ceil(columns);
        for (number, interface) in all.into_iter().enumerate() {
            let (x, y) = ((number % columns) as f64, (number / columns) as f64);
            let is_broken = self.is_wrong(facts, interface);
            self.chip(
                area.x + 8.0 + x * (size + 3.0),
                top + y * (size + 3.0),
                size,
                interface.kind,
                is_broken,
            );
        }
        let y = top + rows as f64 * (size + 3.0) + 13.0;
        let room = ((area.width - 12.0) / 19.0).floor().max(1.0) as usize;
        for (place, group) in self.groups_of(facts).into_iter().take(room).enumerate() {
            self.group_mark(area.x + 16.0 + 19.0 * place as f64, y, group);
        }
    }

    /// Returns `true` if an error singles out the interface: it lacks the group that the others share, or lies
    /// elsewhere.
    fn is_wrong(&self, facts: &Facts, interface: &InterfaceFacts) -> bool {
        let errors = self.report.findings().iter().filter(|it| it.severity == Severity::Error);
        let mut about = errors.filter(|it| it.members.iter().any(|name| name.rank == facts.member.rank));
        about.any(|finding| match finding.code {
            FindingCode::NoSharedSecurityGroup if interface.kind.counts_as_efa() => {
                let nearest = self.groups.iter().min_by_key(|(_, place)| **place).map(|(group, _)| *group);
                let held = interface.security_groups.as_deref().unwrap_or_default();
                nearest.is_some_and(|nearest| !held.iter().any(|group| group == nearest))
            }
            FindingCode::DifferentSubnet => {
                interface.kind.counts_as_efa() && interface.subnet_id != home(facts)
            }
            _ => false,
        })
    }

    fn findings(&mut self) {
        let findings = self.report.findings();
        if findings.is_empty() {
            return;
        }
        self.y += 8.0;
        self.canvas.text(MARGIN, self.y + 8.0, TEXT.bold(), "Findings");
        self.y += 30.0;
        for (number, finding) in findings.iter().take(MOST_FINDINGS).enumerate() {
            self.badge(MARGIN + 8.0, self.y - 4.0, number, false);
            let code =
                Style { colour: if finding.severity == Severity::Error { RED } else { AMBER }, ..TEXT }
                    .bold();
            self.canvas.text(MARGIN + 26.0, self.y, code, finding.code.name());
            let room = WIDTH - 2.0 * MARGIN - 26.0;
            for line in TEXT.wrapped(&finding.text.what, room).into_iter().take(4) {
                self.y += 18.0;
                self.canvas.text(MARGIN + 26.0, self.y, TEXT, &line);
            }
            self.y += 28.0;
        }
        if findings.len() > MOST_FINDINGS {
            let more = findings.len() - MOST_FINDINGS;
            self.canvas.text(
                MARGIN + 26.0,
                self.y,
                SMALL,
                &format!("and {more} more, which efa doctor prints"),
            );
            self.y += 20.0;
        }
        self.y -= 16.0;
    }
}

/// Returns the subnet that a member is drawn in: that of its first interface with an EFA, else of its first one.
fn home(facts: &Facts) -> &str {
    let all = in_order(facts);
    let efa = all.iter().find(|it| it.kind.counts_as_efa()).or(all.first());
    efa.map_or("", |it| it.subnet_id.as_str())
}

fn in_order(facts: &Facts) -> Vec<&InterfaceFacts> {
    let mut all: Vec<&InterfaceFacts> = facts.member.interfaces.iter().collect();
    all.sort_by_key(|it| (it.network_card.unwrap_or(0), it.device_number.unwrap_or(0)));
    all
}

fn kind_name(kind: InterfaceKind) -> &'static str {
    match kind {
        InterfaceKind::Efa => "efa: EFA with an address",
        InterfaceKind::EfaOnly => "efa-only: EFA without an address",
        InterfaceKind::Interface => "plain interface",
        InterfaceKind::Unknown => "kind not known",
    }
}

/// Returns `A` to `Z`, then numbers.
fn letter(place: usize) -> String {
    match u8::try_from(place) {
        Ok(place @ 0..26) => char::from(b'A' + place).to_string(),
        _ => (place + 1).to_string(),
    }
}

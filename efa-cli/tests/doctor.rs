//! `efa doctor`, through the real binary: verdicts, exit statuses, JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A member whose one EFA interface lies in `subnet` and carries the group `sg-1`.
fn member(rank: usize, subnet: &str) -> Value {
    json!({
        "rank": rank, "host": format!("node-{rank}"), "instance_id": format!("i-0{rank}"),
        "instance_type": "hpc7a.96xlarge", "availability_zone_id": "use1-az4",
        "placement": {"group": "pg-1", "strategy": "cluster", "partition": null},
        "interfaces": [{
            "interface_id": format!("eni-0{rank}"), "kind": "efa", "network_card": 0, "subnet_id": subnet,
            "vpc_id": "vpc-1", "security_groups": ["sg-1"], "ipv4": [format!("10.0.0.{}", rank + 10)], "ipv6": []
        }]
    })
}

/// What the AWS command line prints for `sg-1`, which lets everything in from itself, and out to itself if `egress`.
fn groups(egress: bool) -> Value {
    let myself =
        json!([{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1", "UserId": "111122223333"}]}]);
    let anywhere = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    json!({"SecurityGroups": [{
        "GroupId": "sg-1", "GroupName": "efa", "OwnerId": "111122223333", "VpcId": "vpc-1",
        "IpPermissions": myself.clone(), "IpPermissionsEgress": if egress { myself } else { anywhere }
    }]})
}

/// Files that describe a job.
struct Files {
    _folder: TempDir,
    members: PathBuf,
    groups: PathBuf,
}

impl Files {
    fn new(members: &Value, groups: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name, value: &Value| {
            let path = folder.path().join(name);
            fs::write(&path, value.to_string()).expect("writable");
            path
        };
        Self {
            members: write("members.json", members),
            groups: write("groups.json", groups),
            _folder: folder,
        }
    }

    fn doctor(&self, options: &[&str]) -> Output {
        doctor_of(&self.members, &self.groups, options)
    }
}

fn doctor_of(members: &Path, groups: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
    command.arg("doctor").arg("--members").arg(members).arg("--security-groups").arg(groups).args(options);
    command.output().expect("efa starts")
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("a list");
    findings.iter().filter_map(|finding| finding["code"].as_str()).collect()
}

#[test]
fn a_job_that_keeps_the_rules_is_admitted() {
    let files = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-1")]), &groups(true));
    let output = files.doctor(&["--provider", "efa"]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(table.starts_with("admitted: 2 members"), "{table}");
    assert!(!table.contains('\x1b'), "colour is for terminals");
    assert!(output.stderr.is_empty());
}

#[test]
fn a_broken_rule_is_refused_with_its_remedy() {
    let files = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-1")]), &groups(false));
    let output = files.doctor(&["--provider", "efa", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = json_of(&output);
    assert_eq!(codes(&report), ["missing-self-egress"]);
    assert_eq!(report["findings"][0]["security_groups"], json!(["sg-1"]));
    let fix = report["findings"][0]["fix"].as_str().expect("a command");
    assert!(fix.contains("authorize-security-group-egress"), "{fix}");
}

#[test]
fn the_policy_decides_about_subnets() {
    let files = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-2")]), &groups(true));
    let strict = files.doctor(&["--json"]);
    assert_eq!(strict.status.code(), Some(1));
    assert_eq!(json_of(&strict)["findings"][0]["severity"], "error");
    let same_zone = files.doctor(&["--json", "--policy", "same-zone"]);
    assert_eq!(same_zone.status.code(), Some(0));
    assert_eq!(json_of(&same_zone)["policy"], "same-zone");
    assert_eq!(json_of(&same_zone)["findings"][0]["severity"], "warning");
}

#[test]
fn unknown_rules_are_undetermined() {
    let files = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-1")]), &groups(true));
    let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
    let output = command
        .arg("doctor")
        .arg("--json")
        .arg("--members")
        .arg(&files.members)
        .output()
        .expect("efa starts");
    assert_eq!(output.status.code(), Some(3));
    assert!(codes(&json_of(&output)).contains(&"rules-unknown"));
}

#[test]
fn json_has_the_documented_keys_in_their_order() {
    let files = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-2")]), &groups(true));
    let text = String::from_utf8(files.doctor(&["--json"]).stdout).expect("text");
    assert_eq!(text.lines().count(), 1);
    let keys = [
        "admitted",
        "policy",
        "provider",
        "site",
        "members",
        "notes",
        "findings",
        "code",
        "severity",
        "members",
        "security_groups",
        "message",
        "why",
        "fix",
    ];
    let mut rest = text.as_str();
    for key in keys {
        let key = format!("\"{key}\":");
        let at = rest.find(&key).unwrap_or_else(|| panic!("{key} is missing or out of order in {text}"));
        rest = &rest[at + key.len()..];
    }
}

#[test]
fn the_json_names_the_provider_asked_for_and_has_the_notes() {
    let files = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-1")]), &groups(true));
    for (options, provider) in [
        (&["--json"][..], "auto"),
        (&["--json", "--provider", "tcp"], "tcp"),
        (&["--json", "--provider", "efa"], "efa"),
    ] {
        let report = json_of(&files.doctor(options));
        assert_eq!(report["provider"], provider);
        let notes = report["notes"].as_array().expect("a list");
        assert_eq!(notes.is_empty(), provider == "efa", "{notes:?}");
    }
}

#[test]
fn tcp_needs_no_rule_for_the_group_itself() {
    let mut rules = groups(true);
    rules["SecurityGroups"][0]["IpPermissions"] = json!([{"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "IpRanges": [{"CidrIp": "10.0.0.0/24"}]}]);
    let files = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-1")]), &rules);
    assert_eq!(files.doctor(&["--provider", "efa"]).status.code(), Some(1));
    assert_eq!(files.doctor(&["--provider", "tcp"]).status.code(), Some(0));
}

#[cfg(feature = "libfabric")]
#[test]
fn rules_that_count_for_nothing_are_a_usage_error() {
    let files = Files::new(&json!([]), &groups(true));
    let output = Command::new(env!("CARGO_BIN_EXE_efa"))
        .args(["doctor", "--security-groups"])
        .arg(&files.groups)
        .env_remove("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        .output()
        .expect("efa starts");
    // On EC2 the file counts.
    let vendor = fs::read_to_string("/sys/devices/virtual/dmi/id/sys_vendor").unwrap_or_default();
    if vendor.trim() != "Amazon EC2" {
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("--security-groups"), "{stderr}");
    }
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let mut odd = member(0, "subnet-1");
    odd["bogus\u{1b}]0;title\u{7}"] = json!(1);
    let output = Files::new(&json!([odd]), &groups(true)).doctor(&[]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("bogus") && !stderr.contains(['\u{1b}', '\u{7}']), "{stderr}");
}

#[test]
fn copies_of_a_template_are_judged_as_a_job() {
    let template = json!({"LaunchTemplateVersions": [{"LaunchTemplateId": "lt-1", "DefaultVersion": true,
        "LaunchTemplateData": {"InstanceType": "hpc7a.96xlarge", "NetworkInterfaces": [
            {"DeviceIndex": 0, "InterfaceType": "efa", "SubnetId": "subnet-1", "Groups": ["sg-1"]}]}}]});
    let files = Files::new(&template, &groups(true));
    let output = files.doctor(&["--provider", "efa", "--json", "--for", "16"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let report = json_of(&output);
    assert_eq!(report["members"], 16);
    assert!(report["notes"].to_string().contains("launch template"), "{report}");
    let broken = Files::new(&template, &groups(false));
    assert_eq!(broken.doctor(&["--provider", "efa", "--for", "2"]).status.code(), Some(1));
    // No command can mend an instance that does not exist yet.
    let mut plain = template.clone();
    plain["LaunchTemplateVersions"][0]["LaunchTemplateData"]["NetworkInterfaces"][0]["InterfaceType"] =
        json!("interface");
    let report =
        json_of(&Files::new(&plain, &groups(true)).doctor(&["--provider", "efa", "--for", "2", "--json"]));
    assert!(report["findings"][0]["fix"].as_str().expect("text").starts_with("in the file: "), "{report}");
    assert_eq!(files.doctor(&["--for", "0"]).status.code(), Some(2));
    let two = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-1")]), &groups(true));
    assert_eq!(two.doctor(&["--for", "4"]).status.code(), Some(2));
}

#[test]
fn files_of_other_tools_are_judged_before_the_launch() {
    let layouts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../efa-admission/tests/admission/layouts");
    let doctor = |name: &str, options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
        command
            .args(["doctor", "--provider", "efa", "--json", "--members"])
            .arg(layouts.join(name))
            .args(options);
        command.output().expect("efa starts")
    };
    let output = doctor("eks-managed-node-group.yaml", &["--for", "4"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let report = json_of(&output);
    assert_eq!(report["members"], 4);
    assert_eq!(report["notes"][0], "the members file was taken for a CloudFormation template");
    // Its groups are not in the file.
    let output = doctor("parallelcluster-p5.yaml", &["--only", "train", "--for", "16"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
    let several = doctor("parallelcluster-p5.yaml", &[]);
    assert_eq!(several.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&several.stderr).contains("--only"));
    assert_eq!(doctor("shared-vpc.json", &["--only", "i-0a"]).status.code(), Some(2));
}

#[test]
fn a_picture_shows_members_and_marks_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    for count in [2, 8, 64] {
        let mut members: Vec<Value> = (0..count).map(|rank| member(rank, "subnet-1")).collect();
        members[1] = member(1, "subnet-2");
        members[0]["placement"]["group"] = json!("<&\">");
        members[0]["interfaces"][0]["security_groups"] = json!(["sg-1", "sg-2"]);
        let picture = folder.path().join(format!("{count}.svg"));
        let files = Files::new(&Value::from(members), &groups(true));
        let output = files.doctor(&["--provider", "efa", "--plot", picture.to_str().expect("text")]);
        assert_ne!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
        let svg = fs::read_to_string(&picture).expect("a picture");
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(!svg.contains("<&"), "{svg}");
        assert!(svg.contains(&format!(">{count} members<")) && svg.contains("Refused"), "{svg}");
        assert!(svg.contains("subnet-1, vpc-1") && svg.contains("subnet-2, vpc-1"), "{svg}");
        // The card of the member and the box of its subnet have the colour of errors.
        assert!(svg.matches("stroke=\"#c62828\"").count() >= 2, "{svg}");
        assert!(svg.contains("different-subnet"), "{svg}");
    }
}

#[test]
fn a_path_that_no_picture_can_go_to_is_refused_first() {
    let nothing = Path::new("/nonexistent/file");
    let output = doctor_of(nothing, nothing, &["--plot", "/nonexistent/x.svg"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cannot write the picture to /nonexistent/x.svg"), "{stderr}");
    // Where nothing can be judged, no empty file stays behind.
    let folder = tempfile::tempdir().expect("a folder");
    let picture = folder.path().join("x.svg");
    let output = doctor_of(nothing, nothing, &["--plot", picture.to_str().expect("text")]);
    assert!(output.status.code() == Some(2) && !picture.exists());
}

#[cfg(feature = "libfabric")]
#[test]
fn a_members_file_stands_in_for_metadata_in_a_running_job() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    let mut here = member(5, "subnet-1");
    here["host"] = json!(host.trim());
    let files = Files::new(&json!([member(0, "subnet-1"), here]), &groups(true));
    let doctor = |members: &Path, provider: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
        command.args(["doctor", "--json", "--provider", provider, "--security-groups"]).arg(&files.groups);
        command.env("EFA_MEMBERS", members).output().expect("efa starts")
    };
    let output = doctor(&files.members, "tcp");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!((&json_of(&output)["site"], &json_of(&output)["members"]), (&json!("file"), &json!(1)));
    // The machine is judged as well: there is no device here, or it works.
    let efa = json_of(&doctor(&files.members, "efa"));
    assert!(efa["admitted"] == true || codes(&efa).contains(&"no-efa-device"), "{efa}");
    // Nobody but those in the file belongs to the job.
    let strangers = Files::new(&json!([member(0, "subnet-1")]), &groups(true));
    let output = doctor(&strangers.members, "tcp");
    assert!(matches!(output.status.code(), Some(2 | 3)), "{:?}", output.status);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot find this host"));
}

#[test]
fn remedies_as_a_script_read_first_and_change_nothing_unasked() {
    let files = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-1")]), &groups(false));
    let output = files.doctor(&["--provider", "efa", "--script"]);
    assert_eq!(output.status.code(), Some(1));
    let script = String::from_utf8(output.stdout).expect("text");
    let place = |text: &str| script.find(text).unwrap_or_else(|| panic!("{text} is not in {script}"));
    assert!(
        place("aws ec2 describe-security-groups") < place("change aws ec2 authorize-security-group-egress")
    );
    place("# undo: aws ec2 revoke-security-group-egress --group-id sg-1");
    // A stand-in for the AWS command line writes down what it is asked.
    let folder = tempfile::tempdir().expect("a folder");
    let aws = folder.path().join("aws");
    fs::write(&aws, "#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/asked\"\n").expect("writable");
    fs::set_permissions(&aws, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let asked = |apply: &str| {
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        let status = shell.arg("-c").arg(&script).env("PATH", path).env("APPLY", apply).status();
        assert!(status.expect("a shell").success());
        let asked = fs::read_to_string(folder.path().join("asked")).expect("a list");
        fs::remove_file(folder.path().join("asked")).expect("ours");
        asked
    };
    let tried = asked("0");
    assert!(tried.lines().any(|line| line.contains("authorize-") && line.ends_with("--dry-run")), "{tried}");
    let changed = asked("1");
    assert!(changed.contains("authorize-") && !changed.contains("--dry-run"), "{changed}");
}

#[test]
fn findings_come_in_forms_that_pipelines_read() {
    let files = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-1")]), &groups(false));
    let output = files.doctor(&["--provider", "efa", "--format", "sarif"]);
    assert_eq!(output.status.code(), Some(1));
    let run = &json_of(&output)["runs"][0];
    assert_eq!(run["results"][0]["ruleId"], "missing-self-egress");
    assert_eq!(run["results"][0]["level"], "error");
    assert_eq!(run["tool"]["driver"]["rules"][0]["id"], "missing-self-egress");

    let output = files.doctor(&["--provider", "efa", "--format", "junit"]);
    assert_eq!(output.status.code(), Some(1));
    let xml = String::from_utf8(output.stdout).expect("text");
    assert!(
        xml.contains("tests=\"1\" failures=\"1\"") && xml.contains("type=\"missing-self-egress\""),
        "{xml}"
    );
    let good = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-1")]), &groups(true));
    let output = good.doctor(&["--provider", "efa", "--format", "junit"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("name=\"admitted\"/>"));
}

#[test]
fn a_watch_says_what_has_changed_and_when() {
    use std::io::BufRead;
    let files = Files::new(&json!([member(0, "subnet-1"), member(1, "subnet-1")]), &groups(true));
    let mut watch = Command::new(env!("CARGO_BIN_EXE_efa"))
        .args(["doctor", "--provider", "efa", "--watch", "1", "--members"])
        .arg(&files.members)
        .arg("--security-groups")
        .arg(&files.groups)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("efa starts");
    let mut lines =
        std::io::BufReader::new(watch.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("admitted: 2 members")));
    let replace = |groups: &Value| {
        let next = files.groups.with_extension("next");
        fs::write(&next, groups.to_string()).expect("writable");
        fs::rename(next, &files.groups).expect("in one folder");
    };
    replace(&groups(false));
    let come = lines.find(|line| line.contains("new: error missing-self-egress")).expect("a change");
    assert!(come.starts_with("20") && come.contains("Z new:"), "{come}");
    assert!(lines.next().expect("the verdict").ends_with("refused, before admitted"));
    replace(&groups(true));
    assert!(lines.any(|line| line.contains("gone: error missing-self-egress")));
    watch.kill().expect("it runs");
    watch.wait().expect("it ends");
}

#[cfg(feature = "libfabric")]
#[test]
fn this_host_is_judged_without_files() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_efa")).args(["doctor", "--json"]).output().expect("efa starts");
    let code = output.status.code().expect("it exits");
    if code == 3 && output.stdout.is_empty() {
        assert_eq!(
            String::from_utf8_lossy(&output.stderr).lines().count(),
            3,
            "on EC2 the host is not enough"
        );
    } else {
        let report = json_of(&output);
        assert_eq!(report["members"], 1);
        assert_eq!(report["admitted"], code == 0);
    }
}

#[test]
fn a_file_that_makes_no_sense_is_a_usage_error() {
    let files = Files::new(&json!([{"rank": 0, "bogus": 1}]), &groups(true));
    for output in [
        files.doctor(&[]),
        doctor_of(Path::new("/no/such/file"), &files.groups, &[]),
        doctor_of(&files.groups, &files.groups, &[]),
        files.doctor(&["--policy", "lax"]),
    ] {
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.lines().count(), 3, "{stderr}");
    }
}

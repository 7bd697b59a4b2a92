//! What people write before a launch, with changes at random, and files that are made to do harm.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use efa_admission::source::file::read_described;
use efa_admission::source::look_up_described;
use efa_fuzz::Random;
use serde_json::Value;

use crate::build::*;
use crate::{is_consistent, policies};

/// What one file may take, on a busy machine and without optimisation.
const LIMIT: Duration = Duration::from_secs(60);

fn layouts(end: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/layouts");
    let entries = std::fs::read_dir(folder).expect("the fixtures");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a fixture").path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(end) && !path.to_string_lossy().contains("groups"));
    paths.sort();
    let read = |path: PathBuf| (path.display().to_string(), std::fs::read(&path).expect("a fixture"));
    paths.into_iter().map(read).collect()
}

/// The names by which something can be chosen in the fixtures, and one that nothing has.
const NAMES: [Option<&str>; 6] =
    [None, None, Some("train"), Some("Cluster"), Some("b300/gpu"), Some("no.such[0]")];

/// An error is one line that names the file; whatever is read is judged, and keeps its shape.
fn is_refused_or_judged(random: &mut Random, path: &Path) {
    match read_described(path, *random.pick(&NAMES)) {
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(path.to_str().expect("a scratch file's name")), "{text}");
            assert!(!text.contains('\n') && text.len() < 8192, "{text}");
        }
        Ok(described) => {
            let ranks = described.members.iter().map(|facts| facts.member.rank);
            assert!(ranks.eq(0..described.members.len()), "{:?}", described.members);
            assert!(described.notes.len() < 50 && described.notes.iter().all(|note| !note.contains('\n')));
            let lookup = look_up_described(&described, None).expect("no file");
            let report = lookup.evaluate(&described.members, &policies(random));
            is_consistent(&report);
            is_consistent(&report.for_a_plan());
        }
    }
}

#[test]
fn fuzz_yaml_of_layouts_is_refused_or_judged() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("layout.yaml");
    let layouts = layouts(".yaml");
    efa_fuzz::rounds("yaml of layouts", 3000, |random| {
        let (_, text) = random.pick(&layouts);
        let text = match random.below(3) {
            0 => random.mutate(text),
            1 => mutate_lines(random, &String::from_utf8_lossy(text)).into_bytes(),
            _ => {
                let lines = mutate_lines(random, &String::from_utf8_lossy(text));
                random.mutate(lines.as_bytes())
            }
        };
        std::fs::write(&path, text).expect("a scratch file");
        is_refused_or_judged(random, &path);
    });
}

#[test]
fn fuzz_json_of_layouts_is_refused_or_judged() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("layout.json");
    let parse = |(name, text): (String, Vec<u8>)| -> Value {
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let layouts: Vec<Value> = layouts(".json").into_iter().map(parse).collect();
    efa_fuzz::rounds("json of layouts", 3000, |random| {
        let layout = random.pick(&layouts).clone();
        std::fs::write(&path, crate::text(random, &layout)).expect("a scratch file");
        is_refused_or_judged(random, &path);
    });
}

/// Lines left out, repeated, moved or indented otherwise, and values put in the place of others.
fn mutate_lines(random: &mut Random, text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=random.below(3) {
        if lines.is_empty() {
            break;
        }
        let place = random.below(lines.len());
        let donor = lines[random.below(lines.len())].clone();
        match random.below(7) {
            0 => {
                lines.remove(place);
            }
            1 => lines.insert(place, donor),
            2 => lines[place].insert_str(0, "  "),
            3 => lines[place] = lines[place].trim_start().to_owned(),
            4 => {
                let value = *random.pick(&[
                    "[]",
                    "{}",
                    "~",
                    "-1",
                    "1e999",
                    "99999999999999999999",
                    "!Ref Vpc",
                    "*compute",
                    "&a [*a]",
                    "!!binary x",
                    "\"\\u0007\"",
                    "{<<: 1}",
                    "yes",
                ]);
                let key = lines[place].split(": ").next().unwrap_or_default().to_owned();
                lines[place] = format!("{key}: {value}");
            }
            5 => lines.swap(place, 0),
            _ => lines[place] = random.mutate_text(&lines[place]),
        }
    }
    lines.join("\n") + "\n"
}

fn refused(name: &str, text: &str, expected: &str) {
    let file = file(text);
    let began = Instant::now();
    let error = read_described(file.path(), None).expect_err(name).to_string();
    assert!(began.elapsed() < LIMIT, "{name}: {:?}", began.elapsed());
    assert!(error.contains(expected), "{name}: {error}");
    assert!(!error.contains('\n') && error.len() < 8192, "{name}: {error}");
}

#[test]
fn files_that_are_made_to_do_harm_are_refused_in_bounded_time() {
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (here, before) in ('b'..='z').zip('a'..='y') {
        writeln!(bomb, "{here}: &{here} [{}]", vec![format!("*{before}"); 10].join(", "))
            .expect("a string grows");
    }
    refused("an alias bomb", &bomb, "it holds more than 2000000 values");
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 100_000].join(", "));
    refused("a long text that is used often", &long, "it holds more than 2000000 values");
    refused("deep lists", &format!("Scheduling: {}", "[".repeat(10_000)), "line 1, column");
    let deep: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refused("deep maps", &deep, "nested more than 100 deep");
    refused("deep JSON", &"{\"Resources\":".repeat(10_000), "line 1, column");
    refused("an alias of itself", "Scheduling: &a [*a]\n", "alias");
    refused("an alias of nothing", "Scheduling: *a\n", "line 1, column");
    refused(
        "a key twice in YAML",
        "Scheduling:\n  SlurmQueues: []\n  SlurmQueues: []\n",
        "duplicate key `SlurmQueues`",
    );
    refused("a key twice in JSON", r#"{"Resources": {"A": 1, "A": 2}}"#, "duplicate key `A`");
    refused("a foreign tag", "Scheduling: !!python/object:os.system [ls]\n", "the tag");
    refused("a number beyond all bounds", r#"{"Resources": {"A": 1e999}}"#, "number out of range");
    let index = "Resources: {L: {Type: AWS::EC2::LaunchTemplate, Properties: {LaunchTemplateData: {NetworkInterfaces: [{DeviceIndex: 99999999999}]}}}}\n";
    refused(
        "a huge index",
        index,
        "NetworkInterfaces[0].DeviceIndex: expected a number from 0 to 4294967295",
    );
    refused(
        "a list in the place of text",
        "Scheduling: {SlurmQueues: [{Name: [a]}]}\n",
        "expected text, found a list",
    );
    refused(
        "text in the place of a list",
        "Scheduling: {SlurmQueues: many}\n",
        "expected a list, found text",
    );
    refused("a long YAML", &format!("Scheduling: {}\n", "x".repeat(9 << 20)), "8 MiB at most");
    refused(
        "many values in JSON",
        &format!("{{\"Resources\": [{}0]}}", "0,".repeat(2_500_000)),
        "more than 2000000 values",
    );
}

#[test]
fn products_of_lists_are_bounded() {
    let subnets = vec!["subnet-1"; 100_000].join(", ");
    let resources = vec!["{Name: a, InstanceType: p5.48xlarge, Efa: {Enabled: true}}"; 10_000].join(", ");
    let queue = |subnets: &str| {
        format!(
            "Scheduling: {{SlurmQueues: [{{Networking: {{SubnetIds: [{subnets}]}}, ComputeResources: [{resources}]}}]}}\n"
        )
    };
    refused("queues of many subnets", &queue(&subnets), "has 100000 subnets, and 64 are the most");
    refused(
        "many resources of many interfaces",
        &queue(&vec!["subnet-1"; 60].join(", ")),
        "more than 400000 interfaces",
    );
    // References that lead to references, each twice, as deep as they go.
    let mut outputs = String::new();
    for depth in 0..40 {
        let next = depth + 1;
        write!(outputs, r#""o{depth}":{{"expression":{{"references":["module.m.o{next}","module.m.p{next}"]}}}},"p{depth}":{{"expression":{{"references":["module.m.o{next}","module.m.p{next}"]}}}},"#)
            .expect("a string grows");
    }
    let module = format!(
        r#"{{"outputs":{{{}}},"module_calls":{{"m":{{"module":{{}}}}}}}}"#,
        outputs.trim_end_matches(',')
    );
    let nested = (0..12).fold(module, |inner, _| {
        inner.replacen(
            r#""module":{}"#,
            &format!(
                r#""module":{{"outputs":{{{}}},"module_calls":{{"m":{{"module":{{}}}}}}}}"#,
                outputs.trim_end_matches(',')
            ),
            1,
        )
    });
    let plan = format!(
        r#"{{"format_version":"1.2","planned_values":{{"root_module":{{"resources":[{{"address":"aws_instance.a","type":"aws_instance","name":"a","values":{{}}}}]}}}},
            "configuration":{{"root_module":{{"module_calls":{{"m":{{"module":{nested}}}}},"resources":[{{"type":"aws_instance","name":"a","expressions":{{"subnet_id":{{"references":["module.m.o0"]}}}}}}]}}}}}}"#
    );
    let began = Instant::now();
    let _ = read_described(file(&plan).path(), None);
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
}

//! Seeded input for the tests of what reads bytes or text from outside. Their names begin with `fuzz_`, by which
//! `ci/fuzz` finds them.
//!
//! `EFA_FUZZ_SECONDS` makes each of these tests run for so long, each time from another seed; `EFA_FUZZ_SEED` gives the
//! seed, which a test prints when it fails.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant, SystemTime};

/// Runs `body` with input after input: `count` times, or for as long as the environment says.
///
/// # Panics
/// When `body` does, which is how a test fails; and when a variable is not a number.
pub fn rounds(name: &str, count: u64, mut body: impl FnMut(&mut Random)) {
    let number = |variable| std::env::var(variable).ok().map(|text| text.parse().expect("a number"));
    let seconds: Option<u64> = number("EFA_FUZZ_SECONDS");
    let now = || {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    };
    let first = number("EFA_FUZZ_SEED").unwrap_or_else(|| if seconds.is_some() { now() } else { 1 });
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seed = Failing { name, seed: first };
    let mut done = 0;
    while until.map_or(done < count, |until| Instant::now() < until) {
        body(&mut Random(seed.seed));
        seed.seed = seed.seed.wrapping_add(1);
        done += 1;
    }
    println!("{name}: {done} inputs from seed {first} on");
}

/// Says with which seed a test fails.
struct Failing<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} fails with EFA_FUZZ_SEED={}", self.name, self.seed);
        }
    }
}

/// Numbers that follow from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Returns any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`, which is not zero.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.any() % limit as u64) as usize
    }

    /// Returns a byte; those that mean something in many formats are frequent.
    pub fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\x00\x01\x02\x7f\x80\xff\"\\,:[]{}0 9-";
        match self.below(3) {
            0 => TELLING[self.below(TELLING.len())],
            _ => self.any() as u8,
        }
    }

    /// Returns a number of any magnitude; limits of types are frequent.
    pub fn number(&mut self) -> u64 {
        let small = self.any() & 7;
        match self.below(4) {
            0 => small,
            1 => u64::MAX - small,
            2 => (1 << self.below(64)) - small.min(1),
            _ => self.any() >> self.below(64),
        }
    }

    /// Returns the bytes with a few changes: bytes replaced, inserted or left out, parts repeated, the end cut off.
    pub fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..self.below(4) {
            let (place, byte) = (self.below(bytes.len() + 1), self.byte());
            match self.below(6) {
                0 if place < bytes.len() => bytes[place] ^= 1 << self.below(8),
                1 if place < bytes.len() => bytes[place] = byte,
                2 if place < bytes.len() => {
                    bytes.remove(place);
                }
                3 => bytes.insert(place, byte),
                4 => bytes.truncate(place),
                _ => {
                    let end = place + self.below(bytes.len() - place + 1);
                    let part = bytes[place..end].to_vec();
                    bytes.splice(place..place, part);
                }
            }
        }
        bytes
    }

    /// Returns one of `choices`.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Returns the text with a few changes, as [`Random::mutate`] makes them; what is no UTF-8 then is replaced.
    pub fn mutate_text(&mut self, text: &str) -> String {
        String::from_utf8_lossy(&self.mutate(text.as_bytes())).into_owned()
    }

    /// Returns JSON with a few changes of its structure: values replaced by others of the text or by extreme ones, keys
    /// renamed, elements repeated or left out.
    pub fn mutate_json(&mut self, json: &serde_json::Value) -> serde_json::Value {
        let mut json = json.clone();
        for _ in 0..=self.below(3) {
            let count = count(&json);
            let target = self.below(count);
            let donor = nth(&json, &mut self.below(count)).cloned().unwrap_or_default();
            if let Some(place) = nth_mut(&mut json, &mut { target }) {
                self.change(place, donor);
            }
        }
        json
    }

    fn change(&mut self, place: &mut serde_json::Value, donor: serde_json::Value) {
        use serde_json::{Value, json};
        match (self.below(4), &mut *place) {
            (0, Value::Array(elements)) if !elements.is_empty() => {
                let index = self.below(elements.len());
                if self.below(2) == 0 {
                    elements.remove(index);
                } else {
                    elements.push(elements[index].clone());
                }
            }
            (0, Value::Object(fields)) if !fields.is_empty() => {
                let key = fields.keys().nth(self.below(fields.len())).cloned().unwrap_or_default();
                let value = fields.remove(&key).unwrap_or_default();
                if self.below(2) == 0 {
                    fields.insert(self.mutate_text(&key), value);
                }
            }
            (1, Value::String(text)) => *text = self.mutate_text(text),
            (2, _) => *place = donor,
            _ => {
                *place = match self.below(8) {
                    0 => Value::Null,
                    1 => json!(true),
                    2 => json!(self.number()),
                    3 => json!(-(self.number() as i64 >> 1)),
                    4 => json!(f64::from_bits(self.any())),
                    5 => json!(""),
                    6 => json!([]),
                    _ => json!({}),
                }
            }
        }
    }
}

/// Returns how many values there are, the containers among them.
fn count(json: &serde_json::Value) -> usize {
    use serde_json::Value;
    1 + match json {
        Value::Array(elements) => elements.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// Returns the value that `left` others come before.
fn nth<'a>(json: &'a serde_json::Value, left: &mut usize) -> Option<&'a serde_json::Value> {
    use serde_json::Value;
    if *left == 0 {
        return Some(json);
    }
    *left -= 1;
    match json {
        Value::Array(elements) => elements.iter().find_map(|element| nth(element, left)),
        Value::Object(fields) => fields.values().find_map(|field| nth(field, left)),
        _ => None,
    }
}

/// Returns what [`nth`] does, to be changed.
fn nth_mut<'a>(json: &'a mut serde_json::Value, left: &mut usize) -> Option<&'a mut serde_json::Value> {
    use serde_json::Value;
    if *left == 0 {
        return Some(json);
    }
    *left -= 1;
    match json {
        Value::Array(elements) => elements.iter_mut().find_map(|element| nth_mut(element, left)),
        Value::Object(fields) => fields.values_mut().find_map(|field| nth_mut(field, left)),
        _ => None,
    }
}

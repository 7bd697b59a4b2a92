//! Asking the metadata service: a session token first, then keys, with retries and within a deadline.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use ureq::{Agent, Body, http::Response};

use super::Metadata;
use crate::failure::MetadataFailure;

/// How long the token is to last; far longer than one reading of the metadata.
const TOKEN_SECONDS: &str = "300";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_PATH: &str = "latest/api/token";
/// Tokens have 56 letters.
const LONGEST_TOKEN: usize = 4096;
/// No key that is read here has a value near this.
const LONGEST_VALUE: u64 = 64 << 10;

/// How often a request is made before its failure counts, every time after twice the pause: of a service that is
/// there and busy, and of one that doesn't answer at all.
const BUSY_ATTEMPTS: u32 = 6;
const SILENT_ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// One reading of the metadata.
pub(super) struct Client<'a> {
    settings: &'a Metadata,
    agent: Agent,
    token: Option<String>,
    end: Instant,
    requests: Cell<usize>,
}

/// An answer with a status that says something about the key.
struct Answer {
    status: u16,
    ttl: Option<u64>,
    body: Vec<u8>,
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a Metadata) -> Self {
        let agent = Agent::config_builder()
            // The service is on this machine: nothing may stand between, and nothing else may answer for it.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .build()
            .new_agent();
        Self { settings, agent, token: None, end: Instant::now() + settings.deadline, requests: Cell::new(0) }
    }

    /// Returns how many requests were made so far.
    pub(super) fn requests(&self) -> usize {
        self.requests.get()
    }

    /// Returns the value of a key that every instance has.
    pub(super) fn required(&mut self, key: &str) -> Result<String, MetadataFailure> {
        let value = self.optional(key)?;
        value.ok_or_else(|| MetadataFailure::Missing(key.into()))
    }

    /// Returns the value of a key, or `None` for one that the instance doesn't have.
    pub(super) fn optional(&mut self, key: &str) -> Result<Option<String>, MetadataFailure> {
        let url = format!("{}/latest/meta-data/{key}", self.settings.endpoint);
        // A token may be withdrawn while it is used, so one rejection is no failure yet.
        for _ in 0..2 {
            let token = self.token()?;
            let answer = self.ask(key, |agent| agent.get(&url).header(TOKEN_HEADER, &token))?;
            match answer.status {
                200 => return value(key, answer.body).map(Some),
                404 => return Ok(None),
                401 => self.token = None,
                403 => return Err(MetadataFailure::Forbidden),
                status => return Err(MetadataFailure::Status { key: key.into(), status }),
            }
        }
        Err(MetadataFailure::Unauthorized)
    }

    fn token(&mut self) -> Result<String, MetadataFailure> {
        if let Some(token) = &self.token {
            return Ok(token.clone());
        }
        let url = format!("{}/{TOKEN_PATH}", self.settings.endpoint);
        let answer = self.ask(TOKEN_PATH, |agent| agent.put(&url).header(TOKEN_TTL_HEADER, TOKEN_SECONDS))?;
        match answer.status {
            200 => {}
            403 => return Err(MetadataFailure::Forbidden),
            status => return Err(MetadataFailure::NoToken(status)),
        }
        let token = value(TOKEN_PATH, answer.body)?;
        // Whoever answers without the lifetime is not IMDSv2.
        let is_token =
            (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token || answer.ttl.is_none_or(|seconds| seconds == 0) {
            return Err(MetadataFailure::Malformed(TOKEN_PATH.into()));
        }
        self.token = Some(token.clone());
        Ok(token)
    }

    /// Makes the request until there is an answer that repeating it wouldn't change.
    fn ask<B: Request>(&self, key: &str, request: impl Fn(&Agent) -> B) -> Result<Answer, MetadataFailure> {
        let mut pause = FIRST_PAUSE;
        // Whoever answered the token's request is within reach.
        let silence = match key {
            TOKEN_PATH => MetadataFailure::TimedOut,
            _ => MetadataFailure::Slow,
        };
        let mut last = silence.clone();
        let (mut attempts, mut silent) = (0, 0);
        while attempts < BUSY_ATTEMPTS && silent < SILENT_ATTEMPTS {
            if attempts > 0 {
                std::thread::sleep((pause + jitter(pause)).min(self.left()));
                pause *= 2;
            }
            attempts += 1;
            let limit = self.settings.attempt.min(self.left());
            if limit.is_zero() {
                break;
            }
            self.requests.set(self.requests.get() + 1);
            match request(&self.agent).send_within(limit).and_then(read) {
                Ok(answer) if answer.status == 429 || answer.status >= 500 => {
                    last = MetadataFailure::Status { key: key.into(), status: answer.status };
                }
                Ok(answer) => return Ok(answer),
                Err(error) => match failure(key, &error) {
                    malformed @ MetadataFailure::Malformed(_) => return Err(malformed),
                    passing => {
                        silent += 1;
                        last = match passing {
                            MetadataFailure::TimedOut => silence.clone(),
                            other => other,
                        };
                    }
                },
            }
        }
        Err(last)
    }

    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

/// A request that lacks nothing but its time limit; requests with and without a body are of different types.
trait Request {
    fn send_within(self, limit: Duration) -> Result<Response<Body>, ureq::Error>;
}

impl Request for ureq::RequestBuilder<ureq::typestate::WithoutBody> {
    fn send_within(self, limit: Duration) -> Result<Response<Body>, ureq::Error> {
        self.config().timeout_global(Some(limit)).build().call()
    }
}

impl Request for ureq::RequestBuilder<ureq::typestate::WithBody> {
    fn send_within(self, limit: Duration) -> Result<Response<Body>, ureq::Error> {
        self.config().timeout_global(Some(limit)).build().send_empty()
    }
}

fn read(mut reply: Response<Body>) -> Result<Answer, ureq::Error> {
    let ttl = reply.headers().get(TOKEN_TTL_HEADER);
    let ttl = ttl.and_then(|ttl| ttl.to_str().ok()?.trim().parse().ok());
    let body = reply.body_mut().with_config().limit(LONGEST_VALUE).read_to_vec()?;
    Ok(Answer { status: reply.status().as_u16(), ttl, body })
}

/// Returns what a failed exchange says. Only what makes no sense is certain not to pass.
fn failure(key: &str, error: &ureq::Error) -> MetadataFailure {
    match error {
        ureq::Error::Timeout(_) => MetadataFailure::TimedOut,
        ureq::Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) =>
        {
            MetadataFailure::TimedOut
        }
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            MetadataFailure::Malformed(key.into())
        }
        ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
            MetadataFailure::Unreachable
        }
        _ => MetadataFailure::Malformed(key.into()),
    }
}

/// Returns the body as text: lines without control characters.
fn value(key: &str, body: Vec<u8>) -> Result<String, MetadataFailure> {
    let malformed = || MetadataFailure::Malformed(key.into());
    let text = String::from_utf8(body).map_err(|_| malformed())?;
    let text = text.trim();
    if text.is_empty() || text.lines().any(|line| line.chars().any(char::is_control)) {
        return Err(malformed());
    }
    Ok(text.to_owned())
}

/// Up to as much again, so that the ranks of one instance don't ask in step.
fn jitter(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(0);
    pause.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

//! The EC2 API as a source: rules of security groups, kinds of interfaces, strategies of placement groups, and the
//! network layers above instances. One member asks for the whole job.
//!
//! Credentials, region and endpoint come from where the AWS SDKs take them: environment, profile, the instance's
//! role. Nothing here waits without a deadline, and whatever is not told is part of what is returned.

mod ask;
mod reply;

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_ec2::config::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls;

use super::super::facts::Facts;
use super::super::failure::ApiFailure;
use super::super::groups::SecurityGroups;
use super::super::judge::evaluate;
use super::super::lookup::{Lookup, Question};
use super::super::policy::Policy;
use super::super::report::FindingCode;
use ask::Names;

/// How long the connection, and one try of one request, may take. The SDK makes up to three, with pauses between.
const CONNECT: Duration = Duration::from_secs(3);
const ATTEMPT: Duration = Duration::from_secs(6);

/// Which EC2 API to ask, and how long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Api {
    /// Its address. Default: that of the region, or what `AWS_ENDPOINT_URL_EC2` or `AWS_ENDPOINT_URL` says.
    pub endpoint: Option<String>,
    /// The region. Default: what environment, profile or metadata say.
    pub region: Option<String>,
    /// How long all questions together may take. Default: 25 s.
    pub deadline: Duration,
    /// After how long to ask again for rules that would refuse the job: AWS may take a moment to show a change that
    /// was just made. Default: 2 s.
    pub second_look: Duration,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            deadline: Duration::from_secs(25),
            second_look: Duration::from_secs(2),
        }
    }
}

impl Api {
    /// Returns the API at this address, in this region.
    pub fn at(endpoint: &str, region: &str) -> Self {
        Self { endpoint: Some(endpoint.into()), region: Some(region.into()), ..Self::default() }
    }

    /// Looks up what the members' own facts lack. `rules` are those of a file, which takes the place of asking.
    ///
    /// May be called from an asynchronous runtime, but blocks its thread.
    pub fn look_up(&self, members: &[Facts], rules: Option<SecurityGroups>) -> Lookup {
        // Members that nobody could identify are refused without further questions.
        if members.iter().all(|facts| facts.member.interfaces.is_empty()) {
            return Lookup::of(rules.unwrap_or_else(SecurityGroups::unknown));
        }
        let answer = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| ApiFailure::Other(format!("{:?}", error.kind())))?;
                runtime.block_on(self.ask(members, rules.as_ref()))
            });
            // The SDK panics rather than fails where it finds no certificates.
            worker.join().unwrap_or_else(|_| Err(ApiFailure::Other("nothing: its client panicked".into())))
        });
        answer.unwrap_or_else(|failure| nothing_told(rules, &failure))
    }

    async fn ask(&self, members: &[Facts], rules: Option<&SecurityGroups>) -> Result<Lookup, ApiFailure> {
        let end = tokio::time::Instant::now() + self.deadline;
        let client =
            tokio::time::timeout_at(end, self.client()).await.map_err(|_| ApiFailure::TimedOut)??;
        let names = Names::of(members);
        let timely = |_| ApiFailure::TimedOut;
        let ask_rules = async {
            match rules {
                Some(rules) => Ok(rules.clone()),
                None => within(end, ask::rules(&client, &names.security_groups)).await,
            }
        };
        let (rules_told, kinds, strategies, topology) = tokio::join!(
            ask_rules,
            within(end, ask::kinds(&client, &names)),
            within(end, ask::strategies(&client, &names.placement_groups)),
            within(end, ask::network_nodes(&client, &names.instances)),
        );
        let mut gaps = Vec::new();
        let mut lookup = Lookup {
            rules: rules_told.unwrap_or_else(SecurityGroups::unknown_because),
            kinds: told(kinds, Question::Kinds, &mut gaps),
            strategies: told(strategies, Question::Strategies, &mut gaps),
            network_nodes: told(topology, Question::Topology, &mut gaps),
            gaps,
        };
        if rules.is_none() && may_be_spreading(members, &lookup) {
            tokio::time::timeout_at(end, tokio::time::sleep(self.second_look)).await.map_err(timely)?;
            // A failure the second time leaves what was told the first time.
            if let Ok(again) = within(end, ask::rules(&client, &names.security_groups)).await {
                lookup.rules = again;
            }
        }
        Ok(lookup)
    }

    async fn client(&self) -> Result<aws_sdk_ec2::Client, ApiFailure> {
        // ring, because the other choice wants cmake and a C++ compiler.
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(self.deadline)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let config = loader.load().await;
        config.region().ok_or(ApiFailure::NoRegion)?;
        // Asked for once, and before the questions, so that their absence is not one more failed connection.
        let provider = config.credentials_provider().ok_or(ApiFailure::NoCredentials)?;
        let credentials = provider.provide_credentials().await.map_err(|error| {
            log::debug!("no AWS credentials: {}", aws_sdk_ec2::error::DisplayErrorContext(&error));
            ApiFailure::NoCredentials
        })?;
        let mut config = aws_sdk_ec2::config::Builder::from(&config)
            .credentials_provider(SharedCredentialsProvider::new(credentials));
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(aws_sdk_ec2::Client::from_conf(config.build()))
    }
}

async fn within<T>(
    end: tokio::time::Instant,
    question: impl Future<Output = Result<T, ApiFailure>>,
) -> Result<T, ApiFailure> {
    tokio::time::timeout_at(end, question).await.unwrap_or(Err(ApiFailure::TimedOut))
}

/// Returns the answer, or nothing and a note of why.
fn told<T: Default>(
    answer: Result<T, ApiFailure>,
    question: Question,
    gaps: &mut Vec<(Question, ApiFailure)>,
) -> T {
    answer.unwrap_or_else(|failure| {
        gaps.push((question, failure));
        T::default()
    })
}

fn nothing_told(rules: Option<SecurityGroups>, failure: &ApiFailure) -> Lookup {
    let rules = rules.unwrap_or_else(|| SecurityGroups::unknown_because(failure.clone()));
    let gaps = [Question::Kinds, Question::Strategies, Question::Topology];
    Lookup { gaps: gaps.map(|question| (question, failure.clone())).into(), ..Lookup::of(rules) }
}

/// Returns `true` if the job would be refused for rules that may have been added a moment ago.
fn may_be_spreading(members: &[Facts], lookup: &Lookup) -> bool {
    let mut members = members.to_vec();
    lookup.complete(&mut members);
    let report = evaluate(&members, &lookup.rules, &Policy::default());
    report.findings().iter().any(|finding| {
        matches!(
            finding.code,
            FindingCode::MissingSelfIngress
                | FindingCode::MissingSelfEgress
                | FindingCode::SecurityGroupNotFound
        )
    })
}

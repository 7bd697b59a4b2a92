//! The same verdicts on EC2 as on files: facts from a metadata service, rules through the AWS SDK from moto, in which
//! networks, groups and rules are created as a user would. `ci/ec2` starts moto and runs this.

#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "aws/api.rs"]
mod api;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "admission/build.rs"]
mod build;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "admission/cases.rs"]
mod cases;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "aws/http.rs"]
mod http;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "aws/metadata.rs"]
mod service;
#[path = "aws/troubles.rs"]
mod troubles;
#[path = "aws/user.rs"]
mod user;
#[path = "aws/verdicts.rs"]
mod verdicts;

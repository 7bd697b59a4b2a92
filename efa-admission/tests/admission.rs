//! Admission as a user meets it: files in, verdict out.

#[path = "admission/build.rs"]
mod build;
#[path = "admission/cases.rs"]
mod cases;
#[path = "admission/files.rs"]
mod files;
#[path = "admission/forms.rs"]
mod forms;
#[path = "admission/hosts.rs"]
mod hosts;
#[path = "admission/layouts.rs"]
mod layouts;
#[path = "admission/listings.rs"]
mod listings;
#[path = "admission/order.rs"]
mod order;
#[path = "admission/paths.rs"]
mod paths;
#[path = "admission/properties.rs"]
mod properties;
#[path = "admission/remedies.rs"]
mod remedies;
#[path = "admission/scale.rs"]
mod scale;
#[path = "admission/unknowns.rs"]
mod unknowns;
#[path = "admission/verdicts.rs"]
mod verdicts;

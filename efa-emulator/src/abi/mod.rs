//! The C structures of rdma-core's headers, laid out as its users were compiled to expect them.
//!
//! Only what the emulator touches has a type of its own; everything else is an opaque pointer of the right size.
//! The test `layout` compares every offset with the headers installed on the machine.

// Names and fields are those of the headers, which also document them.
#![allow(non_camel_case_types, missing_docs)]

pub mod context;
pub mod efadv;
pub mod queue;
pub mod verbs;

/// A function pointer in a table that the emulator leaves empty.
pub type Unused = Option<unsafe extern "C" fn()>;

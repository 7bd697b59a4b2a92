//! What messages and collectives carry: element types, and typed views of plain memory.
//!
//! An [`Element`] is a number a collective can reduce; its [`DType`] is the same fact as a value. A [`TensorView`]
//! puts a type and a shape on bytes that lie elsewhere: in a `Vec`, a registered buffer or a mapped file.

#![forbid(unsafe_code)]

mod dtype;
mod element;
mod view;

pub use dtype::DType;
pub use element::Element;
pub use half::{bf16, f16};
pub use view::{TensorView, TensorViewMut};

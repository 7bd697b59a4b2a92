//! Element types as values.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The type of a tensor's elements, little-endian as on every machine we support.
///
/// Its name is Rust's (`f32`, `bf16`, `u8`); the upper-case names of safetensors files are read as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DType {
    /// IEEE 754 half precision.
    #[serde(rename = "f16", alias = "F16")]
    F16,
    /// The upper half of an [`f32`](DType::F32): its range, with 8 bits of precision.
    #[serde(rename = "bf16", alias = "BF16")]
    Bf16,
    /// IEEE 754 single precision.
    #[serde(rename = "f32", alias = "F32")]
    F32,
    /// IEEE 754 double precision.
    #[serde(rename = "f64", alias = "F64")]
    F64,
    /// Signed, 8 bits.
    #[serde(rename = "i8", alias = "I8")]
    I8,
    /// Signed, 16 bits.
    #[serde(rename = "i16", alias = "I16")]
    I16,
    /// Signed, 32 bits.
    #[serde(rename = "i32", alias = "I32")]
    I32,
    /// Signed, 64 bits.
    #[serde(rename = "i64", alias = "I64")]
    I64,
    /// Unsigned, 8 bits.
    #[serde(rename = "u8", alias = "U8")]
    U8,
    /// Unsigned, 16 bits.
    #[serde(rename = "u16", alias = "U16")]
    U16,
    /// Unsigned, 32 bits.
    #[serde(rename = "u32", alias = "U32")]
    U32,
    /// Unsigned, 64 bits.
    #[serde(rename = "u64", alias = "U64")]
    U64,
}

impl DType {
    /// Every type there is, floats first.
    pub const ALL: [Self; 12] = [
        Self::F16,
        Self::Bf16,
        Self::F32,
        Self::F64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
    ];

    /// The name, as in Rust: `f32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
        }
    }

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// True for the types with a fraction, an infinity and a NaN.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }

    /// Reads `f32`, or `F32` as safetensors files write it.
    ///
    /// # Errors
    /// [`Error::Setting`] for any other name; it lists the ones there are.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            Error::setting(
                format!("cannot use elements of type '{name}'"),
                "no element type has that name",
                format!("choose one of {}", Self::ALL.map(Self::name).join(", ")),
            )
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_both_spellings_and_survive_serde() {
        for dtype in DType::ALL {
            let upper = dtype.name().to_uppercase();
            assert_eq!(DType::parse(dtype.name()).unwrap(), dtype);
            assert_eq!(upper.parse::<DType>().unwrap(), dtype);
            assert_eq!(serde_json::to_string(&dtype).unwrap(), format!("\"{dtype}\""));
            assert_eq!(serde_json::from_str::<DType>(&format!("\"{upper}\"")).unwrap(), dtype);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = DType::parse("f8").unwrap_err().to_string();
        assert!(message.contains("'f8'") && message.contains("bf16") && message.contains("u64"), "{message}");
    }
}

//! The operations there are for every element type: [`ReduceOp`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::tensor::DType;
use crate::{Error, Result};

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReduceOp {
    /// The sum.
    Sum,
    /// The product.
    Product,
    /// The least; of [`Located`](super::Located) values the least with its location.
    Min,
    /// The greatest; of [`Located`](super::Located) values the greatest with its location.
    Max,
    /// The sum, divided by the number of ranks at the end; see [`finish_average`](super::finish_average). A sum that
    /// overflows its type gives a wrong average. Not for scans.
    Average,
    /// The bits that all have. For integers.
    BitAnd,
    /// The bits that any has. For integers.
    BitOr,
    /// The bits that an odd number has. For integers.
    BitXor,
    /// 1 if all are not zero, else 0. For integers.
    LogicalAnd,
    /// 1 if any is not zero, else 0. For integers.
    LogicalOr,
    /// 1 if an odd number is not zero, else 0. For integers.
    LogicalXor,
}

impl ReduceOp {
    /// Every operation there is.
    pub const ALL: [Self; 11] = [
        Self::Sum,
        Self::Product,
        Self::Min,
        Self::Max,
        Self::Average,
        Self::BitAnd,
        Self::BitOr,
        Self::BitXor,
        Self::LogicalAnd,
        Self::LogicalOr,
        Self::LogicalXor,
    ];

    /// The name, as on the command line: `sum`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Product => "product",
            Self::Min => "min",
            Self::Max => "max",
            Self::Average => "average",
            Self::BitAnd => "bit-and",
            Self::BitOr => "bit-or",
            Self::BitXor => "bit-xor",
            Self::LogicalAnd => "logical-and",
            Self::LogicalOr => "logical-or",
            Self::LogicalXor => "logical-xor",
        }
    }

    /// Returns `true` if the operation exists for elements of this type: bits and truth values are for integers only.
    pub const fn exists_for(self, dtype: DType) -> bool {
        match self {
            Self::Sum | Self::Product | Self::Min | Self::Max | Self::Average => true,
            Self::BitAnd
            | Self::BitOr
            | Self::BitXor
            | Self::LogicalAnd
            | Self::LogicalOr
            | Self::LogicalXor => !dtype.is_float(),
        }
    }

    /// Refuses a type that the operation does not exist for.
    pub(crate) fn check(self, dtype: DType) -> Result<()> {
        if self.exists_for(dtype) {
            return Ok(());
        }
        Err(Error::misuse(
            format!("cannot reduce {dtype} by {self}"),
            format!("{self} exists for integers only"),
            "choose another operation, or pass the elements as integers",
        ))
    }

    /// Reads a name, and `prod` and `avg` for those used to them.
    ///
    /// # Errors
    /// [`Error::Setting`] for any other name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "prod" => Ok(Self::Product),
            "avg" => Ok(Self::Average),
            _ => Self::ALL.into_iter().find(|op| op.name() == name).ok_or_else(|| {
                Error::setting(
                    format!("cannot reduce by '{name}'"),
                    "there is no operation of that name",
                    format!("choose one of {}", Self::ALL.map(Self::name).join(", ")),
                )
            }),
        }
    }
}

impl fmt::Display for ReduceOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ReduceOp {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_known_by_their_names() {
        for op in ReduceOp::ALL {
            assert_eq!(op.name().parse::<ReduceOp>().unwrap(), op);
            assert_eq!(serde_json::to_string(&op).unwrap(), format!("\"{op}\""));
        }
        assert!(ReduceOp::parse("and").unwrap_err().to_string().contains("bit-and"));
    }

    #[test]
    fn bits_of_floats_are_refused() {
        assert!(ReduceOp::BitXor.check(DType::U8).is_ok());
        let message = ReduceOp::LogicalOr.check(DType::Bf16).unwrap_err().to_string();
        assert!(message.contains("bf16") && message.contains("logical-or"), "{message}");
    }
}

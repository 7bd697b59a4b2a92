//! The colours and the font of the pictures that `--plot` writes.

use std::fmt;

/// A colour as red, green and blue. `Display` writes it as SVG does: `#1b2430`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour(pub(crate) u8, pub(crate) u8, pub(crate) u8);

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(red, green, blue) = self;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// The fonts that most readers have, the preferred first.
pub(crate) const FONT: &str =
    "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif";

/// The background.
pub(crate) const WHITE: Colour = Colour(0xff, 0xff, 0xff);
/// Text.
pub(crate) const INK: Colour = Colour(0x1b, 0x24, 0x30);
/// Text of less weight.
pub(crate) const MUTED: Colour = Colour(0x5d, 0x68, 0x76);
/// Outlines.
pub(crate) const LINE: Colour = Colour(0xcf, 0xd6, 0xde);
/// The lines of a grid that have a label.
pub(crate) const GRID_LINE: Colour = Colour(0xe4, 0xe8, 0xed);
/// The lines of a grid that have none.
pub(crate) const FAINT_LINE: Colour = Colour(0xf2, 0xf4, 0xf7);
/// The background of a subnet.
pub(crate) const PALE_GREY: Colour = Colour(0xf5, 0xf7, 0xfa);
/// An interface without an EFA.
pub(crate) const GREY: Colour = Colour(0xb4, 0xbd, 0xc8);
/// An EFA, and the first curve.
pub(crate) const BLUE: Colour = Colour(0x1f, 0x6f, 0xd6);
/// An EFA without an address.
pub(crate) const PALE_BLUE: Colour = Colour(0xdb, 0xe8, 0xfa);
/// Admitted.
pub(crate) const GREEN: Colour = Colour(0x1b, 0x7f, 0x4b);
/// A warning, or undetermined.
pub(crate) const AMBER: Colour = Colour(0xb2, 0x6a, 0x00);
/// Not known.
pub(crate) const YELLOW: Colour = Colour(0xe7, 0xc2, 0x5a);
/// An error, or refused.
pub(crate) const RED: Colour = Colour(0xc6, 0x28, 0x28);

/// The curves of a chart. Blue and orange stay apart for readers who don't see all colours.
pub(crate) const SERIES: [Colour; 4] =
    [BLUE, Colour(0xe0, 0x7b, 0x15), Colour(0x12, 0x8a, 0x6d), Colour(0xa0, 0x4c, 0xc4)];

/// The security groups. They repeat after the last, and the letters tell the groups apart.
pub(crate) const GROUPS: [Colour; 8] = [
    Colour(0x6b, 0x3f, 0xa0),
    Colour(0x00, 0x79, 0x6b),
    Colour(0xb0, 0x34, 0x6f),
    Colour(0x3d, 0x5a, 0x80),
    Colour(0x7a, 0x5c, 0x00),
    Colour(0x2e, 0x7d, 0x32),
    Colour(0xad, 0x4b, 0x00),
    Colour(0x45, 0x5a, 0x64),
];

//! How a [`Code`] travels: plain on raw QUIC, inside the HTTP/3 error space over WebTransport.

use quinn::VarInt;

use crate::Code;

/// Where WebTransport's 2^32 codes start in the HTTP/3 error space.
const FIRST: u64 = 0x52e4_a40f_a8db;

/// Which way of writing codes a connection uses. Reading them needs no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// The code itself.
    Plain,
    /// The code's place in the HTTP/3 error space.
    #[cfg_attr(not(feature = "webtransport"), allow(dead_code, reason = "used by WebTransport only"))]
    WebTransport,
}

impl Mapping {
    /// The integer to send. A code that is too large becomes the largest that the carrier has.
    pub(crate) fn encode(self, code: Code) -> VarInt {
        let wire = match self {
            Self::Plain => code.0,
            Self::WebTransport => to_http3(u32::try_from(code.0).unwrap_or(u32::MAX)),
        };
        VarInt::from_u64(wire).unwrap_or(VarInt::MAX)
    }
}

/// What a received integer means: a value in WebTransport's range is mapped back, all others stand for
/// themselves.
///
/// Deployed peers use the mapped range on raw QUIC and plain zero over WebTransport, so both carriers read
/// both forms.
pub(crate) fn decode(wire: VarInt) -> Code {
    let wire = wire.into_inner();
    Code(from_http3(wire).map_or(wire, u64::from))
}

fn to_http3(code: u32) -> u64 {
    let code = u64::from(code);
    FIRST + code + code / 0x1e
}

fn from_http3(wire: u64) -> Option<u32> {
    let offset = wire.checked_sub(FIRST)?;
    // Values of the form 0x1f * n + 0x21 are reserved for exercising unknown codes.
    if (wire - 0x21).is_multiple_of(0x1f) {
        return None;
    }
    u32::try_from(offset - offset / 0x1f).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [(u32, u64); 10] = [
        (0, 0x52e4_a40f_a8db),
        (5, 0x52e4_a40f_a8e0),
        (9, 0x52e4_a40f_a8e4),
        (10, 0x52e4_a40f_a8e5),
        (12, 0x52e4_a40f_a8e7),
        (13, 0x52e4_a40f_a8e8),
        (14, 0x52e4_a40f_a8e9),
        (30, 0x52e4_a40f_a8fa),
        (64, 0x52e4_a40f_a91d),
        (404, 0x52e4_a40f_aa7c),
    ];

    fn wire(value: u64) -> VarInt {
        VarInt::from_u64(value).unwrap()
    }

    #[test]
    fn the_table_of_the_specification_holds_in_both_directions() {
        for (code, mapped) in TABLE {
            assert_eq!(Mapping::WebTransport.encode(code.into()), wire(mapped));
            assert_eq!(decode(wire(mapped)), code.into());
        }
        assert_eq!(Mapping::WebTransport.encode(u32::MAX.into()), wire(0x52e5_ac98_3162));
        assert_eq!(decode(wire(0x52e5_ac98_3162)), u32::MAX.into());
    }

    #[test]
    fn every_code_near_a_reserved_point_survives() {
        let edges = [0, 1 << 16, u32::MAX - 100];
        for code in edges.into_iter().flat_map(|start| start..=start + 100) {
            assert_eq!(decode(Mapping::WebTransport.encode(code.into())), code.into());
        }
    }

    #[test]
    fn reserved_points_and_values_outside_the_range_stand_for_themselves() {
        // 30 codes, then one reserved point.
        let reserved = FIRST + 30;
        assert!((reserved - 0x21).is_multiple_of(0x1f));
        for value in [0, 5, 404, FIRST - 1, reserved, 0x52e5_ac98_3163, VarInt::MAX.into_inner()] {
            assert_eq!(decode(wire(value)), Code(value));
        }
    }

    #[test]
    fn plain_codes_are_unchanged_and_too_large_ones_saturate() {
        assert_eq!(Mapping::Plain.encode(Code(404)), wire(404));
        assert_eq!(Mapping::Plain.encode(Code(u64::MAX)), VarInt::MAX);
        assert_eq!(
            Mapping::WebTransport.encode(Code(1 << 40)),
            Mapping::WebTransport.encode(u32::MAX.into())
        );
    }
}

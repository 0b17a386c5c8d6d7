//! The least that the codec's parts could take: the same bytes by hand, over plain slices.
//!
//! Integers are checked as the protocol asks, and nothing is looked after that a codec has to: no chunks, no versions,
//! no limits but those of the integers, no word on what was wrong.

use std::hint::black_box;

use bytes::{Buf as _, Bytes};

/// Two integers, as in the header of a group.
pub(crate) fn group_header_encode(rounds: u64) {
    let mut room = [0; 64];
    for _ in 0..rounds {
        let len = put(&mut room, black_box(7)).unwrap();
        put(room.get_mut(len..).unwrap(), black_box(1000)).unwrap();
        black_box(&room);
    }
}

pub(crate) fn group_header_decode(rounds: u64) {
    let bytes = b"\x07\x43\xe8".as_slice();
    for _ in 0..rounds {
        let (subscribe, rest) = take(black_box(bytes)).unwrap();
        let (sequence, _) = take(rest).unwrap();
        black_box(&(subscribe, sequence));
    }
}

/// One integer, the header of a frame.
pub(crate) fn frame_header_encode(rounds: u64) {
    let mut room = [0; 64];
    for _ in 0..rounds {
        black_box(put(&mut room, black_box(20_833)).unwrap());
        black_box(&room);
    }
}

/// The headers of frames without payload, that is, one integer after another.
pub(crate) fn frame_header_decode(rounds: u64, headers: &[u8]) {
    for _ in 0..rounds {
        let mut rest = black_box(headers);
        while let Some((size, after)) = take(rest) {
            black_box(size);
            rest = after;
        }
    }
}

/// The header off the slice, the payload as the `Bytes` that it came in.
pub(crate) fn frame_decode(rounds: u64, frame: &Bytes) {
    for _ in 0..rounds {
        let mut payload = black_box(frame).clone();
        let (size, rest) = take(&payload).unwrap();
        assert_eq!(usize::try_from(size), Ok(rest.len()));
        payload.advance(payload.len() - rest.len());
        black_box(payload);
    }
}

/// A copy of the message.
pub(crate) fn subscribe_encode(rounds: u64, message: &[u8]) {
    let mut room = [0; 256];
    for _ in 0..rounds {
        let message = black_box(message);
        room.get_mut(..message.len()).unwrap().copy_from_slice(message);
        black_box(&room);
    }
}

/// The integers and texts of the message one by one.
pub(crate) fn subscribe_encode_fields(rounds: u64) {
    let parts = [&b"meeting"[..], b"1234", b"alice"];
    let mut room = [0; 256];
    for _ in 0..rounds {
        let (id, parts, values) = (black_box(7), black_box(parts.as_slice()), black_box([200, 2, 0, 0]));
        let mut end = put_at(&mut room, 0, id);
        end = put_at(&mut room, end, parts.len() as u64);
        for part in parts {
            let start = put_at(&mut room, end, part.len() as u64);
            end = start + part.len();
            room.get_mut(start..end).unwrap().copy_from_slice(part);
        }
        for value in values {
            end = put_at(&mut room, end, value);
        }
        black_box((&room, end));
    }
}

/// A copy of the message, and an allocation for each field that owns memory: the namespace and the track's name.
pub(crate) fn subscribe_decode(rounds: u64, message: &[u8]) {
    for _ in 0..rounds {
        let namespace = black_box(message).to_vec();
        let name = Vec::<u8>::with_capacity(black_box(5));
        black_box(&(namespace, name));
    }
}

fn put_at(room: &mut [u8], at: usize, value: u64) -> usize {
    at + put(room.get_mut(at..).unwrap(), value).unwrap()
}

#[expect(clippy::cast_possible_truncation, reason = "the arm was chosen by the value")]
fn put(room: &mut [u8], value: u64) -> Option<usize> {
    Some(match value {
        0..0x40 => {
            *room.first_chunk_mut()? = [value as u8];
            1
        }
        0x40..0x4000 => {
            *room.first_chunk_mut()? = (value as u16 | 0x4000).to_be_bytes();
            2
        }
        0x4000..0x4000_0000 => {
            *room.first_chunk_mut()? = (value as u32 | 0x8000_0000).to_be_bytes();
            4
        }
        0x4000_0000..0x4000_0000_0000_0000 => {
            *room.first_chunk_mut()? = (value | 0xc000_0000_0000_0000).to_be_bytes();
            8
        }
        _ => return None,
    })
}

fn take(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    Some(match first >> 6 {
        _ if *first < 0x40 => ((*first).into(), rest),
        1 => {
            let (all, rest) = bytes.split_first_chunk()?;
            ((u16::from_be_bytes(*all) & 0x3fff).into(), rest)
        }
        2 => {
            let (all, rest) = bytes.split_first_chunk()?;
            ((u32::from_be_bytes(*all) & 0x3fff_ffff).into(), rest)
        }
        _ => {
            let (all, rest) = bytes.split_first_chunk()?;
            (u64::from_be_bytes(*all) & 0x3fff_ffff_ffff_ffff, rest)
        }
    })
}

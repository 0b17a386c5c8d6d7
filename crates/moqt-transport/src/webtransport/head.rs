//! What a stream starts with, which says what it is.

use bytes::{Bytes, BytesMut};

use super::varint;

/// The type of a unidirectional stream of a session.
pub(super) const UNI_STREAM: u64 = 0x54;
/// The signal at the front of a bidirectional one.
pub(super) const BIDI_STREAM: u64 = 0x41;

/// What a unidirectional stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UniHead {
    /// Settings, and what follows them.
    Control,
    /// An answer to nothing; nobody has allowed it.
    Push,
    /// For a dynamic table of headers, which is never used.
    QpackEncoder,
    /// The other direction of that.
    QpackDecoder,
    /// A stream of the session with this id.
    Session(u64),
    /// Something to be ignored.
    Unknown,
}

/// What a bidirectional stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BidiHead {
    /// A request; its frames start at once.
    Request,
    /// A stream of the session with this id.
    Session(u64),
}

/// Gives what a unidirectional stream is, and how many bytes say so; `None` while that is not clear.
pub(super) fn uni(bytes: &[u8]) -> Option<(UniHead, usize)> {
    let mut rest = bytes;
    let head = match varint::take(&mut rest)? {
        0x00 => UniHead::Control,
        0x01 => UniHead::Push,
        0x02 => UniHead::QpackEncoder,
        0x03 => UniHead::QpackDecoder,
        UNI_STREAM => UniHead::Session(varint::take(&mut rest)?),
        _ => UniHead::Unknown,
    };
    Some((head, bytes.len() - rest.len()))
}

/// Gives what a bidirectional stream is, and how many bytes say so; `None` while that is not clear.
pub(super) fn bidi(bytes: &[u8]) -> Option<(BidiHead, usize)> {
    let mut rest = bytes;
    if varint::take(&mut rest)? != BIDI_STREAM {
        // The type is that of the first frame.
        return Some((BidiHead::Request, 0));
    }
    let id = varint::take(&mut rest)?;
    Some((BidiHead::Session(id), bytes.len() - rest.len()))
}

/// Whether a session can have this id: that of a request.
pub(super) fn is_session_id(id: u64) -> bool {
    // Opened by the client, in both directions.
    id.is_multiple_of(4)
}

/// The head of a stream of ours.
pub(super) fn write(kind: u64, session: u64) -> Bytes {
    let mut head = BytesMut::with_capacity(2 + 8);
    varint::put(&mut head, kind);
    varint::put(&mut head, session);
    head.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_two_integers_and_reads_back() {
        assert_eq!(write(UNI_STREAM, 0)[..], [0x40, 0x54, 0x00]);
        assert_eq!(write(BIDI_STREAM, 4)[..], [0x40, 0x41, 0x04]);
        for id in [0, 4, 15_292, 494_878_332, 151_288_809_941_952_652] {
            let (written, other) = (write(UNI_STREAM, id), write(BIDI_STREAM, id));
            assert_eq!(uni(&written), Some((UniHead::Session(id), written.len())));
            assert_eq!(bidi(&other), Some((BidiHead::Session(id), other.len())));
            for cut in 0..written.len() {
                assert_eq!(uni(&written[..cut]), None);
                assert_eq!(bidi(&other[..cut]), None);
            }
        }
    }

    #[test]
    fn what_follows_a_head_is_left_alone() {
        assert_eq!(uni(&[0x00, 0x04, 0x00]), Some((UniHead::Control, 1)));
        assert_eq!(uni(&[0x40, 0x00, 0x04]), Some((UniHead::Control, 2)));
        assert_eq!(uni(&[0x02]), Some((UniHead::QpackEncoder, 1)));
        assert_eq!(uni(&[0x03]), Some((UniHead::QpackDecoder, 1)));
        assert_eq!(uni(&[0x01, 0x07]), Some((UniHead::Push, 1)));
        assert_eq!(uni(&[0x21, 0xff]), Some((UniHead::Unknown, 1)));
        assert_eq!(uni(&[0x40, 0x54, 0x04, 0xff]), Some((UniHead::Session(4), 3)));
        assert_eq!(bidi(&[0x01, 0x05]), Some((BidiHead::Request, 0)));
        assert_eq!(bidi(&[0x40, 0x41, 0x04, 0xff]), Some((BidiHead::Session(4), 3)));
    }

    #[test]
    fn a_session_has_the_id_of_a_request() {
        let ids = (0..9).filter(|&id| is_session_id(id));
        assert_eq!(ids.collect::<Vec<_>>(), [0, 4, 8]);
    }
}

//! Small groups go onto the wire in one piece, which all share who send them.

use bytes::{BufMut as _, BytesMut};
use moqt_wire::Version;

use super::*;

const FORM: HeaderForm =
    HeaderForm { id: 0, write: |meta, out| out.put_u8(u8::try_from(meta.size % 256).unwrap()) };
const OTHER: HeaderForm = HeaderForm { id: 1, ..FORM };

fn whole(reader: &mut GroupConsumer, form: HeaderForm, id: u64) -> Option<Bytes> {
    let write = |_: (Version, u64), sequence: u64, out: &mut BytesMut| {
        out.put_slice(format!("begin {sequence} ").as_bytes());
        true
    };
    reader.take_whole(form, Preamble { key: (Version::TRANSFORK_04, id), write })
}

fn pieces(reader: &mut GroupConsumer, form: HeaderForm) -> Vec<u8> {
    let mut pieces = Vec::new();
    reader.wire_ready(100, form, &mut pieces);
    pieces.concat()
}

#[test]
fn a_small_group_is_one_piece_for_all_that_begin_alike() {
    let track = producer(Retention::default());
    group(&track, &["ab", "", "cde"]);
    let consume = || track.consume().group(0).unwrap();
    let (mut first, mut other, mut third) = (consume(), consume(), consume());
    let (mut on, held) = (consume(), track.consume().held_bytes());
    assert_eq!(now_or_never(on.read_frame()).unwrap().unwrap().unwrap(), "ab");
    let piece = whole(&mut first, FORM, 7).unwrap();
    assert_eq!(piece, b"begin 0 \x02ab\x00\x03cde"[..]);
    assert!(first.is_finished());
    assert_eq!(whole(&mut first, FORM, 7), None, "it has been taken");
    let same = whole(&mut other, FORM, 7).unwrap();
    assert_eq!(same.as_ptr(), piece.as_ptr(), "nothing is copied for the next one");
    assert_eq!(whole(&mut third, FORM, 8), None, "it begins otherwise");
    assert_eq!(pieces(&mut third, FORM), b"\x02ab\x00\x03cde");
    assert_eq!((whole(&mut consume(), OTHER, 7), pieces(&mut consume(), OTHER).len()), (None, 8));
    // Who had begun before goes on where it was.
    assert_eq!(whole(&mut on, FORM, 7), None);
    assert_eq!(pieces(&mut on, FORM), b"\x00\x03cde");
    assert_eq!(track.consume().held_bytes(), held);
    let frame = now_or_never(consume().read_frame()).unwrap().unwrap().unwrap();
    assert!(piece.as_ptr_range().contains(&frame.as_ptr()), "it is not kept twice");
}

#[test]
fn what_is_large_grows_or_is_read_once_goes_in_pieces() {
    let track = producer(Retention::default());
    let mut growing = track.append_group();
    growing.write_frame("ab").unwrap();
    let reader = |sequence| track.consume().group(sequence).unwrap();
    assert_eq!(whole(&mut reader(0), FORM, 7), None);
    growing.finish().unwrap();
    assert!(whole(&mut reader(0), FORM, 7).is_some());
    for (frames, size, is_small) in [(4, 255, true), (4, 256, false), (5, 1, false), (0, 0, true)] {
        let mut group = track.append_group();
        (0..frames).for_each(|_| group.write_frame(vec![1; size]).unwrap());
        let sequence = group.sequence();
        group.finish().unwrap();
        assert_eq!(whole(&mut reader(sequence), FORM, 7).is_some(), is_small, "{frames} of {size}");
    }
    let cut = track.append_group();
    cut.begin_frame(FrameMeta::sized(5)).unwrap();
    cut.append_payload(Bytes::from_static(b"ab")).unwrap();
    assert_eq!(cut.sequence(), 5);
    cut.finish().unwrap();
    assert_eq!(whole(&mut reader(5), FORM, 7), None, "a frame is cut");
    let once = producer(Retention::read_once());
    let mut reader = once.consume();
    group(&once, &["ab"]);
    let mut group = now_or_never(reader.next_group()).unwrap().unwrap().unwrap();
    assert_eq!(whole(&mut group, FORM, 7), None);
    assert_eq!(pieces(&mut group, FORM), b"\x02ab");
}

#[test]
fn an_expired_group_has_no_piece() {
    let track = producer(Retention { max_groups: 1, ..Retention::default() });
    group(&track, &["ab"]);
    let mut late = track.consume().group(0).unwrap();
    assert!(whole(&mut track.consume().group(0).unwrap(), FORM, 7).is_some());
    group(&track, &["cd"]);
    group(&track, &["ef"]);
    assert_eq!(whole(&mut late, FORM, 7), None);
    assert!(matches!(now_or_never(late.read_frame()), Some(Err(GroupError::Expired))));
}

//! Tests of reading frames out of chunks.

use super::*;

fn decoder(chunks: &[&'static [u8]]) -> FrameDecoder {
    let mut decoder = FrameDecoder::new(Limits::default());
    decoder.extend(chunks.iter().map(|chunk| Bytes::from_static(chunk)));
    decoder
}

fn events(decoder: &mut FrameDecoder) -> Vec<FrameEvent> {
    std::iter::from_fn(|| decoder.next().unwrap()).collect()
}

fn begin(size: u64) -> FrameEvent {
    FrameEvent::Begin { size }
}

fn payload(bytes: &'static [u8]) -> FrameEvent {
    FrameEvent::Payload(Bytes::from_static(bytes))
}

#[test]
fn frames_come_in_order_and_an_empty_one_has_no_payload() {
    let mut decoder = decoder(&[b"\x05hello\x00\x06world!"]);
    let expected = [
        begin(5),
        payload(b"hello"),
        FrameEvent::End,
        begin(0),
        FrameEvent::End,
        begin(6),
        payload(b"world!"),
        FrameEvent::End,
    ];
    assert_eq!(events(&mut decoder), expected);
    assert_eq!(decoder.finish(), Ok(()));
    assert!(decoder.is_empty());
}

#[test]
fn payload_is_given_out_as_it_arrives() {
    let mut decoder = decoder(&[b"\x05he"]);
    assert_eq!(events(&mut decoder), [begin(5), payload(b"he")]);
    decoder.push(Bytes::from_static(b"l"));
    assert_eq!(events(&mut decoder), [payload(b"l")]);
    decoder.push(Bytes::from_static(b"lo\x01"));
    assert_eq!(events(&mut decoder), [payload(b"lo"), FrameEvent::End, begin(1)]);
    decoder.push(Bytes::from_static(b"x"));
    assert_eq!(events(&mut decoder), [payload(b"x"), FrameEvent::End]);
}

#[test]
fn it_says_how_much_of_a_frame_is_here() {
    let mut decoder = decoder(&[]);
    assert_eq!((decoder.ready(), decoder.is_cut()), (0, false));
    for (chunk, is_cut) in
        [(&b"\x40"[..], false), (b"\x05", true), (b"hel", true), (b"lo", false), (b"\x01", false)]
    {
        decoder.push(Bytes::from_static(chunk));
        assert_eq!(decoder.is_cut(), is_cut, "{chunk:?}");
    }
    assert_eq!(decoder.ready(), 0, "it has not begun");
    assert_eq!(decoder.next(), Ok(Some(begin(5))));
    assert_eq!(decoder.ready(), 5);
    assert_eq!(decoder.next(), Ok(Some(payload(b"hel"))));
    assert_eq!((decoder.ready(), decoder.is_cut()), (2, false));
    assert_eq!(events(&mut decoder), [payload(b"lo"), FrameEvent::End, begin(1)]);
    assert_eq!((decoder.ready(), decoder.is_cut()), (0, true));
}

#[test]
fn payload_is_a_slice_of_the_chunk() {
    let chunk = Bytes::from(b"\x03abc".to_vec());
    let mut decoder = decoder(&[]);
    decoder.push(chunk.clone());
    let Some(FrameEvent::Payload(payload)) = events(&mut decoder).into_iter().nth(1) else { panic!() };
    assert_eq!(payload.as_ptr(), chunk[1..].as_ptr());
}

#[test]
fn a_header_can_be_spread_over_chunks() {
    let mut decoder = decoder(&[b"\xc0", b"\x00\x00\x00", b"\x00\x00"]);
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.finish().unwrap_err().kind, DecodeErrorKind::Truncated);
    decoder.push(Bytes::from_static(b"\x00"));
    decoder.push(Bytes::from_static(b"\x02ab"));
    assert_eq!(events(&mut decoder), [begin(2), payload(b"ab"), FrameEvent::End]);
}

#[test]
fn headers_of_every_length_read_the_same_whole_and_byte_by_byte() {
    let stream = b"\x02ab\x40\x02cd\x80\0\0\x02ef\xc0\0\0\0\0\0\0\x02gh\x00\x01i";
    let text = |events: Vec<FrameEvent>| -> String {
        let text = |event| match event {
            FrameEvent::Begin { size } => format!("{size}:"),
            FrameEvent::Payload(payload) => String::from_utf8(payload.to_vec()).unwrap(),
            FrameEvent::End => ".".to_owned(),
        };
        events.into_iter().map(text).collect()
    };
    let whole = text(events(&mut decoder(&[stream])));
    assert_eq!(whole, "2:ab.2:cd.2:ef.2:gh.0:.1:i.");
    for size in 1..stream.len() {
        let mut decoder = decoder(&stream.chunks(size).collect::<Vec<_>>());
        assert_eq!(text(events(&mut decoder)), whole, "in chunks of {size}");
        assert_eq!(decoder.finish(), Ok(()));
    }
    let mut decoder = decoder(&[]);
    let read = stream.chunks(1).flat_map(|byte| {
        decoder.push(Bytes::from_static(byte));
        events(&mut decoder)
    });
    assert_eq!(text(read.collect()), whole);
}

#[test]
fn a_stream_that_ends_inside_a_payload_has_the_wrong_size() {
    let mut decoder = decoder(&[b"\x05hel"]);
    assert_eq!(events(&mut decoder).len(), 2);
    let kind = DecodeErrorKind::WrongSize;
    assert_eq!(decoder.finish(), Err(DecodeError { message: "Frame", field: "payload", kind }));
}

#[test]
fn a_frame_beyond_the_limit_is_refused_before_its_payload() {
    let limits = Limits { frame_bytes: 10, ..Limits::default() };
    let mut decoder = FrameDecoder::new(limits);
    decoder.push(Bytes::from_static(b"\x0a0123456789\x0b0123"));
    assert_eq!(decoder.next(), Ok(Some(begin(10))));
    assert_eq!(decoder.next(), Ok(Some(payload(b"0123456789"))));
    assert_eq!(decoder.next(), Ok(Some(FrameEvent::End)));
    let error = decoder.next().unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::TooLarge { value: 11, limit: 10 });
    assert_eq!(decoder.next(), Err(error));
}

#[test]
fn a_declared_size_allocates_nothing() {
    let mut decoder = FrameDecoder::new(Limits { frame_bytes: u64::MAX, ..Limits::default() });
    decoder.push(Bytes::from_static(&[0xff; 9]));
    assert_eq!(events(&mut decoder), [begin(varint::MAX), payload(&[0xff])]);
}

#[test]
fn the_queue_does_not_grow_in_steady_state() {
    let chunk = Bytes::from(b"\x03abc\x02de".to_vec());
    let mut decoder = decoder(&[]);
    decoder.push(chunk.clone());
    assert_eq!(events(&mut decoder).len(), 6);
    let capacity = decoder.chunks.capacity();
    for _ in 0..1000 {
        decoder.push(chunk.clone());
        assert_eq!(events(&mut decoder).len(), 6);
    }
    assert_eq!(decoder.chunks.capacity(), capacity);
}

#[test]
fn headers_are_as_short_as_they_can_be() {
    let header = |size| {
        let mut out = BytesMut::new();
        frame_header(size, &mut out);
        out.to_vec()
    };
    assert_eq!(header(0), [0]);
    assert_eq!(header(5), [5]);
    assert_eq!(header(100), [0x40, 0x64]);
    assert_eq!(header(varint::MAX), [0xff; 8]);
}

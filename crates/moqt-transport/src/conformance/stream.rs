//! Bytes, and the ends of streams.

use bytes::Bytes;

use super::{Pair, Setup, bidi, fill, now, pattern, read_to_end, read_to_error, uni};
use crate::{Code, Connection, ReadError, RecvStream, SendStream, WriteError};

const MEBIBYTE: usize = 1 << 20;

/// Bytes written on a bidirectional stream come back from an echo, in order and whole.
pub async fn a_mebibyte_makes_the_round_trip_on_a_bidirectional_stream<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (near, far) in [(&client, &server), (&server, &client)] {
        let echo = async {
            let (mut send, mut recv) = far.accept_bi().await.unwrap();
            while let Some(chunk) = recv.read_chunk(usize::MAX).await.unwrap() {
                send.write_all(chunk).await.unwrap();
            }
            send.finish().unwrap();
            assert_eq!(send.stopped().await.unwrap(), None);
        };
        let call = async {
            let (mut send, mut recv) = near.open_bi().await.unwrap();
            let write = async {
                send.write_all(pattern(0, MEBIBYTE)).await.unwrap();
                send.finish().unwrap();
            };
            let ((), read) = tokio::join!(write, read_to_end(&mut recv));
            assert!(read.unwrap() == pattern(0, MEBIBYTE), "other bytes came back");
        };
        tokio::join!(echo, call);
    }
}

/// Bytes written on a unidirectional stream arrive, in order and whole, in both directions.
pub async fn a_mebibyte_arrives_on_a_unidirectional_stream<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let write = async {
            let mut send = from.open_uni().await.unwrap();
            send.write_all(pattern(0, MEBIBYTE)).await.unwrap();
            send.finish().unwrap();
            send
        };
        let read = async { read_to_end(&mut to.accept_uni().await.unwrap()).await.unwrap() };
        let (_send, read) = tokio::join!(write, read);
        assert!(read == pattern(0, MEBIBYTE), "other bytes arrived");
    }
}

/// Several chunks go out as one sequence; empty ones add nothing, and only empty ones write nothing.
pub async fn chunks_arrive_in_order_and_empty_ones_do_not_count<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let mut send = client.open_uni().await.unwrap();
    assert_eq!(send.write_chunks(&mut []).await.unwrap(), 0);
    assert_eq!(send.write_chunks(&mut [Bytes::new(), Bytes::new()]).await.unwrap(), 0);
    let mut chunks = ["", "header", "", "first", "second"].map(Bytes::from);
    let mut written = 0;
    while chunks.iter().any(|chunk| !chunk.is_empty()) {
        let more = send.write_chunks(&mut chunks).await.unwrap();
        assert!(more > 0);
        written += more;
    }
    assert_eq!(written, "headerfirstsecond".len());
    send.finish().unwrap();
    let mut recv = server.accept_uni().await.unwrap();
    assert_eq!(read_to_end(&mut recv).await.unwrap(), b"headerfirstsecond");
}

/// A write that flow control cuts short says how much it took, and has moved exactly that off the front.
pub async fn writing_takes_from_the_front_and_leaves_the_rest_in_place<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let mut send = client.open_uni().await.unwrap();
    // More than any window, in chunks of uneven sizes.
    let whole: Vec<Bytes> = (0..64).map(|i| pattern(i * MEBIBYTE, MEBIBYTE + i)).collect();
    let all: Vec<u8> = whole.concat();
    let mut chunks = whole.clone();
    let mut total = 0;
    while let Some(written) = now(send.write_chunks(&mut chunks)).await {
        let written = written.unwrap();
        assert!(written > 0);
        total += written;
        let mut skip = total;
        for (chunk, original) in chunks.iter().zip(&whole) {
            let gone = skip.min(original.len());
            skip -= gone;
            assert_eq!(chunk.len(), original.len() - gone);
            if !chunk.is_empty() {
                assert_eq!(chunk.as_ptr(), original[gone..].as_ptr(), "the rest was copied");
            }
        }
        if chunks.iter().all(Bytes::is_empty) {
            break;
        }
    }
    send.finish().unwrap();
    let mut recv = server.accept_uni().await.unwrap();
    assert!(read_to_end(&mut recv).await.unwrap() == all[..total], "other bytes arrived");
}

/// `max` bounds each read, and nothing is lost by it.
pub async fn a_read_gives_at_most_what_was_asked_for<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let mut send = client.open_uni().await.unwrap();
    send.write_all(pattern(0, 10_000)).await.unwrap();
    send.finish().unwrap();
    let mut recv = server.accept_uni().await.unwrap();
    let mut read = Vec::new();
    for max in [1, 2, 3, 700].into_iter().cycle() {
        let Some(chunk) = recv.read_chunk(max).await.unwrap() else { break };
        assert!((1..=max).contains(&chunk.len()));
        read.extend_from_slice(&chunk);
    }
    assert!(read == pattern(0, 10_000), "other bytes arrived");
}

/// A stream may end without a single byte.
pub async fn a_finished_stream_without_bytes_arrives<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let mut send = from.open_uni().await.unwrap();
        send.finish().unwrap();
        assert_eq!(to.accept_uni().await.unwrap().read_chunk(1).await.unwrap(), None);
        let (mut send, _recv) = from.open_bi().await.unwrap();
        send.finish().unwrap();
        assert_eq!(to.accept_bi().await.unwrap().1.read_chunk(1).await.unwrap(), None);
    }
}

/// What was written before `finish` is delivered, whether the stream is kept or not.
pub async fn a_finished_stream_may_be_dropped<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let mut send = client.open_uni().await.unwrap();
    send.write_all(pattern(0, 100_000)).await.unwrap();
    send.finish().unwrap();
    drop(send);
    let mut recv = server.accept_uni().await.unwrap();
    assert!(read_to_end(&mut recv).await.unwrap() == pattern(0, 100_000), "other bytes arrived");
}

/// After the end, reading gives the end again, and a stop does nothing.
pub async fn the_end_of_a_stream_stays_its_end<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let (mut send, mut recv) = uni::<P>(&client, &server).await;
    send.finish().unwrap();
    assert_eq!(recv.read_chunk(1).await.unwrap(), None);
    assert_eq!(recv.read_chunk(1).await.unwrap(), None);
    recv.stop(Code(5));
    assert_eq!(recv.read_chunk(1).await.unwrap(), None);
    assert_eq!(send.stopped().await.unwrap(), None);
}

/// `finish` and `reset` are final.
pub async fn nothing_is_written_after_finish_or_reset<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let byte = || [Bytes::from_static(b"x")];

    let (mut send, _recv) = uni::<P>(&client, &server).await;
    send.finish().unwrap();
    assert!(matches!(send.write_chunks(&mut byte()).await, Err(WriteError::Closed)));
    assert!(matches!(send.finish(), Err(WriteError::Closed)));

    let (mut send, mut recv) = uni::<P>(&client, &server).await;
    send.reset(Code(5));
    send.reset(Code(6));
    assert!(matches!(send.write_chunks(&mut byte()).await, Err(WriteError::Closed)));
    assert!(matches!(send.finish(), Err(WriteError::Closed)));
    assert_eq!(send.stopped().await.unwrap(), None);
    assert!(matches!(read_to_error(&mut recv).await, ReadError::Reset(Code(5))));
}

/// After a stop of our own, reading says so.
pub async fn nothing_is_read_after_stop<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let (mut send, mut recv) = uni::<P>(&client, &server).await;
    send.write_all(pattern(0, 1000)).await.unwrap();
    recv.stop(Code(5));
    recv.stop(Code(6));
    assert!(matches!(recv.read_chunk(1).await, Err(ReadError::Closed)));
    assert_eq!(send.stopped().await.unwrap(), Some(Code(5)));
}

/// A reset is reported as often as one asks; it never turns into a clean end.
pub async fn a_reset_stays_a_reset<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let (mut send, mut recv) = uni::<P>(&client, &server).await;
    send.reset(Code(9));
    for _ in 0..3 {
        assert!(matches!(read_to_error(&mut recv).await, ReadError::Reset(Code(9))));
    }
    recv.stop(Code(5));
    assert!(matches!(read_to_error(&mut recv).await, ReadError::Reset(Code(9))));
}

/// A reset, a stop or an end of one direction leaves the other one alone.
pub async fn the_directions_of_a_stream_end_by_themselves<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (near, far) in [(&client, &server), (&server, &client)] {
        let ((mut send, mut recv), (mut far_send, mut far_recv)) = bidi::<P>(near, far).await;
        send.reset(Code(3));
        assert!(matches!(read_to_error(&mut far_recv).await, ReadError::Reset(Code(3))));
        far_send.write_all(pattern(0, 1000)).await.unwrap();
        far_send.finish().unwrap();
        assert!(read_to_end(&mut recv).await.unwrap() == pattern(0, 1000));

        let ((mut send, mut recv), (mut far_send, mut far_recv)) = bidi::<P>(near, far).await;
        recv.stop(Code(4));
        assert_eq!(far_send.stopped().await.unwrap(), Some(Code(4)));
        send.write_all(pattern(0, 1000)).await.unwrap();
        send.finish().unwrap();
        assert!(read_to_end(&mut far_recv).await.unwrap() == pattern(0, 1000));
    }
}

/// A sender dropped unfinished gives its stream up: the peer must not take it for whole.
pub async fn a_dropped_send_stream_is_reset_with_zero<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (send, mut recv) = uni::<P>(from, to).await;
        drop(send);
        assert!(matches!(read_to_error(&mut recv).await, ReadError::Reset(Code::NONE)));

        let ((send, _recv), (_far_send, mut far_recv)) = bidi::<P>(from, to).await;
        drop(send);
        assert!(matches!(read_to_error(&mut far_recv).await, ReadError::Reset(Code::NONE)));

        // Blocked in the middle of much data.
        let (mut send, mut recv) = uni::<P>(from, to).await;
        fill(&mut send).await;
        drop(send);
        assert!(matches!(read_to_error(&mut recv).await, ReadError::Reset(Code::NONE)));
    }
}

/// A receiver dropped before the end tells the peer not to bother.
pub async fn a_dropped_recv_stream_is_stopped_with_zero<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (mut send, recv) = uni::<P>(from, to).await;
        drop(recv);
        assert_eq!(send.stopped().await.unwrap(), Some(Code::NONE));

        let ((mut send, _recv), (_far_send, far_recv)) = bidi::<P>(from, to).await;
        drop(far_recv);
        assert_eq!(send.stopped().await.unwrap(), Some(Code::NONE));

        let ((_send, recv), (mut far_send, _far_recv)) = bidi::<P>(from, to).await;
        drop(recv);
        assert_eq!(far_send.stopped().await.unwrap(), Some(Code::NONE));
    }
}

//! What may be dropped while it waits.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{FEW_STREAMS, Pair, SendOf, Setup, bidi, now, pattern, read_to_end, round_trip, uni};
use crate::{Code, Connection, RecvStream, SendStream};

const LEN: usize = 4 << 20;

/// Reads given up while they wait take nothing with them.
pub async fn a_cancelled_read_loses_nothing<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let (mut send, mut recv) = uni::<P>(&client, &server).await;
    let write = async {
        send.write_all(pattern(0, LEN)).await.unwrap();
        send.finish().unwrap();
    };
    let read = async {
        let mut all = Vec::new();
        loop {
            let chunk = match now(recv.read_chunk(5000)).await {
                Some(chunk) => chunk,
                None => recv.read_chunk(5000).await,
            };
            match chunk.unwrap() {
                Some(chunk) => all.extend_from_slice(&chunk),
                None => return all,
            }
        }
    };
    let ((), read) = tokio::join!(write, read);
    assert!(read == pattern(0, LEN), "other bytes arrived");
}

/// Writes given up while they wait have written nothing; the chunks say what is left.
pub async fn a_cancelled_write_loses_nothing<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let mut send = client.open_uni().await.unwrap();
    let mut cancelled = 0;
    let write = async {
        let mut chunks = [pattern(0, LEN / 2), pattern(LEN / 2, LEN / 2)];
        let mut left = LEN;
        while left > 0 {
            let written = match now(send.write_chunks(&mut chunks)).await {
                Some(written) => written,
                None => {
                    cancelled += 1;
                    assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), left);
                    send.write_chunks(&mut chunks).await
                }
            };
            left -= written.unwrap();
        }
        send.finish().unwrap();
    };
    let read = async { read_to_end(&mut server.accept_uni().await.unwrap()).await.unwrap() };
    let ((), read) = tokio::join!(write, read);
    assert!(read == pattern(0, LEN), "other bytes arrived");
    assert!(cancelled > 0, "no write ever waited");
}

/// Accepts given up while they wait lose no stream and give none twice.
pub async fn a_cancelled_accept_loses_nothing<P: Pair>(pair: &P) {
    const STREAMS: u8 = 20;

    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let open = async {
            let mut kept = Vec::new();
            for i in 0..STREAMS {
                let mut uni = from.open_uni().await.unwrap();
                uni.write_all(vec![i].into()).await.unwrap();
                let mut bidi = from.open_bi().await.unwrap();
                bidi.0.write_all(vec![i].into()).await.unwrap();
                kept.push((uni, bidi));
            }
            kept
        };
        let accept_uni = async {
            let mut seen = BTreeSet::new();
            while seen.len() < usize::from(STREAMS) {
                let recv = match now(to.accept_uni()).await {
                    Some(accepted) => accepted,
                    None => to.accept_uni().await,
                };
                let byte = recv.unwrap().read_chunk(1).await.unwrap().unwrap();
                assert!(seen.insert(byte), "a stream was accepted twice");
            }
        };
        let accept_bi = async {
            let mut seen = BTreeSet::new();
            while seen.len() < usize::from(STREAMS) {
                let stream = match now(to.accept_bi()).await {
                    Some(accepted) => accepted,
                    None => to.accept_bi().await,
                };
                let byte = stream.unwrap().1.read_chunk(1).await.unwrap().unwrap();
                assert!(seen.insert(byte), "a stream was accepted twice");
            }
        };
        tokio::join!(open, accept_uni, accept_bi);
    }
}

/// Opens given up while they wait use up nothing of the peer's limit.
pub async fn a_cancelled_open_loses_nothing<P: Pair>(pair: &P) {
    if !pair.capabilities().stream_limit {
        return;
    }
    let setup = Setup { max_streams: Some(FEW_STREAMS), ..Setup::default() };
    let (client, server) = pair.connect(setup).await;
    let first = open_all::<P>(&client, &server).await;
    let count = first.len();
    for _ in 0..FEW_STREAMS {
        assert!(now(client.open_uni()).await.is_none(), "the limit was not reached");
    }
    end_all::<P>(first, &server).await;
    // As many as before, once their credit has come back.
    for _ in 0..count {
        let mut send = client.open_uni().await.unwrap();
        send.write_all(Bytes::from_static(b"t")).await.unwrap();
        send.finish().unwrap();
        let mut recv = server.accept_uni().await.unwrap();
        assert_eq!(read_to_end(&mut recv).await.unwrap(), b"t");
    }
}

/// Waits for `stopped` given up are as if they had never been.
pub async fn a_cancelled_wait_for_stopped_loses_nothing<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let (mut send, mut recv) = uni::<P>(&client, &server).await;
    assert!(now(send.stopped()).await.is_none());
    recv.stop(Code(5));
    assert!(now(send.stopped()).await.is_none_or(|stopped| stopped.unwrap() == Some(Code(5))));
    assert_eq!(send.stopped().await.unwrap(), Some(Code(5)));
}

/// Opens unidirectional streams, each with one byte, until the peer's limit makes the next one wait.
pub(super) async fn open_all<P: Pair>(from: &P::Connection, to: &P::Connection) -> Vec<SendOf<P>> {
    let (mut near, mut far) = bidi::<P>(from, to).await;
    let mut opened = Vec::new();
    while opened.len() <= FEW_STREAMS as usize {
        let next = match now(from.open_uni()).await {
            Some(next) => Some(next),
            None => {
                // Whatever the peer had to say about limits has arrived after that.
                round_trip(&mut near, &mut far).await;
                round_trip(&mut far, &mut near).await;
                now(from.open_uni()).await
            }
        };
        match next {
            Some(next) => {
                let mut send = next.unwrap();
                send.write_all(Bytes::from_static(b"s")).await.unwrap();
                opened.push(send);
            }
            None => {
                assert!(!opened.is_empty(), "the limit leaves no stream at all");
                return opened;
            }
        }
    }
    panic!("more streams than the limit allows");
}

/// Finishes the streams of [`open_all`] and reads them to their ends, in whichever order they are accepted.
pub(super) async fn end_all<P: Pair>(opened: Vec<SendOf<P>>, to: &P::Connection) {
    let count = opened.len();
    for mut send in opened {
        send.finish().unwrap();
    }
    for _ in 0..count {
        assert_eq!(read_to_end(&mut to.accept_uni().await.unwrap()).await.unwrap(), b"s");
    }
}

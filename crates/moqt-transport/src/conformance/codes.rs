//! Codes and what they say to the other side.

use bytes::Bytes;

use super::{Pair, Setup, fill, pattern, read_to_end, read_to_error, uni};
use crate::{Code, Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};

/// Around the points that a mapping could trip over.
const CODES: [Code; 10] = [
    Code(0),
    Code(5),
    Code(13),
    Code(29),
    Code(30),
    Code(31),
    Code(64),
    Code(70),
    Code(404),
    Code(u32::MAX as u64),
];

/// The code of a reset arrives as given, in both directions.
pub async fn reset_codes_survive<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        for sent in CODES {
            let (mut send, mut recv) = uni::<P>(from, to).await;
            send.reset(sent);
            match read_to_error(&mut recv).await {
                ReadError::Reset(code) => assert_eq!(code, sent),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The code of a stop arrives as given, in both directions.
pub async fn stop_codes_survive<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        for sent in CODES {
            let (mut send, mut recv) = uni::<P>(from, to).await;
            recv.stop(sent);
            assert_eq!(send.stopped().await.unwrap(), Some(sent));
        }
    }
}

/// The code and the words of a close arrive as given, in both directions.
pub async fn close_codes_and_reasons_survive<P: Pair>(pair: &P) {
    for sent in CODES {
        for words in ["", "überlastet"] {
            for client_closes in [false, true] {
                let (client, server) = pair.connect(Setup::default()).await;
                let (near, far) = if client_closes { (client, server) } else { (server, client) };
                near.close(sent, words);
                match far.closed().await {
                    ConnectionError::Closed { code, reason } => {
                        assert_eq!((code, reason.as_str()), (sent, words));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

/// `stopped` waits for the acknowledgement of a finished stream, and then says that nobody stopped it.
pub async fn stopped_gives_none_once_all_is_acknowledged<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (mut send, mut recv) = uni::<P>(from, to).await;
        let write = async {
            send.write_all(pattern(0, 100_000)).await.unwrap();
            send.finish().unwrap();
            assert_eq!(send.stopped().await.unwrap(), None);
            assert_eq!(send.stopped().await.unwrap(), None);
        };
        let ((), read) = tokio::join!(write, read_to_end(&mut recv));
        assert!(read.unwrap() == pattern(0, 100_000));
    }
}

/// `stopped` says the peer's code as often as one asks.
pub async fn stopped_gives_the_code_of_the_stop<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let (mut send, mut recv) = uni::<P>(&client, &server).await;
    let (stopped, ()) = tokio::join!(send.stopped(), async { recv.stop(Code(13)) });
    assert_eq!(stopped.unwrap(), Some(Code(13)));
    assert_eq!(send.stopped().await.unwrap(), Some(Code(13)));
    // Giving the stream up is then fine.
    send.reset(Code(13));
}

/// Whether a stream is over can be asked without waiting: not before the peer has all of it, or has stopped it.
pub async fn a_finished_stream_is_over_when_stopped_has_its_answer<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        for stop in [None, Some(Code(21))] {
            let (mut send, mut recv) = uni::<P>(from, to).await;
            assert!(!send.is_over());
            fill(&mut send).await;
            assert!(!send.is_over());
            send.finish().unwrap();
            // What flow control keeps back cannot have been acknowledged.
            assert!(!send.is_over());
            let read = async {
                match stop {
                    None => read_to_end(&mut recv).await.map(drop).unwrap(),
                    Some(code) => recv.stop(code),
                }
            };
            let (stopped, ()) = tokio::join!(send.stopped(), read);
            let stopped = stopped.unwrap();
            // All may have been taken in before the stop is heard of.
            assert!(stopped == stop || stopped.is_none(), "{stopped:?}");
            assert!(send.is_over());
        }
        let (mut send, _recv) = uni::<P>(from, to).await;
        send.reset(Code(5));
        assert!(send.is_over());
    }
}

/// A stop fails a write that waits and each one after it.
pub async fn a_write_after_a_stop_fails_with_its_code<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (mut send, mut recv) = uni::<P>(from, to).await;
        fill(&mut send).await;
        let (written, ()) =
            tokio::join!(send.write_all(Bytes::from_static(b"x")), async { recv.stop(Code(64)) });
        assert!(matches!(written, Err(WriteError::Stopped(Code(64)))));
        let written = send.write_chunks(&mut [Bytes::from_static(b"x")]).await;
        assert!(matches!(written, Err(WriteError::Stopped(Code(64)))));
    }
}

//! The end of a connection.

use bytes::Bytes;

use super::{FEW_STREAMS, Pair, Setup, bidi, cancel::open_all, fill, read_to_end, uni};
use crate::{Code, Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};

/// Who ends the connection.
#[derive(Clone, Copy)]
enum Closer {
    Peer,
    Us,
}

impl Closer {
    /// Panics unless `error` is what the survivor is to see.
    fn check(self, error: &ConnectionError) {
        match (self, error) {
            (Self::Peer, ConnectionError::Closed { code: Code(7), reason }) if reason == "enough" => {}
            (Self::Us, ConnectionError::LocallyClosed) => {}
            (_, other) => panic!("another end: {other:?}"),
        }
    }

    fn check_write(self, error: &WriteError) {
        match error {
            WriteError::Connection(error) => self.check(error),
            other => panic!("{other:?}"),
        }
    }

    fn check_read(self, error: &ReadError) {
        match error {
            ReadError::Connection(error) => self.check(error),
            other => panic!("{other:?}"),
        }
    }
}

/// A close by the peer ends every operation that waits, with its code and words.
pub async fn a_close_by_the_peer_ends_what_is_pending<P: Pair>(pair: &P) {
    ends_what_is_pending(pair, Closer::Peer).await;
}

/// Streams that are dropped behind a close end with it, and with nothing of their own: a peer that is told of both at
/// the same time may lose the close's code.
pub async fn streams_dropped_behind_a_close_end_with_it<P: Pair>(pair: &P) {
    for client_closes in [false, true] {
        let (client, server) = pair.connect(Setup::default()).await;
        let (near, far) = if client_closes { (client, server) } else { (server, client) };
        let (mine, (mut send, mut recv)) = bidi::<P>(&near, &far).await;
        near.close(Code(7), "enough");
        drop((mine, near));
        Closer::Peer.check_read(&recv.read_chunk(10).await.unwrap_err());
        Closer::Peer.check(&send.stopped().await.unwrap_err());
    }
}

/// A close of our own ends every operation that waits.
pub async fn a_close_of_ours_ends_what_is_pending<P: Pair>(pair: &P) {
    ends_what_is_pending(pair, Closer::Us).await;
}

async fn ends_what_is_pending<P: Pair>(pair: &P, closer: Closer) {
    for client_waits in [false, true] {
        let limited = pair.capabilities().stream_limit;
        let setup = Setup { max_streams: limited.then_some(FEW_STREAMS), ..Setup::default() };
        let (client, server) = pair.connect(setup).await;
        let (near, far) = if client_waits { (client, server) } else { (server, client) };
        let (mut writing, _unread) = uni::<P>(&near, &far).await;
        fill(&mut writing).await;
        let ((mut waiting, mut reading), _far) = bidi::<P>(&near, &far).await;
        let _held = if limited { open_all::<P>(&near, &far).await } else { Vec::new() };
        let open = async {
            if limited {
                closer.check(&near.open_uni().await.err().unwrap());
            }
        };
        let accept_uni = async { closer.check(&near.accept_uni().await.err().unwrap()) };
        let accept_bi = async { closer.check(&near.accept_bi().await.err().unwrap()) };
        let write =
            async { closer.check_write(&writing.write_all(Bytes::from_static(b"x")).await.unwrap_err()) };
        let read = async { closer.check_read(&reading.read_chunk(1).await.unwrap_err()) };
        let stopped = async { closer.check(&waiting.stopped().await.unwrap_err()) };
        let closed = async { closer.check(&near.closed().await) };
        let also_closed = async { closer.check(&near.clone().closed().await) };
        // Last, so that all others wait by then.
        let close = async {
            match closer {
                Closer::Peer => far.close(Code(7), "enough"),
                Closer::Us => near.close(Code(7), "enough"),
            }
        };
        tokio::join!(open, accept_uni, accept_bi, write, read, stopped, closed, also_closed, close);
    }
}

/// After the end, everything fails with the reason for it, and the reason stays.
pub async fn an_ended_connection_fails_whatever_is_tried<P: Pair>(pair: &P) {
    for closer in [Closer::Peer, Closer::Us] {
        let (client, server) = pair.connect(Setup::default()).await;
        let ((mut send, mut recv), _far) = bidi::<P>(&client, &server).await;
        match closer {
            Closer::Peer => server.close(Code(7), "enough"),
            Closer::Us => client.close(Code(7), "enough"),
        }
        for _ in 0..2 {
            closer.check(&client.closed().await);
            closer.check(&client.open_uni().await.err().unwrap());
            closer.check(&client.open_bi().await.err().unwrap());
            closer.check(&client.accept_uni().await.err().unwrap());
            closer.check(&client.accept_bi().await.err().unwrap());
            closer.check_write(&send.write_all(Bytes::from_static(b"x")).await.unwrap_err());
            closer.check(&send.stopped().await.unwrap_err());
            closer.check_read(&recv.read_chunk(1).await.unwrap_err());
        }
        // These have nobody left to tell.
        send.set_priority(1);
        send.reset(Code(5));
        recv.stop(Code(5));
        client.close(Code(5), "again");
        closer.check(&client.closed().await);
    }
}

/// A second close changes nothing, on either side.
pub async fn the_first_close_stands<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    client.close(Code(7), "enough");
    client.close(Code(8), "really");
    Closer::Us.check(&client.closed().await);
    Closer::Peer.check(&server.closed().await);
    server.close(Code(9), "too late");
    Closer::Peer.check(&server.closed().await);
    Closer::Us.check(&client.closed().await);
}

/// However much waits to be sent or to be read, the peer's code and words come through, and end what waits there.
pub async fn a_close_is_heard_behind_all_that_is_blocked<P: Pair>(pair: &P) {
    for client_closes in [false, true] {
        let (client, server) = pair.connect(Setup::default()).await;
        let (near, far) = if client_closes { (client, server) } else { (server, client) };
        let ((_send, _recv), (mut far_send, mut far_recv)) = bidi::<P>(&near, &far).await;
        let mut blocked = Vec::new();
        for _ in 0..5 {
            let mut send = near.open_uni().await.unwrap();
            fill(&mut send).await;
            blocked.push(send);
        }
        let closer = Closer::Peer;
        let read = async { closer.check_read(&far_recv.read_chunk(1).await.unwrap_err()) };
        let stopped = async { closer.check(&far_send.stopped().await.unwrap_err()) };
        let accept = async { closer.check(&far.accept_bi().await.err().unwrap()) };
        let closed = async { closer.check(&far.closed().await) };
        let close = async { near.close(Code(7), "enough") };
        tokio::join!(read, stopped, accept, closed, close);
        Closer::Us.check(&near.closed().await);
    }
}

/// Neither side waits for the other one, and each has closed by itself or heard of the other's close.
pub async fn closing_from_both_sides_at_once_ends_both<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    let _streams = bidi::<P>(&client, &server).await;
    client.close(Code(7), "enough");
    server.close(Code(7), "enough");
    for end in [client.closed().await, server.closed().await] {
        let closer = if matches!(end, ConnectionError::LocallyClosed) { Closer::Us } else { Closer::Peer };
        closer.check(&end);
    }
}

/// When nobody can use a connection any more, the peer hears of it at once, without blame.
pub async fn dropping_all_handles_closes_with_zero<P: Pair>(pair: &P) {
    for client_drops in [false, true] {
        let (client, server) = pair.connect(Setup::default()).await;
        let (near, far) = if client_drops { (client, server) } else { (server, client) };
        let streams = bidi::<P>(&near, &far).await;
        let clone = near.clone();
        drop(near);
        drop(clone);
        let (of_near, _of_far) = streams;
        drop(of_near);
        match far.closed().await {
            ConnectionError::Closed { code, .. } => assert_eq!(code, Code::NONE),
            other => panic!("{other:?}"),
        }
    }
}

/// A stream works on after the last handle of its connection is gone.
pub async fn a_stream_keeps_its_connection_alive<P: Pair>(pair: &P) {
    for client_drops in [false, true] {
        let (client, server) = pair.connect(Setup::default()).await;
        let (near, far) = if client_drops { (client, server) } else { (server, client) };
        let ((mut send, recv), (mut far_send, mut far_recv)) = bidi::<P>(&near, &far).await;
        drop(near);
        drop(recv);
        assert_eq!(far_send.stopped().await.unwrap(), Some(Code::NONE));
        send.write_all(Bytes::from_static(b"still here")).await.unwrap();
        send.finish().unwrap();
        assert_eq!(read_to_end(&mut far_recv).await.unwrap(), b"still here");
        assert_eq!(send.stopped().await.unwrap(), None);
    }
}

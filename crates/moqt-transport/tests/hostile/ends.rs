//! Ways in which a session ends, or is asked to.

use moqt_transport::{Code, Connection, ConnectionError, conformance::bounded};

use crate::{
    MESSAGE_ERROR, NO_ERROR, SEVEN, is_closed, lives, net,
    raw::{DATA, DRAIN, GREASE, RawClient, closing, code_of_close, drip, frame, quic_varint},
    session,
};

#[tokio::test]
async fn a_capsule_may_be_cut_anywhere_and_share_its_frame() {
    let net = net();
    let capsules = [frame(GREASE, b"abc"), frame(DRAIN, b""), closing(42, "bye, schluß")].concat();
    bounded(async {
        for cut in 0..capsules.len() {
            let (mut client, server) = RawClient::in_session(&net).await;
            let (one, other) = capsules.split_at(cut);
            let sent = [frame(DATA, one), frame(GREASE, b"between"), frame(DATA, other)].concat();
            client.send.write_all(&sent).await.unwrap();
            is_closed(&server.closed().await, 42, "bye, schluß");
        }
        let (mut client, server) = RawClient::in_session(&net).await;
        for byte in &capsules {
            drip(&mut client.send, &frame(DATA, &[*byte])).await;
        }
        is_closed(&server.closed().await, 42, "bye, schluß");
    })
    .await;
}

#[tokio::test]
async fn our_close_is_a_capsule_and_the_end_of_its_stream() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        server.close(Code(7), "bye");
        assert!(matches!(server.closed().await, ConnectionError::LocallyClosed));
        client.expect(&frame(DATA, &closing(7, "bye"))).await;
        assert_eq!(client.recv.read_to_end(9).await.unwrap(), b"");
        client.send.finish().unwrap();
        assert_eq!(code_of_close(&client.quic).await, NO_ERROR);
        // A peer that does not answer hears it from the connection.
        let (client, server) = RawClient::in_session(&net).await;
        server.close(Code(7), "bye");
        match client.quic.closed().await {
            quinn::ConnectionError::ApplicationClosed(close) => {
                assert_eq!((close.error_code, &close.reason[..]), (quic_varint(SEVEN), &b"bye"[..]));
            }
            other => panic!("{other:?}"),
        }
        // Nobody is left to use the session.
        let (mut client, server) = RawClient::in_session(&net).await;
        drop(server);
        client.expect(&frame(DATA, &closing(0, ""))).await;
        assert_eq!(client.recv.read_to_end(9).await.unwrap(), b"");
    })
    .await;
}

#[tokio::test]
async fn a_closed_session_is_agreed_to_and_left_to_the_peer_to_disconnect() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.write_all(&frame(DATA, &closing(9, "ciao"))).await.unwrap();
        client.send.finish().unwrap();
        is_closed(&server.closed().await, 9, "ciao");
        assert_eq!(client.recv.read_to_end(9).await.unwrap(), b"");
        // And if the peer never does, we do.
        assert_eq!(code_of_close(&client.quic).await, NO_ERROR);
    })
    .await;
}

#[tokio::test]
async fn a_given_up_session_stream_ends_the_session() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.reset(quic_varint(SEVEN)).unwrap();
        is_closed(&server.closed().await, 7, "");
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.reset(quic_varint(0x10c)).unwrap();
        is_closed(&server.closed().await, 0, "");
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.reset(quic_varint(0x10e)).unwrap();
        assert!(matches!(server.closed().await, ConnectionError::Transport(_)));
        let (mut client, server) = RawClient::in_session(&net).await;
        client.recv.stop(quic_varint(SEVEN)).unwrap();
        is_closed(&server.closed().await, 7, "");
        // An end in the middle of a capsule is none.
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.write_all(&frame(DATA, &closing(1, "cut")[..6])).await.unwrap();
        client.send.finish().unwrap();
        assert!(matches!(server.closed().await, ConnectionError::Transport(_)));
        assert_eq!(code_of_close(&client.quic).await, MESSAGE_ERROR);
    })
    .await;
}

#[tokio::test]
async fn draining_is_told_and_heard_without_an_end() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        client.send.write_all(&frame(DATA, &frame(DRAIN, b""))).await.unwrap();
        session(&server).draining().await;
        session(&server).drain();
        session(&server).drain();
        client.expect(&frame(DATA, &frame(DRAIN, b""))).await;
        lives(&mut client, &server).await;
        let (client, server) = net.webtransport().await;
        session(&server).drain();
        session(&client).draining().await;
        client.close(Code(4), "as you wish");
        is_closed(&server.closed().await, 4, "as you wish");
    })
    .await;
}

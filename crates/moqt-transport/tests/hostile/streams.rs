//! Streams that keep silent, or are not for us.

use moqt_transport::{Connection, RecvStream, conformance::bounded};

use crate::{
    BUFFERED_STREAM_REJECTED, ID_ERROR, REQUEST_REJECTED, STREAM_CREATION,
    common::TIMEOUT,
    lives, net,
    raw::{
        BIDI, GREASE, RawClient, UNI, USUAL, code_of_close, connect, quic_client, quic_varint, settings,
        varint,
    },
};

#[tokio::test]
async fn a_thousand_silent_streams_hold_up_no_other() {
    const SILENT: usize = 1000;

    let net = net();
    bounded(async {
        let (client, server) = RawClient::in_session(&net).await;
        let mut silent = Vec::new();
        let opening = async {
            for i in 0..SILENT {
                // Half of them stop in the middle of the head, and half do not begin.
                let mut uni = client.quic.open_uni().await.unwrap();
                let (mut bidi, recv) = client.quic.open_bi().await.unwrap();
                if i % 2 == 0 {
                    uni.write_all(&UNI[..1 + i / 2 % 2]).await.unwrap();
                    bidi.write_all(&BIDI[..1 + i / 2 % 2]).await.unwrap();
                }
                silent.push((uni, bidi, recv));
            }
        };
        // Somebody waits for them meanwhile, or the peer may not open so many.
        tokio::select! {
            _ = server.accept_uni() => panic!("none has said what it is"),
            _ = server.accept_bi() => panic!("none has said what it is"),
            () = opening => {}
        }
        for round in 0..3_u8 {
            let _uni = client.uni(&[&UNI[..], &[round]].concat()).await;
            let _bidi = client.bidi(&[&BIDI[..], &[round]].concat()).await;
            let (uni, bidi) = tokio::join!(server.accept_uni(), server.accept_bi());
            assert_eq!(uni.unwrap().read_chunk(9).await.unwrap().as_deref(), Some(&[round][..]));
            assert_eq!(bidi.unwrap().1.read_chunk(9).await.unwrap().as_deref(), Some(&[round][..]));
        }
        // Whoever speaks after all is heard.
        let (uni, bidi, _recv) = &mut silent[501];
        uni.write_all(&[&UNI[..], b"late"].concat()).await.unwrap();
        bidi.write_all(&[&BIDI[..], b"late"].concat()).await.unwrap();
        let (uni, bidi) = tokio::join!(server.accept_uni(), server.accept_bi());
        assert_eq!(uni.unwrap().read_chunk(9).await.unwrap().as_deref(), Some(&b"late"[..]));
        assert_eq!(bidi.unwrap().1.read_chunk(9).await.unwrap().as_deref(), Some(&b"late"[..]));
    })
    .await;
}

#[tokio::test]
async fn of_too_many_silent_streams_the_oldest_goes() {
    const MOST: usize = 1024;

    let net = net();
    bounded(async {
        let (client, server) = RawClient::in_session(&net).await;
        let mut silent = Vec::new();
        for _ in 0..MOST + 2 {
            silent.push(client.uni(&UNI[..1]).await);
        }
        let _loud = client.uni(&[&UNI[..], b"x"].concat()).await;
        server.accept_uni().await.unwrap();
        for gone in &mut silent[..2] {
            assert_eq!(gone.stopped().await.unwrap(), Some(quic_varint(BUFFERED_STREAM_REJECTED)));
        }
        // The others are still waited for.
        silent[2].write_all(&UNI[1..]).await.unwrap();
        silent[2].write_all(b"y").await.unwrap();
        let mut recv = server.accept_uni().await.unwrap();
        assert_eq!(recv.read_chunk(9).await.unwrap().as_deref(), Some(&b"y"[..]));
    })
    .await;
}

#[tokio::test]
async fn streams_arrive_in_the_order_in_which_they_said_what_they_are() {
    let net = net();
    bounded(async {
        let (client, server) = RawClient::in_session(&net).await;
        let mut first = client.uni(&UNI[..2]).await;
        let _others =
            [client.uni(&[&UNI[..], b"2"].concat()).await, client.uni(&[&UNI[..], b"3"].concat()).await];
        first.write_all(&[0x00, b'1']).await.unwrap();
        let mut order = Vec::new();
        for _ in 0..3 {
            let mut recv = server.accept_uni().await.unwrap();
            order.extend(recv.read_chunk(1).await.unwrap().unwrap());
        }
        order.retain(|byte| *byte != b'1');
        assert_eq!(order, b"23");
    })
    .await;
}

#[tokio::test]
async fn streams_of_other_sessions_and_of_no_use_are_refused() {
    let net = net();
    bounded(async {
        let (mut client, server) = RawClient::in_session(&net).await;
        let other = client.uni(&[0x40, 0x54, 0x04, b'x']).await;
        let (other_send, mut other_recv) = client.bidi(&[0x40, 0x41, 0x04, b'x']).await;
        let unknown = client.uni(&[&varint(GREASE)[..], b"whatever"].concat()).await;
        let (request_send, mut request_recv) = client.bidi(&connect("webtransport")).await;
        let accept = async { drop(server.accept_bi().await) };
        let check = async {
            assert_eq!(other_send.stopped().await.unwrap(), Some(quic_varint(BUFFERED_STREAM_REJECTED)));
            let reset = other_recv.read_to_end(9).await.unwrap_err();
            assert!(reset.to_string().contains(&BUFFERED_STREAM_REJECTED.to_string()), "{reset}");
            assert_eq!(request_send.stopped().await.unwrap(), Some(quic_varint(REQUEST_REJECTED)));
            let reset = request_recv.read_to_end(9).await.unwrap_err();
            assert!(reset.to_string().contains(&REQUEST_REJECTED.to_string()), "{reset}");
        };
        tokio::select! {
            () = accept => panic!("a stream of another session was accepted"),
            () = check => {}
        }
        lives(&mut client, &server).await;
        assert_eq!(other.stopped().await.unwrap(), Some(quic_varint(BUFFERED_STREAM_REJECTED)));
        assert_eq!(unknown.stopped().await.unwrap(), Some(quic_varint(STREAM_CREATION)));
        // A session cannot have the id of a stream of the server.
        let _impossible = client.uni(&[0x40, 0x54, 0x01]).await;
        assert!(server.accept_uni().await.is_err());
        assert_eq!(code_of_close(&client.quic).await, ID_ERROR);
    })
    .await;
}

#[tokio::test]
async fn streams_before_the_answer_are_kept_for_the_session() {
    let net = net();
    bounded(async {
        let serve = async {
            let request = net.listener.accept().await.unwrap().accept(TIMEOUT).await.unwrap();
            request.accept().await.unwrap()
        };
        let client = async {
            let (endpoint, quic) = quic_client(&net.identity, net.address()).await;
            // The request is the first stream, and comes last.
            let (mut send, recv) = quic.open_bi().await.unwrap();
            let (mut bidi, _) = quic.open_bi().await.unwrap();
            bidi.write_all(&[&BIDI[..], b"b"].concat()).await.unwrap();
            let mut unis = Vec::new();
            for byte in [b'1', b'2', b'3'] {
                let mut uni = quic.open_uni().await.unwrap();
                uni.write_all(&[&UNI[..], &[byte]].concat()).await.unwrap();
                unis.push(uni);
            }
            let mut control = quic.open_uni().await.unwrap();
            control.write_all(&[&[0x00][..], &settings(&USUAL)].concat()).await.unwrap();
            send.write_all(&connect("webtransport")).await.unwrap();
            (endpoint, quic, send, recv, bidi, unis, control)
        };
        let (server, _client) = tokio::join!(serve, client);
        for byte in [b'1', b'2', b'3'] {
            let mut recv = server.accept_uni().await.unwrap();
            assert_eq!(recv.read_chunk(9).await.unwrap().as_deref(), Some(&[byte][..]));
        }
        let (_send, mut recv) = server.accept_bi().await.unwrap();
        assert_eq!(recv.read_chunk(9).await.unwrap().as_deref(), Some(&b"b"[..]));
    })
    .await;
}

//! Listener and dialer, over both carriers on one port.

#![cfg(feature = "quinn")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test panics")]

mod common;

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use bytes::Bytes;
use moqt_transport::{
    AcceptError, Carrier, Code, Connection, ConnectionError, DialError, Dialer, ListenError, ListenOptions,
    Listener, NetConnection, RecvStream, Reject, SendStream, SocketBuffers, TransportOptions,
};

use crate::common::{ALPN, Identity, Net, TIMEOUT, dialer, listen, pinning};

fn net() -> Net {
    Net::new(TransportOptions::default())
}

async fn say_hello(from: &NetConnection, to: &NetConnection) {
    let mut send = from.open_uni().await.unwrap();
    send.write_all(Bytes::from_static(b"hello")).await.unwrap();
    let mut recv = to.accept_uni().await.unwrap();
    assert_eq!(recv.read_chunk(5).await.unwrap().as_deref(), Some(&b"hello"[..]));
}

#[cfg(feature = "webtransport")]
#[tokio::test]
async fn one_port_serves_both_carriers_at_once() {
    let net = net();
    let quic = net.quic().await;
    let webtransport = net.webtransport().await;
    assert_eq!((quic.0.carrier(), quic.1.carrier()), (Carrier::Quic, Carrier::Quic));
    assert_eq!(webtransport.0.carrier(), Carrier::WebTransport);
    assert_eq!(webtransport.1.carrier(), Carrier::WebTransport);
    assert_eq!(quic.0.alpn().unwrap(), ALPN);
    assert_eq!(webtransport.1.alpn().unwrap(), b"h3");
    for (client, server) in [&quic, &webtransport] {
        assert_eq!(client.remote_address(), Some(net.address()));
        say_hello(client, server).await;
        say_hello(server, client).await;
    }
    assert_eq!(net.listener.open_connections(), 2);
}

#[tokio::test]
async fn a_raw_quic_request_tells_its_alpn_and_server_name() {
    let net = net();
    let (addresses, alpns) = ([net.address()], [b"other".to_vec(), ALPN.to_vec()]);
    let serve = async {
        let incoming = net.listener.accept().await.unwrap();
        assert!(incoming.remote_address().ip().is_loopback());
        let request = incoming.accept(TIMEOUT).await.unwrap();
        assert_eq!(request.carrier(), Carrier::Quic);
        assert_eq!(request.alpn(), ALPN);
        assert_eq!(request.server_name(), Some("localhost"));
        assert_eq!((request.authority(), request.path(), request.origin()), (None, "", None));
        assert!(request.headers().is_empty() && request.protocols().is_empty());
        request.accept().await.unwrap()
    };
    let dial = net.dialer.connect_quic(&addresses, "localhost", &alpns);
    let (client, _server) = tokio::join!(dial, serve);
    assert_eq!(client.unwrap().alpn().unwrap(), ALPN);
}

#[cfg(feature = "webtransport")]
#[tokio::test]
async fn a_webtransport_request_tells_url_headers_and_protocols() {
    let net = net();
    let url = net.url("/room/7?token=a%20b");
    let headers = [
        ("origin".to_owned(), "https://page.example".to_owned()),
        ("wt-available-protocols".to_owned(), r#""moqt-16", "moq-00""#.to_owned()),
    ];
    let serve = async {
        let request = net.listener.accept().await.unwrap().accept(TIMEOUT).await.unwrap();
        assert_eq!(request.carrier(), Carrier::WebTransport);
        assert_eq!(request.alpn(), b"h3");
        assert_eq!(request.server_name(), Some("localhost"));
        assert_eq!(request.authority(), Some(format!("localhost:{}", net.address().port()).as_str()));
        assert_eq!(request.path(), "/room/7?token=a%20b");
        assert_eq!(request.origin(), Some("https://page.example"));
        assert_eq!(request.protocols(), ["moqt-16", "moq-00"]);
        assert_eq!(request.header(":method"), Some("CONNECT"));
        request.accept_protocol("moqt-16").await.unwrap()
    };
    let addresses = [net.address()];
    let (client, server) = tokio::join!(net.dialer.connect_webtransport(&addresses, &url, &headers), serve);
    let client = client.unwrap();
    say_hello(&server, &client).await;
    let (NetConnection::WebTransport(client), NetConnection::WebTransport(server)) = (client, server) else {
        panic!("another carrier");
    };
    assert_eq!((client.protocol(), server.protocol()), (Some("moqt-16"), Some("moqt-16")));
    let answer = [(":status", "200"), ("wt-protocol", "\"moqt-16\"")];
    assert_eq!(client.headers(), answer.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(server.headers().contains(&headers[0]));
}

#[cfg(feature = "webtransport")]
#[tokio::test]
async fn a_rejected_webtransport_client_hears_that_it_was_rejected() {
    let net = net();
    for reject in [
        Reject::BAD_REQUEST,
        Reject::UNAUTHORIZED,
        Reject::FORBIDDEN,
        Reject::NOT_FOUND,
        Reject::TOO_MANY_REQUESTS.header("retry-after", "10").unwrap(),
        Reject::UNAVAILABLE,
        Reject::new(307).unwrap().header("location", "https://elsewhere.example/").unwrap(),
    ] {
        let (addresses, url) = ([net.address()], net.url("/nowhere"));
        let (expected, added) = (reject.status(), reject.headers().to_vec());
        let serve = async {
            let incoming = net.listener.accept().await.unwrap();
            incoming.accept(TIMEOUT).await.unwrap().reject(reject).await;
        };
        let (client, ()) = tokio::join!(net.dialer.connect_webtransport(&addresses, &url, &[]), serve);
        match client {
            Err(DialError::Rejected { status, headers }) => {
                assert_eq!(status, expected);
                assert_eq!(headers[0], (":status".to_owned(), expected.to_string()));
                assert_eq!(headers[1..], added);
            }
            other => panic!("{other:?}"),
        }
    }
    net.listener.wait_idle().await;
}

#[tokio::test]
async fn a_rejected_raw_quic_client_sees_the_status_as_the_code() {
    let net = net();
    let (addresses, alpns) = ([net.address()], [ALPN.to_vec()]);
    let serve = async {
        let incoming = net.listener.accept().await.unwrap();
        incoming.accept(TIMEOUT).await.unwrap().reject(Reject::NOT_FOUND).await;
    };
    let (client, ()) = tokio::join!(net.dialer.connect_quic(&addresses, "localhost", &alpns), serve);
    // The close may overtake the end of the client's handshake.
    let end = match client {
        Ok(client) => client.closed().await,
        Err(DialError::Connection(end)) => end,
        Err(other) => panic!("{other:?}"),
    };
    assert!(matches!(end, ConnectionError::Closed { code: Code(404), .. }), "{end:?}");
}

#[tokio::test]
async fn a_refused_client_hears_that_it_was_refused() {
    let net = net();
    let (addresses, alpns) = ([net.address()], [ALPN.to_vec()]);
    let serve = async { net.listener.accept().await.unwrap().refuse() };
    let (client, ()) = tokio::join!(net.dialer.connect_quic(&addresses, "localhost", &alpns), serve);
    assert!(matches!(client, Err(DialError::Refused)), "{client:?}");
    #[cfg(feature = "webtransport")]
    {
        let url = net.url("/");
        let serve = async { drop(net.listener.accept().await.unwrap()) };
        let (client, ()) = tokio::join!(net.dialer.connect_webtransport(&addresses, &url, &[]), serve);
        assert!(matches!(client, Err(DialError::Refused)), "{client:?}");
    }
}

#[tokio::test]
async fn an_unknown_alpn_is_refused_on_both_sides() {
    let net = net();
    let (addresses, alpns) = ([net.address()], [b"unheard-of".to_vec()]);
    let serve = async { net.listener.accept().await.unwrap().accept(TIMEOUT).await.map(drop) };
    let (client, server) = tokio::join!(net.dialer.connect_quic(&addresses, "localhost", &alpns), serve);
    assert!(matches!(client, Err(DialError::NoCommonProtocol)), "{client:?}");
    assert!(matches!(server, Err(AcceptError::NoCommonProtocol)), "{server:?}");
}

#[cfg(feature = "webtransport")]
#[tokio::test]
async fn a_listener_without_webtransport_has_no_protocol_for_it() {
    let identity = Identity::new(&["localhost"]);
    let options = ListenOptions { alpns: vec![ALPN.to_vec()], ..ListenOptions::default() };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), identity.server(), options).unwrap();
    let address = listener.local_addr().unwrap();
    let dialer = dialer(pinning([identity.fingerprint()]));
    let url = format!("https://localhost:{}/", address.port());
    let serve = async { listener.accept().await.unwrap().accept(TIMEOUT).await.map(drop) };
    let addresses = [address];
    let (client, server) = tokio::join!(dialer.connect_webtransport(&addresses, &url, &[]), serve);
    assert!(matches!(client, Err(DialError::NoCommonProtocol)), "{client:?}");
    assert!(matches!(server, Err(AcceptError::NoCommonProtocol)), "{server:?}");
}

#[tokio::test]
async fn a_listener_needs_something_to_offer() {
    let identity = Identity::new(&["localhost"]);
    let address = "127.0.0.1:0".parse().unwrap();
    let bound = Listener::bind(address, identity.server(), ListenOptions::default());
    assert!(matches!(bound, Err(ListenError::NoProtocol)));
}

#[tokio::test]
async fn an_address_in_use_is_said_so() {
    let identity = Identity::new(&["localhost"]);
    let first = listen(&identity);
    let options = ListenOptions { alpns: vec![ALPN.to_vec()], ..ListenOptions::default() };
    let second = Listener::bind(first.local_addr().unwrap(), identity.server(), options);
    match second {
        Err(ListenError::Bind { source, .. }) => assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse),
        other => panic!("{other:?}"),
    }
}

/// Sends a client's first packet, and whatever it repeats, to `server`, and lets nothing come back.
async fn silent_client(server: SocketAddr) -> (SocketAddr, impl Future<Output = ()>) {
    let hole = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let out = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = hole.local_addr().unwrap();
    let forward = async move {
        let mut buf = [0; 2048];
        loop {
            let (len, _) = hole.recv_from(&mut buf).await.unwrap();
            out.send_to(&buf[..len], server).await.unwrap();
        }
    };
    (address, forward)
}

#[tokio::test]
async fn a_slow_handshake_blocks_nobody_and_times_out() {
    let net = net();
    let (hole, forward) = silent_client(net.address()).await;
    let (slow, alpns) = ([hole], [ALPN.to_vec()]);
    let never = async {
        let client = net.dialer.connect_quic(&slow, "localhost", &alpns).await;
        panic!("a client without answers got {client:?}");
    };
    let test = async {
        let slow = net.listener.accept().await.unwrap();
        let mut slow = Box::pin(slow.accept(Duration::from_millis(300)));
        // Others come and go meanwhile.
        tokio::select! {
            biased;
            result = &mut slow => panic!("{result:?}"),
            pair = net.quic() => say_hello(&pair.0, &pair.1).await,
        }
        assert!(matches!(slow.await, Err(AcceptError::TimedOut)));
    };
    tokio::select! {
        () = test => {}
        () = forward => {}
        () = never => {}
    }
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_millis(300);
    let dialer = Dialer::new(pinning([]), TransportOptions::default(), timeout).unwrap();
    let addresses = [nobody.local_addr().unwrap()];
    let client = dialer.connect_quic(&addresses, "localhost", &[ALPN.to_vec()]).await;
    assert!(matches!(client, Err(DialError::TimedOut(after)) if after == timeout), "{client:?}");
    #[cfg(feature = "webtransport")]
    {
        let client = dialer.connect_webtransport(&addresses, "https://localhost/", &[]).await;
        assert!(matches!(client, Err(DialError::TimedOut(_))), "{client:?}");
    }
}

#[tokio::test]
async fn a_host_resolves_by_name_and_by_address() {
    let dialer = dialer(pinning([]));
    for host in ["127.0.0.1", "localhost"] {
        let found = dialer.resolve(host, 7).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
    }
    assert_eq!(dialer.resolve("[::1]", 7).await.unwrap(), ["[::1]:7".parse().unwrap()]);
    // No resolver is asked for a name that cannot be one.
    match dialer.resolve("not a host", 7).await {
        Err(DialError::Dns { host, .. }) => assert_eq!(host, "not a host"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_dead_address_does_not_keep_from_the_next_one() {
    let net = net();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let alpns = [ALPN.to_vec()];
    // Two where nobody answers, one of them of a family that the machine may lack, and the server.
    let addresses = ["[::1]:9".parse().unwrap(), nobody.local_addr().unwrap(), net.address()];
    let (client, server) =
        tokio::join!(net.dialer.connect_quic(&addresses, "localhost", &alpns), net.serve());
    say_hello(&client.unwrap(), &server).await;
    #[cfg(feature = "webtransport")]
    {
        let url = net.url("/");
        let (client, server) =
            tokio::join!(net.dialer.connect_webtransport(&addresses, &url, &[]), net.serve());
        say_hello(&client.unwrap(), &server).await;
    }
}

#[tokio::test]
async fn all_addresses_means_both_families() {
    // Not every machine has IPv6.
    if UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let identity = Identity::new(&["localhost"]);
    let options = ListenOptions { alpns: vec![ALPN.to_vec()], ..ListenOptions::default() };
    let listener = Listener::bind("[::]:0".parse().unwrap(), identity.server(), options).unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialer = dialer(pinning([identity.fingerprint()]));
    for ip in ["127.0.0.1", "[::1]"] {
        let addresses = dialer.resolve(ip, port).await.unwrap();
        let serve = async { listener.accept().await.unwrap().accept(TIMEOUT).await.unwrap() };
        let alpns = [ALPN.to_vec()];
        let (client, _request) = tokio::join!(dialer.connect_quic(&addresses, "localhost", &alpns), serve);
        client.unwrap();
    }
}

#[tokio::test]
async fn a_client_can_move_to_another_socket() {
    let net = net();
    moves(&net, net.quic().await).await;
    #[cfg(feature = "webtransport")]
    moves(&net, net.webtransport().await).await;
}

async fn moves(net: &Net, (client, server): (NetConnection, NetConnection)) {
    let before = server.remote_address().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let after = socket.local_addr().unwrap();
    net.dialer.rebind(socket).unwrap();
    say_hello(&client, &server).await;
    assert_ne!(before, after);
    assert_eq!(server.remote_address(), Some(after));
}

#[tokio::test]
async fn closing_a_listener_ends_its_connections_and_its_accept() {
    let net = net();
    let (client, server) = net.quic().await;
    net.listener.close(Code(3), "shutting down");
    assert!(matches!(client.closed().await, ConnectionError::Closed { code: Code(3), .. }));
    drop(server);
    assert!(net.listener.accept().await.is_none());
    net.listener.wait_idle().await;
}

#[tokio::test]
async fn closing_a_dialer_ends_its_connections() {
    let net = net();
    let (_client, server) = net.quic().await;
    #[cfg(feature = "webtransport")]
    let (_wt_client, wt_server) = net.webtransport().await;
    net.dialer.close(Code(3), "bye");
    assert!(matches!(server.closed().await, ConnectionError::Closed { code: Code(3), .. }));
    #[cfg(feature = "webtransport")]
    assert!(matches!(wt_server.closed().await, ConnectionError::Closed { code: Code(3), .. }));
    net.dialer.wait_idle().await;
}

#[tokio::test]
async fn socket_buffers_are_enlarged_as_far_as_the_system_allows() {
    let buffers = net().listener.socket_buffers();
    assert!(buffers.send > 0 && buffers.receive > 0);
}

#[tokio::test]
async fn a_peer_of_whom_no_streams_are_expected_may_open_few() {
    let net = Net::new(TransportOptions {
        max_uni_streams: 40,
        unexpected_uni_streams: Some(8),
        ..TransportOptions::default()
    });
    let connections = [
        net.quic().await,
        #[cfg(feature = "webtransport")]
        net.webtransport().await,
    ];
    for (client, server) in connections {
        let mut open = Vec::new();
        let mut next = Box::pin(client.open_uni());
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(50), &mut next).await {
            open.push(stream.unwrap());
            next = Box::pin(client.open_uni());
        }
        // HTTP/3 takes up to three itself.
        assert!((5..=8).contains(&open.len()), "{:?}: {}", client.carrier(), open.len());
        server.expect_streams();
        open.push(tokio::time::timeout(TIMEOUT, next).await.unwrap().unwrap());
        while open.len() < 37 {
            open.push(tokio::time::timeout(TIMEOUT, client.open_uni()).await.unwrap().unwrap());
        }
    }
}

#[tokio::test]
async fn a_peer_that_uses_the_requests_it_may_open_may_open_more_up_to_the_limit() {
    const MOST: usize = 300;
    let net = Net::new(TransportOptions { max_bidi_streams: MOST as u32, ..TransportOptions::default() });
    let connections = [
        net.quic().await,
        #[cfg(feature = "webtransport")]
        net.webtransport().await,
    ];
    for (client, server) in connections {
        let carrier = client.carrier();
        let mut open = Vec::new();
        // Nobody sees them yet.
        let mut next = Box::pin(client.open_bi());
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(50), &mut next).await {
            open.push(stream.unwrap());
            next = Box::pin(client.open_bi());
        }
        assert!((62..=64).contains(&open.len()), "{carrier:?}: {}", open.len());
        for (send, _) in &mut open {
            send.write_all(Bytes::from_static(b"x")).await.unwrap();
        }
        let mut seen = Vec::new();
        let accepting = async {
            loop {
                seen.push(server.accept_bi().await.unwrap());
            }
        };
        let opening = async {
            open.push(next.await.unwrap());
            // HTTP/3 takes one itself.
            let most = MOST - usize::from(carrier == Carrier::WebTransport);
            while open.len() < most {
                let (mut send, recv) = client.open_bi().await.unwrap();
                send.write_all(Bytes::from_static(b"x")).await.unwrap();
                open.push((send, recv));
            }
            let beyond = tokio::time::timeout(Duration::from_millis(50), client.open_bi());
            assert!(beyond.await.is_err(), "{carrier:?}");
        };
        let enough = async {
            tokio::select! {
                () = accepting => {}
                () = opening => {}
            }
        };
        tokio::time::timeout(TIMEOUT, enough).await.unwrap();
        assert!(seen.len() > 64, "{carrier:?}: {}", seen.len());
    }
}

#[test]
fn buffers_are_short_of_what_they_are_smaller_than() {
    let buffers = SocketBuffers { send: 3000, receive: 2000 };
    assert_eq!([1999, 2000, 2001].map(|wanted| buffers.short_of(wanted)), [None, None, Some(2000)]);
}

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
#[tokio::test]
async fn a_client_that_comes_to_another_listener_of_the_port_learns_that_its_connection_is_lost() {
    let identity = Identity::new(&["localhost"]);
    let options = ListenOptions { alpns: vec![ALPN.to_vec()], shared: true, ..ListenOptions::default() };
    let first = Listener::bind("127.0.0.1:0".parse().unwrap(), identity.server(), options).unwrap();
    let address = first.local_addr().unwrap();
    let second = first.share().unwrap();
    assert_eq!(second.local_addr().unwrap(), address);
    let taken = UdpSocket::bind(address);
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    let dialer = dialer(pinning([identity.fingerprint()]));
    let (addresses, alpns) = ([address], [ALPN.to_vec()]);
    let dial = dialer.connect_quic(&addresses, "localhost", &alpns);
    let serve = async {
        let incoming = tokio::select! {
            incoming = first.accept() => incoming,
            incoming = second.accept() => incoming,
        };
        incoming.unwrap().accept(TIMEOUT).await.unwrap().accept().await.unwrap()
    };
    let (client, server) = tokio::join!(dial, serve);
    let client = client.unwrap();
    say_hello(&client, &server).await;
    // Each address has its chance to come to the same listener; then the connection goes on.
    for moves in 0.. {
        assert!(moves < 64, "the system gives all addresses to one listener");
        dialer.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let mut send = client.open_uni().await.unwrap();
        // What is answered with a reset must not be short.
        if send.write_all(Bytes::from(vec![0; 500])).await.is_err() {
            break;
        }
        tokio::select! {
            biased;
            end = client.closed() => {
                assert!(matches!(end, ConnectionError::Reset), "{end:?}");
                break;
            }
            stream = server.accept_uni() => drop(stream.unwrap()),
        }
    }
    assert!(matches!(client.closed().await, ConnectionError::Reset));
}

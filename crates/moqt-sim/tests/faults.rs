//! What ends streams and connections, and how the other side learns of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::{count_to_end, ms, read_to_end, secs, send};
use moqt_sim::{Link, Settings, for_each_seed};
use moqt_transport::{Code, Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};

#[test]
fn a_killed_peer_is_noticed_after_the_idle_timeout() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::delay(ms(10)));
        sim.sleep(secs(100)).await; // kept alive
        client.kill();
        let start = sim.now();
        assert!(matches!(server.closed().await, ConnectionError::TimedOut));
        let took = sim.now() - start;
        assert!(took > secs(19) && took <= secs(30) + ms(11), "{took:?}");
        assert!(matches!(client.open_uni().await, Err(ConnectionError::LocallyClosed)));
    });
}

#[test]
fn without_keep_alive_a_quiet_connection_times_out() {
    for_each_seed(|sim| async move {
        let settings = Settings::default().keep_alive(None).idle_timeout(secs(5));
        let (client, server) = sim.connect_with(Link::ideal(), settings.clone(), settings);
        let errors = tokio::join!(client.closed(), server.closed());
        assert!(matches!(errors, (ConnectionError::TimedOut, ConnectionError::TimedOut)));
        assert_eq!(sim.elapsed(), secs(5));
    });
}

#[test]
fn a_peer_that_restarted_resets_the_connection() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::delay(ms(10)));
        server.forget();
        let mut out = client.open_uni().await.unwrap();
        out.write_all(Bytes::from_static(b"hello?")).await.unwrap();
        assert!(matches!(client.closed().await, ConnectionError::Reset));
        assert_eq!(sim.elapsed(), ms(20));
        assert!(matches!(out.finish(), Err(WriteError::Connection(ConnectionError::Reset))));
    });
}

#[test]
fn a_short_cut_is_survived_and_everything_arrives() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::delay(ms(20)).rate(4_000_000));
        let data = sim.rng().bytes(1_000_000);
        sim.spawn(send(client.open_uni().await.unwrap(), data.clone()));
        let mut incoming = server.accept_uni().await.unwrap();
        let reader = sim.spawn(async move { read_to_end(&mut incoming).await.unwrap() });
        sim.sleep(ms(300)).await;
        client.link().cut();
        sim.sleep(secs(10)).await;
        assert!(!reader.is_finished());
        server.link().restore();
        assert!(reader.await.unwrap() == data, "bytes differ");
        assert!(sim.elapsed() < secs(16), "{:?}", sim.elapsed());
        assert!(client.counters().packets_dropped > 0);
    });
}

#[test]
fn a_long_cut_times_out_at_both_ends() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::delay(ms(20)));
        client.link().cut();
        let errors = tokio::join!(client.closed(), server.closed());
        assert!(matches!(errors, (ConnectionError::TimedOut, ConnectionError::TimedOut)));
    });
}

#[test]
fn one_direction_can_be_changed_alone() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::ideal());
        client.outgoing().set_delay(ms(100));
        send(client.open_uni().await.unwrap(), Bytes::from_static(b"slow")).await;
        send(server.open_uni().await.unwrap(), Bytes::from_static(b"fast")).await;
        assert_eq!(count_to_end(&mut client.accept_uni().await.unwrap()).await, 4);
        assert_eq!(sim.elapsed(), ms(0));
        assert_eq!(count_to_end(&mut server.accept_uni().await.unwrap()).await, 4);
        assert_eq!(sim.elapsed(), ms(100));
    });
}

#[test]
fn a_close_arrives_with_code_and_words_despite_loss() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::delay(ms(10)).loss(0.5));
        let (mut out, mut incoming) = client.open_bi().await.unwrap();
        let reader = sim.spawn(async move { incoming.read_chunk(10).await });
        client.close(Code(17), "that is all");
        client.close(Code(18), "never heard");
        let ConnectionError::Closed { code, reason } = server.closed().await else { panic!("not closed") };
        assert_eq!((code, reason.as_str()), (Code(17), "that is all"));
        assert!(matches!(client.closed().await, ConnectionError::LocallyClosed));
        let read = reader.await.unwrap();
        assert!(matches!(read, Err(ReadError::Connection(ConnectionError::LocallyClosed))));
        let written = out.write_all(Bytes::from_static(b"late")).await;
        assert!(matches!(written, Err(WriteError::Connection(ConnectionError::LocallyClosed))));
        assert!(matches!(server.accept_bi().await, Err(ConnectionError::Closed { .. })));
    });
}

#[test]
fn the_last_handle_closes_and_a_stream_is_a_handle() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::delay(ms(10)));
        let out = client.open_uni().await.unwrap();
        drop((client.clone(), client));
        assert!(tokio::time::timeout(secs(60), server.closed()).await.is_err());
        drop(out);
        let ConnectionError::Closed { code, reason } = server.closed().await else { panic!("not closed") };
        assert_eq!((code, reason.as_str()), (Code::NONE, ""));
    });
}

#[test]
fn a_dropped_send_stream_is_reset_and_a_dropped_recv_stream_is_stopped() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::delay(ms(10)).loss(0.2));
        let mut out = client.open_uni().await.unwrap();
        out.write_all(Bytes::from_static(b"half of")).await.unwrap();
        let mut incoming = server.accept_uni().await.unwrap();
        assert_eq!(incoming.read_chunk(100).await.unwrap().unwrap(), "half of");
        drop(out);
        assert!(matches!(incoming.read_chunk(100).await, Err(ReadError::Reset(Code::NONE))));

        let mut out = client.open_uni().await.unwrap();
        out.write_all(Bytes::from_static(b"unwanted")).await.unwrap();
        drop(server.accept_uni().await.unwrap());
        assert_eq!(out.stopped().await.unwrap(), Some(Code::NONE));
        let written = out.write_all(Bytes::from_static(b"more")).await;
        assert!(matches!(written, Err(WriteError::Stopped(Code::NONE))));
    });
}

#[test]
fn codes_of_reset_and_stop_survive_both_directions() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::delay(ms(10)).loss(0.1));
        let (mut out, mut back) = client.open_bi().await.unwrap();
        out.write_all(Bytes::from_static(b"x")).await.unwrap();
        let (mut answer, mut question) = server.accept_bi().await.unwrap();
        out.reset(Code(1 << 40));
        back.stop(Code(5));
        loop {
            match question.read_chunk(10).await {
                Ok(Some(_)) => {}
                other => {
                    assert!(matches!(other, Err(ReadError::Reset(Code(code))) if code == 1 << 40));
                    break;
                }
            }
        }
        assert_eq!(answer.stopped().await.unwrap(), Some(Code(5)));
        assert!(matches!(out.finish(), Err(WriteError::Closed)));
        assert!(matches!(back.read_chunk(10).await, Err(ReadError::Closed)));
    });
}

//! Bytes arrive: whole, in order, whatever the link does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::{count_to_end, ms, read_to_end, secs, send};
use moqt_sim::{Congestion, Link, Links, Seeds, Settings, Sim, SimConnection, for_each_seed};
use moqt_transport::{Connection, RecvStream, SendStream};

/// Sends streams of random sizes both ways, in pieces of random sizes, and compares.
async fn exchange(sim: &Sim, client: &SimConnection, server: &SimConnection) {
    let mut rng = sim.rng();
    let mut tasks = Vec::new();
    for _ in 0..12 {
        for (from, to) in [(client, server), (server, client)] {
            let len = usize::try_from(rng.below(60_000)).unwrap();
            let (data, mut rng, priority) =
                (rng.bytes(len), rng.fork(), i32::try_from(rng.below(3)).unwrap());
            let mut out = from.open_uni().await.unwrap();
            out.set_priority(priority);
            let mut rest = data.clone();
            // The first byte goes out here, so that streams are accepted in the order of this loop.
            tasks.push(sim.spawn(async move {
                while !rest.is_empty() {
                    let piece = usize::try_from(rng.range(1..5000)).unwrap().min(rest.len());
                    out.write_all(rest.split_to(piece)).await.unwrap();
                }
                out.finish().unwrap();
                assert_eq!(out.stopped().await.unwrap(), None);
            }));
            let mut incoming = to.accept_uni().await.unwrap();
            tasks.push(sim.spawn(async move {
                assert!(read_to_end(&mut incoming).await.unwrap() == data, "bytes differ");
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn an_ideal_link_delivers_in_no_time() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::ideal());
        exchange(&sim, &client, &server).await;
        assert!(sim.elapsed() < ms(10), "{:?}", sim.elapsed());
        assert_eq!(client.counters().packets_lost + server.counters().packets_lost, 0);
    });
}

#[test]
fn loss_and_jitter_delay_but_never_corrupt() {
    Seeds::default().count(40).run(|sim| async move {
        let mut rng = sim.rng();
        let mut link = || {
            let link = Link::delay(rng.duration(ms(100)) + ms(1)).loss(rng.below(25) as f64 / 100.0);
            let link = link.jitter(rng.duration(ms(30)));
            if rng.chance(0.5) { link.rate(rng.range(500_000..20_000_000)).queue(20_000) } else { link }
        };
        let links = Links::from((link(), link()));
        let congestion = if rng.chance(0.5) { Congestion::Aimd } else { Congestion::Informed };
        let settings = Settings::default().congestion(congestion).stream_window(20_000).send_buffer(5_000);
        let (client, server) = sim.connect_with(links, settings.clone(), settings);
        exchange(&sim, &client, &server).await;
    });
}

#[test]
fn a_byte_takes_one_delay_and_its_acknowledgement_two() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect((Link::delay(ms(30)), Link::delay(ms(50))));
        let mut out = client.open_uni().await.unwrap();
        out.write_all(Bytes::from_static(b"x")).await.unwrap();
        out.finish().unwrap();
        let mut incoming = server.accept_uni().await.unwrap();
        assert_eq!(read_to_end(&mut incoming).await.unwrap(), b"x");
        assert_eq!(sim.elapsed(), ms(30));
        assert_eq!(out.stopped().await.unwrap(), None);
        assert_eq!(sim.elapsed(), ms(80));
        assert_eq!(client.stats().rtt, Some(ms(80)));
    });
}

#[test]
fn bytes_are_shared_and_not_copied() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::ideal());
        let data = sim.rng().bytes(1000);
        send(client.open_uni().await.unwrap(), data.clone()).await;
        let mut incoming = server.accept_uni().await.unwrap();
        let got = incoming.read_chunk(usize::MAX).await.unwrap().unwrap();
        assert_eq!(got.as_ptr(), data.as_ptr());
    });
}

#[test]
fn the_rate_of_the_link_is_used_and_measured() {
    for congestion in [Congestion::Informed, Congestion::Aimd] {
        for_each_seed(|sim| async move {
            let settings = Settings::default().congestion(congestion);
            let link = Link::delay(ms(20)).rate(8_000_000);
            let (client, server) = sim.connect_with(link, settings, Settings::default());
            let task = sim.spawn(send(client.open_uni().await.unwrap(), Bytes::from(vec![0; 5_000_000])));
            let mut incoming = server.accept_uni().await.unwrap();
            assert_eq!(count_to_end(&mut incoming).await, 5_000_000);
            task.await.unwrap();
            let elapsed = sim.elapsed();
            assert!(elapsed > secs(5) && elapsed < ms(5800), "{congestion:?}: {elapsed:?}");
            let rate = client.stats().delivery_rate.unwrap();
            assert!((7_000_000..9_000_000).contains(&rate), "{congestion:?}: {rate}");
        });
    }
}

#[test]
fn an_informed_sender_never_overflows_the_queue_and_a_learning_one_does() {
    for (congestion, overflows) in [(Congestion::Informed, false), (Congestion::Aimd, true)] {
        for_each_seed(|sim| async move {
            let settings = Settings::default().congestion(congestion);
            let link = Link::delay(ms(20)).rate(2_000_000).queue(16 * 1024);
            let (client, server) = sim.connect_with(link, settings, Settings::default());
            send(client.open_uni().await.unwrap(), Bytes::from(vec![0; 500_000])).await;
            let mut incoming = server.accept_uni().await.unwrap();
            assert_eq!(count_to_end(&mut incoming).await, 500_000);
            assert_eq!(client.counters().packets_overflowed > 0, overflows, "{congestion:?}");
        });
    }
}

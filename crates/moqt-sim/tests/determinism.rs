//! The same seed is the same world.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::{count_to_end, ms, secs, send};
use moqt_sim::{Counters, Link, Seeds, Sim, run};
use moqt_transport::{Connection, SendStream};

/// Some traffic over a bad link; what both ends counted and when it was over.
async fn world(sim: Sim) -> (Counters, Counters, std::time::Duration) {
    let (client, server) = sim.connect(Link::delay(ms(25)).jitter(ms(5)).rate(3_000_000).loss(0.03));
    let mut tasks = Vec::new();
    for priority in 0..5 {
        let mut out = client.open_uni().await.unwrap();
        out.set_priority(priority % 3);
        tasks.push(sim.spawn(send(out, sim.rng().bytes(80_000))));
        let (out, mut back) = server.open_bi().await.unwrap();
        tasks.push(sim.spawn(send(out, Bytes::from(vec![1; 10_000]))));
        tasks.push(sim.spawn(async move {
            count_to_end(&mut back).await;
        }));
    }
    for _ in 0..5 {
        let mut incoming = server.accept_uni().await.unwrap();
        tasks.push(sim.spawn(async move {
            count_to_end(&mut incoming).await;
        }));
        let (out, mut incoming) = client.accept_bi().await.unwrap();
        tasks.push(sim.spawn(async move {
            count_to_end(&mut incoming).await;
            send(out, Bytes::from_static(b"done")).await;
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    (client.counters(), server.counters(), sim.elapsed())
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..10 {
        assert_eq!(run(seed, world), run(seed, world));
    }
}

#[test]
fn different_seeds_give_different_traces() {
    let mut digests: Vec<u64> = (0..20).map(|seed| run(seed, world).0.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 20);
}

#[test]
fn a_failure_names_its_seed() {
    let failure = std::panic::catch_unwind(|| {
        Seeds::fixed(0..5).run(|sim| async move {
            assert!(sim.seed() != 3, "three is bad");
        });
    });
    let message = failure.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("SIM_SEED=3") && message.contains("three is bad"), "{message}");
}

#[test]
fn an_error_names_its_seed() {
    let failure = std::panic::catch_unwind(|| {
        Seeds::fixed(0..5).run(|sim| async move { if sim.seed() == 2 { Err("two is bad") } else { Ok(()) } });
    });
    let message = failure.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("SIM_SEED=2") && message.contains("two is bad"), "{message}");
}

#[test]
fn a_hang_is_a_failure() {
    let failure = std::panic::catch_unwind(|| {
        Seeds::fixed(0..5).limit(secs(60)).run(|sim| async move {
            let (client, _server) = sim.connect(Link::ideal());
            client.accept_uni().await.unwrap();
        });
    });
    let message = failure.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("hangs") && message.contains("60s"), "{message}");
}

#[test]
fn a_panic_in_a_task_is_a_failure() {
    let failure = std::panic::catch_unwind(|| {
        moqt_sim::for_each_seed(|sim| async move {
            sim.spawn(async { panic!("unseen") });
            sim.sleep(secs(3000)).await;
        });
    });
    let message = failure.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("a spawned task panicked: unseen"), "{message}");
}

//! Relays that are restarted and killed, with publishers and subscribers that notice nothing; in simulated networks with
//! loss and delay. `SIM_SEEDS=1000` runs a thousand of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod relay_world;

use std::time::Duration;

use moqt_relay::Redundancy;
use moqt_sim::{Link, Seeds, Sim};
use relay_world::*;
use tokio::task::JoinHandle;

/// In CI.
const SEEDS: u64 = 50;

fn lossy(sim: &Sim) -> Link {
    let mut rng = sim.rng();
    Link::delay(ms(2 + rng.below(40))).loss(0.02)
}

/// Two origins, and two edges below both of them.
fn two_by_two(world: &World, redundancy: Redundancy) {
    for host in ["origin1", "origin2"] {
        world.relay_with(host, &[], lossy(&world.sim), redundancy);
    }
    for host in ["edge1", "edge2"] {
        world.relay_with(host, &["origin1", "origin2"], lossy(&world.sim), redundancy);
    }
}

async fn subscribers(world: &World, count: usize) -> Vec<JoinHandle<Times>> {
    let mut subscribers = Vec::new();
    for host in ["edge1", "edge2"].into_iter().cycle().take(count) {
        subscribers.push(world.subscriber(host).await);
    }
    subscribers
}

/// All that was written came to everybody; returns the longest silence and how late the latest frame was.
async fn all_came(written: &Times, subscribers: Vec<JoinHandle<Times>>) -> (Duration, Duration) {
    let (mut silence, mut late) = (Duration::ZERO, Duration::ZERO);
    for subscriber in subscribers {
        let came = subscriber.await.unwrap();
        assert!(came.keys().eq(written.keys()), "{} of {} frames", came.len(), written.len());
        silence = silence.max(longest_silence(&came));
        late = late.max(latest(written, &came));
    }
    (silence, late)
}

#[test]
fn a_rolling_restart_of_all_relays_is_not_noticed_by_any_subscriber() {
    Seeds::default().count(SEEDS).run(|sim| async move {
        let world = World::new(&sim);
        two_by_two(&world, Redundancy::Best);
        let live = track("cam");
        let _publisher = world.publisher("origin1", "one", &live).await;
        let subscribers = subscribers(&world, 20).await;
        let publishing = sim.spawn(publish(vec![live], 15));
        let mut rng = sim.rng();
        for (host, other) in
            [("origin1", "origin2"), ("origin2", "origin1"), ("edge1", "edge2"), ("edge2", "edge1")]
        {
            sim.sleep(ms(300) + rng.duration(ms(700))).await;
            world.drain(host, Some(other)).await;
            sim.sleep(rng.duration(ms(500))).await;
            world.up(host);
            sim.sleep(ms(500)).await;
        }
        assert!(!publishing.is_finished(), "the last restart was before the end");
        let written = publishing.await.unwrap();
        let (silence, late) = all_came(&written, subscribers).await;
        assert!(silence <= 2 * GROUP, "nothing for {silence:?}");
        report("rolling restart", sim.seed(), silence, late);
    });
}

#[test]
fn a_killed_edge_costs_its_subscribers_no_group_and_less_than_one_of_delay() {
    Seeds::default().count(SEEDS).run(|sim| async move {
        let world = World::new(&sim);
        two_by_two(&world, Redundancy::Best);
        let live = track("cam");
        let _publisher = world.publisher("origin1", "one", &live).await;
        let subscribers = subscribers(&world, 4).await;
        let publishing = sim.spawn(publish(vec![live], 6));
        let mut rng = sim.rng();
        sim.sleep(rng.duration(2 * GROUP)).await;
        world.kill("edge1");
        sim.sleep(rng.duration(ms(300))).await;
        world.up("edge1");
        let written = publishing.await.unwrap();
        let (silence, late) = all_came(&written, subscribers).await;
        assert!(late <= GROUP, "late by {late:?}");
        report("killed edge", sim.seed(), silence, late);
    });
}

#[test]
fn a_killed_origin_costs_no_group_and_less_than_one_of_delay_where_the_publisher_is_at_another_too() {
    for redundancy in [Redundancy::Best, Redundancy::All] {
        Seeds::default().count(SEEDS).run(|sim| async move {
            let world = World::new(&sim);
            two_by_two(&world, redundancy);
            let live = track("cam");
            let _one = world.publisher("origin1", "one", &live).await;
            let _two = world.publisher("origin2", "two", &live).await;
            let subscribers = subscribers(&world, 4).await;
            let publishing = sim.spawn(publish(vec![live], 6));
            let mut rng = sim.rng();
            sim.sleep(GROUP / 4 + rng.duration(2 * GROUP)).await;
            let host = if rng.chance(0.5) { "origin1" } else { "origin2" };
            world.kill(host);
            sim.sleep(rng.duration(ms(300))).await;
            world.up(host);
            let written = publishing.await.unwrap();
            let (silence, late) = all_came(&written, subscribers).await;
            let most = match redundancy {
                // Until the silence is noticed.
                Redundancy::Best => GROUP,
                // Both copies come all the time; what was lost on one way is on the other.
                _ => ms(600),
            };
            assert!(late <= most, "late by {late:?} with {redundancy:?}");
            report("killed origin", sim.seed(), silence, late);
        });
    }
}

#[test]
fn when_the_active_of_two_publishers_is_killed_the_other_goes_on_with_the_same_group() {
    for redundancy in [Redundancy::Best, Redundancy::All] {
        Seeds::default().count(SEEDS).run(|sim| async move {
            let world = World::new(&sim);
            world.relay_with("edge1", &[], lossy(&sim), redundancy);
            world.relay("edge2", &["edge1"], lossy(&sim));
            let (one, two) = (track("cam"), track("cam"));
            let _active = world.publisher("edge1", "active", &one).await;
            let _spare = world.publisher("edge1", "spare", &two).await;
            let subscribers = subscribers(&world, 4).await;
            let publishing = sim.spawn(publish(vec![one, two], 6));
            let mut rng = sim.rng();
            sim.sleep(GROUP / 4 + rng.duration(2 * GROUP)).await;
            world.kill_client("active");
            let written = publishing.await.unwrap();
            let (silence, late) = all_came(&written, subscribers).await;
            let most = if redundancy == Redundancy::Best { GROUP } else { ms(600) };
            assert!(late <= most, "late by {late:?} with {redundancy:?}");
            report("killed publisher", sim.seed(), silence, late);
        });
    }
}

/// A line for whoever wants figures: `--nocapture`.
fn report(what: &str, seed: u64, silence: Duration, late: Duration) {
    println!("{what}: seed {seed}, longest silence {silence:?}, latest frame {late:?}");
}

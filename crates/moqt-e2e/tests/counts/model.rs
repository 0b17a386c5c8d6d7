//! Between the two connections of a relay: a producer that chunks are written to as they come, and the readers that
//! senders are fed from.

use std::{
    cell::Cell,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use moqt::{FrameMeta, GroupConsumer, Retention, TrackConsumer, TrackEvent, TrackInfo, TrackProducer};

const SUBSCRIBERS: usize = 100;
const FRAMES: usize = 240;
const CHUNK: usize = 1200;
/// Chunks of a frame: with 4.8 kB, four packets.
const CHUNKS: usize = 4;

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn track() -> TrackProducer {
    TrackProducer::new("a/b".parse().unwrap(), TrackInfo::default(), Retention::default())
}

fn poll<T>(waker: &Waker, future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(waker))
}

fn group(waker: &Waker, reader: &mut TrackConsumer) -> GroupConsumer {
    match reader.poll_event(&Context::from_waker(waker)) {
        Poll::Ready(Ok(Some(TrackEvent::Group(group)))) => group,
        other => panic!("no group: {other:?}"),
    }
}

/// Reads what is there and waits for more; how many bytes came.
fn read(waker: &Waker, group: &mut GroupConsumer) -> usize {
    let bytes = Cell::new(0);
    let mut reading = pin!(async {
        while let Some(mut frame) = group.next_frame().await.unwrap() {
            while let Some(chunk) = frame.read_chunk().await.unwrap() {
                bytes.set(bytes.get() + chunk.len());
            }
        }
    });
    let _ = poll(waker, reading.as_mut());
    bytes.get()
}

/// Writes a frame in chunks, as it comes from the network.
fn write(group: &mut moqt::GroupProducer, chunk: &Bytes) {
    let mut frame = group.create_frame(FrameMeta::sized((CHUNK * CHUNKS) as u64)).unwrap();
    for _ in 0..CHUNKS {
        frame.write(chunk.clone()).unwrap();
    }
    frame.finish().unwrap();
}

#[tokio::test]
async fn forwarding_to_one_more_subscriber_allocates_nothing_in_the_long_run() {
    let track = track();
    let mut readers: Vec<_> = (0..SUBSCRIBERS).map(|_| track.consume()).collect();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let chunk = Bytes::from(vec![7; CHUNK]);
    let mut producer = track.append_group();
    let mut groups: Vec<_> = readers.iter_mut().map(|reader| group(&waker, reader)).collect();
    let mut bytes = 0;
    let counted = allocation_counter::measure(|| {
        for _ in 0..FRAMES {
            write(&mut producer, &chunk);
            for group in &mut groups {
                bytes += read(&waker, group);
            }
        }
    });
    assert_eq!(bytes, SUBSCRIBERS * FRAMES * CHUNKS * CHUNK);
    let each = counted.count_total as f64 / (SUBSCRIBERS * FRAMES) as f64;
    let copied = counted.bytes_total as f64 / bytes as f64;
    println!("{each:.3} allocations, {copied:.4} bytes allocated for each byte, by frame and subscriber");
    assert!(each <= MOST_ALLOCATIONS, "{each} allocations for each frame and subscriber");
    // A copy of the payload for each subscriber would be 1.
    assert!(copied < 0.1, "{copied} bytes allocated for each byte of payload forwarded");
}

/// Goal: nothing but reference counts, in the long run.
const MOST_ALLOCATIONS: f64 = 0.02;

#[tokio::test]
async fn a_frame_in_chunks_wakes_a_waiting_subscriber_once() {
    let track = track();
    let mut readers: Vec<_> = (0..SUBSCRIBERS).map(|_| track.consume()).collect();
    let idle = Waker::from(Arc::new(Wakes::default()));
    let chunk = Bytes::from(vec![7; CHUNK]);
    let mut producer = track.append_group();
    let mut groups: Vec<_> = readers.iter_mut().map(|reader| group(&idle, reader)).collect();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    for _ in 0..FRAMES {
        for group in &mut groups {
            read(&waker, group);
        }
        write(&mut producer, &chunk);
    }
    let each = wakes.0.load(Ordering::Relaxed) as f64 / (SUBSCRIBERS * FRAMES) as f64;
    println!("{each:.3} wakes by frame and subscriber");
    assert!(each <= 1.0, "{each} wakes for each frame and subscriber that reads once a frame");
}

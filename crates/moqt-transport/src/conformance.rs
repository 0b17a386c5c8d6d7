//! The contract of [`Connection`], [`SendStream`] and [`RecvStream`], line by line, for whoever implements it.
//!
//! An adapter gives a [`Pair`] and gets a test for each line with [`conformance_tests!`](crate::conformance_tests).
//! The tests wait for events, never for time; the runtime's clock, which may be paused, only bounds them.
//!
//! ```text
//! mod conformance {
//!     moqt_transport::conformance_tests!(super::MyPair);
//! }
//! ```

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test panics")]

mod cancel;
mod codes;
mod end;
mod flow;
mod stream;

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use bytes::Bytes;

pub use self::{cancel::*, codes::*, end::*, flow::*, stream::*};
use crate::{Connection, ReadError, RecvStream, SendStream};

/// Longer than any test takes, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);

/// Stream counts that the tests can work with, also where the carrier keeps some for itself.
const FEW_STREAMS: u32 = 8;

/// Gives connected pairs of one adapter.
///
/// Some tests write until a write waits, and take it to wait until the peer reads: so what makes it wait must be
/// the peer's window, not a buffer that drains by itself.
pub trait Pair: Send + Sync {
    /// The adapter.
    type Connection: Connection;

    /// Connects a new pair: the client's end and the server's.
    ///
    /// Panics when it cannot.
    fn connect(&self, setup: Setup) -> impl Future<Output = (Self::Connection, Self::Connection)> + Send;

    /// What the adapter can be tested for; by default for everything.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

/// What a test needs of its pair.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Setup {
    /// How many streams of each kind either side may have open; the adapter's default where `None`.
    pub max_streams: Option<u32>,
    /// Whether the link must be slow enough for 50 kB to take several round trips.
    pub starved: bool,
}

/// What an adapter can be tested for.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// [`Setup::max_streams`] is heeded.
    pub stream_limit: bool,
    /// The peer learns of a stream with its first byte, not when it is opened.
    pub silent_open: bool,
    /// [`Setup::starved`] is heeded, and two writes without an await between them queue up together.
    pub starvation: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { stream_limit: true, silent_open: true, starvation: true }
    }
}

/// Instantiates every test of the suite for one [`Pair`], an expression, each as its own `#[tokio::test]`.
///
/// Other attributes may be given before the expression, such as `#[tokio::test(start_paused = true)]`. The
/// crate that calls it needs `tokio` with the features `macros`, `rt` and `time`.
#[macro_export]
macro_rules! conformance_tests {
    ($(#[$attribute:meta])+ $pair:expr) => {
        $crate::__conformance_tests! {
            { $(#[$attribute])+ } $pair;
            a_mebibyte_makes_the_round_trip_on_a_bidirectional_stream
            a_mebibyte_arrives_on_a_unidirectional_stream
            chunks_arrive_in_order_and_empty_ones_do_not_count
            writing_takes_from_the_front_and_leaves_the_rest_in_place
            a_read_gives_at_most_what_was_asked_for
            a_finished_stream_without_bytes_arrives
            a_finished_stream_may_be_dropped
            the_end_of_a_stream_stays_its_end
            nothing_is_written_after_finish_or_reset
            nothing_is_read_after_stop
            a_reset_stays_a_reset
            the_directions_of_a_stream_end_by_themselves
            a_dropped_send_stream_is_reset_with_zero
            a_dropped_recv_stream_is_stopped_with_zero
            reset_codes_survive
            stop_codes_survive
            close_codes_and_reasons_survive
            stopped_gives_none_once_all_is_acknowledged
            stopped_gives_the_code_of_the_stop
            a_finished_stream_is_over_when_stopped_has_its_answer
            a_write_after_a_stop_fails_with_its_code
            a_cancelled_read_loses_nothing
            a_cancelled_write_loses_nothing
            a_cancelled_accept_loses_nothing
            a_cancelled_open_loses_nothing
            a_cancelled_wait_for_stopped_loses_nothing
            a_close_by_the_peer_ends_what_is_pending
            a_close_of_ours_ends_what_is_pending
            streams_dropped_behind_a_close_end_with_it
            an_ended_connection_fails_whatever_is_tried
            the_first_close_stands
            a_close_is_heard_behind_all_that_is_blocked
            closing_from_both_sides_at_once_ends_both
            dropping_all_handles_closes_with_zero
            a_stream_keeps_its_connection_alive
            the_peer_learns_of_a_stream_with_its_first_byte
            an_open_beyond_the_limit_waits_for_a_stream_to_end
            of_two_blocked_streams_the_higher_priority_goes_first
            statistics_are_unknown_or_sensible
            both_ends_name_the_same_carrier
        }
    };
    // Second, as an attribute can be part of an expression.
    ($pair:expr) => {
        $crate::conformance_tests!(#[tokio::test] $pair);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($attributes:tt $pair:expr; $($name:ident)*) => {
        $($crate::__conformance_test! { $attributes $pair, $name })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test {
    ({ $(#[$attribute:meta])+ } $pair:expr, $name:ident) => {
        $(#[$attribute])+
        async fn $name() {
            $crate::conformance::bounded($crate::conformance::$name(&$pair)).await;
        }
    };
}

/// Runs a test, and panics when it hangs.
pub async fn bounded(test: impl Future<Output = ()>) {
    tokio::time::timeout(LIMIT, test).await.expect("the test hangs");
}

type SendOf<P> = <<P as Pair>::Connection as Connection>::SendStream;
type RecvOf<P> = <<P as Pair>::Connection as Connection>::RecvStream;

/// Polls once, and gives up what is not ready.
async fn now<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// `len` bytes that look like no other part of the pattern nearby.
fn pattern(start: usize, len: usize) -> Bytes {
    // The remainder is below 256.
    (start..start + len).map(|i| (i % 251) as u8 ^ (i / 251 % 256) as u8).collect()
}

async fn read_to_end(recv: &mut impl RecvStream) -> Result<Vec<u8>, ReadError> {
    let mut all = Vec::new();
    while let Some(chunk) = recv.read_chunk(usize::MAX).await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

/// Reads on until there is an error, which must come.
async fn read_to_error(recv: &mut impl RecvStream) -> ReadError {
    read_to_end(recv).await.expect_err("the stream came to a clean end")
}

/// A unidirectional stream with one byte through it.
async fn uni<P: Pair>(from: &P::Connection, to: &P::Connection) -> (SendOf<P>, RecvOf<P>) {
    let mut send = from.open_uni().await.unwrap();
    send.write_all(Bytes::from_static(b"u")).await.unwrap();
    let mut recv = to.accept_uni().await.unwrap();
    assert_eq!(recv.read_chunk(1).await.unwrap().as_deref(), Some(&b"u"[..]));
    (send, recv)
}

/// Both ends of a bidirectional stream with one byte each way through it.
async fn bidi<P: Pair>(
    from: &P::Connection,
    to: &P::Connection,
) -> ((SendOf<P>, RecvOf<P>), (SendOf<P>, RecvOf<P>)) {
    let mut near = from.open_bi().await.unwrap();
    near.0.write_all(Bytes::from_static(b"b")).await.unwrap();
    let mut far = to.accept_bi().await.unwrap();
    round_trip(&mut far, &mut near).await;
    assert_eq!(far.1.read_chunk(1).await.unwrap().as_deref(), Some(&b"b"[..]));
    (near, far)
}

/// One byte from `near` to `far`.
async fn round_trip<S: SendStream, R: RecvStream>(near: &mut (S, R), far: &mut (S, R)) {
    near.0.write_all(Bytes::from_static(b"p")).await.unwrap();
    assert_eq!(far.1.read_chunk(1).await.unwrap().as_deref(), Some(&b"p"[..]));
}

/// How long a writer gets no room before it counts as blocked by the reader.
const BLOCKED: Duration = Duration::from_millis(400);

/// Writes until flow control takes no more.
async fn fill(send: &mut impl SendStream) {
    for _ in 0..4096 {
        let mut chunks = [Bytes::from_static(&[0; 1 << 16])];
        // A backend that takes little at a time needs a while for each.
        match tokio::time::timeout(BLOCKED, send.write_chunks(&mut chunks)).await {
            Ok(written) => assert!(written.unwrap() > 0),
            Err(_) => return,
        }
    }
    panic!("256 MiB written, and still nothing blocks");
}

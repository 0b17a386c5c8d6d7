//! Several tracks as one, by time.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use moqt_media::loc::Frame;
use tokio::{sync::mpsc, time::Instant};

use crate::waiting::now;

/// How long a track may keep the others waiting.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a track brings.
#[derive(Debug)]
pub(super) enum Arrival {
    Frame {
        begins: bool,
        frame: Frame,
    },
    Gap {
        first: u64,
        last: u64,
        reason: String,
    },
    /// Its publisher has begun anew.
    Anew,
    /// It was lost for good.
    Lost(anyhow::Error),
    /// A frame that is none.
    Broken(moqt_media::loc::Error),
}

/// Where the tracks come in; each has as little ahead as it takes to compare times.
#[derive(Debug)]
pub(super) struct Merge {
    tracks: Vec<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    receiver: mpsc::Receiver<Arrival>,
    next: Option<(Arrival, Instant)>,
    over: bool,
    /// It kept the others waiting for too long, and is waited for again when it brings something.
    late: bool,
}

impl Merge {
    pub(super) fn new(receivers: Vec<mpsc::Receiver<Arrival>>) -> Self {
        Self { tracks: receivers.into_iter().map(Incoming::new).collect() }
    }

    /// The track at this place comes from elsewhere from now on. What of it was not yet taken is forgotten.
    pub(super) fn replace(&mut self, at: usize, receiver: mpsc::Receiver<Arrival>) {
        if let Some(track) = self.tracks.get_mut(at) {
            *track = Incoming::new(receiver);
        }
    }

    /// Whether the track at this place has ended.
    pub(super) fn is_over(&self, at: usize) -> bool {
        self.tracks.get(at).is_none_or(|track| track.over && track.next.is_none())
    }

    /// The earliest that there is, and which track it is of; `None` when all have ended. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<(usize, Arrival)> {
        loop {
            let since = self.tracks.iter().filter_map(|track| Some(track.next.as_ref()?.1)).min();
            let all = std::future::poll_fn(|cx| self.poll(cx, since.is_none()));
            let complete = match since {
                None => {
                    all.await;
                    continue_or_end(&self.tracks)?
                }
                Some(since) => tokio::time::timeout_at(since + PATIENCE, all).await.is_ok(),
            };
            if !complete {
                self.tracks
                    .iter_mut()
                    .filter(|track| track.next.is_none())
                    .for_each(|track| track.late = true);
            }
            if since.is_some() {
                return self.take();
            }
        }
    }

    /// Takes in what is there. Ready when nothing more is waited for, or with `any` once there is anything.
    fn poll(&mut self, cx: &mut Context<'_>, any: bool) -> Poll<()> {
        for track in self.tracks.iter_mut().filter(|track| track.next.is_none() && !track.over) {
            match track.receiver.poll_recv(cx) {
                Poll::Ready(Some(arrival)) => {
                    track.next = Some((arrival, now()));
                    track.late = false;
                }
                Poll::Ready(None) => track.over = true,
                Poll::Pending => {}
            }
        }
        let mut waiting = self.tracks.iter().filter(|track| track.next.is_none() && !track.over);
        let there = self.tracks.iter().any(|track| track.next.is_some());
        let ready = match any {
            true => there || waiting.next().is_none(),
            false => waiting.all(|track| track.late),
        };
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take(&mut self) -> Option<(usize, Arrival)> {
        let time = |arrival: &Arrival| match arrival {
            // By decoding, as files are ordered.
            Arrival::Frame { frame, .. } => frame.micros().saturating_sub(offset_micros(frame)),
            _ => 0,
        };
        let there = self.tracks.iter().enumerate();
        let there = there.filter_map(|(at, track)| Some((time(&track.next.as_ref()?.0), at)));
        let (_, earliest) = there.min()?;
        let (arrival, _) = self.tracks.get_mut(earliest)?.next.take()?;
        Some((earliest, arrival))
    }
}

impl Incoming {
    fn new(receiver: mpsc::Receiver<Arrival>) -> Self {
        Self { receiver, next: None, over: false, late: false }
    }
}

/// Whether to go on; `None` when all have ended and nothing is left.
fn continue_or_end(tracks: &[Incoming]) -> Option<bool> {
    tracks.iter().any(|track| track.next.is_some()).then_some(true)
}

fn offset_micros(frame: &Frame) -> u64 {
    let offset = u64::try_from(frame.offset).unwrap_or_default();
    moqt_media::loc::rescale(offset, frame.scale(), moqt_media::loc::MICROSECONDS)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn frame(millis: u64) -> Arrival {
        Arrival::Frame { begins: true, frame: Frame::at_micros(millis * 1000, Bytes::from_static(b"x")) }
    }

    async fn next(merge: &mut Merge) -> Option<(usize, u64)> {
        match merge.next().await? {
            (track, Arrival::Frame { frame, .. }) => Some((track, frame.timestamp / 1000)),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_come_by_their_times_whichever_track_was_first() {
        let (video, first) = mpsc::channel(9);
        let (audio, second) = mpsc::channel(9);
        let mut merge = Merge::new(vec![first, second]);
        for millis in [0, 33, 66] {
            video.send(frame(millis)).await.unwrap();
        }
        for millis in [20, 40] {
            audio.send(frame(millis)).await.unwrap();
        }
        drop((video, audio));
        let mut all = Vec::new();
        while let Some(next) = next(&mut merge).await {
            all.push(next);
        }
        assert_eq!(all, [(0, 0), (1, 20), (0, 33), (1, 40), (0, 66)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_track_delays_the_others_once() {
        let (video, first) = mpsc::channel(9);
        let (audio, second) = mpsc::channel(9);
        let mut merge = Merge::new(vec![first, second]);
        let began = now();
        for millis in 0..5 {
            video.send(frame(millis)).await.unwrap();
            assert_eq!(next(&mut merge).await, Some((0, millis)));
        }
        assert_eq!(began.elapsed(), PATIENCE);
        // It is back: waited for again.
        audio.send(frame(5)).await.unwrap();
        video.send(frame(6)).await.unwrap();
        assert_eq!(next(&mut merge).await, Some((1, 5)));
        drop(audio);
        assert_eq!(next(&mut merge).await, Some((0, 6)));
        assert_eq!(began.elapsed(), PATIENCE);
    }
}

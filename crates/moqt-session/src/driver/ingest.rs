//! Groups coming in: from a stream into a group of the model.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use moqt_transport::{Code, ReadError, RecvStream};
use moqt_wire::{FrameDecoder, FrameEvent, Limits, StreamDecoder, transfork};

use super::control::{TypeError, stream_type};
use crate::{
    allowance::Intake,
    dialect::{Dialect, GroupFormat},
    error::{GroupError, PeerMisbehaved, Reason},
    model::{FrameMeta, GroupProducer, Notice, Pen, now},
};

/// Most bytes taken from a group stream at a time; what is there comes in one piece.
const CHUNK: usize = 64 * 1024;

/// Which group a stream carries, and the stream behind the header.
#[derive(Debug)]
pub(super) struct Head<R> {
    pub(super) subscribe_id: u64,
    pub(super) sequence: u64,
    pub(super) stream: R,
    pub(super) rest: Vec<Bytes>,
}

/// What a new unidirectional stream turned out to be.
#[derive(Debug)]
pub(super) enum Opened<R> {
    Group(Head<R>),
    /// Of a type that the version does not have; the stream was not yet stopped.
    Unknown(u64, R),
    /// Malformed, and stopped for it; or gone.
    Dropped,
}

/// What the beginning of a stream says.
pub(super) enum Said {
    Group { subscribe_id: u64, sequence: u64 },
    Unknown(u64),
}

/// A unidirectional stream that has not yet said which group it carries.
pub(super) struct Opening<R> {
    stream: R,
    dialect: &'static dyn Dialect,
    decoder: StreamDecoder,
    /// Whether it has said that it carries one.
    is_group: bool,
}

impl<R: RecvStream> Opening<R> {
    pub(super) fn new(stream: R, dialect: &'static dyn Dialect, limits: &Limits) -> Self {
        let decoder = StreamDecoder::new(dialect.version().spec(), limits.clone());
        Self { stream, dialect, decoder, is_group: false }
    }

    /// Reads it up to the group's first frame, for as long as the peer has for that.
    pub(super) async fn wait(mut self, patience: Duration) -> Opened<R> {
        let said = tokio::time::timeout(patience, self.said()).await;
        let late = Err(TypeError::Misbehaved(PeerMisbehaved::TooSlow("group header")));
        self.turned_out(said.unwrap_or(late))
    }

    /// What its beginning says; mostly all of that is there already. Cancel safe.
    pub(super) async fn said(&mut self) -> Result<Said, TypeError> {
        let Self { stream, dialect, decoder, is_group } = self;
        let GroupFormat::Transfork = dialect.group_format();
        if !*is_group {
            let stream_type = stream_type(stream, decoder).await?;
            let kind = transfork::StreamKind::uni(dialect.version().spec(), stream_type);
            if kind != Some(transfork::StreamKind::Group) {
                return Ok(Said::Unknown(stream_type));
            }
            *is_group = true;
        }
        loop {
            match decoder.next::<transfork::Group>() {
                Ok(Some(transfork::Group { subscribe, sequence })) => {
                    return Ok(Said::Group { subscribe_id: subscribe.0, sequence: sequence.0 });
                }
                Ok(None) => {}
                Err(error) => return Err(TypeError::Misbehaved(error.into())),
            }
            match stream.read_chunk(CHUNK).await {
                Ok(Some(chunk)) => decoder.push(chunk),
                Ok(None) | Err(_) => return Err(TypeError::Gone),
            }
        }
    }

    pub(super) fn turned_out(mut self, said: Result<Said, TypeError>) -> Opened<R> {
        match said {
            Ok(Said::Group { subscribe_id, sequence }) => {
                let rest = self.decoder.take_rest().collect();
                Opened::Group(Head { subscribe_id, sequence, stream: self.stream, rest })
            }
            Ok(Said::Unknown(stream_type)) => Opened::Unknown(stream_type, self.stream),
            Err(TypeError::Misbehaved(rule)) => {
                self.stream.stop(self.dialect.code(rule.reason()));
                Opened::Dropped
            }
            Err(TypeError::Gone) => Opened::Dropped,
        }
    }
}

/// Where frames go.
trait Sink: Sync {
    fn sequence(&self) -> u64;
    /// Takes what has come, as one.
    fn take(&mut self, frames: &mut FrameDecoder) -> Result<(), GroupError>;
    fn complete(&mut self) -> Result<(), GroupError>;
    fn end(&mut self, error: GroupError);
    fn let_go(&self) -> impl Future<Output = GroupError> + Send;
}

/// One part of a frame.
enum Written {
    Begin(FrameMeta),
    /// It keeps nothing alive but itself.
    Own(Bytes),
    /// A slice of what has come.
    Slice(Bytes),
}

/// A slice at least as long as this is no small part of what it keeps alive; shorter ones are copied together. So what
/// came in many packets is few pieces for all who read it.
const SLICE: usize = 16 << 10;

fn drain(
    frames: &mut FrameDecoder,
    mut write: impl FnMut(Written) -> Result<(), GroupError>,
) -> Result<(), GroupError> {
    let too_large = |_| GroupError::TooLarge;
    while let Some(event) = frames.next().map_err(too_large)? {
        match event {
            FrameEvent::Begin { size } => write(Written::Begin(FrameMeta::sized(size)))?,
            FrameEvent::Payload(slice) if slice.len() >= SLICE => write(Written::Slice(slice))?,
            FrameEvent::Payload(slice) => {
                let whole = slice.len() + frames.ready();
                let mut own = Vec::with_capacity(whole);
                own.extend_from_slice(&slice);
                while own.len() < whole
                    && let Some(FrameEvent::Payload(slice)) = frames.next().map_err(too_large)?
                {
                    own.extend_from_slice(&slice);
                }
                write(Written::Own(own.into()))?;
            }
            FrameEvent::End => {}
        }
    }
    Ok(())
}

impl Sink for &GroupProducer {
    fn sequence(&self) -> u64 {
        GroupProducer::sequence(self)
    }

    fn take(&mut self, frames: &mut FrameDecoder) -> Result<(), GroupError> {
        self.write_parts(|parts| {
            drain(frames, |written| match written {
                Written::Begin(meta) => parts.begin(meta),
                Written::Own(payload) => parts.append_own(payload),
                Written::Slice(payload) => parts.append(payload),
            })
        })
    }

    fn complete(&mut self) -> Result<(), GroupError> {
        GroupProducer::complete(self)
    }

    fn end(&mut self, error: GroupError) {
        GroupProducer::end(self, error);
    }

    fn let_go(&self) -> impl Future<Output = GroupError> + Send {
        GroupProducer::let_go(self)
    }
}

impl Sink for Pen {
    fn sequence(&self) -> u64 {
        Pen::sequence(self)
    }

    fn take(&mut self, frames: &mut FrameDecoder) -> Result<(), GroupError> {
        self.write_parts(|parts| {
            drain(frames, |written| match written {
                Written::Begin(meta) => parts.begin(meta),
                Written::Own(payload) => parts.append_own(payload),
                Written::Slice(payload) => parts.append(payload),
            })
        })
    }

    fn complete(&mut self) -> Result<(), GroupError> {
        Pen::complete(self)
    }

    fn end(&mut self, error: GroupError) {
        Pen::end(self, error);
    }

    fn let_go(&self) -> impl Future<Output = GroupError> + Send {
        Pen::let_go(self)
    }
}

/// Moves frames from the stream into the group, each piece as it comes. Returns whether the group is whole.
pub(super) async fn frames<R: RecvStream>(
    mut stream: R,
    rest: Vec<Bytes>,
    (mut pen, notice): (Pen, Notice),
    dialect: &'static dyn Dialect,
    limits: Limits,
    intake: &Intake,
) -> bool {
    // Readers are told when more is to be waited for, or of all of it.
    let mut notice = Some(notice);
    let copied = copy(&mut stream, (rest, &mut notice), &mut pen, dialect, limits, intake).await;
    // Where it has fallen out of retention meanwhile, it has come all the same; so it has where others were quicker.
    let whole = matches!(copied, Ok(()) | Err(GroupError::Finished));
    let _ = settle(&mut stream, &mut pen, dialect, copied, intake);
    whole
}

/// [`frames`] for a stream and a group that the caller keeps; both have ended with what it returns.
pub(super) async fn fill<R: RecvStream>(
    stream: &mut R,
    rest: Vec<Bytes>,
    group: &GroupProducer,
    dialect: &'static dyn Dialect,
    limits: Limits,
    intake: &Intake,
) -> Result<(), GroupError> {
    let mut group = group;
    let copied = copy(stream, (rest, &mut None), &mut group, dialect, limits, intake).await;
    settle(stream, &mut group, dialect, copied, intake)
}

/// Ends the group with what came of its stream, and the stream where the group ended first.
fn settle<R: RecvStream>(
    stream: &mut R,
    group: &mut impl Sink,
    dialect: &'static dyn Dialect,
    copied: Result<(), GroupError>,
    intake: &Intake,
) -> Result<(), GroupError> {
    let end = copied.and_then(|()| group.complete());
    if let Err(error) = &end {
        if matches!(error, GroupError::TooLarge | GroupError::WrongSize | GroupError::Differs) {
            let sequence = group.sequence();
            intake.span().in_scope(|| tracing::warn!(group = sequence, %error, "group refused"));
        }
        stream.stop(stop_code(dialect, error));
        group.end(error.clone());
    }
    end
}

/// Moves what came behind the group's header and all that follows. The notice is let go of before that is waited for.
async fn copy<R: RecvStream>(
    stream: &mut R,
    (rest, notice): (Vec<Bytes>, &mut Option<Notice>),
    group: &mut impl Sink,
    dialect: &'static dyn Dialect,
    limits: Limits,
    intake: &Intake,
) -> Result<(), GroupError> {
    let mut frames = FrameDecoder::new(limits);
    let mut came = 0;
    for chunk in rest {
        came += chunk.len();
        frames.push(chunk);
    }
    loop {
        if !intake.take(now(), came as u64) {
            return Err(GroupError::Reset(Reason::TooMany));
        }
        group.take(&mut frames)?;
        let at_once = notice.as_ref().filter(|_| came < CHUNK);
        let read = match at_once.and_then(|_| stream.read_chunk(CHUNK).now_or_never()) {
            Some(read) => read,
            None => {
                *notice = None;
                tokio::select! {
                    biased;
                    read = stream.read_chunk(CHUNK) => read,
                    // A stream that stands still must not keep its place for a group that nobody can read any more.
                    error = group.let_go() => return Err(error),
                }
            }
        };
        match read {
            Ok(Some(chunk)) => {
                // Whatever else has come goes along: all readers are woken once for it.
                came = chunk.len();
                frames.push(chunk);
                read_on(stream, &mut frames, &mut came);
                if came < CHUNK && frames.is_cut() {
                    // So does the rest of a frame that is here and only has to be taken from the socket.
                    tokio::task::yield_now().await;
                    read_on(stream, &mut frames, &mut came);
                }
            }
            Ok(None) => return frames.finish().map_err(|_| GroupError::WrongSize),
            Err(ReadError::Reset(code)) => return Err(GroupError::Reset(dialect.reason(code))),
            Err(_) => return Err(GroupError::Reset(Reason::Transport)),
        }
    }
}

/// Takes what else has come, up to a limit.
fn read_on(stream: &mut impl RecvStream, frames: &mut FrameDecoder, came: &mut usize) {
    while *came < CHUNK
        && let Some(Ok(Some(chunk))) = stream.read_chunk(CHUNK).now_or_never()
    {
        *came += chunk.len();
        frames.push(chunk);
    }
}

fn stop_code(dialect: &'static dyn Dialect, error: &GroupError) -> Code {
    match error {
        // Others matter more.
        GroupError::Reset(Reason::TooMany) => dialect.code(Reason::TooMany),
        // Nobody reads it any more.
        GroupError::Expired | GroupError::Finished | GroupError::Reset(_) => dialect.code(Reason::Cancelled),
        other => dialect.code(other.reason()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_many_packets_is_one_piece_for_each_frame_and_large_slices_stay() {
        let mut frames = FrameDecoder::new(Limits::default());
        let packet = |fill: u8, len: usize| Bytes::from(vec![fill; len]);
        let large = packet(3, SLICE);
        // Frames of 5000, 0 and 20,000 bytes, and 700 of one of 1000, all of two-byte and four-byte headers.
        let mut came =
            vec![[&[0x53, 0x88][..], &[1; 1200]].concat().into(), packet(1, 1400), packet(1, 1400)];
        came.push([&[1; 1000][..], &[0], &[0x80, 0, 0x4e, 0x20], &[2; 100]].concat().into());
        came.extend([packet(2, 1400), large.clone(), packet(4, 20_000 - 1500 - SLICE)]);
        came.push([&[0x43, 0xe8][..], &[5; 700]].concat().into());
        frames.extend(came);
        let mut written = Vec::new();
        drain(&mut frames, |part| {
            written.push(part);
            Ok(())
        })
        .unwrap();
        let shown: Vec<_> = written
            .iter()
            .map(|part| match part {
                Written::Begin(meta) => ("begin", meta.size as usize),
                Written::Own(payload) => ("own", payload.len()),
                Written::Slice(payload) => ("slice", payload.len()),
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("begin", 5000),
                ("own", 5000),
                ("begin", 0),
                ("begin", 20_000),
                ("own", 20_000),
                ("begin", 1000),
                ("own", 700)
            ]
        );
        let Some(Written::Own(payload)) = written.get(4) else { panic!() };
        assert_eq!((payload[0], payload[1500], payload[19_999]), (2, 3, 4));
        // One that begins with a large slice is that slice.
        frames.extend([packet(5, 300), [&[0x80, 0, 0x40, 0x00][..], &large[..]].concat().into()]);
        let mut slices = 0;
        drain(&mut frames, |part| {
            slices += usize::from(matches!(part, Written::Slice(_)));
            Ok(())
        })
        .unwrap();
        assert_eq!(slices, 1);
    }
}

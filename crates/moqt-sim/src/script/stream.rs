//! One stream, scripted.

use std::{future::Future, time::Duration};

use bytes::{Bytes, BytesMut};
use moqt_transport::{Code, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use moqt_wire::{FrameDecoder, FrameEvent, Limits, Message, Spec, StreamDecoder, VarInt, frame_header};
use tokio::time::timeout;

use crate::{SimRecvStream, SimSendStream};

use super::{AnyCode, Step, peer::describe};

/// One stream in the hands of a script: one half or both.
///
/// Dropped, it resets what it has not finished and stops what it has not read, as any stream.
#[derive(Debug)]
pub struct PeerStream {
    label: &'static str,
    patience: Duration,
    spec: &'static Spec,
    send: Option<SimSendStream>,
    recv: Option<SimRecvStream>,
    decoder: StreamDecoder,
    /// Once frames are read.
    frames: Option<FrameDecoder>,
}

/// How the sending of the other side ended.
#[derive(Debug)]
enum End {
    Finished,
    Reset(Code),
    Stopped,
    Connection(ConnectionError),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finished => f.write_str("the stream was finished"),
            Self::Reset(code) => write!(f, "the stream was reset with code {code}"),
            Self::Stopped => f.write_str("the script itself had stopped the stream"),
            Self::Connection(error) => f.write_str(&describe(error)),
        }
    }
}

impl PeerStream {
    pub(super) fn new(
        label: &'static str,
        spec: &'static Spec,
        patience: Duration,
        send: Option<SimSendStream>,
        recv: Option<SimRecvStream>,
    ) -> Self {
        // A test decides what is too much.
        let limits = Limits { message_bytes: usize::MAX, frame_bytes: u64::MAX, ..Limits::default() };
        Self { label, patience, spec, send, recv, decoder: StreamDecoder::new(spec, limits), frames: None }
    }

    pub(super) fn set_label(&mut self, label: &'static str) {
        self.label = label;
    }

    /// Sets the priority of what it sends.
    ///
    /// # Panics
    ///
    /// When the stream has no sending half.
    #[track_caller]
    pub fn set_priority(&mut self, priority: i32) {
        self.sender().set_priority(priority);
    }

    /// Writes a message.
    ///
    /// # Panics
    ///
    /// When the version has no such message, or the other side does not take it.
    #[track_caller]
    pub fn send<M: Message>(&mut self, message: &M) -> impl Future<Output = ()> {
        let step = self.step(format!("{} to be taken", M::NAME));
        async move { self.send_at(&step, message).await }
    }

    pub(super) async fn send_at<M: Message>(&mut self, step: &Step, message: &M) {
        let bytes = self.encode(step, message);
        self.send_raw_at(step, bytes).await;
    }

    /// Writes only the first `len` bytes of a message.
    ///
    /// # Panics
    ///
    /// When the message has not more than that.
    #[track_caller]
    pub fn send_part<M: Message>(&mut self, message: &M, len: usize) -> impl Future<Output = ()> {
        let step = self.step(format!("a part of {} to be taken", M::NAME));
        async move {
            let bytes = self.encode(&step, message);
            if len >= bytes.len() {
                step.fail(format_args!("{len} bytes are no part of its {}", bytes.len()));
            }
            self.send_raw_at(&step, bytes.slice(..len)).await;
        }
    }

    fn encode<M: Message>(&self, step: &Step, message: &M) -> Bytes {
        message
            .to_bytes(self.spec)
            .unwrap_or_else(|error| step.fail(format_args!("cannot write it: {error}")))
    }

    /// Writes bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: impl Into<Bytes>) -> impl Future<Output = ()> {
        let (step, bytes) = (self.step("bytes to be taken"), bytes.into());
        async move { self.send_raw_at(&step, bytes).await }
    }

    async fn send_raw_at(&mut self, step: &Step, bytes: Bytes) {
        let label = self.label;
        let Some(send) = &mut self.send else { step.fail(format_args!("the {label} stream cannot send")) };
        match step.wait(send.write_all(bytes)).await {
            Ok(()) => {}
            Err(WriteError::Connection(error)) => step.fail(describe(&error)),
            Err(error) => step.fail(format_args!("on the {label} stream: {error}")),
        }
    }

    /// Writes an integer.
    ///
    /// # Panics
    ///
    /// When it has more than 62 bits.
    #[track_caller]
    pub fn send_varint(&mut self, value: u64) -> impl Future<Output = ()> {
        let step = self.step("an integer to be taken");
        async move { self.send_varint_at(&step, value).await }
    }

    pub(super) async fn send_varint_at(&mut self, step: &Step, value: u64) {
        let mut bytes = BytesMut::new();
        match VarInt::new(value) {
            Some(value) => value.put(&mut bytes),
            None => step.fail(format_args!("{value} does not fit in 62 bits")),
        }
        self.send_raw_at(step, bytes.freeze()).await;
    }

    /// Writes a frame.
    #[track_caller]
    pub fn send_frame(&mut self, payload: impl Into<Bytes>) -> impl Future<Output = ()> {
        let (step, payload) = (self.step("a frame to be taken"), payload.into());
        async move {
            let mut header = BytesMut::new();
            frame_header(payload.len() as u64, &mut header);
            self.send_raw_at(&step, header.freeze()).await;
            self.send_raw_at(&step, payload).await;
        }
    }

    /// Ends what it sends.
    ///
    /// # Panics
    ///
    /// When the stream cannot send (any more).
    #[track_caller]
    pub fn finish(&mut self) {
        let label = self.label;
        if let Err(error) = self.sender().finish() {
            panic!("the script cannot finish the {label} stream: {error}");
        }
    }

    /// Gives up what it sends.
    ///
    /// # Panics
    ///
    /// When the stream has no sending half.
    #[track_caller]
    pub fn reset(&mut self, code: impl AnyCode) {
        self.sender().reset(code.code());
    }

    /// Wants no more of what the other side sends.
    ///
    /// # Panics
    ///
    /// When the stream has no receiving half.
    #[track_caller]
    pub fn stop(&mut self, code: impl AnyCode) {
        let label = self.label;
        let recv = self.recv.as_mut();
        recv.unwrap_or_else(|| panic!("the {label} stream cannot receive")).stop(code.code());
    }

    /// Reads the next message.
    ///
    /// # Panics
    ///
    /// When something else comes, or nothing.
    #[track_caller]
    pub fn expect<M: Message>(&mut self) -> impl Future<Output = M> {
        let step = self.step(format!("{} on the {} stream", M::NAME, self.label));
        async move { self.expect_at(&step).await }
    }

    pub(super) async fn expect_at<M: Message>(&mut self, step: &Step) -> M {
        let step = step.then(format!("{} on the {} stream", M::NAME, self.label));
        loop {
            match self.decoder.next::<M>() {
                Ok(Some(message)) => return message,
                Ok(None) => self.more(&step).await,
                Err(error) => step.fail(format_args!("what came is none: {error}")),
            }
        }
    }

    pub(super) async fn expect_varint_at(&mut self, step: &Step) -> u64 {
        loop {
            match self.decoder.next_varint() {
                Ok(Some(value)) => return value,
                Ok(None) => self.more(step).await,
                Err(error) => step.fail(format_args!("what came is none: {error}")),
            }
        }
    }

    /// Reads `len` bytes, whatever they are.
    #[track_caller]
    pub fn expect_raw(&mut self, len: usize) -> impl Future<Output = Bytes> {
        let step = self.step(format!("{len} bytes on the {} stream", self.label));
        async move {
            while self.decoder.buffered() < len {
                self.more(&step).await;
            }
            let mut all = BytesMut::new();
            self.decoder.take_rest().for_each(|chunk| all.extend_from_slice(&chunk));
            let mut all = all.freeze();
            let wanted = all.split_to(len);
            self.decoder.push(all);
            wanted
        }
    }

    /// Reads the next frame whole. From the first one on, the stream is read as frames.
    #[track_caller]
    pub fn expect_frame(&mut self) -> impl Future<Output = Bytes> {
        let step = self.step(format!("a frame on the {} stream", self.label));
        async move {
            let mut payload = BytesMut::new();
            loop {
                match self.frames().next() {
                    Ok(Some(FrameEvent::Begin { .. })) => {}
                    Ok(Some(FrameEvent::Payload(chunk))) => payload.extend_from_slice(&chunk),
                    Ok(Some(FrameEvent::End)) => return payload.freeze(),
                    Ok(None) => self.more(&step).await,
                    Err(error) => step.fail(format_args!("what came is none: {error}")),
                }
            }
        }
    }

    /// Waits until the other side has finished its sending, with nothing left unread.
    #[track_caller]
    pub fn expect_finish(&mut self) -> impl Future<Output = ()> {
        let step = self.step(format!("the end of the {} stream", self.label));
        async move {
            match self.end(&step).await {
                End::Finished => {}
                other => step.fail(other),
            }
            let left = self.decoder.buffered();
            if left > 0 || self.frames.as_ref().is_some_and(|frames| !frames.is_empty()) {
                step.fail("unread bytes came before it");
            }
        }
    }

    /// Waits until the other side gives up its sending with `code`; what it sent before is skipped.
    #[track_caller]
    pub fn expect_reset(&mut self, code: impl AnyCode) -> impl Future<Output = ()> {
        let code = code.code();
        let step = self.step(format!("a reset of the {} stream with code {code}", self.label));
        async move {
            match self.end(&step).await {
                End::Reset(given) if given == code => {}
                other => step.fail(other),
            }
        }
    }

    /// Waits until the other side wants no more of what the script sends, with `code`.
    #[track_caller]
    pub fn expect_stop(&mut self, code: impl AnyCode) -> impl Future<Output = ()> {
        let code = code.code();
        let label = self.label;
        let step = self.step(format!("a stop of the {label} stream with code {code}"));
        async move {
            let Some(send) = &mut self.send else {
                step.fail(format_args!("the {label} stream cannot send"));
            };
            match step.wait(send.stopped()).await {
                Ok(Some(given)) if given == code => {}
                Ok(Some(given)) => step.fail(format_args!("it was stopped with code {given}")),
                Ok(None) => step.fail("everything was taken"),
                Err(error) => step.fail(describe(&error)),
            }
        }
    }

    /// Checks that for `duration` the other side sends nothing on this stream and does not end it.
    #[track_caller]
    pub fn expect_quiet(&mut self, duration: Duration) -> impl Future<Output = ()> {
        let step = self.step(format!("{duration:?} of quiet on the {} stream", self.label));
        async move {
            let unread = self.decoder.buffered();
            if unread > 0 {
                step.fail(format_args!("{unread} bytes are there unread"));
            }
            if let Ok(news) = timeout(duration, self.read(&step)).await {
                match news {
                    Ok(chunk) => step.fail(format_args!("{} bytes came", chunk.len())),
                    Err(end) => step.fail(end),
                }
            }
        }
    }

    /// Reads one more chunk, which has to come.
    async fn more(&mut self, step: &Step) {
        match step.wait(self.read(step)).await {
            Ok(chunk) => match &mut self.frames {
                Some(frames) => frames.push(chunk),
                None => self.decoder.push(chunk),
            },
            Err(end) => step.fail(end),
        }
    }

    /// Reads on until the other side has ended its sending.
    async fn end(&mut self, step: &Step) -> End {
        loop {
            match step.wait(self.read(step)).await {
                Ok(chunk) => self.decoder.push(chunk),
                Err(end) => return end,
            }
        }
    }

    async fn read(&mut self, step: &Step) -> Result<Bytes, End> {
        let label = self.label;
        let Some(recv) = &mut self.recv else { step.fail(format_args!("the {label} stream cannot receive")) };
        match recv.read_chunk(usize::MAX).await {
            Ok(Some(chunk)) => Ok(chunk),
            Ok(None) => Err(End::Finished),
            Err(ReadError::Reset(code)) => Err(End::Reset(code)),
            Err(ReadError::Connection(error)) => Err(End::Connection(error)),
            Err(_) => Err(End::Stopped),
        }
    }

    fn frames(&mut self) -> &mut FrameDecoder {
        let rest = self.decoder.take_rest();
        let frames = self
            .frames
            .get_or_insert_with(|| FrameDecoder::new(Limits { frame_bytes: u64::MAX, ..Limits::default() }));
        frames.extend(rest);
        frames
    }

    #[track_caller]
    fn sender(&mut self) -> &mut SimSendStream {
        let label = self.label;
        self.send.as_mut().unwrap_or_else(|| panic!("the {label} stream cannot send"))
    }

    #[track_caller]
    fn step(&self, waits_for: impl Into<String>) -> Step {
        Step::new(self.patience, waits_for)
    }
}

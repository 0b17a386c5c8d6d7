//! What can be set on a QUIC endpoint and on the socket beneath it.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{IdleTimeout, VarInt, congestion};
use socket2::{Domain, Protocol, Socket, Type};

use crate::quinn::{rate::Measure, room};

/// How fast to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Congestion {
    /// CUBIC: backs off on loss.
    #[default]
    Cubic,
    /// New Reno: backs off on loss, and comes back more slowly.
    NewReno,
    /// BBR, version 1: keeps its rate under random loss, but floods a shallow queue. Experimental.
    Bbr,
}

/// Settings of QUIC, for each connection of an endpoint, whichever side opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportOptions {
    /// How fast to send.
    pub congestion: Congestion,
    /// Unidirectional streams that the peer may have open at once; over WebTransport HTTP/3 takes three.
    pub max_uni_streams: u32,
    /// The same for a connection of which no stream is [expected](crate::Connection::expect_streams) yet, such as that
    /// of a peer who only subscribes: each stream that may be opened takes some 50 bytes. `None` for no difference.
    pub unexpected_uni_streams: Option<u32>,
    /// Bidirectional streams that the peer may have open at once; over WebTransport HTTP/3 takes one. Of more than 128 it
    /// begins with 64, as each that may be opened takes some 60 bytes, and is let open more when it makes use of them.
    ///
    /// Beyond it the peer waits without a word, so it should lie above whatever limit is answered with one.
    pub max_bidi_streams: u32,
    /// Silence after which a connection counts as dead; the smaller one of both sides holds. `None` for never.
    pub idle_timeout: Option<Duration>,
    /// Silence after which to send a sign of life. `None` for never.
    pub keep_alive: Option<Duration>,
    /// Bytes of one stream that may arrive before they are read.
    pub stream_window: u32,
    /// Bytes of all streams of a connection that may arrive before they are read.
    pub connection_window: u32,
    /// Most bytes of a connection that may be sent or wait to be sent, and are not yet acknowledged.
    ///
    /// Below it, about two congestion windows are: what has been handed to QUIC cannot be put behind something more
    /// important any more, so little of it should wait there.
    pub send_window: u64,
    /// Size asked for each of the socket's buffers, in bytes; the system may grant less.
    pub socket_buffer: usize,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            congestion: Congestion::Cubic,
            max_uni_streams: 4096,
            unexpected_uni_streams: None,
            max_bidi_streams: 1280,
            idle_timeout: Some(Duration::from_secs(30)),
            keep_alive: Some(Duration::from_secs(4)),
            stream_window: 1_250_000,
            connection_window: 16 << 20,
            send_window: 16 << 20,
            socket_buffer: 4 << 20,
        }
    }
}

impl TransportOptions {
    fn first_uni_streams(&self) -> u32 {
        self.unexpected_uni_streams.map_or(self.max_uni_streams, |few| few.min(self.max_uni_streams))
    }

    /// The same in `quinn`'s terms.
    pub(crate) fn to_quinn(&self) -> Arc<quinn::TransportConfig> {
        let mut config = quinn::TransportConfig::default();
        config
            .max_concurrent_uni_streams(self.first_uni_streams().into())
            .max_concurrent_bidi_streams(room::first_bidi(self.max_bidi_streams).into())
            .max_idle_timeout(self.idle_timeout.map(|idle| {
                // Fails for more than 2^62 milliseconds.
                IdleTimeout::try_from(idle).unwrap_or_else(|_| VarInt::MAX.into())
            }))
            .keep_alive_interval(self.keep_alive)
            .stream_receive_window(self.stream_window.into())
            .receive_window(self.connection_window.into())
            .send_window(self.send_window.min(room::FIRST));
        match self.congestion {
            Congestion::Cubic => {
                config.congestion_controller_factory(self.measured::<congestion::CubicConfig>(true))
            }
            Congestion::NewReno => {
                config.congestion_controller_factory(self.measured::<congestion::NewRenoConfig>(true))
            }
            Congestion::Bbr => {
                config.congestion_controller_factory(self.measured::<congestion::BbrConfig>(false))
            }
        };
        Arc::new(config)
    }

    fn measured<F: Default>(&self, by_loss: bool) -> Arc<Measure<F>> {
        Arc::new(Measure {
            factory: Arc::new(F::default()),
            send_window: self.send_window,
            uni_streams: self.max_uni_streams,
            bidi_streams: self.max_bidi_streams,
            by_loss,
        })
    }
}

/// The sizes that the system granted a socket's buffers, in bytes. Linux counts its own overhead in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// Of the buffer for sending.
    pub send: usize,
    /// Of the buffer for receiving.
    pub receive: usize,
}

impl SocketBuffers {
    /// The smaller one, where the system granted less than `wanted`.
    #[must_use]
    pub fn short_of(&self, wanted: usize) -> Option<usize> {
        Some(self.send.min(self.receive)).filter(|granted| *granted < wanted)
    }
}

/// Binds a UDP socket, on all addresses of both families where `address` is `[::]`; before, `prepare` has it.
pub(crate) fn bind(
    address: SocketAddr,
    buffer: usize,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<(UdpSocket, SocketBuffers)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if let IpAddr::V6(ip) = address.ip() {
        socket.set_only_v6(!ip.is_unspecified())?;
    }
    prepare(&socket)?;
    socket.bind(&address.into())?;
    // Smaller buffers cost throughput, not function; what was granted can be read.
    let _ = socket.set_send_buffer_size(buffer);
    let _ = socket.set_recv_buffer_size(buffer);
    let buffers = SocketBuffers { send: socket.send_buffer_size()?, receive: socket.recv_buffer_size()? };
    Ok((socket.into(), buffers))
}

//! Numbers about the relay for Prometheus, read when they are asked for.
//!
//! No label is chosen by a peer, so there are few series, however many come.

use std::{
    fmt,
    sync::{Arc, Weak, atomic::Ordering},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::shared::Shared;

/// What [`Page::text`] is.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The numbers as a page.
#[derive(Debug)]
pub(crate) struct Page(Registry);

impl Page {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let mut registry = Registry::with_prefix("moqt");
        registry.register_collector(Box::new(Numbers(Arc::downgrade(shared))));
        Self(registry)
    }

    pub(crate) fn text(&self) -> String {
        let mut page = String::new();
        // A string takes everything.
        let _ = text::encode(&mut page, &self.0);
        page
    }
}

#[derive(Debug)]
struct Numbers(Weak<Shared>);

impl Collector for Numbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let mut write = Writer(encoder);
        let counters = shared.counters();
        let (meters, cache) = (&shared.meters, &shared.cache);

        let carriers = &shared.carriers;
        write.gauges("sessions", "Sessions that are open", "carrier", carriers.open())?;
        write.gauge("scopes", "Scopes with at least one session", counters.scopes as u64)?;
        write.gauge("names", "Names that are announced", counters.announced as u64)?;
        write.gauge("tracks", "Tracks that come from upstream", counters.upstream as u64)?;
        let sides = [("upstream", meters.subscribed()), ("downstream", meters.serving())];
        write.gauges("subscriptions", "Subscriptions that are open", "side", sides)?;
        write.gauge("groups_sending", "Groups that are being sent", meters.sending())?;
        write.gauge("cache_groups", "Groups that are held", cache.groups())?;
        write.gauge("cache_bytes", "Bytes that groups hold", cache.held())?;
        write.gauge("cache_budget_bytes", "Bytes that groups may hold", cache.limit())?;
        write.gauge(
            "cache_tracks",
            "Tracks and fetched groups that share the budget",
            cache.tracks() as u64,
        )?;
        write.gauge("handshakes", "Clients in their handshakes", shared.handshakes_under_way() as u64)?;
        write.gauge("links", "Sessions with relays above", counters.links)?;
        let tasks =
            tokio::runtime::Handle::try_current().map_or(0, |handle| handle.metrics().num_alive_tasks());
        write.gauge("tasks", "Tasks alive in the program", tasks as u64)?;

        let groups = [("in", cache.groups_total()), ("out", meters.groups_sent())];
        write.counters("groups", "Groups that began to be received and sent", "direction", groups)?;
        let bytes = [("in", cache.payload_total()), ("out", meters.bytes_sent())];
        write.counters("payload_bytes", "Payload of groups received and sent", "direction", bytes)?;
        write.counter("cache_evicted_groups", "Groups let go of to keep to the budget", cache.evicted())?;
        let upstream = [("subscribe", counters.upstream_total), ("fetch", counters.fetched_total)];
        write.counters("upstream_requests", "Requests made upstream", "kind", upstream)?;
        write.counters("gaps", "Gaps that subscribers were told of", "reason", meters.gaps())?;
        let refusals = meters.refused().into_iter().chain(shared.refusals.all());
        let oversized = [("size of a group", cache.oversized())];
        let refusals = refusals.chain(oversized).filter(|(_, count)| *count > 0);
        write.counters("refusals", "What was refused at a limit", "limit", refusals)?;
        let links = &shared.settings.links;
        let events = [
            ("attempt", &links.attempts),
            ("failure", &links.failed),
            ("move", &links.moved),
            ("loop", &links.loops),
        ];
        let events = events.map(|(event, count)| (event, count.load(Ordering::Relaxed)));
        write.counters("link_events", "What happened to sessions with relays above", "event", events)?;
        write.counter(
            "tracks_switched",
            "Tracks that went on from another publisher",
            counters.switched_total,
        )?;
        let failed = shared.failed_handshakes.load(Ordering::Relaxed);
        write.counter("handshakes_failed", "Clients that did not come through their handshakes", failed)?;
        write.counter(
            "handshakes_retried",
            "Clients asked to prove their addresses",
            counters.retried_total,
        )?;
        write.counter(
            "names_untold",
            "Names left out where a version cannot write them",
            counters.untold_total,
        )
    }
}

struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(signed(value)).encode(encoder)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            ConstGauge::new(signed(value)).encode(encoder.encode_family(&[(label, of)])?)?;
        }
        Ok(())
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            ConstCounter::new(value).encode(encoder.encode_family(&[(label, of)])?)?;
        }
        Ok(())
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

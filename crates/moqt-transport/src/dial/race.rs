//! Trying several addresses, a slow one not holding up the next.

use std::{
    collections::VecDeque,
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::DialError;

/// How long an address has to itself.
const HEAD_START: Duration = Duration::from_millis(250);

/// Gives the first success of `attempt` over `addresses`, or that failure which says most.
pub(super) async fn race<T, F>(
    addresses: &[SocketAddr],
    timeout: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, DialError>
where
    F: Future<Output = Result<T, DialError>>,
{
    let start = |address| {
        let attempt = attempt(address);
        Box::pin(async move {
            tokio::time::timeout(timeout, attempt).await.unwrap_or(Err(DialError::TimedOut(timeout)))
        })
    };
    let mut waiting = alternate(addresses);
    let mut running = Vec::new();
    let mut failure = DialError::NoAddress;
    while let Some(address) = waiting.pop_front() {
        running.push(start(address));
        let mut head_start = std::pin::pin!(tokio::time::sleep(HEAD_START));
        loop {
            tokio::select! {
                biased;
                result = first(&mut running) => match result {
                    Ok(done) => return Ok(done),
                    Err(error) => failure = failure.or(error),
                },
                () = &mut head_start, if !waiting.is_empty() => break,
            }
            // The next one has nobody to wait for, unless others still run.
            if !waiting.is_empty() || running.is_empty() {
                break;
            }
        }
    }
    Err(failure)
}

/// Waits for any of `running`, which is not empty, and takes it out.
async fn first<F: Future>(running: &mut Vec<Pin<Box<F>>>) -> F::Output {
    let poll = |cx: &mut Context<'_>| {
        for (index, attempt) in running.iter_mut().enumerate() {
            if let Poll::Ready(output) = attempt.as_mut().poll(cx) {
                drop(running.remove(index));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    };
    poll_fn(poll).await
}

/// Each address once, the families taking turns, the family of the first one going first.
fn alternate(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let mut seen = Vec::new();
    for &address in addresses {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    let first_is_v4 = seen.first().is_some_and(SocketAddr::is_ipv4);
    let (one, other): (Vec<_>, Vec<_>) =
        seen.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut all = VecDeque::new();
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "measures in paused time")]
mod tests {
    use std::{future::pending, io};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    const TIMEOUT: Duration = Duration::from_secs(10);

    async fn raced<T, F: Future<Output = Result<T, DialError>>>(
        texts: &[&str],
        attempt: impl Fn(SocketAddr) -> F,
    ) -> Result<T, DialError> {
        race(&addresses(texts), TIMEOUT, attempt).await
    }

    fn unreachable(address: SocketAddr) -> DialError {
        DialError::unreachable(address, io::ErrorKind::NetworkUnreachable.into())
    }

    #[test]
    fn families_take_turns_and_repeated_addresses_go_once() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "[::3]:1"]);
        assert_eq!(alternate(&given), addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
        assert!(alternate(&[]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_family_costs_no_time() {
        let start = tokio::time::Instant::now();
        let won = raced(&["[::1]:1", "1.1.1.1:1"], |address| async move {
            if address.is_ipv6() { Err(unreachable(address)) } else { Ok(address) }
        });
        assert_eq!(won.await.unwrap(), "1.1.1.1:1".parse().unwrap());
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_its_head_start_and_may_still_win() {
        let start = tokio::time::Instant::now();
        let won = raced(&["[::1]:1", "1.1.1.1:1"], |address| async move {
            if address.is_ipv6() { pending().await } else { Ok(address) }
        });
        assert_eq!(won.await.unwrap(), "1.1.1.1:1".parse().unwrap());
        assert_eq!(start.elapsed(), HEAD_START);

        let won = raced(&["[::1]:1", "1.1.1.1:1"], |address| async move {
            tokio::time::sleep(if address.is_ipv6() { HEAD_START * 2 } else { HEAD_START * 3 }).await;
            Ok(address)
        });
        assert_eq!(won.await.unwrap(), "[::1]:1".parse().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_failures_the_most_telling_one_is_told() {
        let start = tokio::time::Instant::now();
        let lost = raced(&["[::1]:1", "1.1.1.1:1", "[::2]:1"], |address| async move {
            match address.to_string().as_str() {
                "[::1]:1" => Err(unreachable(address)),
                "1.1.1.1:1" => Err::<(), _>(DialError::NoCommonProtocol),
                _ => pending().await,
            }
        });
        assert!(matches!(lost.await, Err(DialError::NoCommonProtocol)));
        assert_eq!(start.elapsed(), TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn all_silent_times_out_and_no_address_is_an_error() {
        let lost = raced(&["[::1]:1", "1.1.1.1:1"], |_| pending::<Result<(), _>>());
        assert!(matches!(lost.await, Err(DialError::TimedOut(TIMEOUT))));
        let lost = raced(&[], |_| pending::<Result<(), _>>());
        assert!(matches!(lost.await, Err(DialError::NoAddress)));
    }
}

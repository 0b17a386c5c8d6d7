//! What measurements with real programs need: children that do not outlive them, and a look at them from outside.

pub(crate) mod child;
pub(crate) mod programs;
pub(crate) mod sample;

use std::time::Duration;

/// A duration as on a command line: `90s`, `5m`, `1h`, `250ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let at =
        text.find(|c: char| !c.is_ascii_digit()).ok_or("write a number and a unit, such as 30s or 5m")?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no duration"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(format!("{unit:?} is no unit; there are ms, s, m and h")),
    }
}

/// The same for other programs.
pub(crate) fn show(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

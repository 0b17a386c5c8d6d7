//! Quantities as people type them.

use std::time::Duration;

/// A duration with its unit: `2s`, `150ms`, `1m 30s`; `0` needs none.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 2s or 150ms"))
}

/// Bits per second: `2500000`, `800k`, `2.5M`, `1G`.
pub(crate) fn bits_per_second(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no rate; write for example 800k or 2.5M (bits per second)");
    let text_lower = text.trim().to_ascii_lowercase();
    let (number, factor) = match text_lower.strip_suffix(['k', 'm', 'g']) {
        Some(number) if text_lower.ends_with('k') => (number, 1e3),
        Some(number) if text_lower.ends_with('m') => (number, 1e6),
        Some(number) => (number, 1e9),
        None => (text_lower.as_str(), 1.0),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(wrong());
    }
    let bits = number.parse::<f64>().map_err(|_| wrong())? * factor;
    if !(1.0..=1e15).contains(&bits) {
        return Err(wrong());
    }
    // In range, and a fraction of a bit per second matters to nobody.
    Ok(bits.round() as u64)
}

/// Largest frame that peers take by default.
pub(crate) const MAX_FRAME: usize = 16 << 20;

/// A frame's size in bytes: `1200`, `64KiB`, `1MiB`.
pub(crate) fn frame_size(text: &str) -> Result<usize, String> {
    let wrong = || format!("{text:?} is no size; write for example 1200, 64KiB or 1MiB");
    let lower = text.trim().to_ascii_lowercase();
    let (number, factor) = match (lower.strip_suffix("kib"), lower.strip_suffix("mib")) {
        (Some(number), _) => (number, 1 << 10),
        (_, Some(number)) => (number, 1 << 20),
        _ => (lower.as_str(), 1),
    };
    let bytes: usize = number.trim().parse().map_err(|_| wrong())?;
    match bytes.checked_mul(factor) {
        Some(bytes @ 1..=MAX_FRAME) => Ok(bytes),
        Some(0) => Err("a frame needs at least one byte".to_owned()),
        _ => Err("a frame has at most 16MiB".to_owned()),
    }
}

/// A rate for people: `5.02 Mbit/s`.
pub(crate) fn show_rate(bits_per_second: f64) -> String {
    match bits_per_second {
        bits if bits >= 1e9 => format!("{:.2} Gbit/s", bits / 1e9),
        bits if bits >= 1e6 => format!("{:.2} Mbit/s", bits / 1e6),
        bits => format!("{:.1} kbit/s", bits / 1e3),
    }
}

/// A number of bytes for people: `24.1 MB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        bytes if bytes >= 1e3 => format!("{:.1} kB", bytes / 1e3),
        bytes => format!("{bytes:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_decimal_suffixes() {
        for (text, bits) in [
            ("2500000", 2_500_000),
            ("800k", 800_000),
            ("800K", 800_000),
            ("5M", 5_000_000),
            ("2.5m", 2_500_000),
            ("1G", 1_000_000_000),
            ("1", 1),
        ] {
            assert_eq!(bits_per_second(text), Ok(bits), "{text}");
        }
        for text in ["", "k", "0", "-5M", "5T", "1e9", "5 M bits", "inf", "NaN", "0.0001k", "9999999G"] {
            assert!(bits_per_second(text).is_err(), "{text}");
        }
    }

    #[test]
    fn frame_sizes_are_read_with_binary_suffixes() {
        for (text, bytes) in
            [("1", 1), ("1200", 1200), ("64KiB", 65536), ("1mib", 1 << 20), ("16 MiB", 16 << 20)]
        {
            assert_eq!(frame_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "-1", "17MiB", "64kb", "99999999999999999999", "KiB"] {
            assert!(frame_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_unless_they_are_zero() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("150ms"), Ok(Duration::from_millis(150)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("10").is_err());
        assert!(duration("soon").is_err());
    }

    #[test]
    fn quantities_are_shown_with_three_digits_or_so() {
        assert_eq!(show_rate(5_020_000.0), "5.02 Mbit/s");
        assert_eq!(show_rate(800.0), "0.8 kbit/s");
        assert_eq!(show_bytes(24_100_000), "24.1 MB");
        assert_eq!(show_bytes(7), "7 B");
    }
}

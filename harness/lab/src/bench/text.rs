//! Formats numbers for tables.

use crate::bench::statistics::Interval;

/// A time with three significant digits and its unit.
pub(super) fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// Three significant digits, but always all digits before the decimal point.
pub(super) fn digits(value: f64) -> String {
    let places = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.places$}")
}

/// A factor and its interval.
pub(super) fn factor(interval: Interval) -> String {
    let Interval { low, value, high } = interval;
    format!("{}× [{}, {}]", digits(value), digits(low), digits(high))
}

/// A time and half the width of its interval, in percent.
pub(super) fn timed(interval: Interval) -> String {
    format!("{} ± {:.0} %", time(interval.value), 50.0 * (interval.high - interval.low) / interval.value)
}

/// A number of bytes.
pub(super) fn bytes(count: f64) -> String {
    match count {
        n if n < 1024.0 => format!("{n:.0} B"),
        n if n < 1024.0 * 1024.0 => format!("{} KiB", digits(n / 1024.0)),
        n => format!("{} MiB", digits(n / 1024.0 / 1024.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!([0.5, 9.994, 9.996, 99.9, 1234.0].map(digits), ["0.50", "9.99", "10.0", "99.9", "1234"]);
        assert_eq!([12.0, 1234.0, 5e6, 2.5e9].map(time), ["12.0 ns", "1.23 µs", "5.00 ms", "2.50 s"]);
        let interval = Interval { low: 1.9, value: 2.0, high: 2.1 };
        assert_eq!(factor(interval), "2.00× [1.90, 2.10]");
        assert_eq!(timed(interval), "2.00 ns ± 5 %");
        assert_eq!([10.0, 2048.0, 3_145_728.0].map(bytes), ["10 B", "2.00 KiB", "3.00 MiB"]);
    }
}

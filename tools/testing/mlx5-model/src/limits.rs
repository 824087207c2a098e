// SPDX-License-Identifier: GPL-2.0

//! What differs between one ConnectX, or its firmware, and another: the tracker's limits, and how long
//! a driver shall wait for a command. From the command line.

use crate::cmd::Status;

/// The limits, as the firmware reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Trackers of all VHCAs together; a power of two, or 0 for firmware that has none.
    pub trackers: u64,
    /// The status with which a second tracker of a VHCA is refused; 0 if there may be several.
    pub one_per_vhca: u64,
    /// Ranges of one tracker.
    pub ranges: u64,
    /// The sum of the ranges' lengths is 2^n bytes at least.
    pub log_min_span: u64,
    /// And at most.
    pub log_max_span: u64,
    /// A message of a report has 2^n bytes at most, and a driver can choose a lower n; this is the
    /// least.
    pub log_min_msg: u64,
    /// The greatest that it can choose.
    pub log_max_msg: u64,
    /// A tracked page has 2^n bytes at least.
    pub log_min_page: u64,
    /// And at most.
    pub log_max_page: u64,
    /// A driver gives a command up that takes longer, in ms; and whatever else the firmware has a
    /// timeout for.
    pub command_timeout: u64,
    /// States are saved in chunks, for which a driver has to have 2^n bytes; 0 if they are not.
    pub log_chunk: u64,
    /// Bytes that the state of each VF has more than it needs.
    pub ballast: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            trackers: 4,
            one_per_vhca: 0,
            ranges: 16,
            log_min_span: 12,
            log_max_span: 42,
            log_min_msg: 12,
            log_max_msg: 20,
            log_min_page: 12,
            log_max_page: 21,
            // As long as mlx5_core waits of its own accord.
            command_timeout: 60_000,
            log_chunk: 0,
            ballast: 0,
        }
    }
}

/// The options, for `--help`.
pub const HELP: &str = "\
  --trackers N          page trackers at a time, a power of two, or 0 (4)
  --one-per-vhca STATUS a second one of a VHCA is refused with this status, in decimal
  --max-ranges N        ranges of a tracker (16)
  --log-min-span N      the sum of their lengths is 2^N bytes at least (12)
  --log-max-span N      and at most (42)
  --log-max-msg N       a message of a report has 2^N bytes at most (20)
  --log-min-page N      a tracked page has 2^N bytes at least (12)
  --log-max-page N      and at most (21)
  --command-timeout MS  a driver gives a command up that takes longer (60000)
  --log-chunk N         states are saved in chunks, for which a driver has 2^N bytes
  --ballast BYTES       the state of each VF has so many bytes more than it needs (0)
";

impl Limits {
    /// Where an option goes, and the most that the firmware's field for it can hold.
    fn field(&mut self, option: &str) -> Option<(&mut u64, u64)> {
        Some(match option {
            "--trackers" => (&mut self.trackers, 1 << 16),
            "--one-per-vhca" => (&mut self.one_per_vhca, 0xff),
            "--max-ranges" => (&mut self.ranges, 0xff),
            "--log-min-span" => (&mut self.log_min_span, 63),
            "--log-max-span" => (&mut self.log_max_span, 63),
            "--log-max-msg" => (&mut self.log_max_msg, 31),
            "--log-min-page" => (&mut self.log_min_page, 31),
            "--log-max-page" => (&mut self.log_max_page, 31),
            "--log-chunk" => (&mut self.log_chunk, 31),
            "--ballast" => (&mut self.ballast, 1 << 40),
            "--command-timeout" => (&mut self.command_timeout, 0xf_ffff),
            _ => return None,
        })
    }

    /// Those that options and their values say; or what is wrong with them.
    pub fn new(arguments: &[String]) -> Result<Self, String> {
        let mut limits = Self::default();
        for pair in arguments.chunks(2) {
            let [option, value] = pair else {
                return Err(format!("{}: a value is missing", pair.concat()));
            };
            let (field, most) = limits.field(option).ok_or(format!("{option}: unknown"))?;
            let least = u64::from(option != "--trackers");
            let value = value
                .parse()
                .ok()
                .filter(|value| (least..=most).contains(value));
            *field = value.ok_or(format!("{option}: not a number from {least} to {most}"))?;
        }
        if limits.one_per_vhca != 0 && Status::from_number(limits.one_per_vhca).is_none() {
            return Err("--one-per-vhca: no such status".into());
        }
        let pairs = [
            (limits.log_min_span, limits.log_max_span),
            (limits.log_min_msg, limits.log_max_msg),
            (limits.log_min_page, limits.log_max_page),
        ];
        if pairs.iter().any(|(least, most)| least > most) {
            return Err("there is nothing between the least and the most".into());
        }
        if limits.tracks() && !limits.trackers.is_power_of_two() {
            return Err("--trackers: neither 0 nor a power of two".into());
        }
        Ok(limits)
    }

    /// Is there a page tracker at all?
    pub fn tracks(&self) -> bool {
        self.trackers != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Limits, String> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        Limits::new(&words)
    }

    #[test]
    fn options_are_taken() {
        assert_eq!(parse(""), Ok(Limits::default()));
        // Between the two of them, the least is more than the most.
        let limits =
            parse("--log-min-page 22 --log-max-page 24 --trackers 1 --command-timeout 1500");
        let expected = Limits {
            log_min_page: 22,
            log_max_page: 24,
            trackers: 1,
            command_timeout: 1500,
            ..Limits::default()
        };
        assert_eq!(limits, Ok(expected));
        for option in HELP
            .lines()
            .filter_map(|line| line.split_whitespace().next())
        {
            let set = parse(&format!("{option} 16")).expect("it is in the help");
            assert_eq!(set == Limits::default(), option == "--max-ranges");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in [
            "--trackers",
            "--trackers 3",
            "--max-ranges 0",
            "--trackers x",
            "--trackers 131072",
            "--max-ranges 256",
            "--one-per-vhca 7",
            "--log-max-span 64",
            "--log-min-page 22",
            "--log-max-msg 11",
            "--frackers 1",
            "4",
        ] {
            parse(line).expect_err(line);
        }
    }
}

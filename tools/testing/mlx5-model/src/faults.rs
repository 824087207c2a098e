// SPDX-License-Identifier: GPL-2.0

//! What a test wants to go wrong: with commands by their opcode, and with the reports of trackers.

use std::time::Duration;

/// What happens to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is for a later one.
    Pass,
    /// It is not executed, and its reply says this.
    Refuse {
        /// Not 0.
        status: u8,
        /// For the driver's log.
        syndrome: u32,
    },
    /// It is not executed, and never completes.
    Swallow,
    /// It is read at once, and executed and completed later.
    Slow(Duration),
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    opcode: u16,
    fault: Fault,
    /// How often still; not 0.
    count: u64,
}

/// What becomes of a request for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// All of it is sent, after this time.
    Whole(Duration),
    /// So many messages of it, after this time; then the tracker fails.
    Cut(Duration, usize),
    /// Nothing ever comes.
    Mute,
}

/// All that is planned.
#[derive(Debug, Default)]
pub struct Faults {
    commands: Vec<Planned>,
    /// How long it takes until a report begins.
    pub report_delay: Duration,
    /// How many reports never begin.
    pub mute: u64,
    /// How many reports end early, and after how many messages.
    pub cut: (u64, usize),
    /// The status with which a second tracker of a VHCA is refused, whatever the firmware's limits
    /// are; 0 leaves it to these.
    pub one_per_vhca: u64,
}

impl Faults {
    /// More than a test needs.
    const MAX: usize = 64;

    /// The next `count` commands of this opcode. `None` if too much is planned already.
    pub fn plan(&mut self, opcode: u16, fault: Fault, count: u64) -> Option<()> {
        if count == 0 {
            return Some(());
        }
        if self.commands.len() >= Self::MAX {
            return None;
        }
        self.commands.push(Planned {
            opcode,
            fault,
            count,
        });
        Some(())
    }

    /// What happens to a command: what was planned first for its opcode.
    pub fn command(&mut self, opcode: u16) -> Fault {
        let mut planned = self.commands.iter_mut();
        let Some(planned) = planned.find(|planned| planned.opcode == opcode) else {
            return Fault::Pass;
        };
        planned.count -= 1;
        let fault = planned.fault;
        self.commands.retain(|planned| planned.count > 0);
        fault
    }

    /// What becomes of the next report.
    pub fn report(&mut self) -> Report {
        if self.mute > 0 {
            self.mute -= 1;
            return Report::Mute;
        }
        let (count, messages) = &mut self.cut;
        if *count > 0 {
            *count -= 1;
            return Report::Cut(self.report_delay, *messages);
        }
        Report::Whole(self.report_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSE: Fault = Fault::Refuse {
        status: 3,
        syndrome: 0,
    };

    #[test]
    fn a_fault_comes_as_often_as_planned() {
        let mut faults = Faults::default();
        faults.plan(0x802, REFUSE, 2).expect("there is room");
        faults
            .plan(0x802, Fault::Swallow, 1)
            .expect("there is room");
        faults.plan(0x803, REFUSE, 0).expect("there is room");
        assert_eq!(faults.command(0x803), Fault::Pass);
        assert_eq!(faults.command(0x802), REFUSE);
        assert_eq!(faults.command(0x802), REFUSE);
        assert_eq!(faults.command(0x802), Fault::Swallow);
        assert_eq!(faults.command(0x802), Fault::Pass);
    }

    #[test]
    fn there_is_a_limit() {
        let mut faults = Faults::default();
        for _ in 0..Faults::MAX {
            faults.plan(1, REFUSE, 1).expect("there is room");
        }
        assert_eq!(faults.plan(1, REFUSE, 1), None);
        assert_eq!(faults.command(1), REFUSE);
        faults.plan(1, REFUSE, 1).expect("there is room again");
    }

    #[test]
    fn mute_reports_come_first() {
        let mut faults = Faults {
            report_delay: Duration::from_millis(5),
            mute: 1,
            cut: (1, 7),
            ..Faults::default()
        };
        let delay = faults.report_delay;
        assert_eq!(faults.report(), Report::Mute);
        assert_eq!(faults.report(), Report::Cut(delay, 7));
        assert_eq!(faults.report(), Report::Whole(delay));
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The control socket: a test asks for the truth, and for faults. A line of words in, the numbers in
//! hex; one line out that begins with `ok` or `error:`.

use std::fmt::Write as _;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::cmd::Status;
use crate::cmdq;
use crate::device::Device;
use crate::device::PF;
use crate::faults::Fault;
use crate::faults::Faults;

/// More than any command has.
const MAX_LINE: u64 = 256;
/// An hour: longer than any driver waits.
const MAX_MS: u64 = 3_600_000;

/// More than the state of any VF has.
const MAX_BALLAST: u64 = 1 << 40;

/// What a command reports; or why it could not be done, and then it has changed nothing.
type Answer = Result<String, &'static str>;

fn ms(ms: u64) -> Result<Duration, &'static str> {
    match ms {
        0..=MAX_MS => Ok(Duration::from_millis(ms)),
        _ => Err("longer than an hour"),
    }
}

fn index(device: &Device, function: u64) -> Result<usize, &'static str> {
    let index = usize::try_from(function).ok();
    let index = index.filter(|index| *index < device.functions.len());
    index.ok_or("no such function")
}

fn vf(device: &Device, function: u64) -> Result<usize, &'static str> {
    match index(device, function)? {
        PF => Err("not a VF"),
        vf => Ok(vf),
    }
}

fn plan(device: &mut Device, op: u64, fault: Fault, count: u64) -> Result<(), &'static str> {
    let opcode = u16::try_from(op).map_err(|_| "not an opcode")?;
    let planned = device.faults.plan(opcode, fault, count);
    planned.ok_or("too many faults")
}

fn refuse(
    device: &mut Device,
    op: u64,
    status: u64,
    count: u64,
    syndrome: u64,
) -> Result<(), &'static str> {
    let status = u8::try_from(status).ok().filter(|status| *status != 0);
    let fault = Fault::Refuse {
        status: status.ok_or("not a status")?,
        syndrome: u32::try_from(syndrome).map_err(|_| "not a syndrome")?,
    };
    plan(device, op, fault, count)
}

/// What the engine of a function wrote since this was asked the last time.
fn written(device: &mut Device, function: u64) -> Answer {
    let index = index(device, function)?;
    let f = device.functions.get_mut(index).ok_or("no such function")?;
    let extents = f.written.take().ok_or("too many")?;
    Ok(extents
        .iter()
        .fold(String::new(), |mut line, (first, last)| {
            let _ = write!(line, " {first:x}-{last:x}");
            line
        }))
}

fn trackers(device: &Device) -> String {
    let all = device
        .functions
        .iter()
        .flat_map(|f| f.objects.trackers.iter());
    all.fold(String::new(), |mut line, (_, t)| {
        let (state, ranges) = (t.state as u8, t.ranges());
        let vf = device.number(t.vhca_id).unwrap_or(usize::MAX);
        let _ = write!(line, " {vf:x}:{:x}:{state:x}:{ranges:x}", t.log_page);
        line
    })
}

fn count(device: &Device) -> String {
    let interrupts: u64 = device.functions.iter().map(|f| f.irqs.raised).sum();
    let counts = &device.counts;
    format!(
        " commands={:x} interrupts={interrupts:x} reports={:x} messages={:x}",
        counts.commands, counts.reports, counts.messages,
    )
}

fn migration(device: &Device) -> String {
    let counts = &device.counts;
    let saving = device.functions.iter().filter_map(|f| f.saving.as_ref());
    let tracked = saving.filter(|saving| saving.tracked).count();
    format!(
        " saves={:x} keys={:x} tracked={tracked:x}",
        counts.saves, counts.keys
    )
}

/// Does one thing to the trackers of a VF.
fn trackers_of(
    device: &mut Device,
    function: u64,
    what: fn(&mut Device, u32),
) -> Result<(), &'static str> {
    let vf = vf(device, function)?;
    let pf = device.functions.get(PF).ok_or("no PF")?;
    let trackers = pf.objects.trackers.iter();
    let qpns: Vec<u32> = trackers
        .filter(|(_, tracker)| device.number(tracker.vhca_id) == Some(vf))
        .map(|(_, tracker)| tracker.qpn)
        .collect();
    if qpns.is_empty() {
        return Err("the VF has no tracker");
    }
    qpns.into_iter().for_each(|qpn| what(device, qpn));
    Ok(())
}

/// The commands that change something.
fn change(device: &mut Device, name: &str, numbers: &[u64]) -> Result<(), &'static str> {
    match (name, numbers) {
        ("refuse", [op, status, count]) => refuse(device, *op, *status, *count, 0)?,
        ("refuse", [op, status, count, syndrome]) => {
            refuse(device, *op, *status, *count, *syndrome)?;
        }
        ("pass", [op, count]) => plan(device, *op, Fault::Pass, *count)?,
        ("swallow", [op, count]) => plan(device, *op, Fault::Swallow, *count)?,
        ("slow", [op, time, count]) => plan(device, *op, Fault::Slow(ms(*time)?), *count)?,
        ("report-delay", [time]) => device.faults.report_delay = ms(*time)?,
        ("mute", [count]) => device.faults.mute = *count,
        ("cut", [count, messages]) => {
            let messages = usize::try_from(*messages).map_err(|_| "too many")?;
            device.faults.cut = (*count, messages);
        }
        ("one-per-vhca", [status]) => {
            if *status != 0 && Status::from_number(*status).is_none() {
                return Err("not a status");
            }
            device.faults.one_per_vhca = *status;
        }
        ("object-event", [kind, function]) => {
            let kind = u16::try_from(*kind).map_err(|_| "not a type")?;
            let vf = vf(device, *function)?;
            let vhca_id = device.functions.get(vf).map(|vf| vf.vhca_id);
            let pf = device.functions.get_mut(PF).ok_or("no PF")?;
            let mut trackers = pf.objects.trackers.iter();
            let id = trackers.find(|(_, tracker)| Some(tracker.vhca_id) == vhca_id);
            let (id, _) = id.ok_or("the VF has no tracker")?;
            drop(trackers);
            pf.object_changed(kind, id);
        }
        ("fail-tracker", [vf]) => trackers_of(device, *vf, Device::fail_tracker)?,
        ("overrun", [vf]) => trackers_of(device, *vf, Device::overrun)?,
        ("qp-error", [vf]) => trackers_of(device, *vf, Device::qp_error)?,
        ("grow", [function, bytes]) => {
            let vf = vf(device, *function)?;
            let vf = device.functions.get_mut(vf).ok_or("no such function")?;
            let ballast = vf.ballast.checked_add(*bytes);
            let ballast = ballast.filter(|ballast| *ballast <= MAX_BALLAST);
            vf.ballast = ballast.ok_or("too much")?;
        }
        ("reinit", [function]) => {
            let vf = vf(device, *function)?;
            let vf = device.functions.get_mut(vf).ok_or("no such function")?;
            vf.reinit = true;
        }
        ("health", [syndrome]) => {
            let syndrome = u8::try_from(*syndrome).map_err(|_| "not a syndrome")?;
            let pf = device.functions.get_mut(PF).ok_or("no PF")?;
            pf.init_segment.syndrome = syndrome;
        }
        ("reset-pf", []) => device.firmware_reset(),
        ("unplug", [function]) => {
            let index = index(device, *function)?;
            device.unplug(index);
        }
        ("plug", [function]) => {
            let index = index(device, *function)?;
            device.plug(index);
        }
        ("forget", []) => {
            device.faults = Faults::default();
            cmdq::give_back(device);
        }
        _ => return Err("no such command, or not its numbers"),
    }
    Ok(())
}

fn command(device: &mut Device, name: &str, numbers: &[u64]) -> Answer {
    match (name, numbers) {
        ("written", [function]) => written(device, *function),
        ("count", []) => Ok(count(device)),
        ("trackers", []) => Ok(trackers(device)),
        ("migration", []) => Ok(migration(device)),
        _ => change(device, name, numbers).map(|()| String::new()),
    }
}

/// Executes one line.
pub fn execute(device: &mut Device, line: &str) -> String {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().unwrap_or("");
    let numbers: Result<Vec<u64>, _> = words.map(|word| u64::from_str_radix(word, 16)).collect();
    let answer = match numbers {
        Ok(numbers) => command(device, name, &numbers),
        Err(_) => Err("not a number in hex"),
    };
    match answer {
        Ok(told) => format!("ok{told}"),
        Err(why) => format!("error: {why}"),
    }
}

/// Serves one client until it goes.
pub fn serve(device: &Mutex<Device>, mut socket: UnixStream) -> io::Result<()> {
    let mut lines = BufReader::new(socket.try_clone()?);
    loop {
        let mut line = Vec::new();
        while lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
            if line.ends_with(b"\n") {
                break;
            }
            // Longer than any command, whatever is in it; or the last.
            line = b"?".to_vec();
        }
        if !line.ends_with(b"\n") {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line);
        // A terminal that echoes sends answers back: to answer them would never end.
        if line.starts_with("ok") || line.starts_with("error:") {
            continue;
        }
        let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = execute(&mut device, &line);
        drop(device);
        socket.write_all(format!("{answer}\n").as_bytes())?;
    }
}

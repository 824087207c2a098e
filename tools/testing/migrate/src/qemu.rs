// SPDX-License-Identifier: GPL-2.0

//! A QEMU, and the commands that it gets by its machine protocol.

use crate::Result;
use serde_json::{json, Value};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Long, for a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(240);

const TRACES: &[&str] = &[
    "iommufd_dirty*",
    "vfio_migration_set_state",
    "migration_completion*",
    "migration_bitmap_sync*",
];

/// A running QEMU, which ends with this.
pub struct Qemu {
    /// In the names of its files.
    pub name: &'static str,
    child: Child,
    input: UnixStream,
    output: BufReader<UnixStream>,
}

impl Qemu {
    /// Starts QEMU, which is `command`, with the test's guest; `incoming` waits for a migration.
    pub fn start(
        name: &'static str,
        mut command: Command,
        arguments: &[String],
        incoming: bool,
    ) -> Result<Self> {
        let socket = format!("/tmp/{name}.qmp");
        for suffix in ["qmp", "serial", "log"] {
            let _ = fs::remove_file(format!("/tmp/{name}.{suffix}"));
        }
        let log = File::create(format!("/tmp/{name}.log"))?;
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-L", "/usr/share/qemu", "-M", "q35,accel=tcg"])
            .args([
                "-m",
                "128,slots=2,maxmem=1G",
                "-kernel",
                "/migrate/guest.elf",
            ])
            .args(["-serial", &format!("file:/tmp/{name}.serial")])
            .args(["-qmp", &format!("unix:{socket},server=on,wait=off")])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // With the time of each line.
        command.args(["-msg", "timestamp=on"]);
        for trace in TRACES {
            command.args(["-trace", trace]);
        }
        if incoming {
            command.args(["-incoming", "defer"]);
        }
        let mut child = command.spawn()?;
        let stream = match connect(&socket, &mut child) {
            Ok(stream) => stream,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name}: {error}: {}", last_words(name)).into());
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut qemu = Self {
            name,
            child,
            input: stream.try_clone()?,
            output: BufReader::new(stream),
        };
        qemu.answer()?; // the greeting
        qemu.ask("qmp_capabilities", json!({}))?;
        Ok(qemu)
    }

    /// The next message that is no event.
    fn answer(&mut self) -> Result<Value> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                return Err(format!("{}: QEMU ended: {}", self.name, last_words(self.name)).into());
            }
            let message: Value = serde_json::from_str(&line)?;
            if message.get("event").is_none() {
                return Ok(message);
            }
        }
    }

    /// Executes a command; its error is an error.
    pub fn ask(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let message = json!({ "execute": command, "arguments": arguments });
        // At once: QEMU may have quit before a newline comes by itself.
        self.input.write_all(format!("{message}\n").as_bytes())?;
        let mut answer = self.answer()?;
        if let Some(error) = answer.get("error") {
            let text = error["desc"].as_str().unwrap_or("?");
            return Err(format!("{}: {command}: {text}", self.name).into());
        }
        Ok(answer["return"].take())
    }

    /// Its status: `running`, for one.
    pub fn status(&mut self) -> Result<String> {
        let answer = self.ask("query-status", json!({}))?;
        Ok(answer["status"].as_str().unwrap_or("?").to_owned())
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it as its user does; an error if it crashes, or does not end.
    pub fn quit(mut self) -> Result<()> {
        self.ask("quit", json!({}))?;
        let status = self.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{}: QEMU ended with {status}", self.name).into())
        }
    }

    /// It ends by itself, because nothing came of the migration to it; an error if it crashes.
    pub fn gives_up(mut self) -> Result<()> {
        let status = self.wait()?;
        if status.code() == Some(1) {
            Ok(())
        } else {
            Err(format!("{}: QEMU ended with {status}", self.name).into())
        }
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("{}: QEMU does not end", self.name).into())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}

fn connect(socket: &str, child: &mut Child) -> Result<UnixStream> {
    let begin = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if begin.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => (),
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("QEMU ended with {status}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What QEMU printed, traces included.
pub fn log(name: &str) -> String {
    String::from_utf8_lossy(&fs::read(format!("/tmp/{name}.log")).unwrap_or_default()).into_owned()
}

fn is_trace(line: &str) -> bool {
    TRACES
        .iter()
        .any(|trace| line.contains(trace.trim_end_matches('*')))
}

/// What QEMU complained of last.
pub fn last_words(name: &str) -> String {
    let log = log(name);
    let mut words: Vec<&str> = log
        .lines()
        .filter(|line| !is_trace(line))
        .rev()
        .take(4)
        .collect();
    words.reverse();
    words.join(" | ")
}

/// Both QEMUs' last lines, for whoever has to find out what went wrong.
pub fn show_logs() {
    for name in ["source", "destination"] {
        for (what, text) in [("log", log(name)), ("serial", crate::guest::serial(name))] {
            let lines: Vec<&str> = text.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(12)) {
                println!("# {name} {what}| {line}");
            }
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! mlx5-model DIRECTORY VFS: one PF and VFS VFs, each behind a socket in DIRECTORY, and one to
//! control it.

use std::env;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use mlx5_model::control;
use mlx5_model::device::Device;
use mlx5_model::vfio_user::Server;

/// A function number has three bits, and the PF has one of the eight.
const MAX_VFS: u16 = 7;
/// What an RNR timer is on hardware: some 100 us, but the host of the model has other things to do.
const RETRY: Duration = Duration::from_millis(2);

fn arguments() -> Option<(PathBuf, u16)> {
    let mut arguments = env::args_os().skip(1);
    let directory = arguments.next()?.into();
    let vfs = arguments.next()?.to_str()?.parse().ok()?;
    (vfs <= MAX_VFS && arguments.next().is_none()).then_some((directory, vfs))
}

/// Sends again what found no receive posted. A driver posts by writing to memory: nothing tells.
fn retry(device: &Mutex<Device>) {
    loop {
        thread::sleep(RETRY);
        let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
        if device.waiting() {
            device.pump();
        }
    }
}

/// Serves the clients of the control socket side by side: a VM keeps one for as long as it runs.
fn serve_control(device: &Arc<Mutex<Device>>, listener: &UnixListener) {
    for socket in listener.incoming() {
        let device = Arc::clone(device);
        thread::spawn(move || {
            let served = socket.and_then(|socket| control::serve(&device, socket));
            if let Err(error) = served {
                eprintln!("control.sock: {error}");
            }
        });
    }
}

fn listen(directory: &Path, vfs: u16) -> io::Result<()> {
    let device = Arc::new(Mutex::new(Device::new(vfs)));
    let mut threads = vec![thread::spawn({
        let device = Arc::clone(&device);
        move || retry(&device)
    })];
    let listener = UnixListener::bind(directory.join("control.sock"))?;
    threads.push(thread::spawn({
        let device = Arc::clone(&device);
        move || serve_control(&device, &listener)
    }));
    for function in 0..=usize::from(vfs) {
        let name = match function {
            0 => "pf.sock".to_string(),
            vf => format!("vf{vf}.sock"),
        };
        let listener = UnixListener::bind(directory.join(&name))?;
        let device = Arc::clone(&device);
        threads.push(thread::spawn(move || loop {
            let served = listener
                .accept()
                .and_then(|(socket, _)| Server::new(&device, function).serve(socket));
            if let Err(error) = served {
                eprintln!("{name}: {error}");
            }
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

fn main() -> ExitCode {
    let Some((directory, vfs)) = arguments() else {
        eprintln!("usage: mlx5-model DIRECTORY VFS (0 to {MAX_VFS})");
        return ExitCode::from(2);
    };
    match listen(&directory, vfs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mlx5-model: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

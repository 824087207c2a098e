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
use mlx5_model::limits;
use mlx5_model::limits::Limits;
use mlx5_model::vfio_user::Server;

/// QEMU and the kernel have room for more, nobody has asked for them.
const MAX_VFS: u16 = 8;
/// What an RNR timer is on hardware: some 100 us, but the host of the model has other things to do.
const RETRY: Duration = Duration::from_millis(2);

/// The directory, how many VFs, and the limits.
fn parse(arguments: &[String]) -> Result<(PathBuf, u16, Limits), String> {
    let [directory, vfs, options @ ..] = arguments else {
        return Err("which directory, and how many VFs?".into());
    };
    let count = vfs.parse().ok().filter(|count| *count <= MAX_VFS);
    let count = count.ok_or(format!("{vfs}: not 0 to {MAX_VFS}"))?;
    Ok((directory.into(), count, Limits::new(options)?))
}

/// Sends again what found no receive posted. A driver posts by writing to memory, unnoticed.
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

fn listen(directory: &Path, vfs: u16, limits: &Limits) -> io::Result<()> {
    let device = Arc::new(Mutex::new(Device::new(vfs, limits)));
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
    let usage = format!(
        "usage: mlx5-model DIRECTORY VFS [OPTION VALUE]...\n\n\
         One PF and VFS VFs (0 to {MAX_VFS}), each behind a socket in DIRECTORY. README.md tells\n\
         the commands of DIRECTORY/control.sock.\n\n{}",
        limits::HELP
    );
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        print!("{usage}");
        return ExitCode::SUCCESS;
    }
    let (directory, vfs, limits) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(why) => {
            eprint!("mlx5-model: {why}\n{usage}");
            return ExitCode::from(2);
        }
    };
    match listen(&directory, vfs, &limits) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mlx5-model: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

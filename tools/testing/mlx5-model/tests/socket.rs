// SPDX-License-Identifier: GPL-2.0

//! The vfio-user protocol, as far as no file descriptors are sent: QEMU tries the rest.

use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::thread;

use mlx5_model::device::Device;
use mlx5_model::limits::Limits;
use mlx5_model::vfio_user::Server;
use proptest::prelude::*;

fn request(id: u16, command: u16, body: &[u8]) -> Vec<u8> {
    let mut message = id.to_le_bytes().to_vec();
    message.extend(command.to_le_bytes());
    message.extend((16 + body.len() as u32).to_le_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// Serves one client on a thread of its own for as long as that talks.
fn with_server(function: usize, client: impl FnOnce(&mut UnixStream)) {
    let device = Mutex::new(Device::new(1, &Limits::default()));
    let (mut ours, theirs) = UnixStream::pair().expect("sockets");
    thread::scope(|scope| {
        let server = scope.spawn(|| Server::new(&device, function).serve(theirs));
        client(&mut ours);
        drop(ours);
        // Whether it liked what it heard does not matter: it did not panic.
        let _ = server.join().expect("no panic");
    });
}

/// The errno and the body of the reply.
fn ask(socket: &mut UnixStream, command: u16, body: &[u8]) -> (u32, Vec<u8>) {
    socket
        .write_all(&request(7, command, body))
        .expect("it listens");
    let mut header = [0; 16];
    socket.read_exact(&mut header).expect("a reply");
    assert_eq!(header[..4], request(7, command, &[])[..4]);
    let flags = word(&header, 8);
    assert_eq!(flags & 0xf, 1, "it is a reply");
    assert_eq!(flags & 0x20 != 0, word(&header, 12) != 0);
    let mut body = vec![0; word(&header, 4) as usize - 16];
    socket.read_exact(&mut body).expect("all of it");
    (word(&header, 12), body)
}

#[test]
fn a_client_finds_the_device() {
    for (function, id) in [(0, 0x1021_15b3), (1, 0x101e_15b3)] {
        with_server(function, |socket| {
            let (errno, body) = ask(socket, 1, b"\0\0\x01\0{}\0");
            assert_eq!((errno, &body[..4]), (0, &[0, 0, 1, 0][..]));
            let (_, info) = ask(socket, 4, &words(&[16, 0, 0, 0]));
            assert_eq!(info, words(&[16, 3, 9, 5]));
            let (_, bar0) = ask(socket, 5, &words(&[32, 0, 0, 0, 0, 0, 0, 0]));
            assert_eq!((word(&bar0, 4), word(&bar0, 16)), (3, 1 << 20));
            let (errno, _) = ask(socket, 5, &words(&[32, 0, 9, 0, 0, 0, 0, 0]));
            assert_ne!(errno, 0, "there is no region 9");
            let (_, msix) = ask(socket, 7, &words(&[16, 0, 2, 0]));
            assert_eq!(word(&msix, 12), if function == 0 { 16 } else { 4 });
            let (_, config) = ask(socket, 9, &words(&[0, 0, 7, 4]));
            assert_eq!(word(&config, 16), id);
        });
    }
}

#[test]
fn bounds_are_checked() {
    with_server(0, |socket| {
        for (region, offset, count) in
            [(0, 0x10_0000, 4), (7, 4094, 4), (1, 0, 4), (0, 0, u32::MAX)]
        {
            let (errno, _) = ask(socket, 9, &words(&[offset, 0, region, count]));
            assert_ne!(errno, 0, "read {count} at {offset} of {region}");
        }
        let (errno, _) = ask(socket, 10, &words(&[0, 0, 0, 8, 0]));
        assert_ne!(errno, 0, "a write without its data");
        // Flags: eventfds to be triggered, of which there are none, and that is to have none.
        for (start, count, fine) in [(0, 16, true), (0, 17, false), (1, u32::MAX, false)] {
            let (errno, _) = ask(socket, 8, &words(&[20, 0x24, 2, start, count]));
            assert_eq!(errno == 0, fine, "{count} vectors from {start} on");
        }
        let (errno, _) = ask(socket, 99, &[]);
        assert_ne!(errno, 0, "an unknown request");
    });
}

#[test]
fn a_reset_is_a_write_to_the_configuration_space() {
    with_server(1, |socket| {
        // Bus master, then a function level reset: the register is not the function's state.
        let (errno, _) = ask(socket, 10, &[&words(&[4, 0, 7, 2])[..], &[6, 0]].concat());
        assert_eq!(errno, 0);
        let (errno, _) = ask(
            socket,
            10,
            &[&words(&[0x68, 0, 7, 2])[..], &[0, 0x80]].concat(),
        );
        assert_eq!(errno, 0);
        let (_, devctl) = ask(socket, 9, &words(&[0x68, 0, 7, 2]));
        assert_eq!(devctl[16..], [0, 0], "it is done");
    });
}

proptest! {
    #[test]
    fn noise_in_the_socket(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        with_server(0, |socket| {
            let _ = socket.write_all(&noise);
        });
    }

    #[test]
    fn noise_in_a_request(command: u16, body in prop::collection::vec(any::<u8>(), 0..80)) {
        with_server(0, |socket| {
            for command in [command, command % 16] {
                ask(socket, command, &body);
            }
        });
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The layouts of the firmware, of the same header and by the same bindgen as for the kernel module.
//!
//! The header is that of the kernel source $KSRC; the toolchain root has one at /kernel/src.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// What the header takes from others.
const PRELUDE: &str = "typedef unsigned char u8;
#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))
#define DECLARE_FLEX_ARRAY(t, n) struct { struct { } empty_##n; t n[]; }
#include <mlx5_ifc.h>
";

fn main() {
    let ksrc = env::var("KSRC").unwrap_or("/kernel/src".into());
    let include = PathBuf::from(&ksrc).join("include/linux/mlx5");
    let header = include.join("mlx5_ifc.h");
    println!("cargo::rerun-if-env-changed=KSRC");
    println!("cargo::rerun-if-changed={}", header.display());
    assert!(
        header.exists(),
        "there is no {}: these tests are about the layouts in it. Set KSRC to a kernel source; \
         `make test` has one",
        header.display()
    );

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let prelude = out.join("prelude.h");
    fs::write(&prelude, PRELUDE).expect("a file in OUT_DIR");
    let status = Command::new("bindgen")
        .arg(&prelude)
        .args([
            "--rust-target",
            "1.85",
            "--use-core",
            "--ctypes-prefix",
            "::core::ffi",
        ])
        .args([
            "--no-layout-tests",
            "--no-doc-comments",
            "--no-prepend-enum-name",
        ])
        .args([
            "--allowlist-type",
            "mlx5_ifc_.*_bits",
            "--allowlist-var",
            "MLX5_.*",
        ])
        .arg("-o")
        .arg(out.join("bindings.rs"))
        .arg("--")
        .arg("-I")
        .arg(&include)
        .status();
    match status {
        Ok(status) => assert!(status.success(), "bindgen failed on {}", header.display()),
        Err(e) => panic!("cannot run bindgen, which makes the layouts of {ksrc}: {e}"),
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The layouts in src/ifc.rs are those of mlx5_ifc.h: a C compiler says so.
//!
//! The header is that of the kernel source $KSRC; the toolchain root has one at /kernel/src.

use std::env;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use mlx5_model::ifc::FIELDS;
use mlx5_model::ifc::NUMBERS;
use mlx5_model::ifc::SIZES;

/// What the C compiler complains about.
fn compile(source: &str) -> Result<(), String> {
    let ksrc = env::var("KSRC").unwrap_or("/kernel/src".into());
    let include = PathBuf::from(ksrc).join("include/linux/mlx5");
    assert!(
        include.join("mlx5_ifc.h").exists(),
        "no {}/mlx5_ifc.h: set KSRC to a kernel source",
        include.display()
    );
    let mut cc = Command::new("cc")
        .args(["-std=gnu11", "-fsyntax-only", "-x", "c", "-", "-I"])
        .arg(include)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a C compiler, cc");
    let mut stdin = cc.stdin.take().expect("a pipe");
    stdin.write_all(source.as_bytes()).expect("cc reads");
    drop(stdin);
    let output = cc.wait_with_output().expect("cc ends");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The header has one byte for each bit: offsetof() is the bit offset.
fn claims() -> String {
    let mut c = String::from(
        "typedef unsigned char u8;\n#include <stddef.h>\n\
         #define BIT(n) (1UL << (n))\n#define BIT_ULL(n) (1ULL << (n))\n\
         #define DECLARE_FLEX_ARRAY(t, n) struct { struct { } empty_##n; t n[]; }\n\
         #include <mlx5_ifc.h>\n\
         #define BITS(s, f) sizeof(((struct mlx5_ifc_##s##_bits *)0)->f)\n",
    );
    for (structure, field, place) in FIELDS {
        let at = place.at;
        let width = place.width;
        let name = format!("\"{structure}.{field}\"");
        let _ = writeln!(
            c,
            "_Static_assert(offsetof(struct mlx5_ifc_{structure}_bits, {field}) == {at}, {name});"
        );
        if width > 0 {
            let _ = writeln!(
                c,
                "_Static_assert(BITS({structure}, {field}) == {width}, {name});"
            );
        }
    }
    for (structure, size) in SIZES {
        let _ = writeln!(
            c,
            "_Static_assert(sizeof(struct mlx5_ifc_{structure}_bits) == {size}, \"{structure}\");"
        );
    }
    for (name, value) in NUMBERS {
        let _ = writeln!(c, "_Static_assert({name} == {value}, \"{name}\");");
    }
    c
}

#[test]
fn layouts_are_those_of_the_header() {
    if let Err(complaints) = compile(&claims()) {
        panic!("{complaints}");
    }
}

/// The test above can fail.
#[test]
fn a_wrong_layout_is_found() {
    let wrong = format!(
        "{}_Static_assert(offsetof(struct mlx5_ifc_eqc_bits, intr) == 0xb5, \"eqc.intr\");\n",
        claims()
    );
    assert!(compile(&wrong).is_err_and(|complaints| complaints.contains("eqc.intr")));
}

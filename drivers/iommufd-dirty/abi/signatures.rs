// SPDX-License-Identifier: GPL-2.0

//! That functions in Rust which C calls have the signatures of the C header.

/// Does not compile if one of the functions has another type than the function of this name in
/// `bindings`.
macro_rules! check_signatures {
    ($($function:ident),* $(,)?) => {
        const _: () = {
            // The elements become pointers to functions of one type.
            $(let _ = [bindings::$function, $function];)*
        };
    };
}
pub(super) use check_signatures;

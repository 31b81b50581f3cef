//! The functions of NVIDIA's libraries that are called, each found by its symbol when its library is opened.
//!
//! Numbers that a library returns stay integers here: a newer library may return one that no list of ours has, which
//! an `enum` must never hold.

pub(crate) mod cublaslt;

pub(crate) mod cuda;
pub(crate) mod nvrtc;

/// Declares a table of foreign functions. Every line names the field, the symbol, and the signature.
macro_rules! functions {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$note:meta])* $field:ident = $symbol:literal ($($argument:ty),* $(,)?) -> $result:ty;)*
    }) => {
        $(#[$meta])*
        pub(crate) struct $name {
            $($(#[$note])* pub(crate) $field: unsafe extern "system" fn($($argument),*) -> $result,)*
        }

        impl $name {
            /// Looks all functions up.
            ///
            /// # Safety
            /// `library` must be the library that declares these symbols with these signatures, and it must stay open
            /// for as long as a function of the table is called.
            pub(crate) unsafe fn load(library: &crate::library::Opened) -> Result<Self, crate::library::LibraryError> {
                // SAFETY: the caller promises that the symbols have these types.
                Ok(Self { $($field: unsafe { library.symbol($symbol) }?,)* })
            }
        }
    };
}
pub(crate) use functions;
